"""`RemoteChunkStore`: the port `ChunkStore` on another node, over its links."""

from collections.abc import Sequence

from roost.chunks.store import CopyState, Space
from roost.core.errors import Damaged, Failed, ProtocolError
from roost.core.ids import NodeId, ObjectId
from roost.core.ids import object_id as id_of
from roost.core.runtime import Runtime
from roost.net.body import Body, IntoSink
from roost.net.links import Links
from roost.wire.fields import IDS_MAX, join_ids, unpack_bits
from roost.wire.messages import (
    Get,
    GetStatus,
    GetVerified,
    Have,
    Holding,
    LastVerified,
    Put,
    Sending,
    Status,
    Stored,
    Verified,
    Verify,
)

VERIFY_IDS_MAX = 1024
"""What one Verify may ask for."""


class RemoteChunkStore:
    """The objects of node `node_id`. What it answers is checked before it is believed; an answer that does not fit the
    question raises ProtocolError. Every method may raise Unreachable, Stalled and NotAdmitted."""

    def __init__(self, runtime: Runtime, links: Links, node_id: NodeId) -> None:
        self.node_id = node_id
        self._runtime = runtime
        self._links = links

    async def have(self, ids: Sequence[ObjectId], *, reserve: bool = False) -> list[bool]:
        here: list[bool] = []
        for begin in range(0, len(ids), IDS_MAX):
            some = list(ids[begin : begin + IDS_MAX])
            answer = await self._links.call(self.node_id, Have(join_ids(some), reserve))
            if not isinstance(answer, Holding):
                raise self._nonsense("an answer of another kind")
            try:
                here += unpack_bits(answer.present, len(some))
            except ValueError as error:
                raise self._nonsense(str(error)) from None
        return here

    async def put(self, object_id: ObjectId, body: Body) -> bool:
        answer = await self._links.call(self.node_id, Put(object_id, body.length), body=body, bulk=True)
        if not isinstance(answer, Stored):
            raise self._nonsense("an answer of another kind")
        return not answer.already

    async def get(self, object_id: ObjectId, into: memoryview) -> int:
        sink = _RoomSink(into)
        try:
            answer = await self._links.call(self.node_id, Get(object_id), sink=sink, bulk=True)
        except ProtocolError:
            if sink.overflowed:
                raise Failed(
                    f"object {object_id.hex()} on node {self.node_id[:8]} is longer than the {len(into)} bytes there "
                    "is room for"
                ) from None
            raise
        if not isinstance(answer, Sending) or answer.length != sink.received:
            raise self._nonsense("a body of another length than it said")
        if await self._runtime.in_thread(id_of, into[: sink.received]) != object_id:
            raise Damaged(
                f"what node {self.node_id[:8]} sent for object {object_id.hex()} is something else",
                hint="another node's copy is used",
            )
        return sink.received

    async def verify(self, ids: Sequence[ObjectId]) -> list[CopyState]:
        states: list[CopyState] = []
        for begin in range(0, len(ids), VERIFY_IDS_MAX):
            some = list(ids[begin : begin + VERIFY_IDS_MAX])
            answer = await self._links.call(self.node_id, Verify(join_ids(some)))
            if not isinstance(answer, Verified) or len(answer.states) != len(some):
                raise self._nonsense("states of another number than asked for")
            try:
                states += [CopyState(state) for state in answer.states]
            except ValueError as error:
                raise self._nonsense(str(error)) from None
        return states

    async def verified(self, ids: Sequence[ObjectId]) -> list[int]:
        """Per id, in order: when the node last knew its copy to be good (Unix seconds by its clock); 0 when it is not
        there."""
        times: list[int] = []
        for begin in range(0, len(ids), IDS_MAX):
            some = list(ids[begin : begin + IDS_MAX])
            answer = await self._links.call(self.node_id, GetVerified(join_ids(some)))
            if not isinstance(answer, LastVerified) or len(answer.times) != len(some):
                raise self._nonsense("times of another number than asked for")
            times += answer.times
        return times

    async def space(self) -> Space:
        """As the node's status tells; `total` is what its objects use and may use."""
        answer = await self._links.call(self.node_id, GetStatus())
        if not isinstance(answer, Status):
            raise self._nonsense("an answer of another kind")
        return Space(used=answer.bytes_used, free=answer.bytes_free, total=answer.bytes_used + answer.bytes_free)

    def _nonsense(self, what: str) -> ProtocolError:
        return ProtocolError(f"node {self.node_id[:8]} answered with {what}", hint="bring it to this release of roost")


class _RoomSink:
    """Fills one buffer, and remembers when what came did not fit."""

    def __init__(self, into: memoryview) -> None:
        self._into = IntoSink(into)
        self.overflowed = False

    @property
    def received(self) -> int:
        return self._into.received

    async def take(self, length: int) -> memoryview:
        try:
            return await self._into.take(length)
        except ProtocolError:
            self.overflowed = True
            raise

    async def give(self, received: memoryview) -> None:
        await self._into.give(received)
