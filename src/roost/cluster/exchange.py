"""Record exchange: two peers compare digests of their record sets and send each other what differs.

Exchanges that one process has with many peers at once share their work: a record that one of them is fetching is left
to it, and fetched from another peer only when it does not come.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roost.cluster.arrivals import LARGE_BYTES_MIN, Arrival
from roost.cluster.records import BUCKET_DIGEST_BYTES, BUCKETS, RecordSet
from roost.core.errors import Damaged, NotFound, ProtocolError, RoostError, Unreachable, Unsupported, first_of
from roost.core.ids import NodeId, RecordId
from roost.net.body import Body, BytesSink
from roost.net.links import Links
from roost.net.server import Call, Handlers, Reply
from roost.wire.fields import RECORD_BYTES_MAX, RECORD_IDS_BODY_MAX, join_ids, split_ids
from roost.wire.messages import Digests, GetRecord, PutRecord, RecordDigests, RecordIds, RecordKept, Sending

RECEIVED_AT_ONCE = 2
AT_ONCE = 4
"""Records under way at once in one exchange."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What one exchange moved, how many records could not be (of an unknown kind, damaged there), how many of those
    that the peer named are not here for all that (`unsupported` of them because this release does not know them), and
    how many of ours the peer did not take."""

    fetched: int
    sent: int
    refused: int
    lacking: int = 0
    unsent: int = 0
    unsupported: int = 0


def record_handlers(records: RecordSet, *, changed: Callable[[], None]) -> Handlers:
    """What a server needs to take part; `changed` is called when a peer brought something new. A record may have
    64 MiB, so only a few are taken at a time."""
    places = asyncio.Semaphore(RECEIVED_AT_ONCE)

    async def digests(call: Call) -> Reply:
        return Reply(Digests(records.digests()))

    async def ids(call: Call) -> Reply:
        assert isinstance(call.request, RecordIds)
        data = join_ids(records.ids(call.request.buckets))
        return Reply(Sending(len(data)), Body.of(data))

    async def get(call: Call) -> Reply:
        assert isinstance(call.request, GetRecord)
        data = await records.get(RecordId(call.request.record_id))
        return Reply(Sending(len(data)), Body.of(data))

    async def put(call: Call) -> Reply:
        assert isinstance(call.request, PutRecord)
        async with places:
            sink = BytesSink(call.request.length)
            await call.receive_body(sink)
            new = await records.add(sink.data())
        if new:
            changed()
        return Reply(RecordKept(new))

    return {RecordDigests: digests, RecordIds: ids, GetRecord: get, PutRecord: put}


async def exchange(links: Links, node: NodeId, records: RecordSet) -> Exchanged:
    """Make our record set and that of `node` equal: fetch what only it has, send what only we have.

    Raises Unreachable or NotAdmitted when the peer cannot be talked to; single records that one side refuses are
    counted and do not stop the rest.
    """
    theirs = await links.call(node, RecordDigests())
    if not isinstance(theirs, Digests):
        raise ProtocolError(f"node {node[:8]} answered digests with {type(theirs).__name__}")
    mine = records.digests()
    width = BUCKET_DIGEST_BYTES
    differing = [
        bucket
        for bucket in range(BUCKETS)
        if mine[bucket * width : (bucket + 1) * width] != theirs.buckets[bucket * width : (bucket + 1) * width]
    ]
    if not differing:
        return Exchanged(0, 0, 0)
    there = await _ids_there(links, node, differing)
    here = set(records.ids(differing))
    strange: set[RecordId] = set()

    async def bring(record: RecordId) -> bool:
        try:
            return await fetch(links, node, record, records)
        except Unsupported:
            strange.add(record)
            raise

    fetched = await _each(_Wanted(there - here, records), bring)
    sent = await _each(_Wanted(here - there), lambda record: _send(links, node, record, records))
    lacking = sum(record not in records for record in there)
    return Exchanged(fetched[0], sent[0], fetched[1] + sent[1], lacking, sent[1], len(strange))


async def _ids_there(links: Links, node: NodeId, buckets: list[int]) -> set[RecordId]:
    sink = BytesSink(RECORD_IDS_BODY_MAX)
    await links.call(node, RecordIds(buckets), sink=sink, bulk=True)
    try:
        ids = split_ids(sink.data())
    except ValueError as error:
        raise ProtocolError(f"node {node[:8]} sent broken record ids") from error
    wanted = set(buckets)
    return {RecordId(i) for i in ids if i[0] in wanted}


class _Wanted:
    """The records that one exchange still has to move, in order; those on their way by another exchange come last, and
    those that came meanwhile not at all."""

    def __init__(self, ids: set[RecordId], records: RecordSet | None = None) -> None:
        self._ids = deque(sorted(ids))
        self._later: deque[RecordId] = deque()
        self._records = records

    def next(self) -> RecordId | None:
        """The next one; None when there is none."""
        while self._ids:
            record = self._ids.popleft()
            if self._records is None or (record not in self._records and record not in self._records.arrivals):
                return record
            self._later.append(record)
        while self._later:
            record = self._later.popleft()
            if self._records is None or record not in self._records:
                return record
        return None


async def fetch(links: Links, node: NodeId, record: RecordId, records: RecordSet) -> bool:
    """Have one record here: from `node`, unless another exchange of this process brings it first; then False.
    Damaged when the bytes are not what the id says."""
    while record not in records:
        await records.arrivals.turn(record)
        if record in records:
            return False
        with records.arrivals.begin(record) as arrival:
            await _bring(links, node, record, records, arrival)
        if record not in records:
            raise Damaged(f"node {node[:8]} sent other bytes for record {record.hex()[:12]}")
        return True
    return False


async def _bring(links: Links, node: NodeId, record: RecordId, records: RecordSet, arrival: Arrival) -> None:
    """Receive the record and keep it. One that turns out to be large is let go of and received anew when there is a
    place for it, because a peer that sends is not kept waiting."""

    async def bring(bytes_max: int) -> None:
        sink = _RecordSink(arrival, bytes_max)
        await links.call(node, GetRecord(record), sink=sink, bulk=True)
        arrival.waiting = True
        await records.add(sink.data())

    with contextlib.suppress(_Large):
        await bring(LARGE_BYTES_MIN)
        return
    arrival.waiting = True
    async with records.arrivals.large:
        arrival.waiting = False
        await bring(RECORD_BYTES_MAX)


class _Large(RoostError):
    """More is coming than was thought."""


class _RecordSink:
    """Collects a record; `_Large` when it is longer than `bytes_max`, unless no record may be."""

    def __init__(self, arrival: Arrival, bytes_max: int) -> None:
        self._arrival = arrival
        self._left = bytes_max
        self._large = bytes_max < RECORD_BYTES_MAX
        self._into = BytesSink(bytes_max)

    async def take(self, length: int) -> memoryview:
        if self._large and length > self._left:
            raise _Large("a large record")
        return await self._into.take(length)

    async def give(self, received: memoryview) -> None:
        self._left -= len(received)
        self._arrival.received += len(received)
        await self._into.give(received)

    def data(self) -> bytes:
        return self._into.data()


async def _send(links: Links, node: NodeId, record: RecordId, records: RecordSet) -> bool:
    data = await records.get(record)
    if len(data) <= LARGE_BYTES_MIN:
        await links.call(node, PutRecord(len(data)), body=Body.of(data), bulk=True)
        return True
    del data
    async with records.arrivals.large:
        data = await records.get(record)
        await links.call(node, PutRecord(len(data)), body=Body.of(data), bulk=True)
    return True


async def _each(wanted: _Wanted, move: Callable[[RecordId], Awaitable[bool]]) -> tuple[int, int]:
    """Move all that is `wanted`, a few at once; how many `move` moved, and how many could not be. Unreachable ends the
    whole."""
    moved, refused = 0, 0

    async def work() -> None:
        nonlocal moved, refused
        while (record := wanted.next()) is not None:
            try:
                came = await move(record)
            except (Unreachable, ProtocolError):
                raise
            except NotFound:
                continue  # gone meanwhile: nothing to move
            except RoostError:
                refused += 1
            else:
                moved += came

    broken: RoostError | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    except* RoostError as errors:
        broken = first_of(errors)
    if broken is not None:
        raise broken
    return moved, refused
