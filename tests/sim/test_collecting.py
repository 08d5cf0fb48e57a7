"""Whole nodes that collect, on virtual time: what was removed and what dead stores left goes by itself, what is needed
stays, whatever happens to nodes and clocks meanwhile."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from roost.checkpoints.collect import Periods
from roost.checkpoints.gather import gather
from roost.checkpoints.progress import Progress
from roost.checkpoints.remove import remove
from roost.checkpoints.scan import scan
from roost.checkpoints.store import StoreRequest, store
from roost.checkpoints.target import Target
from roost.client.session import Session
from roost.core.checkpoint import Redundancy
from roost.core.ids import CheckpointName, NodeId
from roost.testing.cluster import SimCluster, SimNode
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import Line
from roost.testing.process import SimProcess
from roost.wire.messages import AnyAnswer, AnyRequest, Commit, GetStatus, Status
from sim.identities import member
from sim.plants import collects_without_check

NODES = 4
PERIODS = Periods(every_s=30, retry_s=10, save_s=10, untouched_s=300, uptime_s=60, promise_s=40)
LONG_S = 500.0
"""More than all periods together."""
TWO = Redundancy.parse("2")
LIVE, DEAD, LATE = map(CheckpointName, ("run/live", "run/dead", "run/late"))
SECONDS_OF_YEARS = {"1970": -1_750_000_000.0, "2100": 75 * 365 * 86_400.0}


@dataclass
class World:
    """A cluster of real nodes, and a client that stores, removes and gathers."""

    cluster: SimCluster
    process: SimProcess
    session: Session
    places: int = 0

    def objects(self) -> dict[str, set[int]]:
        """Per object on the nodes' disks, who has it, by number."""
        found: dict[str, set[int]] = {}
        for node in self.cluster.nodes:
            for path in node.disk.contents():
                name = path.rpartition("/")[2]
                if path.startswith("chunks/") and len(name) == 64:
                    found.setdefault(name, set()).add(node.number)
        return found

    async def store(self, name: CheckpointName, *seeds: int) -> set[str]:
        """Store a checkpoint of these parts; its objects."""
        await self.process.spawn(_store(self.session, name, seeds), name="store")
        return await self.named(name)

    async def named(self, name: CheckpointName) -> set[str]:
        listed = await self.session.catalogue.find(name, None)
        return {i.hex() for i in (await self.session.catalogue.manifest(listed.manifest)).objects()}

    async def remove(self, name: CheckpointName, *, keep_s: int) -> None:
        async def work() -> None:
            peers, catalogue = self.session.peers, self.session.catalogue
            survey = await peers.survey(enough=TWO)
            listed = await catalogue.find(name, None)
            versions = [(listed, await catalogue.manifest(listed.manifest))]
            await remove(peers, catalogue, survey, versions, keep_s=keep_s)

        await self.process.spawn(work(), name="remove")

    async def gathers(self, name: CheckpointName) -> None:
        """It can be had."""
        self.places += 1

        async def work() -> None:
            survey = await self.session.peers.survey(enough=TWO)
            listed = await self.session.catalogue.find(name, None)
            manifest = await self.session.catalogue.manifest(listed.manifest)
            target = Target(MemoryDisk(), f"back-{self.places}", manifest, listed.manifest)
            await gather(self.session.peers, survey, manifest, target, Progress())

        await self.process.spawn(work(), name="gather")

    async def collection(self, node: SimNode) -> str:
        """How the node says that its collection stands."""
        status = await self.session.links.call(node.node_id, GetStatus())
        assert isinstance(status, Status)
        return status.collection

    def copies(self, objects: set[str]) -> set[int]:
        """On how many nodes each of them is."""
        here = self.objects()
        return {len(here.get(i, ())) for i in objects}


async def _store(session: Session, name: CheckpointName, seeds: tuple[int, ...]) -> None:
    disk = MemoryDisk()
    disk.make_directory("source")
    for seed in seeds:
        file = disk.create(f"source/f{seed}")
        file.pwrite(random.Random(seed).randbytes(64 * 1024), 0)
        file.close()
    request = StoreRequest(name, "here:/source", TWO, chunk_max=64 * 1024, compress=False)
    receipt = await store(session.peers, session.catalogue, disk, scan(disk, "source"), request, Progress())
    assert not receipt.degraded


def play(scenario: Callable[[World], Awaitable[None]], *, shape: Periods = PERIODS) -> None:
    async def main() -> None:
        bugs: list[str] = []
        cluster = SimCluster(
            "collect", [member(n, machine=n) for n in range(NODES)], line=Line(), tell=lambda text: None,
            crashes=bugs.append, watch=lambda node, running: None,
            shape=lambda options: replace(options, periods=shape),
        )  # fmt: skip
        for node in cluster.nodes:
            cluster.introduce(node.disk, [other for other in cluster.nodes if other is not node])
            cluster.start(node)
        assert await cluster.until(lambda: all(node.ready for node in cluster.nodes), within_s=60)
        home = MemoryDisk()
        cluster.introduce(home, cluster.nodes)
        process, session = await cluster.client("client", member(15, machine=100), "10.0.2.1", home)
        await scenario(World(cluster, process, session))
        process.die()
        for node in cluster.nodes:
            if node.up:
                cluster.kill(node)
        assert not bugs

    run_simulated(main(), seconds_max=20_000)


def test_what_was_removed_goes_by_itself_and_what_is_needed_stays() -> None:
    async def scenario(world: World) -> None:
        live, dead = await world.store(LIVE, 1, 2), await world.store(DEAD, 2, 3, 4)
        await world.remove(DEAD, keep_s=200)
        await asyncio.sleep(150)
        assert world.copies(live | dead) == {2}
        holder = world.cluster.nodes[min(n for i in dead - live for n in world.objects()[i])]
        assert "removed less than 200s ago" in await world.collection(holder)
        await asyncio.sleep(LONG_S)
        assert world.copies(dead - live) == {0}
        assert world.copies(live) == {2}
        assert await world.collection(holder) == "idle: nothing to free"
        await world.gathers(LIVE)

    play(scenario)


def test_what_a_dead_store_left_goes_by_itself() -> None:
    async def scenario(world: World) -> None:
        live = await world.store(LIVE, 1)
        storing = world.process.spawn(_store(world.session, DEAD, tuple(range(10, 40))), name="dying")
        assert await world.cluster.until(lambda: len(world.objects()) > 8, within_s=10, every_s=0.001)
        assert not storing.done()
        world.process.die()
        left = set(world.objects()) - live
        assert left
        await asyncio.sleep(PERIODS.untouched_s / 2)
        assert left <= set(world.objects())
        await asyncio.sleep(LONG_S)
        assert set(world.objects()) == live

    play(scenario)


@pytest.mark.parametrize("clock", SECONDS_OF_YEARS)
def test_a_node_that_was_away_and_whose_clock_is_wrong_neither_keeps_the_dead_nor_loses_the_living(clock: str) -> None:
    async def scenario(world: World) -> None:
        cluster = world.cluster
        live, dead = await world.store(LIVE, 1, 2, 3), await world.store(DEAD, 4, 5, 6)
        here = world.objects()
        away = cluster.nodes[min({n for i in live for n in here[i]} & {n for i in dead for n in here[i]})]
        kept = {i for i in live if away.number in here[i]}
        cluster.cut_power(away)
        await asyncio.sleep(20)
        await world.remove(DEAD, keep_s=200)
        late = await world.store(LATE, 4, 7)
        await asyncio.sleep(3 * LONG_S)
        for node in cluster.nodes:
            node.set_wall(SECONDS_OF_YEARS[clock] * (1 if node.number % 2 else -1))
        here = world.objects()
        assert all(here.get(i, set()) <= {away.number} for i in dead - late), "a dead node stops nobody"
        cluster.start(away)
        await asyncio.sleep(50)
        assert kept <= {i for i, holders in world.objects().items() if away.number in holders}
        await asyncio.sleep(LONG_S)
        here = world.objects()
        assert kept <= {i for i, holders in here.items() if away.number in holders}
        assert not (dead - late) & here.keys()
        assert {v.name for v in await world.session.catalogue.list()} == {LIVE, LATE}
        await world.gathers(LIVE)
        await world.gathers(LATE)

    play(scenario)


def test_all_nodes_lose_their_power_again_and_again_and_it_still_goes_and_nothing_else() -> None:
    async def scenario(world: World) -> None:
        cluster = world.cluster
        live, dead = await world.store(LIVE, 1, 2), await world.store(DEAD, 3, 4)
        await world.remove(DEAD, keep_s=100)
        for _ in range(8):
            await asyncio.sleep(100)
            for node in cluster.nodes:
                cluster.cut_power(node)
            for node in cluster.nodes:
                cluster.start(node)
            assert await cluster.until(lambda: all(node.ready for node in cluster.nodes), within_s=60)
            assert world.copies(live) == {2}
        assert world.copies(dead) == {0}
        await world.gathers(LIVE)

    play(scenario)


async def _store_what_goes(world: World) -> set[int]:
    """Store what is removed and collected after the store found it on the nodes, and before it commits; on how many
    nodes each of its objects is when the store says that it is done."""
    links, removed = world.session.links, asyncio.Event()
    sound, dead = links.call, await world.store(DEAD, 1, 2)

    async def let_it_go() -> None:
        await world.remove(DEAD, keep_s=0)
        assert await world.cluster.until(lambda: world.copies(dead) == {0}, within_s=2 * LONG_S)
        removed.set()

    going: list[asyncio.Task[None]] = []

    async def call(node: NodeId, request: AnyRequest, **rest: Any) -> AnyAnswer:
        if isinstance(request, Commit):
            if not going:
                going.append(asyncio.create_task(let_it_go()))
            await removed.wait()
        return await sound(node, request, **rest)

    links.call = call  # type: ignore[method-assign]
    late = await world.store(LATE, 1, 2)
    await going[0]
    assert late == dead
    return world.copies(late)


def test_what_a_store_counts_on_may_go_before_its_commit_and_is_sent_again() -> None:
    async def scenario(world: World) -> None:
        assert await _store_what_goes(world) == {2}
        await world.gathers(LATE)

    play(scenario)


def test_without_the_check_of_the_commit_that_store_would_be_lost() -> None:
    async def scenario(world: World) -> None:
        assert await _store_what_goes(world) == {0}

    with ExitStack() as planted:
        collects_without_check(planted)
        play(scenario)


def test_a_member_that_is_alive_and_does_not_exchange_is_named() -> None:
    async def scenario(world: World) -> None:
        cluster = world.cluster
        await world.store(LIVE, 1)
        [first, mute, *_] = cluster.nodes
        assert first.node is not None
        assert first.node.collector.status.startswith(("idle", "has not", "1 chunk"))
        cluster.cut_power(mute)
        said = set()
        for _ in range(20):
            await asyncio.sleep(1)
            said.add("node-1 is alive and did not exchange" in await world.collection(first))
        assert True in said
        await asyncio.sleep(40)
        assert "node-1" not in await world.collection(first), "a dead node does not stop collection"

    play(scenario, shape=replace(PERIODS, every_s=2, retry_s=2))
