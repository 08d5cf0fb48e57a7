"""Removing from the front door: for how long it can be undone, and what is freed at once, waits, or is told of."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from checkpoint_kits import MIB, Kit, noise
from collection_kits import HOUR, Estate
from roost.client.cluster import AsyncCluster
from roost.codec.records import Tombstone, decode_record
from roost.core.errors import DiskFault, NotFound
from roost.settings.schema import default_settings
from roost.wire.messages import Collect, RecordDigests
from unit.client.test_cluster import Scenario, folder, with_cluster

__all__ = ["folder"]
NAME = "gpt2/step-1000"


def collecting(scenario: Scenario) -> None:
    """Run it with nodes that collect."""

    async def main(kit: Kit, cluster: AsyncCluster) -> None:
        estate = Estate(kit)
        for number in kit.nodes:
            await estate.attach(number)
        await scenario(kit, cluster)

    with_cluster(main, seconds_max=100 * HOUR)


async def kept_for(kit: Kit) -> list[int]:
    """What the tombstones on node 1 say."""
    records = kit.nodes[1].records
    found = [decode_record(await records.get(record)) for record in records.ids_of(Tombstone)]
    return sorted(record.keep_s for record in found if isinstance(record, Tombstone))


def objects(kit: Kit) -> set[str]:
    return {name for node in kit.nodes.values() for name in node.objects()}


def test_it_can_be_brought_back_for_as_long_as_the_settings_say(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        retention = msgspec.structs.replace(default_settings().retention, undelete_s=3600)
        cluster._settings = msgspec.structs.replace(default_settings(), retention=retention)
        result = await cluster.remove(NAME)
        assert (result.keep_s, result.freed) == (3600, ())
        assert await kept_for(kit) == [3600]
        assert objects(kit)

    collecting(scenario)


def test_with_now_the_space_is_freed_once_no_store_can_count_on_it(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        held = sum(len(node.objects()) for node in kit.nodes.values())
        used = sum(node.store.bytes_used for node in kit.nodes.values())
        first = await cluster.remove(NAME, now=True)
        assert (first.everywhere, first.keep_s) == (True, 0)
        assert sum(row.objects for row in first.freed) == 0
        assert any("a store may count on them" in text for row in first.freed for text in row.waiting)
        assert await kept_for(kit) == [0]
        await asyncio.sleep(1.1 * HOUR)
        again = await cluster.remove(NAME, now=True)
        assert [row.name for row in again.freed] == ["node-1", "node-2", "node-3"]
        assert sum(row.objects for row in again.freed) == held
        assert sum(row.bytes for row in again.freed) == used
        assert objects(kit) == set()
        assert await kept_for(kit) == [0]

    collecting(scenario)


def test_with_now_a_version_that_was_removed_before_goes_too(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        stored = await cluster.store(folder)
        await cluster.remove(NAME)
        await asyncio.sleep(1.1 * HOUR)
        with pytest.raises(NotFound):
            await cluster.remove(f"{NAME}@{stored.version}")
        result = await cluster.remove(f"{NAME}@{stored.version}", now=True)
        assert result.removed == ((NAME, stored.version),)
        assert sum(row.objects for row in result.freed) > 0
        assert objects(kit) == set()
        assert await kept_for(kit) == [0, 7 * 86_400]

    collecting(scenario)


def test_with_now_and_no_version_all_go_those_removed_before_too(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        first = await cluster.store(folder)
        await cluster.remove(NAME)
        second = await cluster.store(folder)
        await asyncio.sleep(1.1 * HOUR)
        result = await cluster.remove(NAME, now=True)
        assert result.removed == ((NAME, first.version), (NAME, second.version))
        assert objects(kit) == set()
        with pytest.raises(NotFound):
            await cluster.remove("gpt2/step-9", now=True)

    collecting(scenario)


def test_what_another_version_needs_stays_and_a_dry_run_counts_the_rest(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        first = await cluster.store(folder)
        (folder / "more").write_bytes(b"more")
        second = await cluster.store(folder)
        before = objects(kit)
        alone = await cluster.remove(f"{NAME}@{second.version}", dry_run=True)
        both = await cluster.remove(NAME, dry_run=True)
        assert (alone.dry_run, alone.nodes, alone.keep_s) == (True, (), 7 * 86_400)
        assert 0 < alone.chunks < both.chunks == len(before)
        assert alone.chunk_bytes < both.chunk_bytes
        assert await kept_for(kit) == []
        await asyncio.sleep(1.1 * HOUR)
        await cluster.remove(f"{NAME}@{second.version}", now=True)
        assert len(before - objects(kit)) == alone.chunks
        await cluster.gather(f"{NAME}@{first.version}", to=folder.parent / "back")

    collecting(scenario)


def test_a_dry_run_does_not_count_what_is_over(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        await cluster.remove(NAME, now=True)
        await asyncio.sleep(1.1 * HOUR)
        await cluster.remove(NAME, now=True)
        assert objects(kit) == set()
        over = await cluster.remove(NAME, now=True, dry_run=True)
        assert (over.chunks, over.chunk_bytes) == (0, 0)
        (folder / "other").write_bytes(b"other")
        await cluster.store(folder)
        await asyncio.sleep(1.1 * HOUR)
        would = await cluster.remove(NAME, now=True, dry_run=True)
        held = len(objects(kit))
        await cluster.remove(NAME, now=True)
        assert would.chunks == held
        assert objects(kit) == set()

    collecting(scenario)


def test_a_dry_run_does_not_count_what_a_removed_version_needs_that_can_be_brought_back(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        first = await cluster.store(folder)
        (folder / "weights.bin").write_bytes(noise(2 * MIB))  # a chunk of its own
        second = await cluster.store(folder)
        await cluster.remove(f"{NAME}@{first.version}")
        await asyncio.sleep(1.1 * HOUR)
        before = objects(kit)
        would = await cluster.remove(f"{NAME}@{second.version}", now=True, dry_run=True)
        await cluster.remove(f"{NAME}@{second.version}", now=True)
        assert 0 < would.chunks == len(before - objects(kit)) < len(before)

    collecting(scenario)


def test_a_node_that_freed_nothing_says_why(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        await asyncio.sleep(1.1 * HOUR)
        kit.nodes[2].refuse(RecordDigests, DiskFault("it burns"))
        kit.nodes[3].refuse(Collect, DiskFault("it drowns"))
        first, third = (await cluster.remove(NAME, now=True)).freed
        assert (first.name, first.objects) == ("node-1", 0)
        assert first.problem == "node-2 is alive and did not exchange its records (it burns)"
        assert (third.name, third.objects, third.problem) == ("node-3", 0, "it drowns")

    collecting(scenario)
