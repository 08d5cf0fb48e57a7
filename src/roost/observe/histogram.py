"""A histogram that costs an addition to feed, and nothing to have: only who asks for metrics loads their library."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

TRANSFER_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""For a chunk of up to 8 MiB: 30 s are those of a line of 2 Mbit/s."""
OPERATION_BOUNDS_S = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0, 7200.0)


@dataclass(slots=True)
class Histogram:
    """Counts values by their upper bounds, which are sorted; what is above the last one counts too."""

    bounds: Sequence[float]
    sum: float = 0.0
    _counts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def absorb(self, other: "Histogram") -> None:
        """Count all that `other`, of the same bounds, has counted."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self.sum += other.sum

    def buckets(self) -> list[tuple[str, float]]:
        """(upper bound, values up to it), the last with the bound ``+Inf``: as Prometheus wants them."""
        total = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found
