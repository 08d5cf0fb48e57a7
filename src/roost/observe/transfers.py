"""The chunks that went to and from each peer: how many bytes, how long each took, and what failed why.

Fed by the links and the server of a process from its event loop, so nothing is locked. Peers are told apart by their
node ids; what an id is called, and which are called the same, is for whoever reads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from roost.core.ids import NodeId
from roost.observe.histogram import TRANSFER_BOUNDS_S, Histogram

Direction = Literal["in", "out"]


@dataclass(slots=True)
class Flow:
    """What went one way."""

    bytes: int = 0
    seconds: Histogram = field(default_factory=lambda: Histogram(TRANSFER_BOUNDS_S))

    def absorb(self, other: "Flow") -> None:
        """Count what `other` counted too."""
        self.bytes += other.bytes
        self.seconds.absorb(other.seconds)


@dataclass(slots=True)
class Transfers:
    """Since this process began. `in` is what came to us, whoever asked for it."""

    _flows: dict[tuple[NodeId | None, Direction], Flow] = field(default_factory=dict)
    _errors: dict[tuple[NodeId | None, str], int] = field(default_factory=dict)

    def moved(self, peer: NodeId | None, direction: Direction, count: int, seconds: float) -> None:
        """One chunk of `count` bytes went in `seconds`, its request and answer included."""
        flow = self._flows.setdefault((peer, direction), Flow())
        flow.bytes += count
        flow.seconds.add(seconds)

    def failed(self, peer: NodeId | None, reason: str) -> None:
        """One did not; `reason` is the error's code."""
        self._errors[peer, reason] = self._errors.get((peer, reason), 0) + 1

    def flows(self, called: Callable[[NodeId | None], str]) -> Iterator[tuple[str, Direction, Flow]]:
        """Each peer by what it is called, sorted, those of one name together."""
        found: dict[tuple[str, Direction], Flow] = {}
        for (peer, direction), flow in self._flows.items():
            found.setdefault((called(peer), direction), Flow()).absorb(flow)
        return ((name, direction, flow) for (name, direction), flow in sorted(found.items(), key=lambda one: one[0]))

    def errors(self, called: Callable[[NodeId | None], str]) -> list[tuple[str, str, int]]:
        """(peer, reason, how many), sorted."""
        found: dict[tuple[str, str], int] = {}
        for (peer, reason), count in self._errors.items():
            found[called(peer), reason] = found.get((called(peer), reason), 0) + count
        return sorted((name, reason, count) for (name, reason), count in found.items())
