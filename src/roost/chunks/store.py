"""The port `ChunkStore`: objects named by the SHA-256 of their bytes, whole and durable or absent.

One contract suite (`tests/contract/test_chunk_store.py`) runs on every implementation: the disk, the remote one, the
fake. An object never changes; putting it twice is harmless; nothing here knows what an object means.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from roost.core.ids import ObjectId
from roost.net.body import Body


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes: used by objects here, free for objects (the reserve already taken off, never negative), total."""

    used: int
    free: int
    total: int


class CopyState(enum.IntEnum):
    """What reading an object back shows; the values travel on the wire."""

    GOOD = 0
    ABSENT = 1
    DAMAGED = 2


class ChunkStore(Protocol):
    """Keeps objects. All methods may raise DiskFault; remote ones also Unreachable, Stalled and NotAdmitted."""

    async def have(self, ids: Sequence[ObjectId], *, reserve: bool = False) -> list[bool]:
        """Per id, in order: is it here? Cheap: nothing is read. With `reserve`, those that are here stay for an hour
        of the store's running time even if nothing names them."""
        ...

    async def put(self, object_id: ObjectId, body: Body) -> bool:
        """Keep the object; on return it and its directory entry are fsynced, and it is reserved. True when it was new.

        Bytes that do not hash to `object_id` raise Damaged and leave nothing; too little space raises NoSpace before
        the first byte is taken. An object that is already here is not taken again (the body is not read).
        """
        ...

    async def get(self, object_id: ObjectId, into: memoryview) -> int:
        """Fill the start of `into` with the object and return its length, its hash checked. NotFound when absent;
        Damaged when its bytes are wrong (the store then puts it into quarantine); Failed when `into` is too small.
        Other bytes of `into` may have been written in any case.
        """
        ...

    async def verify(self, ids: Sequence[ObjectId]) -> list[CopyState]:
        """Read each object back and hash it. Damaged ones go to quarantine and are absent from then on."""
        ...

    async def space(self) -> Space: ...
