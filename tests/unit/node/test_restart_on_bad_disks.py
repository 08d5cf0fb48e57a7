"""A node that comes back on a disk that takes nothing, full or read-only: it serves what it has."""

import asyncio
from collections.abc import Callable

import pytest

from cluster_kits import IDENTITIES
from roost.core.errors import DiskFault, NoSpace
from roost.core.ids import ObjectId, object_id
from roost.net.body import Body
from roost.node.node import Node
from roost.testing.cluster import SimCluster, SimNode
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import Line

DATA = b"kept" * 1000
KEPT = object_id(DATA)
NEW = object_id(b"new")


def read_only(disk: MemoryDisk) -> None:
    disk.read_only = True


def full(disk: MemoryDisk) -> None:
    disk.bytes_max = disk.space().total - disk.space().free


def running(place: SimNode) -> Node:
    assert place.node is not None
    return place.node


async def fetched(node: Node, name: ObjectId) -> bytes:
    into = memoryview(bytearray(len(DATA)))
    return bytes(into[: await node.store.get(name, into)])


@pytest.mark.parametrize("harm", [read_only, full])
@pytest.mark.parametrize("moves", [False, True], ids=["in its place", "elsewhere"])
def test_it_serves_what_it_has_and_takes_nothing(harm: Callable[[MemoryDisk], None], moves: bool) -> None:
    async def main() -> list[str]:
        bugs: list[str] = []
        cluster = SimCluster(
            "bad disks", IDENTITIES[:1], line=Line(), tell=lambda what: None, crashes=bugs.append,
            watch=lambda place, node: None,
        )  # fmt: skip
        place = cluster.nodes[0]
        cluster.start(place)
        assert await cluster.until(lambda: place.ready, within_s=10)
        await running(place).store.put(KEPT, Body.of(DATA))
        cluster.kill(place)
        leftover = place.disk.create("chunks/tmp/left-over")
        leftover.close()
        place.disk.create("state/scrub.tmp-0").close()
        harm(place.disk)
        if moves:
            cluster.move(place)
        cluster.start(place)
        assert await cluster.until(lambda: place.ready, within_s=10), place.problem
        node = running(place)
        assert await node.store.have([KEPT]) == [True]
        assert await fetched(node, KEPT) == DATA
        with pytest.raises((NoSpace, DiskFault)):
            await node.store.put(NEW, Body.of(b"new"))
        await asyncio.sleep(200)
        assert place.up, place.problem
        assert await fetched(node, KEPT) == DATA
        cluster.kill(place)
        return bugs

    assert run_simulated(main(), seconds_max=1000) == []
