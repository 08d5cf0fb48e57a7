"""How fast bytes come and go at each node, and how warm it is: read from what the nodes tell Prometheus."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from roost.client import NodeRow
from roost.core.cluster import NodeState
from roost.core.errors import RoostError

HERE = (NodeState.ALIVE, NodeState.DRAINING)
AT_ONCE = 8
WANTED_S = 60.0
"""Nodes are asked for so long after somebody looked: a node that nobody scrapes spares the memory of its metrics."""
NODES_MAX = 64
"""Of so many nodes, the first by name; each is asked every ten seconds."""
_LINE = re.compile(r"^(roost_transfer_bytes_total|roost_host_temperature_celsius)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_DIRECTION = re.compile(r'direction="(in|out)"')


class Vital(msgspec.Struct, frozen=True):
    """Of one node: bytes a second that came and went since it was asked before, and its temperature; None where that is
    not known."""

    rate_in: float | None = None
    rate_out: float | None = None
    temperature_celsius: float | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one node told, and when."""

    at: float
    moved: Mapping[str, float]
    temperature: float | None


class Vitals:
    """The last vitals by node id. `metrics` asks a node for its metrics, as text for Prometheus; `now` is in
    seconds."""

    def __init__(self, metrics: Callable[[str], Awaitable[bytes]], now: Callable[[], float]) -> None:
        self._metrics = metrics
        self._now = now
        self._before: dict[str, _Reading] = {}
        self._wanted_at = float("-inf")
        self.found: Mapping[str, Vital] = {}

    def want(self) -> None:
        """Somebody looks: the nodes are asked for a while."""
        self._wanted_at = self._now()

    def of(self, node: str) -> Vital:
        """The last that is known of a node, which somebody wants to know."""
        self.want()
        return self.found.get(node) or Vital()

    async def look(self, rows: Iterable[NodeRow]) -> None:
        """Ask the nodes that answer, while somebody looks; of all others nothing is known."""
        if self._now() - self._wanted_at > WANTED_S:
            rows = ()
        here = sorted((row for row in rows if row.state in HERE), key=lambda row: row.name)[:NODES_MAX]
        turn = asyncio.Semaphore(AT_ONCE)

        async def ask(node: str) -> _Reading | None:
            async with turn:
                try:
                    return reading_of((await self._metrics(node)).decode("utf-8", "replace"), self._now())
                except RoostError:
                    return None

        told = await asyncio.gather(*(ask(row.id) for row in here))
        readings = {row.id: reading for row, reading in zip(here, told, strict=True) if reading is not None}
        self.found = {node: _vital(self._before.get(node), reading) for node, reading in readings.items()}
        self._before = readings


def reading_of(text: str, at: float) -> _Reading:
    """What a node's metrics say of these things."""
    moved = {"in": 0.0, "out": 0.0}
    temperature = None
    for name, labels, value in _LINE.findall(text):
        direction = _DIRECTION.search(labels)
        if name == "roost_host_temperature_celsius":
            temperature = float(value)
        elif direction is not None:
            moved[direction[1]] += float(value)
    return _Reading(at, moved, temperature)


def _vital(before: _Reading | None, now: _Reading) -> Vital:
    if before is None or now.at <= before.at:
        return Vital(temperature_celsius=now.temperature)

    if any(now.moved[way] < before.moved[way] for way in now.moved):  # it was started again, and counts from nothing
        return Vital(temperature_celsius=now.temperature)
    into, out = ((now.moved[way] - before.moved[way]) / (now.at - before.at) for way in ("in", "out"))
    return Vital(round(into, 1), round(out, 1), now.temperature)
