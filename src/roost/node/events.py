"""What a long-running process tells as it runs, and how it is asked to end."""

import asyncio
import collections
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from roost.core.errors import RoostError


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, in words for people and as data for scripts. `kind` is one of starting,
    authority-created, recovery-code, invitation, join-code, listening, page, node-joined, node-left, ready, node-down,
    local-left-out, watched, stored, repaired, alert, alert-over, alert-told, warning, stopping. The recovery code is in
    the data of the second and third, under ``recovery_code``, a token in that of the fourth, a join code in that of the
    fifth; none is in any text."""

    kind: str
    text: str
    data: dict[str, object] = field(default_factory=dict)


Say = Callable[[Event], None]

SECRET = frozenset({"authority-created", "recovery-code", "invitation", "join-code"})
"""Kinds of events whose data are for whoever sits before the machine, and for nobody else."""
KEPT = 500


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event, its number among all that were told, from 1, and when it was, in seconds since 1970."""

    number: int
    at: int
    event: Event


class History:
    """The last events, without what is secret in them, and the next ones for whoever waits. For one event loop."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._last: collections.deque[Numbered] = collections.deque(maxlen=KEPT)
        self._count = 0
        self._news = asyncio.Event()
        self.closed = False

    def add(self, event: Event) -> None:
        """Remember it, and wake who waits."""
        self._count += 1
        told = Event(event.kind, event.text) if event.kind in SECRET else event
        self._last.append(Numbered(self._count, int(self._wall()), told))
        self._news.set()
        self._news = asyncio.Event()

    @property
    def number(self) -> int:
        """Of the last event."""
        return self._count

    def after(self, number: int) -> list[Numbered]:
        """Those that are remembered and have a higher number, the oldest first."""
        return [each for each in self._last if each.number > number]

    async def wait(self, number: int) -> None:
        """Return when there is an event of a higher number, or it is closed."""
        while self._count <= number and not self.closed:
            await self._news.wait()

    def close(self) -> None:
        """Nobody need wait any more."""
        self.closed = True
        self._news.set()


async def until_signalled(work: Awaitable[None]) -> None:
    """Run `work` until it ends, or until SIGINT or SIGTERM cancels it, which is a good end too. Of errors raised by
    several of its tasks at once the first of ours is raised alone, so that its hint is seen."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not asked:
            raise
    except BaseExceptionGroup as group:
        ours = group.subgroup(RoostError)
        if ours is None:
            raise
        raise _first(ours) from group
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _first(group: BaseExceptionGroup[RoostError]) -> RoostError:
    found: RoostError | BaseExceptionGroup[RoostError] = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
