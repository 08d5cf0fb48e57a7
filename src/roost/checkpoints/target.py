"""The target of a gather: partial work beside it, fsynced and renamed into place when whole, so that a failure at any
instant leaves what was there as it was.

The partial work is ``.<name>.roost-<first 8 hex digits of the manifest's id>``: a file's bytes, or a folder's tree.
Without the flag `force` nothing that exists is replaced; with it files are, one by one, and nothing is ever removed.
"""

import fnmatch
import hashlib
import posixpath

from roost.codec.manifest import FileEntry, Manifest
from roost.core.errors import Failed, NotFound
from roost.core.ids import RecordId
from roost.disk.durable import make_directory_durably
from roost.disk.port import Disk, FileKind, Lock, WriteFile

COMPARE_BYTES = 1024 * 1024
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
OPEN_FILES_MAX = 32


class Target:
    """Where a checkpoint goes: `disk` is rooted at the folder that holds DEST, `dest` is DEST's name in it.

    All methods block; call them in a thread, one at a time, but for `write` and `read`.
    """

    def __init__(
        self, disk: Disk, dest: str, manifest: Manifest, manifest_id: RecordId, *, force: bool = False,
        only: str | None = None,
    ) -> None:  # fmt: skip
        self._disk = disk
        self._dest = dest
        self._manifest = manifest
        self._layout = manifest.layout()
        self._force = force
        self._chosen = _choose(manifest, only)
        """The numbers of the entries that are gathered, in order."""
        self._wanted = frozenset(self._chosen)
        self._single = manifest.shape == "file"
        suffix = f"roost-{manifest_id.hex()[:8]}"
        if self._single:
            self.final = f"{dest}/{manifest.files[0].path}"
            self._partial = f"{dest}/.{manifest.files[0].path}.{suffix}"
        else:
            self.final = dest
            self._partial = f".{dest}.{suffix}"
        self._lock_path = f"{self._partial}.lock"
        self._lock: Lock | None = None
        self._open: dict[int, WriteFile] = {}

    @property
    def chunks(self) -> list[int]:
        """The numbers of the chunks that hold what is gathered, in order."""
        return sorted({chunk for index in self._chosen for chunk in self._layout.chunks_of(index)})

    @property
    def bytes(self) -> int:
        """The bytes of the files that are gathered."""
        return sum(self._manifest.files[index].size for index in self._chosen)

    @property
    def partial(self) -> str:
        """Where the partial work lies, below the disk's root."""
        return self._partial

    def finished_already(self) -> bool:
        """Whether the very bytes are there already. Raises Failed when something else is, and `force` is not given."""
        there = self._present()
        if not there:
            return False
        if self._same():
            return True
        if not self._force:
            raise Failed(
                f"{self.final} exists and is not this version",
                hint="gather to another folder with --to, or replace its files with --force",
            )
        return False

    def _present(self) -> bool:
        if not self._disk.exists(self.final):
            return False
        info = self._disk.info(self.final)
        if self._single:
            if info.kind is FileKind.DIRECTORY:
                raise Failed(f"{self.final} is a folder", hint="gather to another folder with --to")
            return True
        if info.kind is not FileKind.DIRECTORY:
            raise Failed(f"{self.final} is not a folder", hint="gather to another folder with --to")
        return bool(self._disk.list(self.final))

    def _same(self) -> bool:
        return all(self._same_entry(self._manifest.files[index]) for index in self._chosen)

    def _same_entry(self, entry: FileEntry) -> bool:
        path = self.final if self._single else f"{self.final}/{entry.path}"
        if not self._disk.exists(path):
            return False
        info = self._disk.info(path)
        if entry.kind == "l":
            return info.kind is FileKind.SYMLINK and self._disk.read_link(path) == entry.target
        if entry.kind == "d":
            return info.kind is FileKind.DIRECTORY
        if info.kind is not FileKind.FILE or info.size != entry.size:
            return False
        file = self._disk.open_read(path)
        try:
            digest = hashlib.sha256()
            buffer = memoryview(bytearray(min(COMPARE_BYTES, max(1, entry.size))))
            for offset in range(0, entry.size, len(buffer)):
                count = file.pread(buffer, offset)
                digest.update(buffer[:count])
            return digest.digest() == entry.sha256
        finally:
            file.close()

    def prepare(self) -> bool:
        """Make the partial tree with files of their full size; True when there is partial work to resume.

        Busy when another gather works on the same version at the same place.
        """
        if self._single:
            make_directory_durably(self._disk, self._dest)
        self._lock = self._disk.lock(self._lock_path)
        resumed = self._disk.exists(self._partial)
        if not self._single:
            make_directory_durably(self._disk, self._partial)
            for parent in sorted({posixpath.dirname(self._path(index)) for index in self._chosen}):
                make_directory_durably(self._disk, parent)
        for index in self._chosen:
            entry = self._manifest.files[index]
            if entry.kind == "d":
                self._disk.make_directory(self._path(index), mode=DIRECTORY_MODE, exist_ok=True)
                self._disk.set_mode(self._path(index), DIRECTORY_MODE)
            elif entry.kind == "f":
                file = self._file(index)
                if file.info().size != entry.size:
                    file.truncate(entry.size)
        return resumed

    def _path(self, index: int) -> str:
        return self._partial if self._single else f"{self._partial}/{self._manifest.files[index].path}"

    def _file(self, index: int) -> WriteFile:
        file = self._open.get(index)
        if file is None:
            if len(self._open) >= OPEN_FILES_MAX:
                self._open.pop(next(iter(self._open))).close()
            path = self._path(index)
            if not self._disk.exists(path):
                self._disk.create(path, mode=FILE_MODE).close()
            elif self._disk.info(path).mode != FILE_MODE:
                self._disk.set_mode(path, FILE_MODE)  # it was given its own already when the work was interrupted
            file = self._open[index] = self._disk.open_write(path)
        return file

    def write(self, chunk: int, plain: memoryview) -> None:
        """Write chunk number `chunk`, whose bytes were checked, to all places that it covers."""
        for index, offset, length, begin in self._layout.pieces_of(chunk):
            if index in self._wanted:
                file = self._file(index)
                file.pwrite(plain[begin : begin + length], offset)
                file.begin_writeback(offset, length)

    def read(self, chunk: int, into: memoryview) -> bool:
        """Fill `into` with what lies where chunk `chunk` belongs; False when it cannot be read whole."""
        return all(
            index in self._wanted and self._file(index).pread(into[begin : begin + length], offset) == length
            for index, offset, length, begin in self._layout.pieces_of(chunk)
        )

    def finish(self) -> None:
        """Give every file its mode and time, fsync everything, and rename it into place."""
        for index in self._chosen:
            entry = self._manifest.files[index]
            if entry.kind == "f":
                file = self._file(index)
                file.set_mode(entry.mode)
                file.set_times(entry.mtime_ns)
                file.sync()
        for index in self._chosen:  # after all files: a disk that folds case must not be written to through a link
            if self._manifest.files[index].kind == "l":
                self._link(index, self._manifest.files[index])
        self._close_files()
        if self._single:
            self._disk.rename(self._partial, self.final)
            self._disk.sync_directory(self._dest)
            return
        if self._present():
            self._overlay()
        else:
            self._finish_directories(self._partial)
            self._disk.rename(self._partial, self.final)
            self._disk.sync_directory("")

    def _link(self, index: int, entry: FileEntry) -> None:
        path = self._path(index)
        if self._disk.exists(path):
            self._disk.unlink(path)
        self._disk.symlink(entry.target, path)
        self._disk.set_times(path, entry.mtime_ns)

    def _finish_directories(self, top: str) -> None:
        """Sync the directories, then give them their modes and times, the deepest first."""
        for entry in reversed(self._directories()):
            path = f"{top}/{entry.path}"
            self._disk.sync_directory(path)
            self._disk.set_mode(path, entry.mode)
            self._disk.set_times(path, entry.mtime_ns)
        self._disk.sync_directory(top)
        self._disk.set_mode(top, self._manifest.root_mode or DIRECTORY_MODE)
        self._disk.set_times(top, self._manifest.root_mtime_ns)

    def _directories(self) -> list[FileEntry]:
        return [self._manifest.files[index] for index in self._chosen if self._manifest.files[index].kind == "d"]

    def _overlay(self) -> None:
        """Move file by file over what is there; what the checkpoint does not hold stays."""
        for entry in (self._manifest.files[index] for index in self._chosen):
            target = f"{self.final}/{entry.path}"
            if entry.kind == "d":
                if self._disk.exists(target) and self._disk.info(target).kind is not FileKind.DIRECTORY:
                    self._disk.unlink(target)
                self._disk.make_directory(target, mode=DIRECTORY_MODE, exist_ok=True)
            else:
                self._disk.rename(f"{self._partial}/{entry.path}", target)
        self._finish_directories(self.final)
        for entry in reversed(self._directories()):
            self._disk.remove_directory(f"{self._partial}/{entry.path}")
        self._disk.remove_directory(self._partial)

    def close(self) -> None:
        """Close the files and let go of the place; what is not finished stays as partial work."""
        self._close_files()
        if self._lock is not None:
            self._disk.unlink(self._lock_path)
            self._lock.release()
            self._lock = None

    def _close_files(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def _choose(manifest: Manifest, only: str | None) -> list[int]:
    """The entries whose path or name matches the glob `only`, and the folders above them; NotFound when none does."""
    if only is None:
        return list(range(len(manifest.files)))
    matched = [
        entry.path
        for entry in manifest.files
        if fnmatch.fnmatchcase(entry.path, only) or fnmatch.fnmatchcase(posixpath.basename(entry.path), only)
    ]
    if not matched:
        raise NotFound(f"no file of {manifest.name} matches {only}", hint=f"see: roost show {manifest.name}")
    wanted = set(matched)
    for path in matched:
        while path := posixpath.dirname(path):
            wanted.add(path)
    return [index for index, entry in enumerate(manifest.files) if entry.path in wanted]
