"""`MemoryFile` and `MemoryLock`: what a `MemoryDisk` hands out, with the faults of that disk."""

import errno
from typing import TYPE_CHECKING

from roost.core.errors import DiskFault, RoostError
from roost.disk.faults import error_for
from roost.disk.port import Buffer, FileInfo, FileKind
from roost.testing.medium import Inode

if TYPE_CHECKING:
    from roost.testing.disk import MemoryDisk


class PowerCut(BaseException):
    """The machine lost its power: nothing that runs may catch this and go on."""


class MemoryFile:
    """An open file of a MemoryDisk, for reading and writing."""

    def __init__(self, disk: "MemoryDisk", inode: Inode, path: str) -> None:
        self._disk = disk
        self._inode = inode
        self._path = path
        self._closed = False
        self._sync_failed = False
        disk._files.add(self)
        disk._medium.hold(inode, opens=1)

    def pread(self, into: memoryview, offset: int) -> int:
        self._begin("read")
        if offset < 0:
            raise error_for(errno.EINVAL, doing="read", path=self._path)
        view = into.cast("B")
        count = max(0, min(len(view), len(self._inode.data) - offset))
        view[:count] = memoryview(self._inode.data)[offset : offset + count]
        self._disk.cost_bytes += count
        return count

    def pwrite(self, data: Buffer, offset: int) -> None:
        self._begin("write", changes=True)
        if offset < 0:
            raise error_for(errno.EINVAL, doing="write", path=self._path)
        view = memoryview(data).cast("B")
        fitting = max(0, len(self._inode.data) + self._disk._room() - offset)
        lies = self._disk.lies
        if lies is not None and lies.concern(self._path):
            self._disk.feel("lies")
            lies.write(self._disk, self._inode, self._path, view[:fitting], offset)
        else:
            self._disk._medium.write(self._inode, view[:fitting], offset)
        self._disk.cost_bytes += min(fitting, len(view))
        if fitting < len(view):
            raise self._disk.fault("full", errno.ENOSPC, doing="write", path=self._path)

    def info(self) -> FileInfo:
        self._begin("look at")
        return info_of(self._inode)

    def truncate(self, size: int) -> None:
        self._begin("cut", changes=True)
        if size < 0:
            raise error_for(errno.EINVAL, doing="cut", path=self._path)
        if size - len(self._inode.data) > self._disk._room():
            raise self._disk.fault("full", errno.ENOSPC, doing="cut", path=self._path)
        self._disk._medium.truncate(self._inode, size)

    def begin_writeback(self, offset: int, length: int) -> None:
        if self._disk.dead:
            raise PowerCut

    def drop_cache(self, offset: int, length: int) -> None:
        if self._disk.dead:
            raise PowerCut

    def sync(self) -> None:
        try:
            self._begin("sync", changes=True)
        except RoostError:
            self._sync_failed = self._inode.sync_failed = True
            raise
        self._disk.cost_syncs += 1
        if self._sync_failed:
            raise DiskFault(
                f"cannot sync {self._path!r}: an earlier sync failed, its bytes may be gone", hint="write it anew"
            )
        self._disk._medium.sync(self._inode)

    def set_mode(self, mode: int) -> None:
        self._begin("set the mode of", changes=True)
        self._disk._medium.set_attributes(self._inode, mode=mode)

    def set_times(self, mtime_ns: int) -> None:
        self._begin("set the time of", changes=True)
        self._disk._medium.set_attributes(self._inode, mtime_ns=mtime_ns)

    def close(self) -> None:
        if not self._closed and not self._disk.dead:
            self._closed = True
            self.let_go()

    def let_go(self) -> None:
        """Stop keeping the inode alive: the handle is closed, or its process is dead."""
        self._disk._files.discard(self)
        self._disk._medium.hold(self._inode, opens=-1)

    def _begin(self, what: str, *, changes: bool = False) -> None:
        if self._closed:
            raise ValueError(f"{self._path!r} is closed")
        self._disk._begin(what, self._path, changes=changes)


class MemoryLock:
    """A lock on a MemoryDisk."""

    def __init__(self, locked: set[Inode], inode: Inode) -> None:
        self._locked = locked
        self._inode = inode
        self._held = True

    def release(self) -> None:
        if self._held:
            self._held = False
            self._locked.discard(self._inode)


def info_of(inode: Inode) -> FileInfo:
    """What the port tells of an inode."""
    size = len(inode.target) if inode.kind is FileKind.SYMLINK else len(inode.data)
    return FileInfo(
        kind=inode.kind,
        size=size,
        mode=inode.mode,
        mtime_ns=inode.mtime_ns,
        ctime_ns=inode.ctime_ns,
        inode=inode.number,
        device=1,
    )
