"""Two coordinators' stewards at once on a cluster of real nodes that die and come back: everything is whole in the end,
nothing fails, and no more is copied than the deaths explain."""

import asyncio
import random

import pytest

from checkpoint_kits import noise, write_tree
from roost.checkpoints.placement import line
from roost.checkpoints.progress import Progress
from roost.checkpoints.scan import scan
from roost.checkpoints.steward import Mended, Steward
from roost.checkpoints.store import StoreRequest, store
from roost.client.session import Session
from roost.core.checkpoint import Redundancy
from roost.core.ids import CheckpointName, ObjectId
from roost.testing.cluster import BLOCK_BYTES, SimCluster, SimNode
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import Line
from roost.testing.process import SimProcess
from sim.identities import member

NODES = 6
GRACE_S = 20.0
CHUNK = 64 * 1024
SETTLED_S = 400.0
TREE = {f"{number}.bin": noise(CHUNK, seed=number) for number in range(16)}


async def stored(session: Session, disk: MemoryDisk) -> list[ObjectId]:
    request = StoreRequest(CheckpointName("run/step-1"), "here", Redundancy.parse("2"), CHUNK, False, False)
    receipt = await store(session.peers, session.catalogue, disk, scan(disk, "out"), request, Progress())
    assert receipt.copies == 2
    listed = await session.catalogue.find(CheckpointName("run/step-1"), None)
    return (await session.catalogue.manifest(listed.manifest)).objects()


def holds(node: SimNode, object_id: ObjectId) -> bool:
    return f"chunks/{object_id.hex()[:2]}/{object_id.hex()}" in node.disk.contents()


async def story(seed: int) -> None:
    bugs: list[str] = []
    chance = random.Random(seed)
    cluster = SimCluster(
        str(seed), [member(n, machine=n) for n in range(NODES)], line=Line(), tell=lambda what: None,
        crashes=bugs.append, watch=lambda place, node: None,
    )  # fmt: skip
    for node in cluster.nodes:
        cluster.introduce(node.disk, cluster.nodes[:1] if node.number else [])
        cluster.start(node)
    assert await cluster.until(
        lambda: all(n.node is not None and len(n.node.membership.view.storage) == NODES for n in cluster.nodes),
        within_s=90,
    )
    told: list[Mended] = []
    running: list[tuple[SimProcess, Session]] = []
    for number in range(2):
        home = MemoryDisk(block_bytes=BLOCK_BYTES)
        cluster.introduce(home, cluster.nodes)
        process, session = await cluster.client(
            f"coordinator-{number}", member(14 + number, machine=200 + number), f"10.0.9.{number + 1}", home
        )
        running.append((process, session))
    source = MemoryDisk(block_bytes=BLOCK_BYTES)
    write_tree(source, "out", TREE)
    process, session = running[0]
    ids = await process.spawn(stored(session, source), name="store")
    for process, session in running:
        steward = Steward(session.peers, session.catalogue, grace_s=GRACE_S, rate=0, told=told.append)
        process.spawn(steward.run(), name="steward")

    # one after the other dies: some for a moment, some for minutes, one for ever
    ends = chance.sample(cluster.nodes, 3)
    for number, node in enumerate(ends):
        await asyncio.sleep(chance.uniform(5, 60))
        if chance.random() < 0.5:
            cluster.cut_power(node)
        else:
            cluster.kill(node)
        if number < 2:
            await asyncio.sleep(chance.choice((3.0, 150.0)))
            cluster.start(node)
            await asyncio.sleep(SETTLED_S / 2)
        else:
            node.gone = True
    await asyncio.sleep(SETTLED_S)

    assert not bugs
    alive = [node for node in cluster.nodes if node.up]
    assert len(alive) == NODES - 1
    view = running[0][1].membership.view
    for object_id in ids:
        here = {node.node_id for node in alive if holds(node, object_id)}
        assert len(here) >= 2
        belongs = {node for node in line(object_id, view)[:2] if node != ends[2].node_id}
        assert here >= belongs, "what was displaced has moved home"
    assert sum(mended.copies for mended in told) <= 2 * 4 * len(ids), "each copy is made once a steward at most"
    placed = sum(holds(node, object_id) for node in cluster.nodes for object_id in ids)
    assert placed <= 4 * len(ids)
    for process, _ in running:
        process.die()
    for node in alive:
        assert node.process is not None
        node.process.die()


@pytest.mark.parametrize("seed", range(2))
def test_they_bring_everything_back_and_do_no_harm(seed: int) -> None:
    run_simulated(story(seed), seconds_max=5000, steps_max=3_000_000)
