"""The folders that are watched: what is finished in them is stored by itself, by a coordinator or by `roost watch`."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from roost.checkpoints.watch_memory import WatchMemory
from roost.checkpoints.watcher import Watcher, changes
from roost.client.cluster import AsyncCluster
from roost.client.reporting import Send
from roost.client.session import Session
from roost.core.errors import RoostError
from roost.core.runtime import Runtime
from roost.disk import holders
from roost.disk.durable import make_directory_durably
from roost.disk.posix import PosixDisk
from roost.node.events import Event, Say, until_signalled
from roost.settings.paths import Home
from roost.settings.schema import Settings, WatchFolder

TELL_EVERY_S = 1.0


async def watch_alone(home: Home, settings: Settings, folders: Sequence[WatchFolder], say: Say) -> None:
    """Watch `folders` until SIGINT or SIGTERM; needs no coordinator. NotAdmitted in a home without an identity."""
    async with await AsyncCluster.open(home, settings) as cluster:
        watching = Watching(cluster.session.runtime, home, settings, say, _tell_nobody)

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                for folder in folders:
                    group.create_task(watching.run(cluster.session, folder))

        await until_signalled(all_of_them())
        say(Event("stopping", "nothing is watched any more"))


async def _tell_nobody() -> None:
    """Nobody asks what waits: it is said as it comes."""


class Watching:
    """Watches folders while its tasks run. `say` hears of what is stored and of what fails; `tell` is called, at most
    once a second, when what is pending has changed; `send` is where the stores are reported, if not as usual."""

    def __init__(
        self, runtime: Runtime, home: Home, settings: Settings, say: Say, tell: Callable[[], Awaitable[None]], *,
        send: Send | None = None,
    ) -> None:  # fmt: skip
        self._send = send
        self._runtime = runtime
        self._home = home
        self._settings = settings
        self._say = say
        self._tell = tell
        self._watched: list[tuple[WatchFolder, Watcher]] = []

    def pending(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Each watched folder, and what in it is not stored yet, with the reason in words."""
        return [(str(folder.path), watcher.pending) for folder, watcher in self._watched]

    @property
    def oldest_s(self) -> float:
        """How long the oldest of what is pending has waited; 0 when nothing is."""
        return max((watcher.oldest_s for _, watcher in self._watched), default=0.0)

    async def run(self, session: Session, folder: WatchFolder) -> None:
        """Make the folder if it is not there, and watch it until cancelled."""
        path = Path(folder.path)
        await self._runtime.in_thread(partial(path.mkdir, parents=True, exist_ok=True))
        keeper = _Keeper(AsyncCluster(session, self._settings, send=self._send), folder, self._say)
        changed = asyncio.Event()
        watcher = Watcher(
            self._runtime, PosixDisk(path), keeper.keep, changed.set, holders=holders.look, refused=keeper.complain,
            events=partial(changes, path), memory=await self._runtime.in_thread(self._memory, path),
        )  # fmt: skip
        self._watched.append((folder, watcher))
        self._say(Event("watched", f"watching {path}", {"path": str(path)}))
        async with asyncio.TaskGroup() as group:
            group.create_task(watcher.run())
            group.create_task(self._tell_changes(changed))

    def _memory(self, path: Path) -> WatchMemory:
        disk = PosixDisk(self._home.root)
        folder = self._home.relative(self._home.watched)
        with contextlib.suppress(RoostError):  # a disk that takes nothing: all is looked at again after a start
            if not disk.exists(folder):
                make_directory_durably(disk, folder)
        name = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]
        return WatchMemory(disk, f"{folder}/{name}.json")

    async def _tell_changes(self, changed: asyncio.Event) -> None:
        while True:
            await self._tell()
            await changed.wait()
            changed.clear()
            await self._runtime.sleep(TELL_EVERY_S)


class _Keeper:
    """Stores what is finished in one folder, and says so; of what fails it says each new reason once."""

    def __init__(self, cluster: AsyncCluster, folder: WatchFolder, say: Say) -> None:
        self._cluster = cluster
        self._folder = folder
        self._say = say
        self._said: dict[str, str] = {}

    def name_of(self, inside: str) -> str:
        """The checkpoint's name: the folder's prefix and the path inside it; the folder itself is called as it is."""
        own = inside.removesuffix(".safetensors")
        if not inside and not self._folder.name:
            own = Path(self._folder.path).name
        return "/".join(part for part in (self._folder.name, own) if part)

    def complain(self, inside: str, error: RoostError) -> None:
        """Say why it is not stored, and what to do, unless that was said already."""
        name = self.name_of(inside)
        if self._said.get(name) != error.message:
            self._said[name] = error.message
            text = f"{name} is not stored: {error.message}" + (f" ({error.hint})" if error.hint else "")
            self._say(Event("warning", text, {"name": name, "code": error.code}))
            self._cluster.backup_failed(name, error)

    async def keep(self, inside: str) -> None:
        name = self.name_of(inside)
        try:
            result = await self._cluster.store(Path(self._folder.path) / inside, name=name)
        except RoostError as error:
            self.complain(inside, error)
            raise
        self._said.pop(name, None)
        if not result.unchanged:
            text = f"stored {result.name}@{result.version}, {result.copies} copies"
            data: dict[str, object] = {"name": result.name, "version": result.version, "degraded": result.degraded}
            self._say(Event("stored", text, data))
