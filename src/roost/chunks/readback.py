"""Reading objects back from the disk, to send them and to check them, and what is done about one that is bad or gone.

Bad bytes go to quarantine. A file that the disk does not give out stays, and does not count until it is read well. One
that has vanished is forgotten, and counts as damage, for nobody but the collector may remove it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Container, Sequence
from dataclasses import dataclass, field

from roost.chunks.index import ObjectIndex
from roost.chunks.layout import Layout, file_sizes, move_to_quarantine
from roost.chunks.mount import Mount
from roost.chunks.read import ObjectReader
from roost.chunks.slices import SlicePool
from roost.chunks.store import CopyState
from roost.core.errors import Damaged, DiskFault, Failed, NotFound, RoostError
from roost.core.ids import ObjectId
from roost.core.runtime import Runtime
from roost.disk.port import Disk, FileInfo
from roost.net.body import Body

Moved = Callable[[int], None]
Harmed = Callable[[str, str], None]
"""Hears of each object that is found bad or gone: the path of its file, and what is wrong, in words."""


def untold(path: str, why: str) -> None:
    """Nobody wants to know what was found."""


class Readback:
    """The objects in `index`, below `layout` on `disk`. `lock` is the store's guard, `receiving` what is on its way in.

    `damaged_total` counts the copies found bad, gone, or not to be had from the disk; `quarantined` the files there.
    """

    def __init__(
        self, disk: Disk, runtime: Runtime, layout: Layout, index: ObjectIndex, mount: Mount, lock: asyncio.Lock,
        receiving: Container[ObjectId], pool: SlicePool, *, harmed: Harmed,
    ) -> None:  # fmt: skip
        self.damaged_total = 0
        self.quarantined = 0
        self._harmed = harmed
        self._disk = disk
        self._runtime = runtime
        self._layout = layout
        self._index = index
        self._mount = mount
        self._lock = lock
        self._receiving = receiving
        self._pool = pool

    async def get(self, object_id: ObjectId, into: memoryview) -> int:
        """As the port says."""
        size = self._index.size(object_id)
        if size > len(into):
            raise Failed(f"object {object_id.hex()} has {size} bytes, more than the {len(into)} there is room for")
        async with self._reading(object_id, size) as reader:
            return await self._runtime.in_thread(reader.read, into[:size])

    async def body(self, object_id: ObjectId, size: int, found: int | None) -> Body:
        """The object of `size` bytes, whose file was just `found` to have so many, as a body to send; see
        `DiskChunkStore.open_body`."""
        if found != size:
            async with self._reading(object_id, size) as reader:
                await self._runtime.in_thread(reader.read, memoryview(bytearray()))
        reading = _Reading()
        return Body(size, self._slices(reading), self._held(reading, object_id, size))

    @contextlib.asynccontextmanager
    async def _held(self, reading: "_Reading", object_id: ObjectId, size: int) -> AsyncIterator[None]:
        buffers = await self._pool.borrow()
        try:
            async with self._reading(object_id, size) as reader:
                reading.reader, reading.view = reader, memoryview(buffers[0])
                yield
        finally:
            self._pool.give_back(buffers)

    async def _slices(self, reading: "_Reading") -> AsyncIterator[memoryview]:
        reader, view = reading.reader, reading.view
        assert reader is not None, "a body is opened before it is read"
        while True:
            count = await self._runtime.in_thread(reader.read, view)
            if count:
                yield view[:count]
            if not reader.left:
                return

    async def verify(self, ids: Sequence[ObjectId], moved: Moved) -> list[CopyState]:
        """See `DiskChunkStore.verify`."""
        await self._mount.require()
        states: list[CopyState] = []
        for object_id in ids:
            states.append(await self._verify(object_id))
            moved(max(1, self._index.get(object_id) or 1))
        return states

    async def _verify(self, object_id: ObjectId) -> CopyState:
        size = self._index.get(object_id)
        if size is None:
            return CopyState.ABSENT
        buffers = await self._pool.borrow()
        try:
            async with self._reading(object_id, size) as reader:
                view = memoryview(buffers[0])
                await self._runtime.in_thread(lambda: reader.read_all(view, from_disk=True))
                good_at = self._index.wall()
                await self._runtime.in_thread(reader.mark_good, good_at)
                self._index.note_verified(object_id, good_at)
        except NotFound:
            return CopyState.ABSENT
        except (Damaged, DiskFault):
            return CopyState.DAMAGED
        finally:
            self._pool.give_back(buffers)
        return CopyState.GOOD

    @contextlib.asynccontextmanager
    async def _reading(self, object_id: ObjectId, size: int) -> AsyncIterator[ObjectReader]:
        """A reader of the object; what reading it shows is remembered, and bad bytes go to quarantine."""
        reader = ObjectReader(self._disk, self._layout, object_id, size=size)
        try:
            yield reader
            if not reader.left:
                self._index.trust(object_id)
        except NotFound:
            if await self._mount.is_gone():
                raise self._mount.fault() from None
            async with self._lock:  # whoever removes it holds this until it is forgotten
                await self._look_again(object_id)
            raise NotFound(f"object {object_id.hex()} has vanished from this disk", hint="see: roost status") from None
        except (Damaged, DiskFault) as error:
            self.damaged_total += isinstance(error, Damaged) or not self._index.doubted(object_id)
            self._index.doubt(object_id)
            if isinstance(error, Damaged):
                self._harmed(self._layout.object(object_id), error.message)
                await self._quarantine(object_id, reader.seen)
            raise
        finally:
            reader.close()

    async def _look_again(self, object_id: ObjectId) -> None:
        if object_id in self._receiving:  # what comes in meanwhile may not be seen
            return
        [size] = await self._runtime.in_thread(file_sizes, self._disk, self._layout, [object_id])
        if size is None:
            self._vanished(object_id)

    def _vanished(self, object_id: ObjectId) -> None:
        """The object's file is not there, the disk is, and nobody is about to remove or to bring it."""
        if object_id in self._index:
            self._index.forget(object_id)
            self.damaged_total += 1
            self._harmed(self._layout.object(object_id), f"object {object_id.hex()} has vanished")

    async def _quarantine(self, object_id: ObjectId, seen: FileInfo | None) -> None:
        """Move the file away, if it still is the one that was read; a put that runs replaces it anyway. A disk that
        refuses keeps it, and it stays suspect."""
        async with self._lock:
            if object_id in self._receiving:
                return
            try:
                moved = await self._runtime.in_thread(move_to_quarantine, self._disk, self._layout, object_id, seen)
            except NotFound:
                self._index.forget(object_id)
            except RoostError:
                return
            else:
                if moved:
                    self.quarantined += 1
                    self._index.forget(object_id)
                else:
                    self._index.trust(object_id)

    def stands(self, object_id: ObjectId, size: int | None) -> bool:
        """Whether the object is here, given what looking at its file under the guard showed. One that has vanished is
        forgotten, one of another length does not count until it is read or put again."""
        known = self._index.get(object_id)
        if known is None:
            return False
        if size is None:
            self._vanished(object_id)
            return False
        if size != known:
            self.damaged_total += size < 0 and not self._index.doubted(object_id)  # another length: counted when read
            self._index.doubt(object_id)
        return not self._index.doubted(object_id)


@dataclass(slots=True)
class _Reading:
    """A body that is being read: by whom, and through which buffer, once it was opened."""

    reader: ObjectReader | None = None
    view: memoryview = field(default_factory=lambda: memoryview(b""))
