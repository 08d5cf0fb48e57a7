"""What lies on a simulated disk: the tree as programs see it, and beside it all that a power cut may leave of it.

The model is a journaling file system (ext4-like) at its worst:

* **Bytes.** Only what was written before the file's last sync is durable. Since then each block is on the disk as it
  was at the sync, or as after any later write to it, whatever the other blocks are; the size is any that the file had
  since; bytes in between that are not there read as zeros. A block itself is never torn. Mode and times that were set
  since the sync are there or not. (Times that mere writes move are not varied.)
* **Names.** A name made, replaced or removed since its directory's last sync refers to what it did at the sync, or to
  what it did after any later change of it, whatever the other names do. Syncing a file does nothing for its name.
* **Renames.** The new name may come without the old one going (two names for one file), but the old name never goes
  without the new one having come: a rename alone loses nothing. Renames of directories happen whole and in order.

Nothing here knows paths, errors or faults: that is `roost.testing.disk`. The states are counted, enumerated and drawn
by `roost.testing.crash`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from roost.disk.port import FileKind

FIRST_TIME_NS = 1_600_000_000 * 10**9


@dataclass(eq=False, slots=True)
class Change:
    """One value that a name had. It can be on the disk only together with each change in `requires`."""

    name: "Name"
    inode: "Inode | None"
    requires: tuple["Change", ...] = ()


@dataclass(eq=False, slots=True)
class Name:
    """One name in one directory: `changes[0]` is durable, `changes[-1]` is what programs see."""

    changes: list[Change] = field(default_factory=list)

    @property
    def inode(self) -> "Inode | None":
        return self.changes[-1].inode


@dataclass(eq=False, slots=True)
class Inode:
    """A file, directory or link, whatever its names. `older_*` is what it was since the last sync, durable first;
    `harmed`: its bytes are not those that were written to it."""

    number: int
    kind: FileKind
    mode: int
    mtime_ns: int
    ctime_ns: int
    target: str = ""
    data: bytearray = field(default_factory=bytearray)
    names: dict[str, Name] = field(default_factory=dict)
    older_blocks: dict[int, list[bytes]] = field(default_factory=dict)
    older_sizes: list[int] = field(default_factory=list)
    older_attributes: tuple[int, int] | None = None
    sync_failed: bool = False
    harmed: bool = False
    links: int = 0
    opens: int = 0

    def entries(self) -> Iterator[tuple[str, "Inode"]]:
        """The names that programs see in this directory now."""
        for name, slot in self.names.items():
            if slot.inode is not None:
                yield name, slot.inode


class Medium:
    """The inodes reachable from `root`, with what is pending on them. `used` is the bytes of files that a name or an
    open handle keeps alive."""

    def __init__(self, *, block_bytes: int) -> None:
        self.block_bytes = block_bytes
        self.used = 0
        self._ticks = 0
        self._numbers = 1
        self._last_directory_move: tuple[Change, ...] = ()
        self.root = self.new_inode(FileKind.DIRECTORY, 0o700)
        self.root.links = 1

    def successor(self) -> "Medium":
        """An empty medium on which numbers and time go on."""
        empty = Medium(block_bytes=self.block_bytes)
        empty._ticks, empty._numbers = self._ticks, self._numbers
        return empty

    def new_inode(self, kind: FileKind, mode: int, *, target: str = "") -> Inode:
        self._numbers += 1
        now = self.tick()
        return Inode(number=self._numbers, kind=kind, mode=mode, mtime_ns=now, ctime_ns=now, target=target)

    def tick(self) -> int:
        """A time later than all before; no clock."""
        self._ticks += 1
        return FIRST_TIME_NS + self._ticks

    def set_name(
        self, directory: Inode, name: str, inode: Inode | None, *, requires: tuple[Change, ...] = ()
    ) -> Change:
        """Let `name` in `directory` refer to `inode`, or to nothing."""
        slot = directory.names.get(name)
        if slot is None:
            slot = directory.names[name] = Name()
            slot.changes.append(Change(slot, None))
        before = slot.inode
        change = Change(slot, inode, requires)
        slot.changes.append(change)
        directory.mtime_ns = directory.ctime_ns = self.tick()
        if inode is not None:
            self.hold(inode, links=1)
        if before is not None:
            self.hold(before, links=-1)
        return change

    def move(self, source: Inode, source_name: str, target: Inode, target_name: str) -> None:
        """Rename what `source_name` in the directory `source` refers to."""
        inode = source.names[source_name].inode
        assert inode is not None
        if inode.kind is not FileKind.DIRECTORY:
            come = self.set_name(target, target_name, inode)
            self.set_name(source, source_name, None, requires=(come,))
            return
        come = self.set_name(target, target_name, inode, requires=self._last_directory_move)
        gone = self.set_name(source, source_name, None, requires=(come,))
        come.requires = (gone, *come.requires)
        self._last_directory_move = (come,)

    def hold(self, inode: Inode, *, links: int = 0, opens: int = 0) -> None:
        """Count a name or a handle that keeps the inode alive."""
        alive = inode.links + inode.opens > 0
        inode.links += links
        inode.opens += opens
        if alive != (inode.links + inode.opens > 0):
            self.used += -len(inode.data) if alive else len(inode.data)

    def write(self, inode: Inode, data: memoryview, offset: int) -> None:
        """Write `data` at `offset` (an open file's), filling a gap before it with zeros."""
        if not len(data):
            return
        end = offset + len(data)
        self._remember(inode, offset, end)
        if end > len(inode.data):
            self._resize(inode, end)
        inode.data[offset:end] = data
        inode.mtime_ns = inode.ctime_ns = self.tick()

    def truncate(self, inode: Inode, size: int) -> None:
        if size < len(inode.data):
            self._remember(inode, size, len(inode.data))
        self._resize(inode, size)
        inode.mtime_ns = inode.ctime_ns = self.tick()

    def set_attributes(self, inode: Inode, *, mode: int | None = None, mtime_ns: int | None = None) -> None:
        if inode.older_attributes is None:
            inode.older_attributes = (inode.mode, inode.mtime_ns)
        inode.mode = inode.mode if mode is None else mode
        inode.mtime_ns = inode.mtime_ns if mtime_ns is None else mtime_ns
        inode.ctime_ns = self.tick()

    def sync(self, inode: Inode) -> None:
        """Make the bytes, size and attributes durable, unless a sync of it failed before: the system then takes its
        pages for clean, says yes, and writes nothing."""
        if not inode.sync_failed:
            inode.older_blocks.clear()
            inode.older_sizes.clear()
            inode.older_attributes = None

    def sync_names(self, directory: Inode) -> None:
        """Make each name in the directory durable as it is, and the directory's attributes."""
        for slot in directory.names.values():
            _settle(slot.changes[-1])
        for name in [name for name, slot in directory.names.items() if len(slot.changes) == 1 and slot.inode is None]:
            del directory.names[name]
        directory.older_attributes = None

    def _resize(self, inode: Inode, size: int) -> None:
        before = len(inode.data)
        if size == before:
            return
        if before not in inode.older_sizes:
            inode.older_sizes.append(before)
        if size > before:
            inode.data.extend(bytes(size - before))
        else:
            del inode.data[size:]
        if inode.links + inode.opens > 0:
            self.used += size - before

    def _remember(self, inode: Inode, begin: int, end: int) -> None:
        """Keep what the blocks from `begin` to `end` hold, before they change."""
        size = self.block_bytes
        for block in range(begin // size, -(-end // size)):
            content = bytes(inode.data[block * size : (block + 1) * size])
            older = inode.older_blocks.setdefault(block, [])
            if content not in older:
                older.append(content)


def _settle(change: Change) -> None:
    """Make the change durable, and with it all that came before it to this name, and all that those require."""
    waiting = [change]
    while waiting:
        change = waiting.pop()
        changes = change.name.changes
        if change not in changes:
            continue
        index = changes.index(change)
        for settled in changes[1 : index + 1]:
            waiting.extend(settled.requires)
            settled.requires = ()
        del changes[:index]
