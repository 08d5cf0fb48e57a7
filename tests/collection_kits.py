"""A cluster of the checkpoints' kit whose nodes collect: on virtual time, where a day is over at once."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from checkpoint_kits import NAME, Kit, KitNode, Tree, simulate, start_node
from chunk_kits import RESERVE_BYTES
from roost.checkpoints.collect import Periods
from roost.checkpoints.collector import Collector
from roost.checkpoints.remove import remove
from roost.codec.manifest import Manifest
from roost.codec.records import Tombstone, encode_record
from roost.core.cluster import Member, View
from roost.core.ids import CheckpointName, NodeId, ObjectId, RecordId
from roost.testing.disk import MemoryDisk

HOUR, DAY = 3600.0, 86_400.0
KEEP_S = 7 * 86_400
FOREVER_S = 400 * DAY

__all__ = ["DAY", "HOUR", "KEEP_S", "NAME", "Estate", "collecting", "tombstone"]


@dataclass(slots=True)
class Estate:
    """A cluster whose nodes collect when told to. `views` may hold a view of its own for a node, by number."""

    kit: Kit
    collectors: dict[int, Collector] = field(default_factory=dict)
    views: dict[int, View] = field(default_factory=dict)

    def node(self, number: int) -> KitNode:
        return self.kit.nodes[number]

    async def attach(self, number: int, *, periods: Periods | None = None) -> Collector:
        """Give a node its collector, as a node's process does at its start."""
        node = self.kit.nodes[number]

        async def answering() -> list[NodeId]:
            answers = await node.links.reach([m.node_id for m in self.kit.view.storage], within_s=2.0)
            return [node_id for node_id, error in answers.items() if error is None]

        collector = Collector(
            self.kit.runtime, node.disk, node.store, node.records, node.links, own=node.node_id,
            view=lambda: self.views.get(number, self.kit.view), alive=answering,
            periods=periods or Periods(),
        )  # fmt: skip
        node.records._added = collector.learn
        node.handlers.update(collector.handlers())
        await collector.load()
        self.collectors[number] = collector
        return collector

    async def again(self, number: int, *, disk: MemoryDisk | None = None) -> Collector:
        """End a node's process, unless that was done, and start it again on its disk (or on what became of it)."""
        node = self.kit.nodes[number]
        self.kit.world.crash(node.host, silent=False)
        await node.links.close()
        self.kit.nodes[number] = await start_node(self.kit.world, self.kit.runtime, number, disk or node.disk)
        return await self.attach(number)

    async def exchange(self) -> None:
        """Let every node that answers know all records that one of them knows."""
        await self.kit.survey()
        await self.kit.survey()

    async def remove(self, name: CheckpointName = NAME, *, keep_s: int = KEEP_S) -> None:
        """Take all versions of a checkpoint off every list."""
        survey = await self.kit.survey()
        listed = await self.kit.catalogue.list(prefix=name)
        versions = [(v, await self.kit.catalogue.manifest(v.manifest)) for v in listed]
        await remove(self.kit.peers, self.kit.catalogue, survey, versions, keep_s=keep_s)

    async def store(self, tree: Tree, *, name: CheckpointName = NAME) -> tuple[RecordId, Manifest]:
        """Store it, and let everybody know."""
        await self.kit.store(tree, name=name, at=name.replace("/", "-"))
        await self.exchange()
        return await self.kit.newest(name)

    async def collect(self, *numbers: int) -> int:
        """Make a pass on these nodes, or on all; how many objects went."""
        gone = 0
        for number in numbers or tuple(self.collectors):
            gone += (await self.collectors[number].collect()).objects
        return gone

    def holders(self, objects: Sequence[ObjectId]) -> set[int]:
        """Who holds any of these objects."""
        return {n for i in objects for n in self.kit.holders(i)}

    def squeeze(self, number: int, fill: float = 0.85) -> None:
        """Make a node's disk so full."""
        node = self.node(number)
        used = (1 << 50) - node.disk.space().free if node.disk.bytes_max is None else 0
        assert used, "squeezed already"
        node.disk.bytes_max = int((used + RESERVE_BYTES) / fill)


def tombstone(manifest: RecordId, *, name: str = NAME, seq: int = 1, keep_s: int = KEEP_S, at: int = 0) -> bytes:
    return encode_record(Tombstone(name=name, manifest=manifest, seq=seq, at=at, keep_s=keep_s))


def collecting(
    scenario: Callable[[Estate], Awaitable[None]], *, nodes: int | Sequence[Member] = 4, seconds_max: float = FOREVER_S
) -> None:
    """Run `scenario` with a cluster whose nodes collect."""

    async def main(kit: Kit) -> None:
        estate = Estate(kit)
        for number in kit.nodes:
            await estate.attach(number)
        await scenario(estate)

    simulate(main, nodes=nodes, seconds_max=seconds_max)
