"""What a node does for its peers with its objects: the handlers of Have, Put, Get, PassOn, Verify, GetVerified."""

from typing import cast

from roost.chunks.disk import DiskChunkStore, Moved
from roost.chunks.pass_on import PassOn
from roost.core.ids import NodeId, ObjectId
from roost.net.server import Call, Handlers, Reply
from roost.wire import messages
from roost.wire.fields import pack_bits, split_ids
from roost.wire.messages import Holding, LastVerified, PassedOn, Sending, Stored, Verified


def chunk_handlers(store: DiskChunkStore, pass_on: PassOn) -> Handlers:
    """The handlers that serve `store`. Their progress moves as bytes do, so that callers tell slow from stuck."""
    service = _ChunkService(store, pass_on)
    return {
        messages.Have: service.have,
        messages.Put: service.put,
        messages.Get: service.get,
        messages.PassOn: service.pass_on,
        messages.Verify: service.verify,
        messages.GetVerified: service.get_verified,
    }


class _ChunkService:
    """One method a request; see `roost.wire.messages` for what each promises."""

    def __init__(self, store: DiskChunkStore, pass_on: PassOn) -> None:
        self._store = store
        self._pass_on = pass_on

    async def have(self, call: Call) -> Reply:
        request = cast(messages.Have, call.request)
        return Reply(Holding(pack_bits(await self._store.have(_ids(request.ids), reserve=request.reserve))))

    async def put(self, call: Call) -> Reply:
        request = cast(messages.Put, call.request)
        new = await self._store.receive(
            ObjectId(request.object_id), request.length, call.receive_body, moved=_moves(call)
        )
        return Reply(Stored(already=not new))

    async def get(self, call: Call) -> Reply:
        request = cast(messages.Get, call.request)
        body = await self._store.open_body(ObjectId(request.object_id))
        return Reply(Sending(body.length), body)

    async def pass_on(self, call: Call) -> Reply:
        request = cast(messages.PassOn, call.request)
        return Reply(PassedOn(await self._pass_on.pass_on(_ids(request.ids), NodeId(request.to), moved=_moves(call))))

    async def verify(self, call: Call) -> Reply:
        request = cast(messages.Verify, call.request)
        states = await self._store.verify(_ids(request.ids), moved=_moves(call))
        return Reply(Verified(bytes(states)))

    async def get_verified(self, call: Call) -> Reply:
        request = cast(messages.GetVerified, call.request)
        return Reply(LastVerified(self._store.verified(_ids(request.ids))))


def _ids(joined: bytes) -> list[ObjectId]:
    return [ObjectId(digest) for digest in split_ids(joined)]


def _moves(call: Call) -> Moved:
    def moved(count: int) -> None:
        call.progress += count

    return moved
