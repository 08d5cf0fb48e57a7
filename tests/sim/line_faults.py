"""What befalls the lines between machines: cuts of any shape, also in one direction only, slowness, long delays, and
requests that come twice."""

import random

from roost.testing.cluster import SimNode
from roost.testing.network import Line
from sim.machine_faults import away
from sim.world import World

SLOW = Line(delay_s=(0.005, 0.05), bytes_per_s=200_000, cause="slow line")
LATE = Line(delay_s=(0.05, 1.0), cause="late")


class LineFaults:
    """The faults of lines; see `kinds`."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._net = world.cluster.world
        self._chance = chance
        self.kinds = {
            "partition": self._partition, "one way": self._one_way, "maze": self._maze, "slow line": self._slow_line,
            "late": self._late, "twice": self._twice,
        }  # fmt: skip

    def clear(self) -> None:
        """Heal all cuts. Lines that are slow stay so."""
        self._net.heal()
        self._world.echo.rate = 0.0

    async def _partition(self, node: SimNode) -> None:
        hosts = self._net.living()
        self._chance.shuffle(hosts)
        middle = self._chance.randrange(1, len(hosts))
        self._world.tell(f"cut: {[h.name for h in hosts[:middle]]} from {[h.name for h in hosts[middle:]]}")
        self._net.part(hosts[:middle], hosts[middle:], cause="partition")
        await self._heal()

    async def _one_way(self, node: SimNode) -> None:
        assert node.process is not None
        other = self._chance.choice([host for host in self._net.living() if host.name != node.name])
        self._world.tell(f"cut: {node.name} to {other.name}")
        self._net.cut(node.process.host, other, both=False, cause="one way")
        await self._heal()

    async def _maze(self, node: SimNode) -> None:
        """Any host may fail to reach any other, whatever the way back is like."""
        part = self._chance.choice((0.15, 0.3, 0.5))
        cuts: list[str] = []
        for source in self._net.living():
            for target in self._net.living():
                if source is not target and self._chance.random() < part:
                    self._net.cut(source, target, both=False, cause="maze")
                    cuts.append(f"{source.name} to {target.name}")
        self._world.tell(f"cut: {', '.join(cuts)}")
        await self._heal()

    async def _heal(self) -> None:
        await away(self._chance)
        self._world.tell("the cuts heal")
        self._net.heal()

    async def _slow_line(self, node: SimNode) -> None:
        self._world.tell(f"{node.name} is on a slow line")
        self._set_lines(node, SLOW)

    async def _late(self, node: SimNode) -> None:
        """What is sent takes up to a second, now more, now less."""
        self._world.tell(f"{node.name} is on a line with long delays")
        self._set_lines(node, LATE)
        await away(self._chance)
        self._set_lines(node, self._world.setting.line)

    def _set_lines(self, node: SimNode, line: Line) -> None:
        assert node.process is not None
        for host in self._net.living():
            self._net.set_line(node.process.host, host, line)
            self._net.set_line(host, node.process.host, line)

    async def _twice(self, node: SimNode) -> None:
        """Requests are made again although they were answered; some answers are lost."""
        self._world.tell("requests come twice")
        self._world.echo.rate = self._chance.choice((0.05, 0.3))
        await away(self._chance)
        self._world.echo.rate = 0.0
