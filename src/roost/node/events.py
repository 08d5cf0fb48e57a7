"""What a long-running process tells as it runs, and how it is asked to end."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from roost.core.errors import RoostError


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, in words for people and as data for scripts. `kind` is one of starting,
    authority-created, recovery-code, invitation, join-code, listening, node-joined, node-left, ready, node-down,
    local-left-out, watched, stored, repaired, warning, stopping. The recovery code is in the data of the second and
    third, under ``recovery_code``, a token in that of the fourth, a join code in that of the fifth; none is in any
    text."""

    kind: str
    text: str
    data: dict[str, object] = field(default_factory=dict)


Say = Callable[[Event], None]


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
