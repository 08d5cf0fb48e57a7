"""How space, throughput and failures went: a sample every ten seconds, kept for a while in memory.

The last two hours are kept sample by sample, the last seven days by one every five minutes; older ones, and those of a
coordinator that ended, are gone. Who wants to keep them longer lets Prometheus scrape ``/metrics``.
"""

import asyncio
from array import array
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

import msgspec

from roost.client import NodeRow
from roost.core.cluster import NodeState
from roost.core.errors import RoostError
from roost.observe.log import get_logger

EVERY_S = 10
FINE_KEPT = 2 * 3600 // EVERY_S
COARSE_EVERY_S = 300
COARSE_KEPT = 7 * 86_400 // COARSE_EVERY_S
NODES_MAX = 64
"""Of so many nodes space is kept one by one, the first that were seen; of all of them in sum."""
UNKNOWN = -1


class Running(Protocol):
    """What a sample needs to know of an operation."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def bytes_done(self) -> int: ...


class SpaceColumns(msgspec.Struct, frozen=True):
    """One node's space, in bytes; null where it did not answer."""

    node: str
    used: tuple[int | None, ...]
    free: tuple[int | None, ...]


class SeriesAnswer(msgspec.Struct, frozen=True):
    """Samples by column, the oldest first. `at` in seconds since 1970; `rate` in bytes a second since the sample
    before, of all operations together; `running` counts those that run; `failures` the operations that failed, the bad
    copies that were found and the nodes that went down since the sample before."""

    every_s: int
    at: tuple[int, ...]
    rate: tuple[float, ...]
    running: tuple[int, ...]
    failures: tuple[int, ...]
    used: tuple[int, ...]
    free: tuple[int, ...]
    nodes: tuple[SpaceColumns, ...]


@dataclass(frozen=True, slots=True)
class _Sample:
    """One moment. `space` is (used, free) for each of the nodes kept one by one, in the order they were first seen."""

    at: int
    rate: float
    running: int
    failures: int
    used: int
    free: int
    space: "array[int]"


@dataclass(slots=True)
class _Before:
    """What the last sample saw, so that the next one knows what is new."""

    at: float | None = None
    done: dict[str, int] = field(default_factory=dict)
    failed: Collection[str] | None = None
    damaged: dict[str, int] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)


class Series:
    """The samples of one coordinator. `nodes` asks how the nodes are, `operations` tells of those that run and those
    that ended lately; `wall` is in seconds since 1970."""

    def __init__(
        self, *, nodes: Callable[[], Awaitable[Sequence[NodeRow]]], operations: Callable[[], Iterable[Running]],
        wall: Callable[[], float],
    ) -> None:  # fmt: skip
        self._nodes = nodes
        self._operations = operations
        self._wall = wall
        self._names: dict[str, str] = {}
        self._fine: deque[_Sample] = deque(maxlen=FINE_KEPT)
        self._coarse: deque[_Sample] = deque(maxlen=COARSE_KEPT)
        self._gathered: list[_Sample] = []
        self._before = _Before()

    async def run(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Take samples until it is cancelled. One that fails is left out, and the next is taken."""
        while True:
            try:
                await self.sample()
            except Exception:  # supervised: the charts lack a point, the coordinator goes on
                get_logger(__name__).error("a sample for the charts could not be taken", traceback=True)
            await sleep(EVERY_S)

    async def sample(self) -> None:
        """Take one sample now."""
        try:
            rows = await self._nodes()
        except RoostError:  # nobody answers: the time goes on without space
            rows = ()
        operations = list(self._operations())
        known = {row.id: row for row in rows if row.state != NodeState.LEFT}
        for row in known.values():
            if row.id in self._names or len(self._names) < NODES_MAX:
                self._names[row.id] = row.name
        rate = self._rate(operations)
        told = [row for row in known.values() if row.bytes_used is not None and row.bytes_free is not None]
        self._keep(
            _Sample(
                at=int(self._wall()),
                rate=rate,
                running=sum(each.state == "running" for each in operations),
                failures=self._failures(rows, operations),
                used=sum(row.bytes_used or 0 for row in told),
                free=sum(row.bytes_free or 0 for row in told),
                space=array("q", chain.from_iterable(_space(known.get(node)) for node in self._names)),
            )
        )

    def _rate(self, operations: Iterable[Running]) -> float:
        """What was moved since the sample before, also by operations that began and ended since then."""
        before, now = self._before, self._wall()
        done = {each.id: each.bytes_done for each in operations}
        moved = sum(max(0, count - before.done.get(id, 0)) for id, count in done.items())
        passed_s = now - before.at if before.at is not None else 0.0
        before.at, before.done = now, done
        return moved / passed_s if passed_s > 0 else 0.0

    def _failures(self, rows: Iterable[NodeRow], operations: Iterable[Running]) -> int:
        before, count = self._before, 0
        failed = {each.id for each in operations if each.state == "failed"}
        if before.failed is not None:
            count += len(failed - set(before.failed))
        before.failed = failed
        for row in rows:
            if row.state == NodeState.DOWN and before.states.get(row.id, row.state) != NodeState.DOWN:
                count += 1
            before.states[row.id] = row.state
            if row.damaged_total is not None:  # it counts from its start, so fewer than before are all new
                seen = before.damaged.get(row.id, row.damaged_total)
                count += row.damaged_total - seen if row.damaged_total >= seen else row.damaged_total
                before.damaged[row.id] = row.damaged_total
        return count

    def _keep(self, sample: _Sample) -> None:
        self._fine.append(sample)
        if self._gathered and sample.at // COARSE_EVERY_S != self._gathered[0].at // COARSE_EVERY_S:
            self._coarse.append(_together(self._gathered))
            self._gathered = []
        self._gathered.append(sample)

    def since(self, at: float) -> SeriesAnswer:
        """The samples after `at`, in seconds since 1970: the fine ones, and before their first the coarse ones."""
        begin = self._fine[0].at if self._fine else 0
        coarse = [sample for sample in self._coarse if at < sample.at < begin]
        kept = [*coarse, *(sample for sample in self._fine if sample.at > at)]
        return SeriesAnswer(
            every_s=EVERY_S,
            at=tuple(sample.at for sample in kept),
            rate=tuple(round(sample.rate, 1) for sample in kept),
            running=tuple(sample.running for sample in kept),
            failures=tuple(sample.failures for sample in kept),
            used=tuple(sample.used for sample in kept),
            free=tuple(sample.free for sample in kept),
            nodes=tuple(
                SpaceColumns(
                    name,
                    tuple(_known(sample.space, 2 * number) for sample in kept),
                    tuple(_known(sample.space, 2 * number + 1) for sample in kept),
                )
                for number, name in enumerate(self._names.values())
            ),
        )


def _together(samples: Sequence[_Sample]) -> _Sample:
    """One sample for several: the middle of what flows, the sum of what happened, the last of what is."""
    last = samples[-1]
    return _Sample(
        at=last.at,
        rate=sum(sample.rate for sample in samples) / len(samples),
        running=max(sample.running for sample in samples),
        failures=sum(sample.failures for sample in samples),
        used=last.used,
        free=last.free,
        space=last.space,
    )


def _space(row: NodeRow | None) -> tuple[int, int]:
    if row is None or row.bytes_used is None or row.bytes_free is None:
        return UNKNOWN, UNKNOWN
    return row.bytes_used, row.bytes_free


def _known(space: "array[int]", index: int) -> int | None:
    """A number of a sample; None where it was not known, or the node not yet seen."""
    return space[index] if index < len(space) and space[index] != UNKNOWN else None
