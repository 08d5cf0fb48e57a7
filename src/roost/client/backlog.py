"""The backlog: checkpoints that are held open and wait to be stored, the newest first, one after the other.

What the cluster refuses for now is tried again with growing pauses, for as long as no more than a few newer ones wait:
what is held keeps its disk space, even when its files have been removed. Whatever is given up is told.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from roost.checkpoints.holding import Changed
from roost.checkpoints.progress import Progress
from roost.client.backup_notes import BackupNote, BackupNotes
from roost.client.results import StoreResult
from roost.client.storing import Held, hold
from roost.core.errors import Failed, Leaving, NoSpace, NotFound, RoostError
from roost.core.runtime import Runtime
from roost.observe.telling import program_log

RETRY_FIRST_S = 10.0
RETRY_MAX_S = 300.0
HOLDS_MAX = 5
"""How often the files of one are opened anew because they changed."""
AWAITED_S = 30.0
"""How long files of other processes are waited for."""
LOOK_EVERY_S = 0.2
UNCOUNTED_MAX = 100
LAST_WORDS_S = 2.0


class Storing(Protocol):
    """What of a cluster a backlog needs; an `AsyncCluster` has it."""

    async def store_held(
        self, held: Held, *, redundancy: str | None = None, progress: Progress | None = None
    ) -> StoreResult: ...

    def backup_failed(self, name: str, error: RoostError) -> None: ...

    async def aclose(self) -> None: ...


@dataclass(eq=False, slots=True)
class Waiting:
    """One that waits: where it lies, the name it was given (None: made from the path) and has, and its open files (None
    when they changed while they were opened). `awaited` are files in it that other processes still write."""

    path: Path
    given: str | None
    name: str
    held: Held | None
    awaited: tuple[str, ...] = ()
    progress: Progress = field(default_factory=Progress)
    failures: int = 0
    holds: int = 1
    not_before: float = 0.0
    reason: str = ""
    paths: frozenset[str] = frozenset()
    result: "asyncio.Future[StoreResult] | None" = None

    def hold_again(self) -> None:
        """Open the files anew. Raises as `hold`, and Failed when one is gone that was there before: a rotation is
        removing them. The old ones stay open then."""
        before = _paths(self.held) if self.held is not None else self.paths
        held = hold(self.path, name=self.given)
        if gone := before - _paths(held):
            held.close()
            raise Failed(f"{min(gone)} is not there any more", hint="it was removed before it was stored")
        self.close()
        self.held = held

    def close(self) -> None:
        """Let go of the files."""
        if self.held is not None:
            self.paths = _paths(self.held)
            self.held.close()
            self.held = None


class Backlog:
    """Everything that one program has to store. For one event loop; `open_cluster` may raise RoostError."""

    def __init__(
        self, runtime: Runtime, open_cluster: Callable[[], Awaitable[Storing]], notes: BackupNotes, *, waiting_max: int
    ) -> None:
        self._runtime = runtime
        self._open_cluster = open_cluster
        self._notes = notes
        self._waiting_max = waiting_max
        self._items: list[Waiting] = []
        self._current: Waiting | None = None
        self._cluster: Storing | None = None
        self._worker: asyncio.Task[None] | None = None
        self._callers: set[asyncio.Task[object]] = set()
        self._wake = asyncio.Event()
        self._ended = 0
        self._hurry = False
        self._uncounted: deque[tuple[str, RoostError]] = deque(maxlen=UNCOUNTED_MAX)
        """What failed and the cluster does not know yet: it hears when it can be reached."""

    @property
    def waiting(self) -> list[Waiting]:
        """What is not stored yet, the oldest first; also the one that is being stored."""
        return list(self._items)

    async def store(self, item: Waiting) -> StoreResult:
        """Let it wait for its turn; what became of it. Raises the RoostError that it was given up for."""
        caller = asyncio.current_task()
        assert caller is not None
        self._callers.add(caller)
        caller.add_done_callback(self._callers.discard)
        item.result = asyncio.get_running_loop().create_future()
        self._items.append(item)
        late = [one for one in self._items if one is not self._current]
        for old in late[: max(0, len(late) - self._waiting_max)]:
            why = old.reason or "storing is slower than saving"
            await self._give_up(old, Failed(f"{self._waiting_max} newer ones wait ({why})", hint=TOO_MANY))
        self._begin()
        return await item.result

    async def count_failure(self, name: str, error: RoostError) -> None:
        """Let the cluster know, when it can be reached, that there is no backup of `name`."""
        self._uncounted.append((name, error))
        self._begin()

    def _begin(self) -> None:
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        self._wake.set()

    async def drained(self, timeout_s: float | None = None) -> None:
        """Return when nothing waits, and after `timeout_s` in any case."""
        if self._callers:
            await asyncio.wait(set(self._callers), timeout=timeout_s)

    async def settle(self, *, patience_s: float) -> None:
        """Return when nothing waits, or nothing has moved for `patience_s`. Meanwhile no pause between two attempts is
        longer than the first one."""
        self._hurry = True
        for item in self._items:
            item.not_before = 0.0
        self._wake.set()
        last, since = self._mark(), self._runtime.now()
        while self._items and self._runtime.now() - since < patience_s:
            await self._runtime.sleep(min(LOOK_EVERY_S, patience_s))
            if (mark := self._mark()) != last:
                last, since = mark, self._runtime.now()

    async def aclose(self) -> None:
        """Give up what waits, each with a word, and close the cluster. Idempotent."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
            self._worker = None
        for item in self.waiting:
            why = f" ({item.reason})" if item.reason else ""
            await self._give_up(item, Failed(f"the program ended before it was stored{why}", hint=ENDED))
        await self.drained()
        with contextlib.suppress(TimeoutError):
            async with self._runtime.timeout(LAST_WORDS_S):
                await self._tell_failures()
        await self._close_cluster()

    def _mark(self) -> tuple[object, ...]:
        progress = self._current.progress if self._current is not None else Progress()
        return self._ended, progress.bytes_done, progress.bytes_moved

    # -- one after the other -------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            now = self._runtime.now()
            ready = [item for item in self._items if item.not_before <= now]
            if ready:
                await self._attempt(ready[-1])
                continue
            if not self._items:
                await self._tell_failures()
                await self._close_cluster()
            pause = min((item.not_before - now for item in self._items), default=None)
            with contextlib.suppress(TimeoutError):
                if pause is None:
                    await self._wake.wait()
                else:
                    async with self._runtime.timeout(pause):
                        await self._wake.wait()

    async def _attempt(self, item: Waiting) -> None:
        self._current = item
        item.progress = Progress()
        try:
            held = await self._whole(item)
            if self._cluster is None:
                self._cluster = await self._open_cluster()
            result = await self._cluster.store_held(held, progress=item.progress)
            self._count_failures(self._cluster)
        except RoostError as error:
            await self._close_cluster()
            await self._failed(item, error)
        except Exception as error:  # supervised: a fault of ours ends this backup alone
            await self._close_cluster()
            hint = ENDED if self._hurry else "please report this as a bug"
            await self._give_up(item, Failed(f"{type(error).__name__}: {error}", hint=hint))
        else:
            await self._stored(item, result)
        finally:
            self._current = None

    def _count_failures(self, cluster: Storing) -> None:
        while self._uncounted:
            cluster.backup_failed(*self._uncounted.popleft())

    async def _whole(self, item: Waiting) -> Held:
        """Its open files; opened anew when they had changed, or files of other processes have come since."""
        if item.awaited:
            await self._await_others(item)
        if item.held is None:
            item.holds += 1
            await self._runtime.in_thread(item.hold_again)
        assert item.held is not None
        return item.held

    async def _await_others(self, item: Waiting) -> None:
        deadline = self._runtime.now() + AWAITED_S
        missing = item.awaited
        while missing and self._runtime.now() < deadline:
            missing = await self._runtime.in_thread(_absent, item.path, missing)
            if missing:
                await self._runtime.sleep(LOOK_EVERY_S)
        item.awaited = ()
        if missing:
            program_log().warning("backup of %s: stored without %s", item.name, ", ".join(missing))
        try:
            await self._runtime.in_thread(item.hold_again)
        except RoostError as error:  # rotated away meanwhile: what was opened at first is all there is
            if item.held is None:
                raise
            program_log().warning("backup of %s: stored as it was at first: %s", item.name, error.message)

    # -- how it ends ---------------------------------------------------------------------------------------------

    async def _stored(self, item: Waiting, result: StoreResult) -> None:
        for other in self._items:
            other.not_before, other.reason = 0.0, ""
        self._end(item)
        log = program_log()
        told = f"{result.copies} {'copy' if result.copies == 1 else 'copies'}, {result.seconds:.1f} s"
        log.info("backup of %s stored as version %s: %s", result.name, result.version, told)
        if result.degraded:
            log.warning("backup of %s has fewer copies than asked: %s", result.name, told)
        await self._noting(lambda: self._notes.stored(result.name))
        if item.result is not None and not item.result.done():
            item.result.set_result(result)

    async def _failed(self, item: Waiting, error: RoostError) -> None:
        """Try it again later, where that is of use."""
        overtaken = isinstance(error, Changed) or (isinstance(error, NotFound) and item.held is not None)
        if overtaken and item.holds < HOLDS_MAX:  # by its writer, or a rotation
            item.close()
            self._pause(item, RETRY_FIRST_S)
        elif not overtaken and (error.retry or isinstance(error, NoSpace | Leaving)):
            longest = RETRY_FIRST_S if self._hurry else RETRY_MAX_S
            self._pause(item, min(longest, RETRY_FIRST_S * 2 ** min(item.failures, 10)))
        else:
            await self._give_up(item, error)
            return
        if item.reason != error.message:
            item.reason = error.message
            self._uncounted.append((item.name, error))
            program_log().warning("backup of %s waits and is tried again: %s", item.name, error.message)
            await self._note(item, error, waiting=True)

    def _pause(self, item: Waiting, seconds: float) -> None:
        item.failures += 1
        item.not_before = self._runtime.now() + seconds

    async def _give_up(self, item: Waiting, error: RoostError) -> None:
        self._end(item)
        self._uncounted.append((item.name, error))
        tell_failed(item.name, error)
        await self._note(item, error, waiting=False)
        if item.result is not None and not item.result.done():
            item.result.set_exception(error)

    def _end(self, item: Waiting) -> None:
        self._ended += 1
        item.close()
        with contextlib.suppress(ValueError):
            self._items.remove(item)

    async def _note(self, item: Waiting, error: RoostError, *, waiting: bool) -> None:
        at = int(self._runtime.wall())
        note = BackupNote(item.name, str(item.path), at, error.message, error.hint, waiting=waiting)
        await self._noting(lambda: self._notes.write(note))

    async def _noting(self, work: Callable[[], None]) -> None:
        try:
            await self._runtime.in_thread(work)
        except RuntimeError:  # Python 3.12.0 to 3.12.2 start no thread any more when a program ends
            work()

    async def _tell_failures(self) -> None:
        """Nothing waits any more: let the cluster count what failed, if it can be reached now."""
        if self._uncounted:
            with contextlib.suppress(RoostError):
                self._cluster = self._cluster or await self._open_cluster()
                self._count_failures(self._cluster)

    async def _close_cluster(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            await cluster.aclose()


TOO_MANY = "bring the cluster back; what is still on the disk can be stored by hand: roost store PATH --name NAME"
ENDED = "store it by hand: roost store PATH --name NAME"


def tell_failed(name: str, error: RoostError) -> None:
    """Say aloud that there is no backup of `name`."""
    hint = f" ({error.hint})" if error.hint else ""
    program_log().error("NO BACKUP of %s: %s%s", name, error.message, hint)


def _paths(held: Held) -> frozenset[str]:
    return frozenset(found.path for found in held.holding.scan.found)


def _absent(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if not (folder / name).exists())
