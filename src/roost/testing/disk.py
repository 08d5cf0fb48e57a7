"""`MemoryDisk`: the port `Disk` in memory, with faults on demand and every state that a power cut may leave of it.

It has no clock, no chance and no threads of its own (one thread at a time may use it). Faults are attributes that a
test sets at any time:

* `bytes_max`: the size of the disk; NoSpace when full, a write then having written what fitted;
* `read_only`: each change, and each sync, is a DiskFault;
* `failing`: paths; any use of one of them, or of what lies below it, is a DiskFault (the empty path: everything);
* `flip`: one bit on the medium turns;
* `lies`: some writes are not made, or made elsewhere, and nobody is told; `on_harm` hears the path of each file whose
  bytes are not those that were written to it, also when it gets another name;
* `stop_after`: how many changes the disk lives for; the next one raises PowerCut, and the disk is dead; `on_power_cut`
  is called first;
* `on_fault` hears the name of a fault each time that somebody comes to feel it: ``full``, ``read-only``,
  ``disk error`` (of `failing`), ``lies``;
* `dead`: each call raises PowerCut and has no effect, except `close` and `release`, which do nothing.

`crash_states`, `remains` and `crash` say what is there after the power comes back, `kill` what is there after only the
process died. `cost_bytes` and `cost_syncs` count what a simulated runtime charges time for; `journal` holds the last
changes, and `on_change` hears of each before it is made.
"""

import collections
import errno
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from roost.core.errors import Busy, Failed, NotFound, RoostError
from roost.disk.faults import error_for, not_a_file
from roost.disk.port import DiskSpace, FileInfo, FileKind, Lock, ReadFile, WriteFile, checked_path, parent_of
from roost.testing.crash import state_drawn, states_of
from roost.testing.files import MemoryFile, MemoryLock, PowerCut, info_of
from roost.testing.lies import Lies, files_below
from roost.testing.medium import Inode, Medium
from roost.testing.walk import inode_at

__all__ = ["MemoryDisk", "MemoryFile", "Operation", "PowerCut"]

UNBOUNDED_BYTES = 1 << 50
JOURNAL_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class Operation:
    """One change that was asked for: what (``create``, ``write``, ``sync``, ``rename``, ...), to which path, and for a
    rename the other one."""

    what: str
    path: str
    target: str = ""


class MemoryDisk:
    """A disk in memory; see above. `block_bytes` is what a power cut cannot tear."""

    def __init__(self, *, block_bytes: int = 4096, bytes_max: int | None = None, stop_after: int | None = None) -> None:
        self.bytes_max = bytes_max
        self.stop_after = stop_after
        self.read_only = False
        self.dead = False
        self.on_power_cut: Callable[[], None] | None = None
        self.on_harm: Callable[[str], None] | None = None
        self.on_change: Callable[[Operation], None] | None = None
        self.on_fault: Callable[[str], None] | None = None
        self.lies: Lies | None = None
        self.failing: set[str] = set()
        self.cost_bytes = 0
        self.cost_syncs = 0
        self.operations = 0
        self.journal: collections.deque[Operation] = collections.deque(maxlen=JOURNAL_LENGTH)
        self._medium = Medium(block_bytes=block_bytes)
        self._files: set[MemoryFile] = set()
        self._locked: set[Inode] = set()

    def crash_states(self, *, states_max: int = 100_000) -> Iterator["MemoryDisk"]:
        """Each state, once, that a power cut now could leave; this disk stays as it is. ValueError, at once, when
        there are more than `states_max`."""
        return (self._reborn(medium) for medium in states_of(self._medium, states_max=states_max))

    def crash(self, chance: random.Random) -> "MemoryDisk":
        """Cut the power: this disk is dead, and what came back of it is returned."""
        self.dead = True
        return self.remains(chance)

    def remains(self, chance: random.Random) -> "MemoryDisk":
        """One state that a power cut now could leave, drawn; this disk stays as it is."""
        return self._reborn(state_drawn(self._medium, chance))

    def kill(self) -> "MemoryDisk":
        """Kill the process, not the machine: this disk is dead, and the one returned shows all that was written, synced
        or not, with no file open and no lock held. What was not synced still is not."""
        self.dead = True
        for file in list(self._files):
            file.let_go()
        return self._reborn(self._medium)

    def flip(self, path: str, byte: int, bit: int) -> None:
        """Turn bit `bit` (0-7) of byte `byte` of the file, unnoticed: times and sizes stay."""
        inode = self._found(path)
        inode.data[byte] ^= 1 << bit
        self.harm(inode, path)

    def harm(self, inode: Inode, path: str) -> None:
        """Note that a file's bytes are no more those that were written to it."""
        inode.harmed = True
        if self.on_harm is not None:
            self.on_harm(path)

    def feel(self, fault: str) -> None:
        """Note that somebody came to feel a fault."""
        if self.on_fault is not None:
            self.on_fault(fault)

    def fault(self, name: str, number: int, *, doing: str, path: str) -> RoostError:
        """The error by which somebody comes to feel a fault."""
        self.feel(name)
        return error_for(number, doing=doing, path=path)

    def files(self) -> list[tuple[str, Inode]]:
        """All files that have a name, by path."""
        return files_below(self._medium.root)

    def contents(self) -> dict[str, bytes | str]:
        """All that is there, by path: a file's bytes; a link's target; for a directory, whose path ends in ``/``, an
        empty string."""
        found: dict[str, bytes | str] = {}
        waiting = [("", self._medium.root)]
        while waiting:
            prefix, directory = waiting.pop()
            for name, inode in directory.entries():
                if inode.kind is FileKind.DIRECTORY:
                    found[f"{prefix}{name}/"] = ""
                    waiting.append((f"{prefix}{name}/", inode))
                else:
                    found[prefix + name] = bytes(inode.data) if inode.kind is FileKind.FILE else inode.target
        return found

    def open_read(self, path: str, *, follow: bool = False) -> ReadFile:
        self._begin("open", checked_path(path))
        return MemoryFile(self, self._regular(path, follow=follow), path)

    def create(self, path: str, *, mode: int = 0o600) -> WriteFile:
        directory, name = self._vacant("create", path)
        inode = self._medium.new_inode(FileKind.FILE, mode)
        self._medium.set_name(directory, name, inode)
        return MemoryFile(self, inode, path)

    def open_write(self, path: str) -> WriteFile:
        self._begin("open", checked_path(path))
        if self.read_only:
            raise self.fault("read-only", errno.EROFS, doing="open", path=path)
        return MemoryFile(self, self._regular(path, follow=False), path)

    def rename(self, source: str, target: str) -> None:
        checked_path(target)
        self._begin("rename", checked_path(source), also=target, changes=True)
        inode = self._found(source)
        old = self._look(target)
        if old is inode:
            return
        doing = f"rename {source!r} to"
        directory = self._directory(parent_of(target), doing)
        if inode.kind is FileKind.DIRECTORY and f"{target}/".startswith(f"{source}/"):
            raise error_for(errno.EINVAL, doing=doing, path=target)
        if old is not None:
            if inode.kind is FileKind.DIRECTORY and old.kind is not FileKind.DIRECTORY:
                raise error_for(errno.ENOTDIR, doing=doing, path=target)
            if inode.kind is not FileKind.DIRECTORY and old.kind is FileKind.DIRECTORY:
                raise error_for(errno.EISDIR, doing=doing, path=target)
            if next(old.entries(), None) is not None:
                raise error_for(errno.ENOTEMPTY, doing=doing, path=target)
        self._medium.move(self._directory(parent_of(source)), _last(source), directory, _last(target))
        if inode.harmed:
            self.harm(inode, target)

    def unlink(self, path: str) -> None:
        self._begin("remove", checked_path(path), changes=True)
        if self._found(path).kind is FileKind.DIRECTORY:
            raise error_for(errno.EISDIR, doing="remove", path=path)
        self._medium.set_name(self._directory(parent_of(path)), _last(path), None)

    def remove_directory(self, path: str) -> None:
        self._begin("remove directory", checked_path(path), changes=True)
        inode = self._found(path)
        if inode.kind is not FileKind.DIRECTORY:
            raise error_for(errno.ENOTDIR, doing="remove directory", path=path)
        if next(inode.entries(), None) is not None:
            raise error_for(errno.ENOTEMPTY, doing="remove directory", path=path)
        self._medium.set_name(self._directory(parent_of(path)), _last(path), None)

    def make_directory(self, path: str, *, mode: int = 0o700, exist_ok: bool = False) -> None:
        if exist_ok:
            self._begin("make directory", checked_path(path))
            inode = self._look(path)
            if inode is not None and inode.kind is FileKind.DIRECTORY:
                return
        directory, name = self._vacant("make directory", path)
        self._medium.set_name(directory, name, self._medium.new_inode(FileKind.DIRECTORY, mode))

    def list(self, path: str, *, follow: bool = False) -> list[tuple[str, FileKind]]:
        self._begin("list", checked_path(path, root=True))
        inode = self._found(path, follow=follow)
        if inode.kind is not FileKind.DIRECTORY:
            raise error_for(errno.ENOTDIR, doing="list", path=path)
        return sorted((name, entry.kind) for name, entry in inode.entries())

    def info(self, path: str, *, follow: bool = False) -> FileInfo:
        self._begin("look at", checked_path(path, root=True))
        return info_of(self._found(path, follow=follow))

    def exists(self, path: str) -> bool:
        self._begin("look at", checked_path(path))
        try:
            return self._look(path) is not None
        except (NotFound, Failed):
            return False

    def symlink(self, target: str, path: str) -> None:
        if not target or "\0" in target:
            raise ValueError(f"not a link's target: {target[:200]!r}")
        directory, name = self._vacant("make link", path)
        self._medium.set_name(directory, name, self._medium.new_inode(FileKind.SYMLINK, 0o777, target=target))

    def read_link(self, path: str) -> str:
        self._begin("read link", checked_path(path))
        inode = self._found(path)
        if inode.kind is not FileKind.SYMLINK:
            raise Failed(f"cannot read link {path!r}: it is not a symbolic link")
        return inode.target

    def set_mode(self, path: str, mode: int) -> None:
        self._begin("set the mode of", checked_path(path), changes=True)
        inode = self._found(path)
        if inode.kind is FileKind.SYMLINK:
            raise error_for(errno.ELOOP, doing="set the mode of", path=path)
        self._medium.set_attributes(inode, mode=mode)

    def set_times(self, path: str, mtime_ns: int) -> None:
        self._begin("set the time of", checked_path(path), changes=True)
        self._medium.set_attributes(self._found(path), mtime_ns=mtime_ns)

    def sync_directory(self, path: str) -> None:
        self._begin("sync directory", checked_path(path, root=True), changes=True)
        self.cost_syncs += 1
        self._medium.sync_names(self._directory(path, "sync directory"))

    def space(self) -> DiskSpace:
        self._begin("measure", "")
        total = UNBOUNDED_BYTES if self.bytes_max is None else self.bytes_max
        if self.bytes_max is not None:
            self.feel("full")
        return DiskSpace(free=max(0, total - self._medium.used), total=total)

    def lock(self, path: str) -> Lock:
        self._begin("lock", checked_path(path))
        if self._look(path) is None:
            self.create(path).close()
        inode = self._regular(path, follow=False)
        if inode in self._locked:
            raise Busy(f"{path!r} is locked by a running process", hint="stop that process, or wait for it")
        self._locked.add(inode)
        return MemoryLock(self._locked, inode)

    def _begin(self, what: str, path: str, *, also: str | None = None, changes: bool = False) -> None:
        """Let the faults have their say, then note the operation when it `changes` something."""
        if self.dead:
            raise PowerCut
        if changes and self.stop_after is not None and self.operations >= self.stop_after:
            self.dead = True
            if self.on_power_cut is not None:
                self.on_power_cut()
            raise PowerCut
        if self.failing and (self._is_failing(path) or (also is not None and self._is_failing(also))):
            raise self.fault("disk error", errno.EIO, doing=what, path=path)
        if changes:
            if self.read_only:
                raise self.fault("read-only", errno.EROFS, doing=what, path=path)
            self.operations += 1
            operation = Operation(what, path, also or "")
            self.journal.append(operation)
            if self.on_change is not None:
                self.on_change(operation)

    def _is_failing(self, path: str) -> bool:
        return any(not bad or path == bad or path.startswith(f"{bad}/") for bad in self.failing)

    def _room(self) -> int:
        return UNBOUNDED_BYTES if self.bytes_max is None else self.bytes_max - self._medium.used

    def _vacant(self, doing: str, path: str) -> tuple[Inode, str]:
        """Begin the making of `path`: the directory and the free name in it."""
        self._begin(doing, checked_path(path), changes=True)
        directory = self._directory(parent_of(path), doing)
        if self._look(path) is not None:
            raise error_for(errno.EEXIST, doing=doing, path=path)
        if self._room() <= 0:
            raise self.fault("full", errno.ENOSPC, doing=doing, path=path)
        return directory, _last(path)

    def _directory(self, path: str, doing: str = "open") -> Inode:
        inode = self._found(path)
        if inode.kind is not FileKind.DIRECTORY:
            raise error_for(errno.ENOTDIR, doing=doing, path=path)
        return inode

    def _regular(self, path: str, *, follow: bool) -> Inode:
        inode = self._found(path, follow=follow)
        if inode.kind is FileKind.SYMLINK:
            raise error_for(errno.ELOOP, doing="open", path=path)
        if inode.kind is not FileKind.FILE:
            raise not_a_file(path)
        return inode

    def _found(self, path: str, *, follow: bool = False) -> Inode:
        inode = self._look(path, follow=follow)
        if inode is None:
            raise error_for(errno.ENOENT, doing="find", path=path)
        return inode

    def _look(self, path: str, *, follow: bool = False) -> Inode | None:
        return inode_at(self._medium.root, path, follow=follow)

    def _reborn(self, medium: Medium) -> "MemoryDisk":
        disk = MemoryDisk(block_bytes=medium.block_bytes, bytes_max=self.bytes_max)
        disk._medium = medium
        disk.on_harm, disk.on_change, disk.lies = self.on_harm, self.on_change, self.lies
        disk.on_fault = self.on_fault
        return disk


def _last(path: str) -> str:
    return path.rpartition("/")[2]
