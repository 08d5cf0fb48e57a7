"""The watcher: finished checkpoints that appear in a folder are stored by themselves. A plain first one.

Every few seconds the folder is looked through; each file is judged by `finished`, and a finished one that has not been
stored as it is now is handed to `keep`. What fails is tried again with growing pauses and never holds up the others.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from roost.checkpoints.finished import (
    HEADER_BYTES_MAX,
    Look,
    Verdict,
    is_ignored,
    judge_quiet,
    judge_safetensors,
)
from roost.codec.safetensors import LENGTH_BYTES, header_length
from roost.core.errors import RoostError
from roost.core.runtime import Runtime
from roost.disk.port import Disk, FileInfo, FileKind

LOOK_EVERY_S = 2.0
RETRY_FIRST_S = 10.0
RETRY_MAX_S = 600.0
FILES_MAX = 100_000

Keep = Callable[[str], Awaitable[None]]
"""Stores the file at this path below the watched folder; raises RoostError when that failed."""


@dataclass(slots=True)
class _Seen:
    """What is known of one file. `stored` is the look at which it was last stored."""

    first: Look
    reason: str = ""
    stored: Look | None = None
    failures: int = 0
    not_before: float = 0.0


@dataclass(slots=True)
class Watcher:
    """Watches the folder that `disk` is the root of."""

    runtime: Runtime
    disk: Disk
    keep: Keep
    changed: Callable[[], None] = field(default=lambda: None)
    """Called when `pending` may have changed."""
    _seen: dict[str, _Seen] = field(default_factory=dict)

    @property
    def pending(self) -> list[tuple[str, str]]:
        """(path, what it waits for) of all files that are not stored as they are now, by path."""
        return [(path, seen.reason) for path, seen in sorted(self._seen.items()) if seen.stored is None]

    async def run(self) -> None:
        """Look again every 2 s, for ever."""
        while True:
            await self.look()
            await self.runtime.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """One look through the folder; stores what is finished, the newest first."""
        before = self.pending
        try:
            found = await self.runtime.in_thread(self._find)
        except RoostError as error:
            self._seen.setdefault("", _Seen(Look(0, 0, 0, 0))).reason = error.message
            self.changed()
            return
        self._seen = {path: self._seen[path] for path in found if path in self._seen}
        ready: list[tuple[int, str, Look]] = []
        for path, info in found.items():
            now = Look(self.runtime.now(), info.size, info.mtime_ns, info.inode)
            seen = self._seen.setdefault(path, _Seen(now))
            if not seen.first.same(now):
                self._seen[path] = seen = _Seen(now)
            if seen.stored is not None or now.at < seen.not_before:
                continue
            verdict = await self.runtime.in_thread(self._judge, path, seen.first, now)
            if verdict.finished:
                ready.append((info.mtime_ns, path, now))
            seen.reason = verdict.reason if not verdict.finished else "it is being stored"
        if self.pending != before:
            self.changed()
        for _, path, now in sorted(ready, reverse=True):
            await self._store(path, now)

    def _find(self) -> dict[str, FileInfo]:
        found: dict[str, FileInfo] = {}
        todo = [""]
        while todo:
            directory = todo.pop()
            try:
                listed = self.disk.list(directory)
            except RoostError:
                if not directory:
                    raise
                continue  # gone again, or not ours to read: no reason to miss the others
            for name, kind in listed:
                path = f"{directory}/{name}" if directory else name
                if is_ignored(name):
                    continue
                if kind is FileKind.DIRECTORY:
                    todo.append(path)
                elif kind is FileKind.FILE and len(found) < FILES_MAX:
                    try:
                        found[path] = self.disk.info(path)
                    except RoostError:
                        continue  # gone again
        return found

    def _judge(self, path: str, first: Look, now: Look) -> Verdict:
        if not path.endswith(".safetensors"):
            return judge_quiet(first, now)
        try:
            return judge_safetensors(self._header(path), now.size)
        except RoostError as error:
            return Verdict(False, error.message)

    def _header(self, path: str) -> bytes:
        file = self.disk.open_read(path)
        try:
            first = bytearray(LENGTH_BYTES)
            if file.pread(memoryview(first), 0) < LENGTH_BYTES:
                return b""
            length = min(header_length(bytes(first)) or 0, HEADER_BYTES_MAX, file.info().size)
            header = bytearray(length)
            return bytes(header[: file.pread(memoryview(header), 0)])
        finally:
            file.close()

    async def _is_still(self, path: str, now: Look) -> bool:
        info = await self.runtime.in_thread(self.disk.info, path)
        return now.same(Look(now.at, info.size, info.mtime_ns, info.inode))

    async def _store(self, path: str, now: Look) -> None:
        seen = self._seen[path]
        self.changed()
        try:
            if not await self._is_still(path, now):
                return  # the others took their time: the next look judges it anew
            await self.keep(path)
        except RoostError as error:
            seen.failures += 1
            pause = min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** (seen.failures - 1))
            seen.not_before = self.runtime.now() + pause
            seen.reason = f"{error.message}; tried again in {pause:.0f} s"
        else:
            seen.stored = now
        self.changed()
