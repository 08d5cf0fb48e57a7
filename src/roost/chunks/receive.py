"""An object on its way to the disk: hashed and written slice by slice under a temporary name, and named only when its
hash is right and its bytes are durable."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator

from roost.chunks.layout import Layout
from roost.core.errors import Damaged, DiskFault, NotFound, ProtocolError
from roost.core.ids import ObjectId
from roost.core.runtime import Runtime
from roost.disk.durable import DurableFile
from roost.disk.port import Disk
from roost.net.body import Body, Sink, unfilled
from roost.net.stream import SLICE_BYTES


class ObjectWriter:
    """The part that blocks, for one thread at a time. `committed` tells whether the object is whole, durable and under
    its name."""

    def __init__(self, disk: Disk, layout: Layout, object_id: ObjectId, *, number: int) -> None:
        self.committed = False
        self._disk = disk
        self._layout = layout
        self._object_id = object_id
        self._number = number
        self._hash = hashlib.sha256()
        self._file: DurableFile | None = None

    def append(self, data: memoryview) -> None:
        """Hash and write the next bytes. NoSpace or DiskFault: nothing of the object counts, `discard` it."""
        self._hash.update(data)
        with _on_our_disk():
            self._open().write(data)

    def append_last(self, data: memoryview) -> None:
        """`append`, and `finish`: in the thread that is there anyway, so that no other has to be waited for."""
        self.append(data)
        self.finish()

    def finish(self) -> None:
        """Check the hash, then fsync, rename, and fsync the directory. Damaged, NoSpace or DiskFault: not kept."""
        if self._hash.digest() != self._object_id:
            raise Damaged(
                f"what came for object {self._object_id.hex()} has the SHA-256 {self._hash.hexdigest()}",
                hint="nothing was kept; the sender's copy or its memory is damaged",
            )
        with _on_our_disk():
            self._open().commit(self._layout.object(self._object_id))
        self.committed = True

    def discard(self) -> None:
        """Remove the temporary; does nothing after `finish`."""
        if self._file is not None:
            self._file.discard()

    def _open(self) -> DurableFile:
        if self._file is None:
            self._file = DurableFile(self._disk, self._layout.temporary(self._object_id, self._number))
        return self._file


@contextlib.contextmanager
def _on_our_disk() -> Iterator[None]:
    """A directory of the store that is missing, since its disk went away a moment ago, is a fault of that disk; to
    whoever sends, *not found* would say that the sender's own copy is."""
    try:
        yield
    except NotFound as error:
        raise DiskFault(error.message, hint=error.hint) from error


class DiskSink:
    """A Sink with one buffer: a slice is hashed and written before the next is received. What comes meanwhile waits in
    the kernel, and other objects are on their way on other connections.

    `moved` is told of bytes as they are written, in the thread that writes them.
    """

    def __init__(
        self, runtime: Runtime, writer: ObjectWriter, *, length: int, buffers: list[bytearray],
        moved: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._writer = writer
        self._length = length
        self._moved = moved
        self._free = list(buffers)
        self._received = 0
        self._filling: bytearray | None = None

    async def take(self, length: int) -> memoryview:
        if self._received + length > self._length:
            raise ProtocolError(f"more came than the {self._length} bytes that were announced")
        self._filling = self._free.pop()
        if length > len(self._filling):  # no peer of this release sends such slices, but the protocol allows them
            return unfilled(length)
        return memoryview(self._filling)[:length]

    async def give(self, received: memoryview) -> None:
        buffer = self._filling
        assert buffer is not None, "a slice is given once, after it was taken"
        whole = self._received + len(received) == self._length
        await self._runtime.in_thread(self._writer.append_last if whole else self._writer.append, received)
        self._filling = None
        self._free.append(buffer)
        self._received += len(received)
        self._moved(len(received))

    async def finish(self) -> None:
        """Return when the object is durable under its name, as it is since its last slice was given. Damaged when too
        little came, or the hash is wrong."""
        if self._received != self._length:
            raise Damaged(f"{self._received} bytes came of the {self._length} that were announced")
        if not self._writer.committed:  # it is empty
            await self._runtime.in_thread(self._writer.finish)

    async def close(self) -> list[bytearray]:
        """Remove the temporary unless it was finished, and return the buffers that are free. One that was taken and not
        given is not among them: whoever took it may still be filling it."""
        if not self._writer.committed:
            await self._runtime.in_thread(self._writer.discard)
        return self._free


async def pour(body: Body, sink: Sink) -> None:
    """Put a body that is at hand into a sink, as a connection would."""
    async with body.opened() as slices:
        async for piece in slices:
            for begin in range(0, len(piece), SLICE_BYTES):
                part = piece[begin : begin + SLICE_BYTES]
                view = await sink.take(len(part))
                view[:] = part
                await sink.give(view)
