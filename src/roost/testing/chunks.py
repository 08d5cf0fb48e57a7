"""`MemoryChunkStore`: the port `ChunkStore` in memory, with a size, and damage on demand."""

from collections.abc import Sequence

from roost.chunks.store import CopyState, Space
from roost.core.errors import Damaged, Failed, NoSpace, NotFound
from roost.core.ids import ObjectId
from roost.core.ids import object_id as id_of
from roost.net.body import Body

UNBOUNDED_BYTES = 1 << 50


class MemoryChunkStore:
    """Objects in a dict, which a test may look at and change; an entry whose bytes do not fit its id is a damaged copy.
    `reserved` holds the ids that were put, or asked for with `reserve`."""

    def __init__(self, *, bytes_max: int = UNBOUNDED_BYTES) -> None:
        self.bytes_max = bytes_max
        self.stored: dict[ObjectId, bytes] = {}
        self.quarantine: list[bytes] = []
        self.reserved: set[ObjectId] = set()

    def flip(self, object_id: ObjectId, byte: int, bit: int) -> None:
        """Turn one bit of the stored copy."""
        data = bytearray(self.stored[object_id])
        data[byte] ^= 1 << bit
        self.stored[object_id] = bytes(data)

    async def have(self, ids: Sequence[ObjectId], *, reserve: bool = False) -> list[bool]:
        here = [object_id in self.stored for object_id in ids]
        if reserve:
            self.reserved.update(object_id for object_id, found in zip(ids, here, strict=True) if found)
        return here

    async def put(self, object_id: ObjectId, body: Body) -> bool:
        if object_id in self.stored:
            self.reserved.add(object_id)
            return False
        if body.length > (await self.space()).free:
            raise NoSpace(f"{body.length} bytes do not fit any more")
        async with body.opened() as slices:
            data = b"".join([bytes(piece) async for piece in slices])
        if len(data) != body.length or id_of(data) != object_id:
            raise Damaged(f"what came for object {object_id.hex()} is something else")
        new = object_id not in self.stored
        self.stored[object_id] = data
        self.reserved.add(object_id)
        return new

    async def get(self, object_id: ObjectId, into: memoryview) -> int:
        data = self.stored.get(object_id)
        if data is None:
            raise NotFound(f"object {object_id.hex()} is not here")
        if len(data) > len(into):
            raise Failed(f"object {object_id.hex()} has {len(data)} bytes, more than the {len(into)} there is room for")
        if self._state(object_id) is CopyState.DAMAGED:
            raise Damaged(f"object {object_id.hex()} is damaged")
        into[: len(data)] = data
        return len(data)

    async def verify(self, ids: Sequence[ObjectId]) -> list[CopyState]:
        return [self._state(object_id) for object_id in ids]

    async def space(self) -> Space:
        used = sum(len(data) for data in self.stored.values())
        return Space(used=used, free=max(0, self.bytes_max - used), total=self.bytes_max)

    def _state(self, object_id: ObjectId) -> CopyState:
        """How the copy is; a damaged one goes to quarantine."""
        data = self.stored.get(object_id)
        if data is None:
            return CopyState.ABSENT
        if id_of(data) == object_id:
            return CopyState.GOOD
        self.quarantine.append(self.stored.pop(object_id))
        return CopyState.DAMAGED
