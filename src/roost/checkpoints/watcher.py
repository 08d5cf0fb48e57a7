"""The watcher: checkpoints that are finished in a folder are stored by themselves, the newest first.

Every ten seconds, and whenever the system tells of a change, the folder is looked through; what is found makes units
(`finished.units`), and each that is not stored as it is now is judged. Only the looks decide: an event merely wakes the
watcher, so one that is lost costs some seconds. One that fails is tried again with growing pauses and holds up nobody.
Nothing in the folder is ever changed.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from roost.checkpoints.finished import Unit, is_ignored, judge, units
from roost.checkpoints.forms import Seen, Verdict
from roost.checkpoints.holding import Changed
from roost.checkpoints.looking import examine, find
from roost.checkpoints.structure import State, Structure
from roost.checkpoints.watch_memory import WatchMemory
from roost.core.errors import NotFound, RoostError, Unreachable
from roost.core.runtime import Runtime
from roost.disk.holders import Holders
from roost.disk.port import Disk, FileInfo
from roost.observe.log import get_logger

LOOK_EVERY_S = 10.0
LOOK_APART_S = 1.0
"""Between two looks, however many events come."""
RETRY_FIRST_S = 10.0
RETRY_MAX_S = 600.0
RETRY_UNREACHED_S = 30.0
"""While the cluster is away: it may be back at any time, and then everything that waits is stored at once."""

Keep = Callable[[str], Awaitable[None]]
"""Stores the file or folder at this path below the watched folder; raises RoostError when that failed."""
Refused = Callable[[str, RoostError], None]
"""Hears, at each look, of a file or folder that cannot be read, and why."""
Events = Callable[[], AsyncIterator[object]]
"""Yields whenever something below the folder changed, until it cannot tell any more."""


def nobody_tells() -> Holders | None:
    """On a system that does not tell who holds a file."""
    return None


def nobody_hears(path: str, error: RoostError) -> None:
    """Where `pending` is enough."""


@dataclass(slots=True)
class _File:
    """A file as it has been since `since`, and what it says of itself."""

    info: FileInfo
    since: float
    examined: tuple[Structure, bytes] | None = None

    @property
    def stamp(self) -> tuple[int, ...]:
        return self.info.device, self.info.inode, self.info.size, self.info.mtime_ns


@dataclass(slots=True)
class _Trouble:
    """A unit that could not be stored as it was at `stamp`."""

    stamp: str
    reason: str
    failures: int
    not_before: float


@dataclass
class Watcher:
    """Watches the folder that `disk` is the root of."""

    runtime: Runtime
    disk: Disk
    keep: Keep
    changed: Callable[[], None] = field(default=lambda: None)
    """Called when `pending` may have changed."""
    holders: Callable[[], Holders | None] = nobody_tells
    refused: Refused = nobody_hears
    events: Events | None = None
    memory: WatchMemory | None = None
    _files: dict[str, _File] = field(default_factory=dict)
    _stored: dict[str, str] = field(default_factory=dict)
    _troubles: dict[str, _Trouble] = field(default_factory=dict)
    _waiting: dict[str, str] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pending(self) -> list[tuple[str, str]]:
        """(path, what it waits for) of all that is not stored as it is now, by path; the empty path is the folder."""
        return sorted(self._waiting.items())

    @property
    def oldest_s(self) -> float:
        """How long the oldest of what is pending has waited; 0 when nothing is."""
        return max((self.runtime.now() - since for since in self._since.values()), default=0.0)

    async def run(self) -> None:
        """Look again and again, for ever."""
        if self.memory is not None:
            self._stored = await self.runtime.in_thread(self.memory.load)
        async with asyncio.TaskGroup() as group:
            if self.events is not None:
                group.create_task(self._listen(self.events))
            while True:
                self._wake.clear()
                if not await self.look():
                    await self._pause()

    async def _listen(self, events: Events) -> None:
        try:
            async for _ in events():
                self._wake.set()
        except (OSError, RuntimeError, RoostError) as error:  # also what is wrong inside watchfiles
            get_logger(__name__).warning("no events of a watched folder: it is looked through instead", why=str(error))

    async def _pause(self) -> None:
        await self.runtime.sleep(LOOK_APART_S)
        try:
            async with self.runtime.timeout(LOOK_EVERY_S - LOOK_APART_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def look(self) -> bool:
        """One look through the folder; stores the newest of what is finished. Whether there may be more to store."""
        try:
            found, refused = await self.runtime.in_thread(find, self.disk)
        except RoostError as error:
            self._wait_for({**self._waiting, "": error.message})
            return False
        self._note(found)
        ready = await self._judge_all(await self.runtime.in_thread(units, list(found)), refused)
        if ready:
            await self._store(max(ready, key=lambda one: (one.mtime_ns, one.path)))
        return len(ready) > 1

    def _note(self, found: dict[str, FileInfo]) -> None:
        now = self.runtime.now()
        files: dict[str, _File] = {}
        for path, info in found.items():
            known, fresh = self._files.get(path), _File(info, now)
            files[path] = known if known is not None and known.stamp == fresh.stamp else fresh
        self._files = files

    async def _judge_all(self, found: list[Unit], refused: dict[str, RoostError]) -> "list[_Ready]":
        """The finished units that are to be stored now; notes what the others wait for."""
        inside = _inside(found, self._files)
        stamps = {path: _stamp(files) for path, files in inside.items()}
        self._stored = {path: stamp for path, stamp in self._stored.items() if path in stamps}
        self._troubles = {path: t for path, t in self._troubles.items() if stamps.get(path) == t.stamp}
        todo = [unit for unit in found if self._stored.get(unit.path) != stamps[unit.path]]
        holders = await self.runtime.in_thread(self.holders) if todo else None
        waiting = {path: self._refuse(path, error) for path, error in refused.items() if not is_ignored(_name(path))}
        ready: list[_Ready] = []
        for unit in todo:
            path, files = unit.path, inside[unit.path]
            trouble = self._troubles.get(path)
            if trouble is not None and self.runtime.now() < trouble.not_before:
                waiting[path] = trouble.reason
                continue
            try:
                verdict = await self.runtime.in_thread(self._judge, unit, files, holders)
            except NotFound:  # gone since the look
                continue
            except RoostError as error:
                waiting[path] = self._refuse(path, error)
                continue
            waiting[path] = "it is finished, and stored next" if verdict.finished else verdict.reason
            if verdict.finished:
                newest = max(file.info.mtime_ns for file in files.values())
                ready.append(_Ready(newest, path, stamps[path], files))
        self._wait_for(waiting)
        return ready

    def _refuse(self, path: str, error: RoostError) -> str:
        self.refused(path, error)
        return f"{error.message}: {error.hint}" if error.hint else error.message

    def _judge(self, unit: Unit, files: dict[str, _File], holders: Holders | None) -> Verdict:
        """The verdict. Raises as the port does."""
        now = self.runtime.now()
        seen: dict[str, Seen] = {}
        for inside, file in files.items():
            path = "/".join(part for part in (unit.path, inside) if part)
            if file.examined is None or file.examined[0].state is not State.WHOLE:  # time stamps are coarse
                file.examined = examine(self.disk, path)
            structure, text = file.examined
            held = holders.holds(file.info) if holders is not None else None
            seen[inside] = Seen(file.info.size, file.info.mtime_ns, now - file.since, held, structure, text)
        beside = examine(self.disk, unit.beside)[1] if unit.beside is not None else None
        return judge(unit, seen, beside)

    def _wait_for(self, waiting: dict[str, str]) -> None:
        if waiting != self._waiting:
            now = self.runtime.now()
            self._since = {path: self._since.get(path, now) for path in waiting}
            self._waiting = waiting
            self.changed()

    def _is_still(self, unit: str, files: dict[str, _File], stamp: str) -> bool:
        """Whether no file of the unit has changed since the look that it was judged by."""
        again = {
            inside: _File(self.disk.info("/".join(part for part in (unit, inside) if part)), file.since)
            for inside, file in files.items()
        }
        return _stamp(again) == stamp

    async def _store(self, ready: "_Ready") -> None:
        path = ready.path
        self._wait_for({**self._waiting, path: "it is being stored"})
        try:
            if not await self.runtime.in_thread(self._is_still, path, ready.files, ready.stamp):
                return
            await self.keep(path)
        except RoostError as error:
            self._fail(ready, error)
        else:
            self._troubles.pop(path, None)
            self._stored[path] = ready.stamp
            self._wait_for({other: reason for other, reason in self._waiting.items() if other != path})
            if self.memory is not None:
                with contextlib.suppress(RoostError):  # then a new start stores it again, and finds it unchanged
                    await self.runtime.in_thread(self.memory.save, dict(self._stored))

    def _fail(self, ready: "_Ready", error: RoostError) -> None:
        known = self._troubles.get(ready.path)
        failures = known.failures + 1 if known is not None else 1
        if isinstance(error, Changed | NotFound):  # its writer, or a rotation, was there first: it is judged anew
            longest = RETRY_FIRST_S
        else:
            longest = RETRY_UNREACHED_S if isinstance(error, Unreachable) else RETRY_MAX_S
        pause = min(longest, RETRY_FIRST_S * 2 ** min(failures - 1, 10))
        reason = f"{error.message}; tried again in {pause:.0f} s"
        self._troubles[ready.path] = _Trouble(ready.stamp, reason, failures, self.runtime.now() + pause)
        self._wait_for({**self._waiting, ready.path: reason})


@dataclass(frozen=True, slots=True)
class _Ready:
    """A finished unit: when its newest file was written, and its files and their stamp when it was judged."""

    mtime_ns: int
    path: str
    stamp: str
    files: dict[str, _File]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _inside(found: list[Unit], files: dict[str, _File]) -> dict[str, dict[str, _File]]:
    """By unit its files, by their paths inside it."""
    inside: dict[str, dict[str, _File]] = {unit.path: {} for unit in found}
    alone = {unit.path for unit in found if unit.form is None}
    folders = {unit.path for unit in found if unit.form is not None}
    for path, file in files.items():
        if path in alone:
            inside[path][""] = file
            continue
        above = path
        while above:
            above = above.rpartition("/")[0]
            if above in folders:
                inside[above][path[len(above) + 1 :] if above else path] = file
                break
    return inside


def _stamp(files: dict[str, _File]) -> str:
    """Tells whether any of the files is another, or other, than it was."""
    digest = hashlib.sha256()
    for inside, file in sorted(files.items()):
        digest.update(
            f"{inside}\0{file.info.inode} {file.info.size} {file.info.mtime_ns}\n".encode(errors="surrogateescape")
        )
    return digest.hexdigest()


async def changes(path: Path) -> AsyncIterator[object]:
    """Yields whenever the system tells of a change below `path`. OSError when it cannot: too many watches, or a file
    system that tells nothing."""
    import watchfiles

    async for some in watchfiles.awatch(
        path, watch_filter=None, debounce=500, recursive=True, ignore_permission_denied=True
    ):
        yield some
