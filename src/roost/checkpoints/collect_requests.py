"""The passes of one node's collector that somebody asked for: they go on although who asked gives up.

An asker only waits, and hears as progress all that the collector moves, also in the pass before its own. Askers of one
kind of pass that has not begun share it, so however often somebody asks, one waits behind the one that runs.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from roost.core.errors import RoostError, Unreachable
from roost.core.runtime import Runtime
from roost.net.server import Call

T = TypeVar("T")

TICK_S = 5.0

Begun = Callable[[], None]
"""To be called by a pass when it has its turn: who asks from then on is not served by it any more."""


@contextlib.asynccontextmanager
async def patience(runtime: Runtime, moved: Callable[[int], None]) -> AsyncIterator[None]:
    """While the block runs, let `moved` hear every few seconds that we go on: for waits for others, each of which has
    a limit of its own."""

    async def tick() -> None:
        while True:
            await runtime.sleep(TICK_S)
            moved(1)

    ticking = asyncio.get_running_loop().create_task(tick(), name="collection waits")
    try:
        yield
    finally:
        ticking.cancel()


@dataclass(slots=True)
class CollectRequests(Generic[T]):
    """`make` makes one pass, a dry run or not. `close` comes before the end of what the passes use."""

    make: Callable[[bool, Begun], Awaitable[T]]
    _next: "dict[bool, asyncio.Task[T | RoostError]]" = field(default_factory=dict)
    _tasks: "set[asyncio.Task[T | RoostError]]" = field(default_factory=set)
    _waiting: dict[int, Call] = field(default_factory=dict)
    _closed: bool = False

    def moved(self, count: int) -> None:
        """The collector moved: whoever waits is told."""
        for call in self._waiting.values():
            call.progress += count

    async def answer(self, call: Call, *, dry_run: bool) -> T:
        """What a pass that began after this call came to. Raises what it raises; Unreachable when we are ending."""
        if self._closed:
            raise _ending()
        task = self._next.get(dry_run) or self._begin(dry_run)
        self._waiting[id(call)] = call
        try:
            await asyncio.wait([task])
        finally:
            del self._waiting[id(call)]
        if task.cancelled():
            raise _ending()
        outcome = task.result()
        if isinstance(outcome, RoostError):
            raise outcome
        return outcome

    def _begin(self, dry_run: bool) -> "asyncio.Task[T | RoostError]":
        def begun() -> None:
            if self._next.get(dry_run) is task:
                del self._next[dry_run]

        async def make() -> T | RoostError:
            try:
                return await self.make(dry_run, begun)
            except RoostError as error:
                return error  # not raised here: nobody may be left who waits
            finally:
                begun()

        task = asyncio.get_running_loop().create_task(make(), name="collection on request")
        self._next[dry_run] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End the passes that run, and begin none any more."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))


def _ending() -> Unreachable:
    return Unreachable("this node is ending", hint="try again when it is back")
