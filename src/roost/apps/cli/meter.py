"""The meter reads an operation's progress now and then: how fast it goes, how long it will take, what it waits for."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roost.client import Progress

WINDOW_S = 5.0
"""The rate is that of the last seconds, so that a stall shows and a fast start does not flatter."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Progress at one moment. `rate` is in bytes a second; `seconds_left` is None while it cannot be told."""

    phase: str
    bytes_done: int
    bytes_total: int
    rate: int
    seconds_left: float | None
    waiting_for: str


class Meter:
    """Reads one `progress` with the clock `now` (seconds)."""

    def __init__(self, progress: "Progress", now: Callable[[], float]) -> None:
        self._progress = progress
        self._now = now
        self._seen = deque([(now(), progress.bytes_done)])

    def read(self) -> Reading:
        """How it stands. Call it a few times a second."""
        progress, now = self._progress, self._now()
        self._seen.append((now, progress.bytes_done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()
        begun, before = self._seen[0]
        rate = max(0, int((progress.bytes_done - before) / (now - begun))) if now > begun else 0
        left = max(0, progress.bytes_total - progress.bytes_done)
        return Reading(
            phase=progress.phase,
            bytes_done=progress.bytes_done,
            bytes_total=progress.bytes_total,
            rate=rate,
            seconds_left=round(left / rate, 1) if rate and progress.bytes_total else None,
            waiting_for=progress.waiting_for,
        )
