"""What befalls disks: full, slow, read-only, failing, lying, and bits that turn at rest."""

import random

from roost.testing.cluster import SimNode
from roost.testing.lies import Lies
from sim.disks import file_on, names_on, object_at, object_path, objects_on
from sim.machine_faults import away
from sim.world import World

SLOW_BYTES_PER_S = 1_000_000.0
LYING = ("chunks", "records", "state")
"""Where lies are told. A key or a store's id that is lost makes a node refuse to start, which is a death."""


class DiskFaults:
    """The faults of disks; see `kinds`. `doomed` are the nodes that may lose data."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self.doomed: frozenset[int] = frozenset()
        self.climate_beyond = False
        self.kinds = {
            "slow disk": self._slow_disk, "full": self._full, "read-only": self._read_only,
            "disk error": self._disk_error, "flip": self._flip, "flip in a record": self._flip_in_a_record,
            "lies": self._lies,
        }  # fmt: skip

    def clear(self) -> None:
        """End all that can end."""
        for node in self._world.cluster.nodes:
            disk = node.disk
            disk.bytes_max, disk.stop_after, disk.read_only, disk.lies = None, None, False, None
            disk.failing.clear()
            node.speed.bytes_per_s = node.speed.sync_s = 0.0

    async def _slow_disk(self, node: SimNode) -> None:
        self._world.tell(f"{node.name} has a slow disk")
        node.speed.bytes_per_s, node.speed.sync_s = SLOW_BYTES_PER_S, self._chance.choice((0.02, 0.2, 2.0))
        await away(self._chance)
        node.speed.bytes_per_s = node.speed.sync_s = 0.0

    async def _full(self, node: SimNode) -> None:
        space = node.disk.space()
        left = self._chance.randrange(0, 400_000)
        self._world.tell(f"{node.name} has {left} bytes left")
        node.disk.bytes_max = space.total - space.free + left
        await away(self._chance)
        node.disk.bytes_max = None

    async def _read_only(self, node: SimNode) -> None:
        self._world.tell(f"{node.name} is read-only")
        node.disk.read_only = True
        await away(self._chance)
        node.disk.read_only = False

    async def _disk_error(self, node: SimNode) -> None:
        """Reading some object, any object, or any record fails for a while."""
        here = objects_on(node.disk)
        path = self._chance.choice(("chunks", "records"))
        if here and self._chance.random() < 0.7:
            path = object_path(self._chance.choice(here))
        self._world.tell(f"{node.name} cannot use {path[:20]}")
        node.disk.failing.add(path)
        await away(self._chance)
        node.disk.failing.discard(path)

    async def _lies(self, node: SimNode) -> None:
        """The disk drops some writes, makes them in part, or makes them in another file, and says that all is well."""
        self._world.tell(f"the disk of {node.name} lies")
        rate = self._chance.choice((0.02, 0.2))
        node.disk.lies = Lies(self._chance, rate=rate, folders=LYING, spared=("store.id",))
        await away(self._chance)
        if node.disk.lies is not None:
            self._world.tell(f"the disk of {node.name} lied {node.disk.lies.told} times")
        node.disk.lies = None

    async def _flip(self, node: SimNode) -> None:
        """Bits of some objects turn at rest; where more is lost than may be, often in all copies that are doomed."""
        here = objects_on(node.disk)
        hits = self._chance.sample(here, min(len(here), self._chance.choice((1, 1, 3, len(here)))))
        victims = [node]
        if self.climate_beyond and self._chance.random() < 0.7:
            victims = [other for other in self._world.cluster.nodes if other.up and other.number in self.doomed]
        for victim in victims:
            for hit in hits:
                self._turn(victim, object_path(hit))

    async def _flip_in_a_record(self, node: SimNode) -> None:
        here = names_on(node.disk, "records")
        for name in self._chance.sample(here, min(len(here), self._chance.choice((1, 1, 3, len(here))))):
            self._turn(node, f"records/{name}")

    def _turn(self, node: SimNode, path: str) -> None:
        data = file_on(node.disk, path)
        if data:
            self._world.happened.add("flip" if object_at(path) else "flip in a record")
            self._world.tell(f"{node.name}: a bit of {path[:22]} turns")
            node.disk.flip(path, self._chance.randrange(len(data)), self._chance.randrange(8))
