"""The commit: the proof that a checkpoint is durable where its sender counts it. Both sides of protocol 1.

A copy counts only if its node also durably holds the manifest. The sender asks every holder; a node checks, under the
collector's lock, that each object counted on it is there, and only then writes the manifest. Repeating a commit is
harmless.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from roost.checkpoints.peers import Peers
from roost.cluster.records import RecordSet
from roost.codec.manifest import Manifest
from roost.codec.records import decode_record
from roost.core.errors import Leaving, ProtocolError, RoostError
from roost.core.ids import NodeId, ObjectId
from roost.core.runtime import Runtime
from roost.net.body import Body, BytesSink
from roost.net.server import Call, Handler, Reply
from roost.wire.fields import IDS_MAX, join_ids, pack_bits, split_ids, unpack_bits
from roost.wire.messages import Commit, Committed

RECEIVED_AT_ONCE = 2


class GuardedStore(Protocol):
    """What the commit needs of a node's chunk store."""

    def guard(self) -> AbstractAsyncContextManager[object]:
        """The lock that the collector holds while it checks and unlinks."""
        ...

    async def missing(self, ids: Sequence[ObjectId], *, moved: Callable[[int], None]) -> list[ObjectId]:
        """Those of `ids` that are not in the file system, looked up there, the guard being held. The others are
        reserved. `moved` is told how many were looked at."""
        ...


def commit_handler(
    runtime: Runtime, store: GuardedStore, records: RecordSet, *, changed: Callable[[], None],
    leaving: Callable[[], bool] = bool,
) -> Handler:  # fmt: skip
    """The node's side. `changed` is called when a manifest was written, so that the others hear of it soon. A manifest
    may have 64 MiB, so only a few are taken at a time; on a cold disk one may take minutes to check, and who waits for
    its turn hears that those before it move.

    While the node is `leaving` it commits to nothing: whoever lets it leave takes its records after it began to, and
    must know of all that anybody counts on it. So it looks again once the manifest is among them."""
    places = asyncio.Semaphore(RECEIVED_AT_ONCE)
    under_way: dict[int, Call] = {}

    def moved(count: int) -> None:
        for call in under_way.values():
            call.progress += count

    async def commit(call: Call) -> Reply:
        request = call.request
        assert isinstance(request, Commit)
        under_way[id(call)] = call
        try:
            async with places:
                sink = BytesSink(request.length)
                await call.receive_body(sink)
                return await decide(request, sink.data())
        finally:
            del under_way[id(call)]

    async def decide(request: Commit, data: bytes) -> Reply:
        counted = await runtime.in_thread(_counted, data, request.counted)
        async with store.guard():
            missing = await store.missing(counted, moved=moved)
            if missing:
                return Reply(Committed(join_ids(missing[:IDS_MAX])))
            require_staying()
            await records.add(data)
        changed()
        require_staying()
        return Reply(Committed(b""))

    def require_staying() -> None:
        if leaving():
            raise Leaving("this node is being emptied, and may end at once", hint="count on others")

    return commit


def _counted(data: bytes, bits: bytes) -> list[ObjectId]:
    """The objects that `bits` marks among those of the manifest `data`."""
    manifest = decode_record(data)
    if not isinstance(manifest, Manifest):
        raise ProtocolError("what is committed is not a manifest")
    objects = manifest.objects()
    try:
        flags = unpack_bits(bits, len(objects))
    except ValueError as error:
        raise ProtocolError(f"the commit's bitmap does not fit its manifest: {error}") from error
    return [i for i, flag in zip(objects, flags, strict=True) if flag]


@dataclass(frozen=True, slots=True)
class Votes:
    """What the nodes said: who holds the manifest and all that was counted on it, who lacks which objects, and who
    could not be asked."""

    yes: frozenset[NodeId]
    missing: Mapping[NodeId, frozenset[ObjectId]]
    problems: Mapping[NodeId, RoostError]


async def ask_commit(
    peers: Peers, data: bytes, objects: Sequence[ObjectId], counted: Mapping[NodeId, frozenset[ObjectId]]
) -> Votes:
    """Commit the manifest `data`, whose distinct objects are `objects`, to each node with those counted on it."""
    yes: set[NodeId] = set()
    missing: dict[NodeId, frozenset[ObjectId]] = {}
    problems: dict[NodeId, RoostError] = {}

    async def one(node: NodeId, here: frozenset[ObjectId]) -> None:
        bits = pack_bits([i in here for i in objects])
        try:
            answer = await peers.links.call(node, Commit(len(data), bits), body=Body.of(data), bulk=True)
            absent = _missing(answer)
            if not absent <= here:
                raise ProtocolError("a node answered commit with objects that were not counted on it")
        except RoostError as error:
            problems[node] = error
            return
        if absent:
            missing[node] = absent
        else:
            yes.add(node)

    async with asyncio.TaskGroup() as group:
        for node, here in sorted(counted.items()):
            group.create_task(one(node, here))
    return Votes(frozenset(yes), missing, problems)


def _missing(answer: object) -> frozenset[ObjectId]:
    if not isinstance(answer, Committed):
        raise ProtocolError(f"a node answered commit with {type(answer).__name__}")
    try:
        return frozenset(ObjectId(i) for i in split_ids(answer.missing))
    except ValueError as error:
        raise ProtocolError(f"a node answered commit with nonsense: {error}") from error
