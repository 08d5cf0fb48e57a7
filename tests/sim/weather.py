"""The faults of a run, drawn from its seed: which kinds there are, whom they hit, when, and for how long."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roost.testing.cluster import SimCluster, SimNode
from roost.testing.network import Line
from sim.ledger import Ledger, file_on, object_path, objects_on

KINDS = (
    "power", "power in a write", "kill", "death", "partition", "one way", "freeze", "slow line", "slow disk", "full",
    "read-only", "disk error", "flip",
)  # fmt: skip
SLOW = Line(delay_s=(0.005, 0.05), bytes_per_s=200_000)
AWAY_S = (0.1, 25.0)


@dataclass(frozen=True, slots=True)
class Climate:
    """What may happen in a run: the kinds of faults, the numbers of the nodes that may lose data for ever, and whether
    these are more machines than the redundancy allows for."""

    kinds: tuple[str, ...]
    doomed: frozenset[int]
    beyond: bool


def draw_climate(chance: random.Random, cluster: SimCluster, *, losses: int) -> Climate:
    """One run in ten is calm, one in six loses more than it may."""
    beyond = chance.random() < 0.2
    domains = sorted({cluster.domain_of(node) for node in cluster.nodes})
    doomed = set(chance.sample(domains, min(len(domains), losses + 1 if beyond else losses)))
    kinds = tuple(chance.sample(KINDS, chance.choice((1, 2, 4, 6)))) if chance.random() < 0.9 else ()
    if beyond:
        kinds += ("death", "flip", "flip")
    numbers = frozenset(node.number for node in cluster.nodes if cluster.domain_of(node) in doomed)
    return Climate(kinds, numbers, beyond)


class Weather:
    """Lets faults happen. Each comes at its time and goes at its time; `clear` ends those that can end."""

    def __init__(
        self, chance: random.Random, cluster: SimCluster, ledger: Ledger, climate: Climate, tell: Callable[[str], None]
    ) -> None:
        self._chance = chance
        self._cluster = cluster
        self._ledger = ledger
        self._climate = climate
        self._tell = tell
        self._tasks: set[asyncio.Task[None]] = set()
        self._happen: dict[str, Callable[[SimNode], Awaitable[None]]] = {
            "power": self._power, "power in a write": self._power_in_a_write, "kill": self._kill,
            "death": self._death, "partition": self._partition, "one way": self._one_way, "freeze": self._freeze,
            "slow line": self._slow_line, "slow disk": self._slow_disk, "full": self._full,
            "read-only": self._read_only, "disk error": self._disk_error, "flip": self._flip,
        }  # fmt: skip
        self.happened: set[str] = set()

    def brew(self) -> None:
        """Draw the faults of the next seconds, most of them soon: what people do here takes a tenth of one or two."""
        if not self._climate.kinds:
            return
        for _ in range(self._chance.choice((0, 1, 2, 3, 4))):
            kind = self._chance.choice(self._climate.kinds)
            delay_s = 10 ** self._chance.uniform(-2.5, 0.8)
            task = asyncio.create_task(self._strike(kind, delay_s), name=f"fault: {kind}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _strike(self, kind: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        losing = kind in ("death", "flip")
        standing = [
            node for node in self._cluster.nodes if node.up and (not losing or node.number in self._climate.doomed)
        ]
        if standing:
            self.happened.add(kind)
            await self._happen[kind](self._chance.choice(standing))

    async def clear(self) -> None:
        """End all faults but the losses, and start every node that is not gone."""
        for task in sorted(self._tasks, key=hash):
            task.cancel()
        self._tell("the weather clears")
        world = self._cluster.world
        world.heal()
        for node in self._cluster.nodes:
            disk = node.disk
            disk.bytes_max, disk.stop_after, disk.read_only = None, None, False
            disk.failing.clear()
            node.speed.bytes_per_s = node.speed.sync_s = 0.0
            if node.process is not None and node.up:
                world.thaw(node.process.host)
            elif not node.gone:
                self._cluster.start(node)

    async def _away(self) -> None:
        low, high = AWAY_S
        await asyncio.sleep(low * (high / low) ** self._chance.random())

    async def _back(self, node: SimNode) -> None:
        await self._away()
        if not node.gone and not node.up:
            if node is self._cluster.nodes[-1] and self._chance.random() < 0.5:
                self._cluster.move(node)  # the same one always: two that moved while apart find each other by discovery
            self._tell(f"{node.name} comes back")
            self._cluster.start(node)

    async def _power(self, node: SimNode) -> None:
        self._cluster.cut_power(node)
        await self._back(node)

    async def _power_in_a_write(self, node: SimNode) -> None:
        node.disk.stop_after = node.disk.operations + self._chance.randrange(60)
        if await self._cluster.until(lambda: not node.up, within_s=20.0):
            await self._back(node)
        else:
            node.disk.stop_after = None

    async def _kill(self, node: SimNode) -> None:
        self._cluster.kill(node)
        await self._back(node)

    async def _death(self, node: SimNode) -> None:
        """The machine burns down, with all nodes on it."""
        for other in self._cluster.nodes:
            if self._cluster.domain_of(other) == self._cluster.domain_of(node):
                if other.up:
                    self._cluster.cut_power(other, for_ever=True)
                other.gone = True

    async def _partition(self, node: SimNode) -> None:
        hosts = self._cluster.world.living()
        self._chance.shuffle(hosts)
        middle = self._chance.randrange(1, len(hosts))
        self._tell(f"cut: {[h.name for h in hosts[:middle]]} from {[h.name for h in hosts[middle:]]}")
        self._cluster.world.part(hosts[:middle], hosts[middle:])
        await self._away()
        self._tell("the cuts heal")
        self._cluster.world.heal()

    async def _one_way(self, node: SimNode) -> None:
        assert node.process is not None
        other = self._chance.choice([host for host in self._cluster.world.living() if host.name != node.name])
        self._tell(f"cut: {node.name} to {other.name}")
        self._cluster.world.cut(node.process.host, other, both=False)
        await self._away()
        self._tell("the cuts heal")
        self._cluster.world.heal()

    async def _freeze(self, node: SimNode) -> None:
        assert node.process is not None
        host = node.process.host
        self._tell(f"{node.name} freezes")
        self._cluster.world.freeze(host)
        await self._away()
        self._tell(f"{node.name} thaws")
        self._cluster.world.thaw(host)

    async def _slow_line(self, node: SimNode) -> None:
        assert node.process is not None
        self._tell(f"{node.name} is on a slow line")
        for host in self._cluster.world.living():
            self._cluster.world.set_line(node.process.host, host, SLOW)
            self._cluster.world.set_line(host, node.process.host, SLOW)

    async def _slow_disk(self, node: SimNode) -> None:
        self._tell(f"{node.name} has a slow disk")
        node.speed.bytes_per_s, node.speed.sync_s = 1_000_000.0, self._chance.choice((0.02, 0.2, 2.0))
        await self._away()
        node.speed.bytes_per_s = node.speed.sync_s = 0.0

    async def _full(self, node: SimNode) -> None:
        space = node.disk.space()
        left = self._chance.randrange(0, 400_000)
        self._tell(f"{node.name} has {left} bytes left")
        node.disk.bytes_max = space.total - space.free + left
        await self._away()
        node.disk.bytes_max = None

    async def _read_only(self, node: SimNode) -> None:
        self._tell(f"{node.name} is read-only")
        node.disk.read_only = True
        await self._away()
        node.disk.read_only = False

    async def _disk_error(self, node: SimNode) -> None:
        """Reading some object, or any, fails for a while."""
        here = objects_on(node.disk)
        path = object_path(self._chance.choice(here)) if here and self._chance.random() < 0.7 else "chunks"
        self._tell(f"{node.name} cannot use {path[:20]}")
        node.disk.failing.add(path)
        await self._away()
        node.disk.failing.discard(path)

    async def _flip(self, node: SimNode) -> None:
        """Bits of some objects turn at rest; where more is lost than may be, often in all copies that are doomed."""
        here = objects_on(node.disk)
        hits = self._chance.sample(here, min(len(here), self._chance.choice((1, 1, 3, len(here)))))
        victims = [node]
        if self._climate.beyond and self._chance.random() < 0.7:
            victims = [other for other in self._cluster.nodes if other.up and other.number in self._climate.doomed]
        for victim in victims:
            for hit in hits:
                if data := file_on(victim.disk, object_path(hit)):
                    self._tell(f"{victim.name}: a bit of {hit.hex()[:12]} turns")
                    self._ledger.damaged.add((victim.number, hit))
                    victim.disk.flip(object_path(hit), self._chance.randrange(len(data)), self._chance.randrange(8))
