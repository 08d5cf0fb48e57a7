"""An object being read back from the disk, hashed as it is read. Blocks; for one thread at a time."""

import contextlib
import hashlib

from roost.chunks.layout import Layout
from roost.core.errors import Damaged, RoostError
from roost.core.ids import ObjectId
from roost.disk.port import Disk, FileInfo, ReadFile


class ObjectReader:
    """Reads one object from its start to its end. `seen` is the file that was opened, so that what is put into
    quarantine is the very file that was read."""

    def __init__(self, disk: Disk, layout: Layout, object_id: ObjectId, *, size: int) -> None:
        self.seen: FileInfo | None = None
        self.left = size
        self._disk = disk
        self._path = layout.object(object_id)
        self._object_id = object_id
        self._size = size
        self._hash = hashlib.sha256()
        self._file: ReadFile | None = None

    def read(self, into: memoryview) -> int:
        """Fill the start of `into` with the next bytes and return how many: at most all that is left.

        With the last of them the hash is checked: Damaged when it, or the file's length, is wrong, and then those last
        bytes do not count. NotFound when the file has vanished; DiskFault when the disk does not give it out.
        """
        file = self._open()
        wanted = min(len(into), self.left)
        count = file.pread(into[:wanted], self._size - self.left)
        if count != wanted:
            raise self._damaged(f"it ends after {self._size - self.left + count} bytes of {self._size}")
        self._hash.update(into[:count])
        self.left -= count
        if not self.left and self._hash.digest() != self._object_id:
            raise self._damaged(f"its SHA-256 is {self._hash.hexdigest()}")
        return count

    def read_all(self, buffer: memoryview, *, from_disk: bool = False) -> None:
        """Read to the end through `buffer`, for the check alone. With `from_disk`, the system is asked to forget what
        it keeps of the file in memory, so that the disk itself is read."""
        if from_disk:
            self._open().drop_cache(0, self._size)
        self.read(buffer)
        while self.left:
            self.read(buffer)

    def mark_good(self, at: int) -> None:
        """Let the time of the object's file say that it was good at `at` (Unix seconds). It is only a note: nothing is
        synced for it, and a disk that refuses it changes nothing."""
        with contextlib.suppress(RoostError):
            self._disk.set_times(self._path, at * 10**9)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> ReadFile:
        if self._file is None:
            self._file = self._disk.open_read(self._path)
            self.seen = self._file.info()
            if self.seen.size != self._size:
                raise self._damaged(f"it has {self.seen.size} bytes, not {self._size}")
        return self._file

    def _damaged(self, why: str) -> Damaged:
        return Damaged(
            f"object {self._object_id.hex()} is damaged on this disk: {why}",
            hint="it is in quarantine; another node's copy is used",
        )
