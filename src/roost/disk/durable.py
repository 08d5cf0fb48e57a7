"""The recipes that survive a power cut: the one place where temporary, write, fsync, rename and directory fsync live.

Each recipe acknowledges by returning. After a power cut at any instant the file is there whole if the recipe had
returned; if not, the name holds either all of the old content or all of the new (`tests/crash/test_durable_states.py`
looks at every state). The order that makes it so:

    write the temporary -> sync it -> rename it over the name -> sync the directory

A process that dies without a power cut (kill -9) leaves names that *are* there but may not *stay* there: renamed or
made, and not yet synced. Who starts on files that an earlier process wrote and vouches for them (answers "I have it")
calls `sync_tree` first.
"""

import contextlib
import re
from types import TracebackType

from roost.core.errors import Busy, Failed, RoostError
from roost.disk.faults import AlreadyThere
from roost.disk.port import Buffer, Disk, FileKind, WriteFile, checked_path, parent_of

WRITEBACK_BYTES = 1024 * 1024
"""How much a DurableFile lets pile up before it asks the system to start writing."""

_NAMES_MAX = 16
_TEMPORARY = re.compile(r".\.tmp-[0-9a-zA-Z_-]{1,64}\Z", re.DOTALL)


def temporary_name(path: str, token: str) -> str:
    """The name of a temporary beside `path`. `token` (1 to 64 letters, digits, ``-``, ``_``) tells writers apart."""
    name = f"{path}.tmp-{token}"
    if not is_temporary(name):
        raise ValueError(f"not a token for a temporary's name: {token[:100]!r}")
    return name


def is_temporary(name: str) -> bool:
    """Whether `name` is one that `temporary_name` makes."""
    return _TEMPORARY.search(name) is not None


class DurableFile:
    """A file written under a temporary name that gets its real one only when all its bytes are on the disk.

    A context manager: left without a `commit` it discards the temporary. Not for two threads at once.
    """

    def __init__(self, disk: Disk, temporary: str, *, mode: int = 0o600) -> None:
        """Create `temporary` (AlreadyThere when it exists), best in the directory that the target will be in."""
        self._disk = disk
        self._temporary = temporary
        self._file: WriteFile | None = disk.create(temporary, mode=mode)
        self._written = 0
        self._begun = 0

    @property
    def written(self) -> int:
        """Bytes written so far."""
        return self._written

    def write(self, data: Buffer) -> None:
        """Append all of `data`. NoSpace or DiskFault: discard the file, nothing of it counts."""
        file = self._open()
        file.pwrite(data, self._written)
        self._written += len(data) if isinstance(data, bytes | bytearray) else data.nbytes
        if self._written - self._begun >= WRITEBACK_BYTES:
            file.begin_writeback(self._begun, self._written - self._begun)
            self._begun = self._written

    def commit(self, path: str) -> None:
        """Make the file durable under the name `path`, replacing what had it. On return it survives a power cut.

        On an error before the rename the temporary is discarded and `path` is as it was; on an error of the last step,
        the directory's sync, `path` may hold either content and which one is not yet certain.
        """
        file = self._open()
        try:
            file.sync()
            file.close()
            self._disk.rename(self._temporary, path)
        except BaseException:
            self.discard()
            raise
        self._file = None
        _sync_names(self._disk, self._temporary, path)

    def discard(self) -> None:
        """Close and remove the temporary; does nothing after `commit`. Never raises for a disk that fails: a
        temporary that stays is swept later."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
            with contextlib.suppress(RoostError):
                self._disk.unlink(self._temporary)

    def __enter__(self) -> "DurableFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def _open(self) -> WriteFile:
        if self._file is None:
            raise ValueError(f"{self._temporary!r} is committed or discarded")
        return self._file


def publish(disk: Disk, file: WriteFile, temporary: str, path: str) -> None:
    """Give the open `file`, written under the name `temporary`, the name `path`, durably; closes it in any case.

    For writers that need more than `DurableFile` offers (writing at offsets, resuming). On an error `temporary` is
    left to the caller; it is gone only when the error came from the last step, the directory's sync.
    """
    try:
        file.sync()
    finally:
        file.close()
    rename_durably(disk, temporary, path)


def write_durably(disk: Disk, path: str, data: Buffer, *, mode: int = 0o600) -> None:
    """Make `path` hold `data`, replacing what it held, durably and at once: no reader and no power cut ever sees part
    of it. The directory must exist. Raises as the port does; then `path` is as it was (see `DurableFile.commit`).

    Writers of one path do not disturb each other; the last to rename wins.
    """
    with _new_temporary(disk, path, mode) as file:
        file.write(data)
        file.commit(path)


def read_small(disk: Disk, path: str, *, bytes_max: int) -> bytes:
    """All bytes of a file of at most `bytes_max`; Failed when it is longer, and then no more than that was read."""
    file = disk.open_read(path)
    try:
        size = file.info().size
        if size <= bytes_max:
            buffer = memoryview(bytearray(size + 1))  # one more, so that a file that grows is noticed
            count = file.pread(buffer, 0)
            if count <= size:
                return bytes(buffer[:count])
    finally:
        file.close()
    raise Failed(
        f"{path!r} is longer than the {bytes_max} bytes it may have, or grows", hint="it is not a file that Roost wrote"
    )


def rename_durably(disk: Disk, source: str, target: str) -> None:
    """Rename, and sync the directories of both names: the target's first, so that no power cut loses the file.

    The content of `source` must be durable already (a file: synced; a directory: `sync_tree`).
    """
    disk.rename(source, target)
    _sync_names(disk, source, target)


def unlink_durably(disk: Disk, path: str) -> None:
    """Remove the name so that it does not come back after a power cut."""
    disk.unlink(path)
    disk.sync_directory(parent_of(path))


def make_directory_durably(disk: Disk, path: str, *, mode: int = 0o700) -> None:
    """Make the directory and its missing parents, each durable before the next is made in it.

    The parents of directories that are there already are synced too: they may have been made by a process that died
    before it could.
    """
    parts = checked_path(path).split("/")
    for depth in range(len(parts)):
        disk.make_directory("/".join(parts[: depth + 1]), mode=mode, exist_ok=True)
        disk.sync_directory("/".join(parts[:depth]))


def sync_tree(disk: Disk, path: str) -> None:
    """Make every name in the directory `path` (the empty path: the root) and in those below it durable, deepest first.
    Links are not followed. File contents are not synced: their writers did that before they gave them their names."""
    found = [path]
    for directory in found:
        for name, kind in disk.list(directory):
            if kind is FileKind.DIRECTORY:
                found.append(f"{directory}/{name}" if directory else name)
    for directory in reversed(found):
        disk.sync_directory(directory)


def sweep_temporaries(disk: Disk, path: str) -> int:
    """Remove the temporaries that dead writers left in the directory `path`; returns how many. Only for who holds the
    lock under which that directory is written, before its first writer starts."""
    swept = 0
    for name, kind in disk.list(path):
        if kind is FileKind.FILE and is_temporary(name):
            disk.unlink(f"{path}/{name}" if path else name)
            swept += 1
    return swept


def _sync_names(disk: Disk, source: str, target: str) -> None:
    disk.sync_directory(parent_of(target))
    if parent_of(source) != parent_of(target):
        disk.sync_directory(parent_of(source))


def _new_temporary(disk: Disk, path: str, mode: int) -> DurableFile:
    """A temporary of our own beside `path`: the first free one of a few names. One that is there is another writer's,
    or a dead one's: we cannot know, so we leave it."""
    for number in range(_NAMES_MAX):
        with contextlib.suppress(AlreadyThere):
            return DurableFile(disk, temporary_name(path, str(number)), mode=mode)
    raise Busy(
        f"cannot write {path!r}: {_NAMES_MAX} temporaries of it exist",
        hint=f"if no Roost process runs here, remove the files {path}.tmp-*",
    )
