"""`DiskChunkStore`: the port `ChunkStore` on one disk of this machine, and what a node needs to serve it.

Which objects are here is known from their names, listed once at the start and kept in memory; a file that has vanished
or gone bad since is noticed when it is used. Three rules hold it together:

* **Nothing is vouched for before it is durable.** An object enters the index when its bytes, its name and its directory
  are fsynced, and not before.
* **One receiver per object.** A second put of the same object waits for the first, and then has nothing to do, or takes
  its place when it failed.
* **The guard.** Whoever removes an object checks and unlinks under `guard()`; `have`, the start of a put, and a
  commit's check take it too. What it must not remove is what is `reserved`: an object is from the start of its put on.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from roost.chunks.index import RESERVED_S, ObjectIndex
from roost.chunks.layout import (
    FAN_OUT,
    STORE_ID_BYTES,
    Layout,
    Listing,
    count_quarantined,
    file_sizes,
    list_objects,
    open_tree,
    remove_objects,
    sweep,
    sync_names,
)  # fmt: skip
from roost.chunks.mount import Mount
from roost.chunks.readback import Harmed, Readback, untold
from roost.chunks.receive import DiskSink, ObjectWriter, pour
from roost.chunks.slices import SlicePool
from roost.chunks.store import CopyState, Space
from roost.core.errors import Failed, NoSpace, RoostError
from roost.core.ids import ObjectId
from roost.core.runtime import Runtime
from roost.disk.port import Disk, DiskSpace
from roost.net.body import Body, Sink
from roost.wire.fields import OBJECT_BYTES_MAX

PUTS_MAX = 10
READS_MAX = 12
"""Objects received, and read, at the same time; more wait. Each has a slice of memory."""
_LOOKED_AT_A_TIME = 256
_LISTED_AT_A_TIME = 16

TakeBody = Callable[[Sink], Awaitable[None]]
Moved = Callable[[int], None]
Touched = Callable[[Iterable[ObjectId]], None]


def _unwatched(count: int) -> None:
    """Nobody wants to know how many bytes moved."""


def _untold(ids: Iterable[ObjectId]) -> None:
    """Nobody wants to know what was touched."""


def _listings(disk: Disk, layout: Layout, firsts: Sequence[str]) -> list[Listing]:
    return [list_objects(disk, layout, first) for first in firsts]


class DiskChunkStore:
    """Objects below `layout` on `disk`; `open` comes first. `reserve_bytes` of the disk stay free of them; what is
    reserved stays for `reserved_s`. `touched` hears of every object that is put, asked for, committed or sent, `harmed`
    of every one that is found bad or gone.

    What passes through takes slices from two bounded pools.
    """

    def __init__(
        self, disk: Disk, runtime: Runtime, *, reserve_bytes: int, layout: Layout = Layout(),  # noqa: B008  # frozen
        puts_max: int = PUTS_MAX, reads_max: int = READS_MAX, reserved_s: float = RESERVED_S, harmed: Harmed = untold,
    ) -> None:  # fmt: skip
        self.touched: Touched = _untold
        self._disk = disk
        self._runtime = runtime
        self._reserve_bytes = reserve_bytes
        self._layout = layout
        self._lock = asyncio.Lock()
        self._index = ObjectIndex(runtime, reserved_s=reserved_s)
        self._mount = Mount(disk, runtime, layout)
        self._unsynced: set[str] = set()
        self._receiving: dict[ObjectId, asyncio.Event] = {}
        self._to_read = SlicePool(loans_max=reads_max)
        self._readback = Readback(
            disk, runtime, layout, self._index, self._mount, self._lock, self._receiving, self._to_read, harmed=harmed,
        )  # fmt: skip
        self._to_receive = SlicePool(loans_max=puts_max)
        self._promises: set[_Promise] = set()
        self._numbers = 0

    # At the start, and what is here

    async def open(self, *, expected_store_id: str | None = None) -> str:
        """Make or recognise the tree, remove what dead writers left, list the objects; return the store's id, which the
        caller remembers and passes here the next time. Failed when that id is not the one found: the disk may not be
        mounted. DiskFault when the disk does not let itself be listed. One that takes nothing, full or read-only, is
        served all the same."""
        work, disk, layout = self._runtime.in_thread, self._disk, self._layout
        fresh = self._runtime.token_bytes(STORE_ID_BYTES).hex()
        store_id = await work(
            lambda: open_tree(disk, layout, expected_store_id=expected_store_id, fresh_store_id=fresh)
        )
        with contextlib.suppress(RoostError):  # what stays on a disk that is read-only is in nobody's way
            await work(sweep, disk, layout)
        for begin in range(0, len(FAN_OUT), _LISTED_AT_A_TIME):
            for listing in await work(_listings, disk, layout, FAN_OUT[begin : begin + _LISTED_AT_A_TIME]):
                self._index.load(listing)
                self._readback.damaged_total += listing.faults
                self._unsynced |= listing.unsynced
        self._readback.quarantined = await work(count_quarantined, disk, layout)
        self._mount.store_id = store_id
        return store_id

    @property
    def objects(self) -> int:
        return len(self._index)

    @property
    def bytes_used(self) -> int:
        return self._index.bytes_used

    @property
    def quarantined(self) -> int:
        """Files in quarantine."""
        return self._readback.quarantined

    @property
    def damaged_total(self) -> int:
        """Copies found bad, gone, or not to be had from the disk, since this process started; each once, however often
        the disk refuses it."""
        return self._readback.damaged_total

    def ids(self) -> list[ObjectId]:
        """All objects here, in no order."""
        return self._index.ids()

    def suspects(self) -> list[ObjectId]:
        """The objects that do not count until they are read well or put again, in no order."""
        return self._index.suspects()

    def verified(self, ids: Sequence[ObjectId]) -> list[int]:
        """Per id, in order: when the copy here was last known good, by having been written or read back (Unix seconds
        of this machine's clock); 0 when it is not here."""
        return [0 if self._mount.problem else self._index.verified(object_id) for object_id in ids]

    def guard(self) -> asyncio.Lock:
        """``async with store.guard():`` nothing is removed from here, and no put begins, until the block ends."""
        return self._lock

    def reserved(self, object_id: ObjectId) -> bool:
        """Whether the object must stay although nothing may name it; to be asked under the guard."""
        return object_id in self._receiving or self._index.is_reserved(object_id)

    async def have(self, ids: Sequence[ObjectId], *, reserve: bool = False) -> list[bool]:
        if reserve:
            await self._mount.is_gone()
        async with self._lock:
            self.touched(ids)
            here = [not self._mount.problem and self._index.usable(object_id) for object_id in ids]
            if reserve:
                self._index.reserve(object_id for object_id, found in zip(ids, here, strict=True) if found)
            return here

    async def missing(self, ids: Sequence[ObjectId], *, moved: Moved = _unwatched) -> list[ObjectId]:
        """The ids whose object is not here, whole as far as the file system knows; the others are reserved. Unlike
        `have` this looks at the files, and `moved` is told how many it looked at. For a commit, which holds the guard
        from before the call until it has written its manifest. DiskFault when the disk is not there, or names that an
        earlier process left may not be durable."""
        self.touched(ids)
        if self._unsynced:
            await self._runtime.in_thread(sync_names, self._disk, self._unsynced)
        absent: list[ObjectId] = []
        for begin in range(0, len(ids), _LOOKED_AT_A_TIME):
            some = ids[begin : begin + _LOOKED_AT_A_TIME]
            known = [object_id in self._index for object_id in some]  # what comes in from here on may not be seen
            sizes = await self._runtime.in_thread(self._look, some)
            if None in sizes:
                await self._mount.require()
            for object_id, was_known, size in zip(some, known, sizes, strict=True):
                if not was_known or not self._readback.stands(object_id, size):
                    absent.append(object_id)
            moved(len(some))
        gone = set(absent)
        self._index.reserve(object_id for object_id in ids if object_id not in gone)
        return absent

    async def space(self) -> Space:
        return await self._space(self._runtime.in_thread(self._disk.space))

    async def _space(self, measuring: Awaitable[DiskSpace]) -> Space:
        # What is written while we measure may be seen by neither: it counts as promised still.
        before = {promise: promise.left for promise in self._promises}
        found = await measuring
        promised = sum(max(before.get(each, 0), each.left) for each in before.keys() | self._promises)
        free = max(0, found.free - self._reserve_bytes - promised)
        return Space(used=self._index.bytes_used, free=free, total=found.total)

    # Put

    async def put(self, object_id: ObjectId, body: Body) -> bool:
        async def take(sink: Sink) -> None:
            await pour(body, sink)

        return await self.receive(object_id, body.length, take)

    async def receive(self, object_id: ObjectId, length: int, take: TakeBody, *, moved: Moved = _unwatched) -> bool:
        """As `put`, of `length` bytes that `take` puts into the sink it is given; `take` is not called when the object
        is here already. `moved` is told of bytes as they reach the disk."""
        if length > OBJECT_BYTES_MAX:
            raise Failed(f"an object of {length} bytes is longer than the {OBJECT_BYTES_MAX} it may have")
        while True:
            async with self._lock:
                self.touched([object_id])
                first = self._receiving.get(object_id)
                if first is None:
                    if await self._is_here(object_id):
                        self._index.reserve([object_id])
                        return False
                    self._receiving[object_id] = asyncio.Event()
                    break
            await first.wait()
        try:
            await self._receive(object_id, length, take, moved)
        finally:
            self._receiving.pop(object_id).set()
        return True

    async def _is_here(self, object_id: ObjectId) -> bool:
        if object_id not in self._index:
            return False
        await self._mount.require()
        [size] = await self._runtime.in_thread(self._look, [object_id])
        if size is None:
            await self._mount.require()
        return self._readback.stands(object_id, size)

    async def _receive(self, object_id: ObjectId, length: int, take: TakeBody, moved: Moved) -> None:
        promise = await self._promise(length)

        def written(count: int) -> None:  # in the thread that wrote them, which alone changes this promise
            promise.left -= count
            moved(count)

        try:
            buffers = await self._to_receive.borrow()
            self._numbers += 1
            writer = ObjectWriter(self._disk, self._layout, object_id, number=self._numbers)
            sink = DiskSink(self._runtime, writer, length=length, buffers=buffers, moved=written)
            free: list[bytearray] = []
            try:
                await take(sink)
                await sink.finish()
            finally:
                # The object may be durable although we were cancelled. It counts as reserved while it is received, so
                # nobody can be about to remove it, and no guard is needed to say that it is here.
                if writer.committed:
                    self._index.add(object_id, length)
                try:
                    free = await sink.close()
                finally:
                    self._to_receive.give_back(free)
        finally:
            self._promises.remove(promise)

    async def _promise(self, length: int) -> "_Promise":
        """Set `length` bytes of the disk aside for one put. NoSpace, or DiskFault when it is not the disk."""
        space = await self._space(self._mount.space())
        if space.free < length:
            raise NoSpace(
                f"{length} bytes would leave less than the {self._reserve_bytes} that stay free on this disk",
                hint="free space on it, or add a node",
            )
        promise = _Promise(length)
        self._promises.add(promise)
        return promise

    # Get and verify

    async def get(self, object_id: ObjectId, into: memoryview) -> int:
        self.touched([object_id])
        return await self._readback.get(object_id, into)

    async def open_body(self, object_id: ObjectId) -> Body:
        """The object as a body to send, hashed as it is read; the body ends with Damaged instead of its last slice when
        the bytes are wrong (they are in quarantine then), or with DiskFault. NotFound, or Damaged when the length is
        wrong already."""
        size = self._index.size(object_id)
        self.touched([object_id])
        [found] = await self._runtime.in_thread(self._look, [object_id])
        return await self._readback.body(object_id, size, found)

    async def verify(self, ids: Sequence[ObjectId], *, moved: Moved = _unwatched) -> list[CopyState]:
        """As the port says. `moved` is told the size of each object, and at least 1. An object that the disk does not
        give out is damaged too, but stays where it is: it may be the last copy, and the fault one of the cable."""
        return await self._readback.verify(ids, moved)

    # What the collector needs

    async def problem(self) -> str:
        """Why the tree on the disk is not the one that was opened (the disk is not mounted any more), or nothing. To be
        asked now and then: what was last found counts in `have`. DiskFault when the disk does not say."""
        return await self._mount.look()

    @property
    def unmounted(self) -> str:
        """What `problem` last found."""
        return self._mount.problem

    def size_of(self, object_id: ObjectId) -> int | None:
        """The object's length; None when it is not here."""
        return self._index.get(object_id)

    async def remove(self, ids: Sequence[ObjectId]) -> int:
        """Remove those of these objects that are not reserved, durably; how many bytes that freed. For the collector,
        which holds the guard from before it checks that nothing needs them until this returns. DiskFault: those that
        went until then are gone."""
        going = [object_id for object_id in ids if object_id in self._index and not self.reserved(object_id)]
        gone: list[ObjectId] = []
        freed = 0
        try:
            await self._runtime.in_thread(remove_objects, self._disk, self._layout, going, gone)
        finally:
            for object_id in gone:
                freed += self._index.get(object_id) or 0
                self._index.forget(object_id)
        return freed

    def _look(self, ids: Sequence[ObjectId]) -> list[int | None]:
        return file_sizes(self._disk, self._layout, ids)


@dataclass(eq=False, slots=True)
class _Promise:
    """Bytes of the disk that are set aside for one put: those that are still to be written."""

    left: int
