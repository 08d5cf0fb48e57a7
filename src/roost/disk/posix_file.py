"""An open file of this machine (Linux, macOS): the ports `ReadFile` and `WriteFile` on a descriptor."""

import contextlib
import errno
import fcntl
import functools
import os
import stat
from collections.abc import Callable
from types import TracebackType

from roost.core.errors import DiskFault
from roost.disk.faults import error_for, not_a_file
from roost.disk.port import Buffer, FileInfo, FileKind

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_SYNC_FILE_RANGE_WRITE = 2


class Mapped:
    """An OSError within becomes one of our errors. A class, as `_At`: a generator's frames cost more than the calls."""

    __slots__ = ("_doing", "_path")

    def __init__(self, doing: str, path: str) -> None:
        self._doing = doing
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise error_for(error.errno or errno.EIO, doing=self._doing, path=self._path) from error


class PosixFile:
    """An open descriptor: a ReadFile, and a WriteFile when it was opened for writing."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._sync_failed = False

    def pread(self, into: memoryview, offset: int) -> int:
        view = into.cast("B")
        filled = 0
        with Mapped("read", self._path):
            while filled < len(view):
                count = _read_into(self._open(), view[filled:], offset + filled)
                if count == 0:
                    break
                filled += count
        return filled

    def pwrite(self, data: Buffer, offset: int) -> None:
        view = memoryview(data).cast("B")
        written = 0
        with Mapped("write", self._path):
            while written < len(view):
                count = os.pwrite(self._open(), view[written:], offset + written)
                if count == 0:
                    raise OSError(errno.EIO, "")
                written += count

    def info(self) -> FileInfo:
        with Mapped("look at", self._path):
            return info_of(os.fstat(self._open()))

    def truncate(self, size: int) -> None:
        with Mapped("cut", self._path):
            os.ftruncate(self._open(), size)

    def begin_writeback(self, offset: int, length: int) -> None:
        start = _writeback_starter()
        if start is not None:
            start(self._open(), offset, length, _SYNC_FILE_RANGE_WRITE)

    def drop_cache(self, offset: int, length: int) -> None:
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._open(), offset, length, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        if self._sync_failed:
            raise DiskFault(
                f"cannot sync {self._path!r}: an earlier sync failed, its bytes may be gone", hint="write it anew"
            )
        descriptor = self._open()
        try:
            with Mapped("sync", self._path):
                sync_down(descriptor)
        except BaseException:
            self._sync_failed = True
            raise

    def set_mode(self, mode: int) -> None:
        with Mapped("set the mode of", self._path):
            os.fchmod(self._open(), mode)

    def set_times(self, mtime_ns: int) -> None:
        with Mapped("set the time of", self._path):
            os.utime(self._open(), ns=(mtime_ns, mtime_ns))

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # what a close reports, a sync before it has reported
                os.close(descriptor)

    def _open(self) -> int:
        if self._descriptor < 0:
            raise ValueError(f"{self._path!r} is closed")
        return self._descriptor


def opened(descriptor: int, path: str) -> PosixFile:
    """The open file, when it is a regular one: O_NONBLOCK got us past a pipe's open, this keeps us from its bytes."""
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise not_a_file(path)
    except BaseException:
        os.close(descriptor)
        raise
    return PosixFile(descriptor, path)


def _read_into(descriptor: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    data = os.pread(descriptor, len(view), offset)
    view[: len(data)] = data
    return len(data)


def sync_down(descriptor: int) -> None:
    """Down to the platter or cell: macOS's fsync stops at the drive's cache, F_FULLFSYNC does not; a network file
    system that knows no F_FULLFSYNC gets fsync."""
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(descriptor, _FULL_SYNC)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
        else:
            return
    os.fsync(descriptor)


@functools.cache
def _writeback_starter() -> Callable[[int, int, int, int], int] | None:
    """Linux's sync_file_range, which Python does not offer; None elsewhere. Its errors return at the next fsync."""
    import ctypes

    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int
    return lambda descriptor, offset, length, flags: int(function(descriptor, offset, length, flags))


def _kind_of(mode: int) -> FileKind:
    if stat.S_ISREG(mode):
        return FileKind.FILE
    if stat.S_ISDIR(mode):
        return FileKind.DIRECTORY
    return FileKind.SYMLINK if stat.S_ISLNK(mode) else FileKind.OTHER


def info_of(found: os.stat_result) -> FileInfo:
    """What the system says of a file, as the port tells it."""
    return FileInfo(
        kind=_kind_of(found.st_mode),
        size=found.st_size,
        mode=stat.S_IMODE(found.st_mode),
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        inode=found.st_ino,
        device=found.st_dev,
        user=found.st_uid,
    )
