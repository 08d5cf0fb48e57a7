"""The files of one store, opened before the first of them is read: a rotation that removes them meanwhile takes nothing
away, for an open file stays readable without its name."""

from roost.checkpoints.scan import Found, Scan
from roost.core.errors import Failed
from roost.disk.port import Disk, FileInfo, FileKind, ReadFile

HELD_MAX = 128
"""Files held open at once; macOS lets a process have 256. Those beyond are opened when their turn comes."""


class Changed(Failed):
    """A file changed while it was read; the writer has not finished."""

    retry = True

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} changed while it was read", hint="store again when its writer has finished")


class Holding:
    """The files of `scan` on `disk`. Its calls block; one thread at a time."""

    def __init__(self, disk: Disk, scan: Scan) -> None:
        self._disk = disk
        self.scan = scan
        self._held: dict[str, ReadFile] = {}

    def open_all(self) -> None:
        """Open the first `HELD_MAX` files. `Changed` when one is no longer what the scan saw; NotFound when it is gone;
        what opening raises."""
        files = [found for found in self.scan.found if found.info.kind is FileKind.FILE]
        for found in files[:HELD_MAX]:
            self._held[found.path] = self._open(found)

    def take(self, found: Found) -> ReadFile:
        """The file, to be given back with `give`."""
        return self._held.get(found.path) or self._open(found)

    def give(self, found: Found, file: ReadFile) -> None:
        """It was read for now."""
        if self._held.get(found.path) is not file:
            file.close()

    def close(self) -> None:
        """Close all of them. Idempotent."""
        for file in self._held.values():
            file.close()
        self._held.clear()

    def _open(self, found: Found) -> ReadFile:
        file = self._disk.open_read(found.source, follow=True)
        try:
            check_unchanged(file, found)
        except BaseException:
            file.close()
            raise
        return file


def check_unchanged(file: ReadFile, found: Found) -> None:
    """`Changed` when the file is another than the scan saw, or was written to."""
    if _stamp(file.info()) != _stamp(found.info):
        raise Changed(found.path)


def _stamp(info: FileInfo) -> tuple[int, ...]:
    return info.device, info.inode, info.size, info.mtime_ns
