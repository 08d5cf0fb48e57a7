"""What befalls machines and processes: power cuts and kills at any moment, deaths, freezes, clocks that jump."""

import asyncio
import random
from collections.abc import Callable

from roost.testing.cluster import SimNode
from roost.testing.loop import Strike
from sim.world import World

AWAY_S = (0.1, 25.0)
STEPS_MAX = 400
"""How far away the await is at which a process dies: what a node does for one store is some hundreds."""
YEAR_S = 365.25 * 86_400
JUMPS_S = (-55 * YEAR_S, -8 * YEAR_S, -86_400.0, 3600.0, YEAR_S, 12 * YEAR_S)


async def away(chance: random.Random) -> None:
    """Wait as long as a fault lasts."""
    low, high = AWAY_S
    await asyncio.sleep(low * (high / low) ** chance.random())


class MachineFaults:
    """The faults of machines; see `kinds`."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._cluster = world.cluster
        self._chance = chance
        self.kinds = {
            "power": self._power, "power in a write": self._power_in_a_write, "power at a step": self._power_at_a_step,
            "kill": self._kill, "kill at a step": self._kill_at_a_step, "death": self._death, "freeze": self._freeze,
            "clock": self._clock,
        }  # fmt: skip

    def clear(self) -> None:
        """Thaw what is frozen, and start every node that is not gone. Clocks stay wrong."""
        for node in self._world.surviving():
            if node.process is not None and node.up:
                self._cluster.world.thaw(node.process.host)
            else:
                self._cluster.start(node)

    async def _back(self, node: SimNode) -> None:
        await away(self._chance)
        if not (node.gone or node.left or node.up):
            if node.number == len(self._world.setting.identities) - 1 and self._chance.random() < 0.5:
                self._cluster.move(node)  # the same one always: two that moved while apart find each other by discovery
            self._world.tell(f"{node.name} comes back")
            self._cluster.start(node)

    def _cut_power(self, node: SimNode, kind: str = "power") -> None:
        self._world.happened.add(kind)
        self._cluster.cut_power(node)

    def _kill_it(self, node: SimNode, kind: str = "kill") -> None:
        self._world.happened.add(kind)
        self._cluster.kill(node)

    async def _power(self, node: SimNode) -> None:
        self._cut_power(node)
        await self._back(node)

    async def _power_in_a_write(self, node: SimNode) -> None:
        assert node.process is not None
        note = node.process.died

        def died() -> None:
            self._world.happened.add("power in a write")
            if note is not None:
                note()

        node.process.died = died
        node.disk.stop_after = node.disk.operations + self._chance.randrange(60)
        if await self._cluster.until(lambda: not node.up, within_s=20.0):
            await self._back(node)
        else:
            node.disk.stop_after = None

    async def _power_at_a_step(self, node: SimNode) -> None:
        await self._at_a_step(node, lambda: self._cut_power(node, "power at a step"))

    async def _kill_at_a_step(self, node: SimNode) -> None:
        await self._at_a_step(node, lambda: self._kill_it(node, "kill at a step"))

    async def _at_a_step(self, node: SimNode, blow: Callable[[], None]) -> None:
        """At any await of any task of the process, be it one that only the next step of the loop ends."""
        process = node.process
        assert process is not None
        strike: Strike = process.before_step(self._chance.randrange(1, STEPS_MAX), blow)
        try:
            await self._cluster.until(lambda: process.dead, within_s=20.0)
        finally:
            strike.call_off()
        if process.dead:
            await self._back(node)

    async def _kill(self, node: SimNode) -> None:
        self._kill_it(node)
        await self._back(node)

    async def _death(self, node: SimNode) -> None:
        """The machine burns down, with all nodes on it."""
        self._world.happened.add("death")
        for other in self._cluster.nodes:
            if self._cluster.domain_of(other) == self._cluster.domain_of(node):
                if other.up:
                    self._cluster.cut_power(other, for_ever=True)
                other.gone = True

    async def _freeze(self, node: SimNode) -> None:
        assert node.process is not None
        host = node.process.host
        self._world.tell(f"{node.name} freezes")
        self._cluster.world.freeze(host)
        await away(self._chance)
        self._world.tell(f"{node.name} thaws")
        self._cluster.world.thaw(host)

    async def _clock(self, node: SimNode) -> None:
        """The wall clock jumps, to 1970 perhaps, and jumps again."""
        for _ in range(self._chance.choice((1, 1, 2))):
            node.set_wall(self._chance.choice(JUMPS_S))
            self._world.happened.add("clock")
            self._world.tell(f"{node.name} has a clock that is {node.wall_off_s / YEAR_S:.1f} years off")
            await away(self._chance)
