"""The port `Disk`: every file that Roost reads or writes, below one root, synchronously.

Nothing here touches the operating system. `PosixDisk` is the real one, `roost.testing.disk.MemoryDisk` the fake that
knows every state a power cut may leave; `tests/contract/test_disk.py` holds both to the promises written here. Calls
block: coroutines make them through `Runtime.in_thread`.

Paths are relative to the root, parts joined by ``/``. A part that is empty, ``.`` or ``..``, or a NUL, is a ValueError:
no string ever leads out of the root. The empty path is the root itself where a method says so. Unless `follow` is
asked for, no symbolic link is followed anywhere in a path below the root (the root may be one): reaching through a
link, or opening one, raises Failed.

Unless a method says otherwise it may raise: NotFound (no such file, or a directory on the way to it is missing),
AlreadyThere, Failed (a file where a directory is needed and the like), NoSpace (full, or over quota) and DiskFault
(I/O error, read-only, no permission). What is durable after a power cut: see `WriteFile.sync` and
`Disk.sync_directory`; nothing else is.
"""

import enum
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

Buffer = bytes | bytearray | memoryview


class FileKind(enum.StrEnum):
    """What has a name in a directory."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What stat tells. `mode` is the permission bits (0o7777); times are nanoseconds since 1970; `inode` and `device`
    together identify the file whatever its name; `user` is the number of its owner."""

    kind: FileKind
    size: int
    mode: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    user: int = 0


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Bytes of the file system: `free` to an ordinary user, and `total`."""

    free: int
    total: int


@lru_cache(1024)
def checked_path(path: str, *, root: bool = False) -> str:
    """`path`, when it is one that a Disk takes (see above); with `root` also the empty one. ValueError otherwise."""
    if path == "" and root:
        return path
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"not a path below a disk's root: {path[:200]!r}")
    return path


def parent_of(path: str) -> str:
    """The directory that holds `path`'s name; the empty path when that is the root."""
    return path.rpartition("/")[0]


class ReadFile(Protocol):
    """An open regular file. Several threads may read at once. It stays readable when its name goes or changes."""

    def pread(self, into: memoryview, offset: int) -> int:
        """Fill `into` with the bytes from `offset` on and return how many: fewer only where the file ends."""
        ...

    def info(self) -> FileInfo: ...

    def drop_cache(self, offset: int, length: int) -> None:
        """A hint that these bytes are not needed again soon; may do nothing, never fails."""
        ...

    def close(self) -> None:
        """Idempotent; never fails. Any other call afterwards is a ValueError."""
        ...


class WriteFile(Protocol):
    """A regular file open for writing and reading, used by one thread at a time."""

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write all of `data` at `offset`, extending the file (with zeros before `offset`) when needed. On an error
        any part of it may have been written."""
        ...

    def pread(self, into: memoryview, offset: int) -> int:
        """As `ReadFile.pread`."""
        ...

    def info(self) -> FileInfo: ...

    def truncate(self, size: int) -> None:
        """Cut the file, or extend it with zeros, to `size` bytes."""
        ...

    def begin_writeback(self, offset: int, length: int) -> None:
        """A hint to start writing these bytes to the disk now, so that `sync` is short; promises nothing, never
        fails, may do nothing."""
        ...

    def drop_cache(self, offset: int, length: int) -> None:
        """As `ReadFile.drop_cache`."""
        ...

    def sync(self) -> None:
        """On return the file's bytes, size, mode and times survive a power cut. Its name may not: that takes
        `Disk.sync_directory`.

        Once it failed it fails for ever: the system may have thrown the unwritten bytes away and call the file clean,
        so a second success would mean nothing. Write the file anew.
        """
        ...

    def set_mode(self, mode: int) -> None:
        """Set the permission bits, exactly (no umask)."""
        ...

    def set_times(self, mtime_ns: int) -> None:
        """Set the modification time; the access time too."""
        ...

    def close(self) -> None:
        """Idempotent; never fails. Makes nothing durable."""
        ...


class Lock(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Idempotent. The lock's file stays."""
        ...


class Disk(Protocol):
    """A directory tree. Thread-safe as far as the operating system is."""

    def open_read(self, path: str, *, follow: bool = False) -> ReadFile:
        """Open a regular file. Never waits for a pipe's other end. With `follow`, links are followed wherever they
        lead."""
        ...

    def create(self, path: str, *, mode: int = 0o600) -> WriteFile:
        """Make a new, empty file (`mode` less the umask). AlreadyThere when anything has the name, even a dangling
        link."""
        ...

    def open_write(self, path: str) -> WriteFile:
        """Open an existing regular file, its bytes kept."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Give the file or directory another name, at once for every observer. A file at `target` is replaced, an
        empty directory by a directory only. Durable when the directories of both names are synced."""
        ...

    def unlink(self, path: str) -> None:
        """Remove the name of a file or link."""
        ...

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory; Failed when it is not empty."""
        ...

    def make_directory(self, path: str, *, mode: int = 0o700, exist_ok: bool = False) -> None:
        """Make one directory (`mode` less the umask) in an existing one. With `exist_ok` a directory of that name is
        well; a link to one is not."""
        ...

    def list(self, path: str, *, follow: bool = False) -> list[tuple[str, FileKind]]:
        """Names and kinds in a directory (the empty path: the root), sorted by name; links are reported as links."""
        ...

    def info(self, path: str, *, follow: bool = False) -> FileInfo:
        """Of whatever has the name (the empty path: the root); with `follow`, of what links lead to."""
        ...

    def exists(self, path: str) -> bool:
        """Whether anything has the name, a dangling link included."""
        ...

    def symlink(self, target: str, path: str) -> None:
        """Make a symbolic link `path` holding the text `target`, which is not checked (empty or NUL: ValueError)."""
        ...

    def read_link(self, path: str) -> str:
        """The text of a symbolic link; Failed when it is none."""
        ...

    def set_mode(self, path: str, mode: int) -> None:
        """Set the permission bits of a file or directory, exactly; Failed for a link."""
        ...

    def set_times(self, path: str, mtime_ns: int) -> None:
        """Set the modification (and access) time of whatever has the name, also of a link itself."""
        ...

    def sync_directory(self, path: str) -> None:
        """On return each name in the directory (the empty path: the root) survives a power cut, as it is now: made,
        renamed or gone. What the names hold may not: that takes `WriteFile.sync`, or this for a directory inside."""
        ...

    def space(self) -> DiskSpace: ...

    def lock(self, path: str) -> Lock:
        """Hold the lock that the file `path` stands for (made when absent) until released or this process ends. Busy
        when anyone holds it, this process included. Advisory; the file holds nothing and stays for ever."""
        ...
