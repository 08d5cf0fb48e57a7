"""The homes of a cluster whose processes are killed, looked at from outside, and what was promised about them."""

import asyncio
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roost.core.ids import ObjectId, RecordId
from roost.disk.durable import is_temporary

LOOKS_MAX = 100
TICK_NS = 50_000_000
"""More than the steps in which file systems tell the time."""


@dataclass
class Homes:
    """The homes by the number of their process. `left` tells whether a kill ever left something to clean up; `bad`
    are the names that belong in quarantine."""

    homes: Mapping[int, Path]
    left: bool = False
    bad: set[str] = field(default_factory=set)
    _objects: dict[int, set[str]] = field(default_factory=dict)
    _records: dict[int, set[str]] = field(default_factory=dict)
    _versions: list[tuple[str, Sequence[str], Sequence[int], int]] = field(default_factory=list)
    _hashed: set[tuple[str, int]] = field(default_factory=set)
    _listed: dict[Path, tuple[int, set[str]]] = field(default_factory=dict)

    def promise_object(self, number: int, name: ObjectId) -> None:
        """The node said that it keeps the object."""
        self._objects.setdefault(number, set()).add(name.hex())

    def promise_record(self, number: int, name: RecordId) -> None:
        """The process said that it keeps the record."""
        self._records.setdefault(number, set()).add(name.hex())

    def promise_version(
        self, name: RecordId, objects: Iterable[ObjectId], nodes: Sequence[int], *, copies: int
    ) -> None:  # fmt: skip
        """A receipt said that the nodes keep the manifest, and so many of them each object."""
        for node in nodes:
            self.promise_record(node, name)
        self._versions.append((name.hex(), [one.hex() for one in objects], nodes, copies))

    def release(self, number: int, names: Iterable[ObjectId]) -> None:
        """The node need not keep the objects any more: nothing names them, or they were damaged behind its back."""
        self._objects[number] -= {name.hex() for name in names}

    def look_for_leftovers(self) -> None:
        """Look for what a process that was killed left, before it is started again."""
        self.left = self.left or any(True for home in self.homes.values() for _ in _leftovers(home))

    async def problems(self, *, running: Iterable[int]) -> list[str]:
        """What is wrong: anything half, anything promised that is not there, and leftovers of processes that were
        started again since."""
        found: list[str] = []
        objects = {number: self._whole(home / "chunks", "??", found) for number, home in self.homes.items()}
        records = {number: self._whole(home, "records", found) for number, home in self.homes.items()}
        for number, home in self.homes.items():
            absent = len(self._objects.get(number, set()) - objects[number])
            absent += len(self._records.get(number, set()) - records[number])
            if absent:
                found.append(f"{absent} promised things are not at {home.name}")
            found += [
                f"{path.name} is in quarantine" for path in home.glob("quarantine/*") if path.name not in self.bad
            ]
        for number in running:
            found += [f"{path} is left over" for path in await self._staying(self.homes[number])]
        for name, parts, nodes, copies in self._versions:
            if any(sum(part in objects[node] for node in nodes) < copies for part in parts):
                found.append(f"version {name[:8]} has fewer copies than its receipt says")
        return found

    async def _staying(self, home: Path) -> set[Path]:
        """The temporaries that stay: those of a write that is under way go by themselves."""
        staying = set(_leftovers(home))
        for _ in range(LOOKS_MAX):
            if staying:
                await asyncio.sleep(0.01)
                staying &= set(_leftovers(home))
        return staying

    def _whole(self, home: Path, folders: str, found: list[str]) -> set[str]:
        """The names of the files that are whole, by their hash; what is under a name and is not goes to `found`."""
        names: set[str] = set()
        for folder in home.glob(folders):
            changed = folder.stat().st_mtime_ns
            known = self._listed.get(folder)
            if known is None or known[0] != changed:
                listed = self._look(folder, found)
                if time.time_ns() - changed > TICK_NS:  # else it may change once more with the same time
                    self._listed[folder] = changed, listed
            else:
                listed = known[1]
            names |= listed
        return names

    def _look(self, folder: Path, found: list[str]) -> set[str]:
        """A file is hashed once: what has its name is never written to."""
        names: set[str] = set()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name.partition(".")[0]
                if is_temporary(entry.name):
                    continue
                if (entry.path, entry.inode()) not in self._hashed:
                    if hashlib.sha256(Path(entry.path).read_bytes()).hexdigest() != name:
                        if f"{name}-0" not in self.bad:
                            found.append(f"{entry.path} is not whole")
                        continue
                    self._hashed.add((entry.path, entry.inode()))
                names.add(name)
        return names


def _leftovers(home: Path) -> Iterator[Path]:
    yield from home.glob("chunks/tmp/*")
    for folder in ("", "records/", "state/", "identity/"):
        yield from (path for path in home.glob(f"{folder}*") if is_temporary(path.name))
