"""A disk that is watched: the port `Disk` around another one, telling of each fault that the other one has.

Only DiskFault is told of, and then raised as before; everything else passes through untouched.
"""

from collections.abc import Callable
from types import TracebackType

from roost.core.errors import DiskFault
from roost.disk.port import Buffer, Disk, DiskSpace, FileInfo, FileKind, Lock, ReadFile, WriteFile

OnFault = Callable[[str, bool, DiskFault], None]
"""Hears the path, whether it was to be changed, and the error. Called in the thread that used the disk."""


class _Watch:
    """Around one use of one path."""

    __slots__ = ("_failed", "_path", "_writing")

    def __init__(self, failed: OnFault, path: str, writing: bool) -> None:
        self._failed = failed
        self._path = path
        self._writing = writing

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, DiskFault):
            self._failed(self._path, self._writing, error)


class WatchedDisk:
    """The disk `inner`; `failed` hears of its faults."""

    def __init__(self, inner: Disk, failed: OnFault) -> None:
        self._inner = inner
        self._failed = failed

    def _reading(self, path: str) -> _Watch:
        return _Watch(self._failed, path, False)

    def _writing(self, path: str) -> _Watch:
        return _Watch(self._failed, path, True)

    def open_read(self, path: str, *, follow: bool = False) -> ReadFile:
        with self._reading(path):
            return _WatchedReadFile(self._inner.open_read(path, follow=follow), self._reading(path))

    def create(self, path: str, *, mode: int = 0o600) -> WriteFile:
        with self._writing(path):
            return _WatchedWriteFile(self._inner.create(path, mode=mode), self._reading(path), self._writing(path))

    def open_write(self, path: str) -> WriteFile:
        with self._writing(path):
            return _WatchedWriteFile(self._inner.open_write(path), self._reading(path), self._writing(path))

    def rename(self, source: str, target: str) -> None:
        with self._writing(target):
            self._inner.rename(source, target)

    def unlink(self, path: str) -> None:
        with self._writing(path):
            self._inner.unlink(path)

    def remove_directory(self, path: str) -> None:
        with self._writing(path):
            self._inner.remove_directory(path)

    def make_directory(self, path: str, *, mode: int = 0o700, exist_ok: bool = False) -> None:
        with self._writing(path):
            self._inner.make_directory(path, mode=mode, exist_ok=exist_ok)

    def list(self, path: str, *, follow: bool = False) -> list[tuple[str, FileKind]]:
        with self._reading(path):
            return self._inner.list(path, follow=follow)

    def info(self, path: str, *, follow: bool = False) -> FileInfo:
        with self._reading(path):
            return self._inner.info(path, follow=follow)

    def exists(self, path: str) -> bool:
        with self._reading(path):
            return self._inner.exists(path)

    def symlink(self, target: str, path: str) -> None:
        with self._writing(path):
            self._inner.symlink(target, path)

    def read_link(self, path: str) -> str:
        with self._reading(path):
            return self._inner.read_link(path)

    def set_mode(self, path: str, mode: int) -> None:
        with self._writing(path):
            self._inner.set_mode(path, mode)

    def set_times(self, path: str, mtime_ns: int) -> None:
        with self._writing(path):
            self._inner.set_times(path, mtime_ns)

    def sync_directory(self, path: str) -> None:
        with self._writing(path):
            self._inner.sync_directory(path)

    def space(self) -> DiskSpace:
        with self._reading(""):
            return self._inner.space()

    def lock(self, path: str) -> Lock:
        with self._writing(path):
            return self._inner.lock(path)


class _WatchedReadFile:
    """An open file of a watched disk."""

    def __init__(self, inner: ReadFile, reading: _Watch) -> None:
        self._inner = inner
        self._reading = reading

    def pread(self, into: memoryview, offset: int) -> int:
        with self._reading:
            return self._inner.pread(into, offset)

    def info(self) -> FileInfo:
        with self._reading:
            return self._inner.info()

    def drop_cache(self, offset: int, length: int) -> None:
        self._inner.drop_cache(offset, length)

    def close(self) -> None:
        self._inner.close()


class _WatchedWriteFile:
    """An open file of a watched disk, to be written."""

    def __init__(self, inner: WriteFile, reading: _Watch, writing: _Watch) -> None:
        self._inner = inner
        self._reading = reading
        self._writing = writing

    def pwrite(self, data: Buffer, offset: int) -> None:
        with self._writing:
            self._inner.pwrite(data, offset)

    def pread(self, into: memoryview, offset: int) -> int:
        with self._reading:
            return self._inner.pread(into, offset)

    def info(self) -> FileInfo:
        with self._reading:
            return self._inner.info()

    def truncate(self, size: int) -> None:
        with self._writing:
            self._inner.truncate(size)

    def begin_writeback(self, offset: int, length: int) -> None:
        self._inner.begin_writeback(offset, length)

    def drop_cache(self, offset: int, length: int) -> None:
        self._inner.drop_cache(offset, length)

    def sync(self) -> None:
        with self._writing:
            self._inner.sync()

    def set_mode(self, mode: int) -> None:
        with self._writing:
            self._inner.set_mode(mode)

    def set_times(self, mtime_ns: int) -> None:
        with self._writing:
            self._inner.set_times(mtime_ns)

    def close(self) -> None:
        self._inner.close()
