"""Whole nodes that scrub, on virtual time: what nobody reads goes bad, is found, and is whole again by itself."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace

from roost.checkpoints.progress import Progress
from roost.checkpoints.scan import scan
from roost.checkpoints.scrub import Terms
from roost.checkpoints.steward import Steward
from roost.checkpoints.store import StoreRequest, store
from roost.client.session import Session
from roost.core.checkpoint import Redundancy
from roost.core.ids import CheckpointName
from roost.testing.cluster import SimCluster, SimNode
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import Line
from roost.wire.messages import GetStatus, Ping, Pong, Status
from sim.identities import member

PERIOD_S = 1200.0
PASS_S = PERIOD_S / 2
NODES = 4


@dataclass
class World:
    """A cluster of real nodes that holds one checkpoint, and a client that can look after it."""

    cluster: SimCluster
    session: Session
    spawn: Callable[[Coroutine[object, object, None]], object]

    def holders(self) -> dict[str, list[SimNode]]:
        """Per object on the nodes' disks, who has it with the right bytes."""
        found: dict[str, list[SimNode]] = {}
        for node in self.cluster.nodes:
            for path, data in node.disk.contents().items():
                name = path.rpartition("/")[2]
                if path.startswith("chunks/") and len(name) == 64:
                    good = isinstance(data, bytes) and hashlib.sha256(data).hexdigest() == name
                    found.setdefault(name, []).extend([node] if good else [])
        return found

    def manifests(self) -> list[SimNode]:
        """Who has the manifest, with the right bytes."""
        return [
            node for node in self.cluster.nodes for path, data in node.disk.contents().items()
            if path.startswith("records/") and path.endswith(".manifest") and isinstance(data, bytes)
            and hashlib.sha256(data).hexdigest() == path.removeprefix("records/").partition(".")[0]
        ]  # fmt: skip

    async def ask(self, node: SimNode) -> tuple[Pong, Status]:
        pong = await self.session.links.call(node.node_id, Ping())
        status = await self.session.links.call(node.node_id, GetStatus())
        assert isinstance(pong, Pong)
        assert isinstance(status, Status)
        return pong, status


def play(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        bugs: list[str] = []
        cluster = SimCluster(
            "scrub", [member(n, machine=n) for n in range(NODES)], line=Line(), tell=lambda text: None,
            crashes=bugs.append, watch=lambda node, running: None,
            shape=lambda options: replace(options, scrub=Terms(PERIOD_S, 0)),
        )  # fmt: skip
        for node in cluster.nodes:
            cluster.introduce(node.disk, [other for other in cluster.nodes if other is not node])
            cluster.start(node)
        assert await cluster.until(lambda: all(node.ready for node in cluster.nodes), within_s=60)
        home = MemoryDisk()
        cluster.introduce(home, cluster.nodes)
        process, session = await cluster.client("client", member(15, machine=100), "10.0.2.1", home)
        await process.spawn(_store(session), name="store")
        await scenario(World(cluster, session, lambda work: process.spawn(work, name="steward")))
        process.die()
        for node in cluster.nodes:
            cluster.kill(node)
        assert not bugs

    run_simulated(main(), seconds_max=20_000)


async def _store(session: Session) -> None:
    disk = MemoryDisk()
    disk.make_directory("out")
    for number in range(12):
        file = disk.create(f"out/{number}")
        file.pwrite(random.Random(number).randbytes(40_000), 0)
        file.close()
    request = StoreRequest(
        CheckpointName("run/step-1"), "here:/out", Redundancy.parse("2"), chunk_max=40_000, compress=False
    )
    receipt = await store(session.peers, session.catalogue, disk, scan(disk, "out"), request, Progress())
    assert not receipt.degraded


def test_flips_that_nobody_reads_are_found_and_repaired_without_a_person() -> None:
    async def scenario(world: World) -> None:
        whole = world.holders()
        assert {len(nodes) for nodes in whole.values()} == {2}
        assert await world.cluster.until(lambda: len(world.manifests()) == NODES, within_s=120)
        flipped = sorted(whole)[3]
        bad = whole[flipped][0]
        bad.disk.flip(f"chunks/{flipped[:2]}/{flipped}", 12_345, 3)
        other = next(node for node in world.cluster.nodes if node is not bad)
        [record] = [path for path in other.disk.contents() if path.endswith(".manifest")]
        other.disk.flip(record, 100, 3)
        assert len(world.holders()[flipped]) == 1
        assert len(world.manifests()) == NODES - 1
        steward = Steward(world.session.peers, world.session.catalogue, grace_s=1e6, rate=0)
        world.spawn(steward.run())

        def mended() -> bool:
            return len(world.holders()[flipped]) == 2 and len(world.manifests()) == NODES

        assert await world.cluster.until(mended, within_s=PASS_S + 120)
        assert any(path.startswith(f"quarantine/{flipped}") for path in bad.disk.contents())
        assert record.replace("records/", "quarantine/") in other.disk.contents()
        for node in (bad, other):
            pong, status = await world.ask(node)
            assert (pong.damaged_total, status.damaged_total, pong.trouble) == (1, 1, "")
        assert {len(nodes) for nodes in world.holders().values()} == {2}

    play(scenario)


def test_a_disk_that_keeps_failing_is_told_with_every_heartbeat_until_a_pass_was_clean() -> None:
    async def scenario(world: World) -> None:
        node = world.cluster.nodes[1]
        mine = [name for name, nodes in world.holders().items() if node in nodes][:3]
        node.disk.failing |= {f"chunks/{name[:2]}/{name}" for name in mine}
        await asyncio.sleep(PASS_S + 60)
        pong, status = await world.ask(node)
        assert pong.trouble.startswith("its disk keeps failing, on 3 files")
        assert status.trouble == pong.trouble
        assert status.damaged_total == 3
        assert status.quarantined == 0, "what is not read is not condemned"
        node.disk.failing.clear()
        await asyncio.sleep(2 * PASS_S + 120)
        pong, status = await world.ask(node)
        assert pong.trouble == ""
        assert "found nothing damaged" in status.scrub
        assert [len(world.holders()[name]) for name in mine] == [2, 2, 2]

    play(scenario)


def test_a_node_that_was_killed_in_a_pass_goes_on_with_it() -> None:
    async def scenario(world: World) -> None:
        node = world.cluster.nodes[1]
        await asyncio.sleep(PASS_S * 0.7)
        world.cluster.kill(node)
        world.cluster.start(node)
        assert await world.cluster.until(lambda: node.ready, within_s=60)
        await asyncio.sleep(PASS_S * 0.6)
        _, status = await world.ask(node)
        assert "the last pass ended" in status.scrub

    play(scenario)
