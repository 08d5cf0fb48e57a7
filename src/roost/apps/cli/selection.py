"""Which of the listed checkpoints a person wants to see, and in which order."""

import datetime
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roost.core.checkpoint import step_of
from roost.core.errors import UsageError
from roost.core.ids import CheckpointName
from roost.settings.units import parse_duration

if TYPE_CHECKING:
    from roost.client import ListedRow


class SortKey(enum.StrEnum):
    """What `ls` orders by."""

    NAME = "name"
    TIME = "time"
    SIZE = "size"
    STEP = "step"
    HEALTH = "health"


_BY_HEALTH = ("healthy", "degraded", "unknown", "at-risk", "lost")


@dataclass(frozen=True, slots=True)
class Selection:
    """Limits, all inclusive, None for none. With `limit` the last so many of the order are kept."""

    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    step_min: int | None = None
    step_max: int | None = None
    limit: int | None = None
    sort: SortKey = SortKey.NAME

    def of(self, rows: "Sequence[ListedRow]") -> "list[ListedRow]":
        """Those of `rows` that are wanted, in order. A name without a step is of no wanted step."""
        chosen = [row for row in rows if self._in_time(row.stored_at) and self._in_steps(row.name)]
        key = _KEYS[self.sort]
        if key is not None:
            chosen.sort(key=key)
        return chosen[-self.limit :] if self.limit is not None else chosen

    def _in_time(self, stored_at: str) -> bool:
        at = datetime.datetime.fromisoformat(stored_at)
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)

    def _in_steps(self, name: str) -> bool:
        if self.step_min is None and self.step_max is None:
            return True
        step = step_of(CheckpointName(name))
        if step is None:
            return False
        return (self.step_min is None or step >= self.step_min) and (self.step_max is None or step <= self.step_max)


def _step(row: "ListedRow") -> int:
    step = step_of(CheckpointName(row.name))
    return -1 if step is None else step


def _badness(row: "ListedRow") -> int:
    return _BY_HEALTH.index(row.health) if row.health in _BY_HEALTH else len(_BY_HEALTH)


_KEYS: "dict[SortKey, Callable[[ListedRow], Any] | None]" = {
    SortKey.NAME: None,
    SortKey.TIME: lambda row: row.stored_at,
    SortKey.SIZE: lambda row: row.bytes,
    SortKey.STEP: _step,
    SortKey.HEALTH: _badness,
}
"""None is the order in which the cluster lists: by name, then oldest first."""


def parse_time(text: str, *, now: datetime.datetime | None = None) -> datetime.datetime:
    """A moment: an ISO 8601 date or time (without a zone: this machine's), or a duration such as ``7d`` before `now`.
    UsageError for anything else."""
    try:
        return datetime.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        pass
    try:
        ago = datetime.timedelta(seconds=parse_duration(text))
        return (now or datetime.datetime.now(datetime.UTC)) - ago
    except (UsageError, OverflowError):
        raise UsageError(
            f"not a time: {text[:80]!r}", hint="write one like 2025-01-31, 2025-01-31T14:05, or 7d for a week ago"
        ) from None
