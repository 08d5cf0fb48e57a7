"""The folders that a coordinator watches: what is finished in them is stored by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from roost.checkpoints.watcher import Watcher
from roost.client.cluster import AsyncCluster
from roost.client.session import Session
from roost.core.runtime import Runtime
from roost.disk.posix import PosixDisk
from roost.node.events import Event, Say
from roost.settings.schema import Settings, WatchFolder

TELL_EVERY_S = 1.0


class Watching:
    """Watches folders while its tasks run. `say` hears of what is stored; `tell` is called, at most once a second, when
    what is pending has changed."""

    def __init__(self, runtime: Runtime, settings: Settings, say: Say, tell: Callable[[], Awaitable[None]]) -> None:
        self._runtime = runtime
        self._settings = settings
        self._say = say
        self._tell = tell
        self._watched: list[tuple[WatchFolder, Watcher]] = []

    def pending(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Each watched folder, and what in it is not stored yet, with the reason in words."""
        return [(str(folder.path), watcher.pending) for folder, watcher in self._watched]

    async def run(self, session: Session, folder: WatchFolder) -> None:
        """Make the folder if it is not there, and watch it until cancelled."""
        path = Path(folder.path)
        await self._runtime.in_thread(partial(path.mkdir, parents=True, exist_ok=True))
        cluster = AsyncCluster(session, self._settings)

        async def keep(inside: str) -> None:
            name = inside.removesuffix(".safetensors")
            result = await cluster.store(path / inside, name=f"{folder.name}{name}")
            if not result.unchanged:
                text = f"stored {result.name}@{result.version}, {result.copies} copies"
                self._say(Event("stored", text, {"name": result.name, "version": result.version}))

        changed = asyncio.Event()
        watcher = Watcher(self._runtime, PosixDisk(path), keep, changed.set)
        self._watched.append((folder, watcher))
        self._say(Event("watched", f"watching {path}", {"path": str(path)}))
        async with asyncio.TaskGroup() as group:
            group.create_task(watcher.run())
            group.create_task(self._tell_changes(changed))

    async def _tell_changes(self, changed: asyncio.Event) -> None:
        while True:
            await self._tell()
            await changed.wait()
            changed.clear()
            await self._runtime.sleep(TELL_EVERY_S)
