"""The target of a gather: partial work beside it, fsynced and renamed into place when whole, so that a failure at any
instant leaves what was there as it was.

The partial work is ``.<name>.roost-<first 8 hex digits of the manifest's id>`` (a long name is cut): a file's bytes, or
a folder's tree, which holds nothing but what is gathered.
Without the flag `force` nothing that exists is replaced; with it files are, one by one, and nothing is ever removed.
"""

import contextlib
import fnmatch
import hashlib
import posixpath

from roost.codec.manifest import FileEntry, Manifest
from roost.codec.tree import PART_BYTES_MAX
from roost.core.errors import Failed, NotFound, RoostError
from roost.core.ids import RecordId
from roost.disk.durable import make_directory_durably
from roost.disk.port import Disk, FileKind, Lock, WriteFile

COMPARE_BYTES = 1024 * 1024
DIRECTORY_MODE = 0o700
DEST_MODE = 0o777
FILE_MODE = 0o600
OPEN_FILES_MAX = 32
_KINDS = {"f": FileKind.FILE, "d": FileKind.DIRECTORY, "l": FileKind.SYMLINK}
_LOCK_SUFFIX = ".lock"


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
        self._directories = _directories([manifest.files[index] for index in self._chosen])
        self._single = manifest.shape == "file"
        if self._single:
            self.final = f"{dest}/{manifest.files[0].path}"
            self._partial = f"{dest}/{_partial_name(manifest.files[0].path, manifest_id)}"
        else:
            self.final = dest
            self._partial = _partial_name(dest, manifest_id)
        self._lock_path = f"{self._partial}{_LOCK_SUFFIX}"
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

    def bytes_of(self, chunk: int) -> int:
        """The bytes of chunk number `chunk` that are gathered."""
        return sum(piece.length for piece in self._layout.pieces_of(chunk) if piece.file in self._wanted)

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
            self._sweep()
            return True
        self._may_replace()
        return False

    def _sweep(self) -> None:
        """Remove what a gather of all of this version left that ended after it gave the last file its name. Never
        fails; what another gather works on stays."""
        partial, lock = self._disk.exists(self._partial), self._disk.exists(self._lock_path)
        if not (partial or lock) or len(self._chosen) < len(self._manifest.files):
            return
        with contextlib.suppress(RoostError):
            self._lock = self._disk.lock(self._lock_path)
            if partial:
                self._remove(self._partial, self._disk.info(self._partial).kind)
        self.close()

    def _may_replace(self) -> None:
        """Raises Failed when what is there must not, or cannot, be replaced."""
        if not self._force:
            raise Failed(
                f"{self.final} exists and is not this version",
                hint="gather to another folder with --to, or replace its files with --force",
            )
        if self._single:
            return
        for index in self._chosen:
            entry = self._manifest.files[index]
            path = f"{self.final}/{entry.path}"
            if entry.kind != "d" and self._disk.exists(path) and self._disk.info(path).kind is FileKind.DIRECTORY:
                raise Failed(f"{path} is a folder, the checkpoint has a file there", hint="gather to another folder")

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
        path = self._final_path(entry)
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
            make_directory_durably(self._disk, self._dest, mode=DEST_MODE)
        self._lock = self._disk.lock(self._lock_path)
        resumed = self._disk.exists(self._partial)
        if not self._single:
            self._lay_out()
        for index in self._chosen:
            entry = self._manifest.files[index]
            if entry.kind == "f":
                if resumed:
                    self._detach(index)
                file = self._file(index)
                if file.info().size != entry.size:
                    file.truncate(entry.size)
        return resumed

    def _detach(self, index: int) -> None:
        """A power cut may leave a rename half done, the partial file and the one in place two names of one file: then
        let go of the partial name, for what is in place must not be written to."""
        path, final = self._path(index), self._final_path(self._manifest.files[index])
        if self._disk.exists(path) and self._disk.exists(final):
            here, there = self._disk.info(path), self._disk.info(final)
            if (here.device, here.inode) == (there.device, there.inode):
                self._disk.unlink(path)

    def _lay_out(self) -> None:
        """Make the folders of the partial tree, and remove from it what is not gathered now: an interrupted gather of
        other files of the same version leaves files that hold nothing yet."""
        kinds = {self._manifest.files[index].path: _KINDS[self._manifest.files[index].kind] for index in self._chosen}
        kinds |= dict.fromkeys(self._directories, FileKind.DIRECTORY)
        for inside in ["", *self._directories]:
            place = f"{self._partial}/{inside}" if inside else self._partial
            self._disk.make_directory(place, mode=DIRECTORY_MODE, exist_ok=True)
            self._disk.set_mode(place, DIRECTORY_MODE)
            for name, kind in self._disk.list(place):
                if kinds.get(f"{inside}/{name}" if inside else name) is not kind:
                    self._remove(f"{place}/{name}", kind)

    def _remove(self, path: str, kind: FileKind) -> None:
        if kind is not FileKind.DIRECTORY:
            self._disk.unlink(path)
            return
        self._disk.set_mode(path, DIRECTORY_MODE)
        for name, inner in self._disk.list(path):
            self._remove(f"{path}/{name}", inner)
        self._disk.remove_directory(path)

    def _final_path(self, entry: FileEntry) -> str:
        return self.final if self._single else f"{self.final}/{entry.path}"

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
        """Give every file its mode and time, fsync everything, and rename it into place.

        Raises Failed when something has appeared there meanwhile that must not be replaced.
        """
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
        replaces = self._present()
        if replaces:
            self._may_replace()
        if self._single:
            self._disk.rename(self._partial, self.final)
            self._disk.sync_directory(self._dest)
        elif replaces:
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
        """Give the folders their times and modes, the deepest first, and make them and their names durable."""
        for path, entry in reversed(self._directories.items()):
            if entry is None:
                self._disk.sync_directory(f"{top}/{path}")
            else:
                self._finish_directory(f"{top}/{path}", entry.mode, entry.mtime_ns)
        self._finish_directory(top, self._manifest.root_mode or DIRECTORY_MODE, self._manifest.root_mtime_ns)

    def _finish_directory(self, path: str, mode: int, mtime_ns: int) -> None:
        readable = bool(mode & 0o400)
        if not readable:
            self._disk.sync_directory(path)  # while it can be opened; its mode may then be lost to a power cut
        self._disk.set_times(path, mtime_ns)
        self._disk.set_mode(path, mode)
        if readable:
            self._disk.sync_directory(path)

    def _overlay(self) -> None:
        """Move file by file over what is there; what the checkpoint does not hold stays."""
        for inside in ["", *self._directories]:
            self._open_up(f"{self.final}/{inside}" if inside else self.final)
        for entry in (self._manifest.files[index] for index in self._chosen):
            if entry.kind != "d":
                self._disk.rename(f"{self._partial}/{entry.path}", f"{self.final}/{entry.path}")
        self._finish_directories(self.final)
        for path in reversed(self._directories):
            self._disk.remove_directory(f"{self._partial}/{path}")
        self._disk.remove_directory(self._partial)

    def _open_up(self, path: str) -> None:
        """Make `path` a folder that files can be moved into."""
        if self._disk.exists(path):
            info = self._disk.info(path)
            if info.kind is FileKind.DIRECTORY:
                if info.mode & DIRECTORY_MODE != DIRECTORY_MODE:
                    self._disk.set_mode(path, info.mode | DIRECTORY_MODE)
                return
            self._disk.unlink(path)
        self._disk.make_directory(path, mode=DIRECTORY_MODE)

    def close(self) -> None:
        """Close the files and let go of the place; what is not finished stays as partial work. Never fails: a lock's
        file that stays is of no harm."""
        self._close_files()
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(RoostError):
                self._disk.unlink(self._lock_path)
            lock.release()

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


def _directories(entries: list[FileEntry]) -> dict[str, FileEntry | None]:
    """The folders that hold `entries`, by path, those above first; None for one that is not an entry itself."""
    found: dict[str, FileEntry | None] = {}
    for entry in entries:
        if entry.kind == "d":
            found[entry.path] = entry
        above = posixpath.dirname(entry.path)
        while above and above not in found:
            found[above] = None
            above = posixpath.dirname(above)
    return dict(sorted(found.items()))


def _partial_name(name: str, manifest_id: RecordId) -> str:
    """The name of the partial work for `name`, short enough for a file system, its lock's name too."""
    suffix = f".roost-{manifest_id.hex()[:8]}"
    room = PART_BYTES_MAX - len(suffix) - len(_LOCK_SUFFIX) - 1
    encoded = name.encode(errors="surrogateescape")
    return f".{name if len(encoded) <= room else encoded[:room].decode(errors='ignore')}{suffix}"
