"""Lies: writes that a simulated disk says it made, and did not make, or made elsewhere, or made in part.

Cheap cards and worn drives do this: the write returns, the sync returns, and what is there is something else. Which
files came to hold other bytes than were written to them is known (`MemoryDisk.on_harm`), so that a test can tell what
was lost by our doing.
"""

import enum
import random
from typing import TYPE_CHECKING

from roost.disk.port import FileKind
from roost.testing.medium import Inode

if TYPE_CHECKING:
    from roost.testing.disk import MemoryDisk


class Lie(enum.Enum):
    """What becomes of a write: nothing; its first blocks only; nothing, and another file's bytes are overwritten."""

    DROPPED = enum.auto()
    TORN = enum.auto()
    MISDIRECTED = enum.auto()


class Lies:
    """Of the writes to files below `folders`, the part `rate` is lied about, as `chance` draws; misdirected ones hit
    files below `folders` too. Names in `spared` are neither."""

    def __init__(
        self, chance: random.Random, *, rate: float, folders: tuple[str, ...], spared: tuple[str, ...] = ()
    ) -> None:
        self._chance = chance
        self._rate = rate
        self._folders = folders
        self._spared = spared
        self.told = 0
        """How many there were."""

    def concern(self, path: str) -> bool:
        """Whether the next write to the file is lied about."""
        return self._may_hit(path) and self._chance.random() < self._rate

    def write(self, disk: "MemoryDisk", inode: Inode, path: str, data: memoryview, offset: int) -> None:
        """Lie about a write of `data` at `offset` of the file."""
        self.told += 1
        lie = self._chance.choice(list(Lie))
        blocks = disk._medium.block_bytes
        landed = self._chance.randrange(len(data) // blocks + 1) * blocks if lie is Lie.TORN else 0
        before = bytes(inode.data[offset : offset + len(data)]).ljust(len(data), b"\0")
        really = bytes(data[:landed]) + before[landed:]
        disk._medium.write(inode, memoryview(really), offset)
        if really != data:
            disk.harm(inode, path)
        if lie is Lie.MISDIRECTED:
            self._hit_another(disk, inode, bytes(data))

    def _hit_another(self, disk: "MemoryDisk", writing: Inode, data: bytes) -> None:
        """Overwrite whole blocks of another file; no time moves, and no size."""
        others = [(path, inode) for path, inode in disk.files() if inode is not writing and self._may_hit(path)]
        others = [(path, inode) for path, inode in others if inode.data]
        if not others:
            return
        path, victim = self._chance.choice(others)
        blocks = disk._medium.block_bytes
        begin = self._chance.randrange(-(-len(victim.data) // blocks)) * blocks
        landing = data[: len(victim.data) - begin]
        if victim.data[begin : begin + len(landing)] != landing:
            victim.data[begin : begin + len(landing)] = landing
            disk.harm(victim, path)

    def _may_hit(self, path: str) -> bool:
        return path.partition("/")[0] in self._folders and path.rpartition("/")[2] not in self._spared


def files_below(root: Inode) -> list[tuple[str, Inode]]:
    """All files of a tree by path, sorted."""
    found: list[tuple[str, Inode]] = []
    waiting = [("", root)]
    while waiting:
        prefix, directory = waiting.pop()
        for name, inode in directory.entries():
            if inode.kind is FileKind.DIRECTORY:
                waiting.append((f"{prefix}{name}/", inode))
            elif inode.kind is FileKind.FILE:
                found.append((prefix + name, inode))
    return sorted(found, key=lambda file: file[0])
