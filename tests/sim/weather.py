"""The faults of a run, drawn from its seed: which kinds there are, whom they hit, when, and for how long.

What a kind does to the node that it hits is told in `machine_faults`, `line_faults` and `disk_faults`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roost.testing.cluster import SimNode
from sim.disk_faults import DiskFaults
from sim.line_faults import LineFaults
from sim.machine_faults import MachineFaults
from sim.world import World

Fault = Callable[[SimNode], Awaitable[None]]

LOSING = frozenset(("death", "flip", "flip in a record", "lies"))
"""What may lose data for ever, and so hits only the machines that may."""


@dataclass(frozen=True, slots=True)
class Climate:
    """What may happen in a run: the kinds of faults, the numbers of the nodes that may lose data for ever, and whether
    these are more machines than the redundancy allows for."""

    kinds: tuple[str, ...]
    doomed: frozenset[int]
    beyond: bool


class Weather:
    """Lets faults happen. Each comes at its time and goes at its time; `clear` ends those that can end. Which of them
    somebody came to feel, each notes itself in `World.happened`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance("weather")
        self._tasks: set[asyncio.Task[None]] = set()
        self._disks = DiskFaults(world, self._chance)
        self._lines = LineFaults(world, self._chance)
        self._machines = MachineFaults(world, self._chance)
        self.kinds: dict[str, Fault] = {**self._machines.kinds, **self._lines.kinds, **self._disks.kinds}
        self.climate = draw_climate(self._chance, world, tuple(self.kinds))
        self._disks.climate_beyond = self.climate.beyond
        self._disks.doomed = self.climate.doomed

    def brew(self) -> None:
        """Draw the faults of the next seconds, most of them soon: what people do here takes a tenth of one or two."""
        if not self.climate.kinds:
            return
        for _ in range(self._chance.choice((0, 1, 2, 3, 4))):
            kind = self._chance.choice(self.climate.kinds)
            delay_s = 10 ** self._chance.uniform(-2.5, 0.8)
            task = asyncio.create_task(self._strike(kind, delay_s), name=f"fault: {kind}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _strike(self, kind: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        standing = [
            node
            for node in self._world.cluster.nodes
            if node.up and (kind not in LOSING or node.number in self.climate.doomed)
        ]
        if standing:
            await self.kinds[kind](self._chance.choice(standing))

    async def clear(self) -> None:
        """End all faults but the losses, and start every node that is not gone."""
        for task in sorted(self._tasks, key=hash):
            task.cancel()
        self._world.tell("the weather clears")
        self._lines.clear()
        self._disks.clear()
        self._machines.clear()


def draw_climate(chance: random.Random, world: World, kinds: tuple[str, ...]) -> Climate:
    """One run in ten is calm, one in six loses more than it may."""
    cluster, losses = world.cluster, world.setting.losses
    beyond = chance.random() < 0.15
    domains = sorted({cluster.domain_of(node) for node in cluster.nodes})
    doomed = set(chance.sample(domains, min(len(domains), losses + 1 if beyond else losses)))
    drawn = tuple(chance.sample(kinds, chance.choice((1, 2, 4, 6)))) if chance.random() < 0.9 else ()
    if beyond:
        drawn += ("death", "flip", "flip")
    numbers = frozenset(node.number for node in cluster.nodes if cluster.domain_of(node) in doomed)
    return Climate(drawn, numbers, beyond)
