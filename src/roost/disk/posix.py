"""`PosixDisk`: the port `Disk` on a directory of this machine (Linux, macOS).

Every call walks from the root to the file by directory descriptors that refuse symbolic links, so that a link planted
anywhere below the root, at any moment, cannot lead a write out of it. That costs one open a level, a few microseconds.
"""

import contextlib
import errno
import fcntl
import os
import stat
from types import TracebackType

from roost.core.errors import Busy, Failed, RoostError
from roost.disk.durable import make_directory_durably
from roost.disk.port import DiskSpace, FileInfo, FileKind, Lock, ReadFile, WriteFile, checked_path
from roost.disk.posix_file import Mapped, PosixFile, info_of, opened, sync_down

_SEARCH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CHMOD_FLAGS = {"follow_symlinks": False} if os.chmod in os.supports_follow_symlinks else {}


class PosixDisk:
    """The tree below `root`, which must exist before the first call (NotFound otherwise) and may be a link."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(root)

    @classmethod
    def make(cls, root: str | os.PathLike[str], *, mode: int = 0o700) -> "PosixDisk":
        """The disk at `root`, which is made durably, with its missing parents, when it is absent."""
        existing = os.path.abspath(root)
        missing: list[str] = []
        while not os.path.lexists(existing):
            existing, name = os.path.split(existing)
            missing.insert(0, name)
        with contextlib.suppress(RoostError):  # it may be from a maker who died; often it is not ours to sync
            cls(os.path.dirname(existing)).sync_directory("")
        if missing:
            make_directory_durably(cls(existing), "/".join(missing), mode=mode)
        return cls(root)

    def open_read(self, path: str, *, follow: bool = False) -> ReadFile:
        flags = os.O_RDONLY | _FILE
        if not follow:
            return self._open(path, flags, "open")
        full = self._full(checked_path(path))
        with Mapped("open", full):
            return opened(os.open(full, flags & ~os.O_NOFOLLOW), full)

    def create(self, path: str, *, mode: int = 0o600) -> WriteFile:
        return self._open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FILE, "create", mode)

    def open_write(self, path: str) -> WriteFile:
        return self._open(path, os.O_RDWR | _FILE, "open")

    def rename(self, source: str, target: str) -> None:
        checked_path(target)
        with (
            self._at(source, "rename") as (source_directory, source_name),
            self._at(target, f"rename {source!r} to") as (target_directory, target_name),
        ):
            os.rename(source_name, target_name, src_dir_fd=source_directory, dst_dir_fd=target_directory)

    def unlink(self, path: str) -> None:
        with self._at(path, "remove") as (directory, name):
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise IsADirectoryError(errno.EISDIR, "")  # macOS would say EPERM, and as root unlink it
            os.unlink(name, dir_fd=directory)

    def remove_directory(self, path: str) -> None:
        with self._at(path, "remove directory") as (directory, name):
            os.rmdir(name, dir_fd=directory)

    def make_directory(self, path: str, *, mode: int = 0o700, exist_ok: bool = False) -> None:
        with self._at(path, "make directory") as (directory, name):
            try:
                os.mkdir(name, mode, dir_fd=directory)
            except FileExistsError:
                there = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if not (exist_ok and stat.S_ISDIR(there.st_mode)):
                    raise

    def list(self, path: str, *, follow: bool = False) -> list[tuple[str, FileKind]]:
        checked_path(path, root=True)
        full = self._full(path)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with Mapped("list", full):
            directory = os.open(full, flags) if follow else self._open_directory(path, flags)
            try:
                with os.scandir(directory) as entries:
                    return sorted((entry.name, _kind_of_entry(entry)) for entry in entries)
            finally:
                os.close(directory)

    def info(self, path: str, *, follow: bool = False) -> FileInfo:
        if follow or path == "":
            full = self._full(checked_path(path, root=True))
            with Mapped("look at", full):
                return info_of(os.stat(full))
        with self._at(path, "look at") as (directory, name):
            return info_of(os.stat(name, dir_fd=directory, follow_symlinks=False))

    def exists(self, path: str) -> bool:
        try:
            self.info(checked_path(path))
        except RoostError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
        return True

    def symlink(self, target: str, path: str) -> None:
        if not target or "\0" in target:
            raise ValueError(f"not a link's target: {target[:200]!r}")
        with self._at(path, "make link") as (directory, name):
            os.symlink(target, name, dir_fd=directory)

    def read_link(self, path: str) -> str:
        with self._at(path, "read link") as (directory, name):
            if not stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise Failed(f"cannot read link {self._full(path)!r}: it is not a symbolic link")
            return os.readlink(name, dir_fd=directory)

    def set_mode(self, path: str, mode: int) -> None:
        with self._at(path, "set the mode of") as (directory, name):
            if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, "")
            os.chmod(name, mode, dir_fd=directory, **_CHMOD_FLAGS)

    def set_times(self, path: str, mtime_ns: int) -> None:
        with self._at(path, "set the time of") as (directory, name):
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=directory, follow_symlinks=False)

    def sync_directory(self, path: str) -> None:
        checked_path(path, root=True)
        with Mapped("sync directory", self._full(path)):
            directory = self._open_directory(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sync_down(directory)
            finally:
                os.close(directory)

    def space(self) -> DiskSpace:
        with Mapped("measure", self.root):
            found = os.statvfs(self.root)
        return DiskSpace(free=found.f_bavail * found.f_frsize, total=found.f_blocks * found.f_frsize)

    def lock(self, path: str) -> Lock:
        with self._at(path, "lock") as (directory, name):
            descriptor = _open_to_lock(directory, name)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise Busy(
                    f"{self._full(path)!r} is locked by a running process", hint="stop that process, or wait for it"
                ) from None
            except BaseException:
                os.close(descriptor)
                raise
        return PosixLock(descriptor)

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _open(self, path: str, flags: int, doing: str, mode: int = 0) -> PosixFile:
        with self._at(path, doing) as (directory, name):
            return opened(os.open(name, flags, mode, dir_fd=directory), self._full(path))

    def _open_directory(self, path: str, flags: int = _SEARCH) -> int:
        """A descriptor of the directory `path`, opened with `flags`, no link below the root followed. OSError."""
        parts = path.split("/") if path else []
        directory = os.open(self.root, _SEARCH if parts else flags)
        for index, part in enumerate(parts):
            wanted = flags if index == len(parts) - 1 else _SEARCH
            try:
                inner = os.open(part, wanted | os.O_NOFOLLOW, dir_fd=directory)
            finally:
                os.close(directory)
            directory = inner
        return directory

    def _at(self, path: str, doing: str) -> "_At":
        return _At(self, path, doing)


class PosixLock:
    """A descriptor that holds a flock; the system lets it go when the process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _open_to_lock(directory: int, name: str) -> int:
    """A descriptor of the file to lock, made when absent. On a disk that has turned read-only one that is there can be
    locked all the same. OSError."""
    try:
        return os.open(name, os.O_RDWR | os.O_CREAT | _FILE, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        try:
            return os.open(name, os.O_RDONLY | _FILE, dir_fd=directory)
        except FileNotFoundError:
            raise error from None


class _At:
    """The open directory that holds `path`, and the name in it; an OSError inside becomes one of our errors."""

    __slots__ = ("_directory", "_disk", "_mapped", "_path")

    def __init__(self, disk: PosixDisk, path: str, doing: str) -> None:
        self._disk = disk
        self._path = checked_path(path)
        self._mapped = Mapped(doing, disk._full(path))

    def __enter__(self) -> tuple[int, str]:
        parent, _, name = self._path.rpartition("/")
        with self._mapped:
            self._directory = self._disk._open_directory(parent)
        return self._directory, name

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._directory)
        self._mapped.__exit__(kind, error, trace)


def _kind_of_entry(entry: os.DirEntry[str]) -> FileKind:
    if entry.is_symlink():
        return FileKind.SYMLINK
    if entry.is_dir(follow_symlinks=False):
        return FileKind.DIRECTORY
    return FileKind.FILE if entry.is_file(follow_symlinks=False) else FileKind.OTHER
