"""Record exchange: two peers compare digests of their record sets and send each other what differs."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roost.cluster.records import BUCKET_DIGEST_BYTES, BUCKETS, RecordSet
from roost.core.errors import Damaged, NotFound, ProtocolError, RoostError, Unreachable, first_of
from roost.core.ids import NodeId, RecordId
from roost.net.body import Body, BytesSink
from roost.net.links import Links
from roost.net.server import Call, Handlers, Reply
from roost.wire.fields import RECORD_BYTES_MAX, RECORD_IDS_BODY_MAX, join_ids, split_ids
from roost.wire.messages import Digests, GetRecord, PutRecord, RecordDigests, RecordIds, RecordKept, Sending

RECEIVED_AT_ONCE = 2
AT_ONCE = 8
"""Records under way at once in one exchange; a manifest may have 64 MiB, so there are few."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What one exchange moved, and how many records could not be (of an unknown kind, damaged there)."""

    fetched: int
    sent: int
    refused: int


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
    fetched = await _each(sorted(there - here), lambda record: fetch(links, node, record, records))
    sent = await _each(sorted(here - there), lambda record: _send(links, node, record, records))
    return Exchanged(fetched[0], sent[0], fetched[1] + sent[1])


async def _ids_there(links: Links, node: NodeId, buckets: list[int]) -> set[RecordId]:
    sink = BytesSink(RECORD_IDS_BODY_MAX)
    await links.call(node, RecordIds(buckets), sink=sink, bulk=True)
    try:
        ids = split_ids(sink.data())
    except ValueError as error:
        raise ProtocolError(f"node {node[:8]} sent broken record ids") from error
    wanted = set(buckets)
    return {RecordId(i) for i in ids if i[0] in wanted}


async def fetch(links: Links, node: NodeId, record: RecordId, records: RecordSet) -> None:
    """Fetch one record from `node` and keep it. Damaged when the bytes are not what the id says."""
    sink = BytesSink(RECORD_BYTES_MAX)
    await links.call(node, GetRecord(record), sink=sink, bulk=True)
    await records.add(sink.data())
    if record not in records:
        raise Damaged(f"node {node[:8]} sent other bytes for record {record.hex()[:12]}")


async def _send(links: Links, node: NodeId, record: RecordId, records: RecordSet) -> None:
    data = await records.get(record)
    await links.call(node, PutRecord(len(data)), body=Body.of(data), bulk=True)


async def _each(ids: list[RecordId], move: Callable[[RecordId], Awaitable[None]]) -> tuple[int, int]:
    """Move all `ids`, a few at once; (moved, refused). Unreachable ends the whole."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(record: RecordId) -> bool:
        async with places:
            try:
                await move(record)
            except (Unreachable, ProtocolError):
                raise
            except NotFound:
                return True  # gone meanwhile: nothing to move
            except RoostError:
                return False
            return True

    broken: RoostError | None = None
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(record)) for record in ids]
    except* RoostError as errors:
        broken = first_of(errors)
    if broken is not None:
        raise broken
    moved = sum(task.result() for task in tasks)
    return moved, len(ids) - moved
