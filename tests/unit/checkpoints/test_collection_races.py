"""Collection beside everything else: stores that deduplicate against what goes, uploads, copies under way, nodes that
were away for months, clocks that jump. What is acknowledged is there, and nothing comes back from the dead."""

import asyncio
from collections.abc import Sequence

import pytest

from checkpoint_kits import CHUNK_MAX, KIB, THREE, Kit, noise, text
from collection_kits import DAY, HOUR, KEEP_S, NAME, Estate, collecting, tombstone
from roost.checkpoints.collect import Periods
from roost.checkpoints.store import Receipt
from roost.chunks.disk import DiskChunkStore
from roost.chunks.pass_on import PassOn as PassingOn
from roost.chunks.service import chunk_handlers
from roost.core.errors import DiskFault, NotFound
from roost.core.ids import CheckpointName, ObjectId
from roost.wire.messages import Have, PassOn, Put

OLD = {f"f{i}": noise(CHUNK_MAX, i) for i in range(3)}
NEW = {**OLD, "more": noise(CHUNK_MAX, 9)}
OTHER = CheckpointName("run/step-2")
OFFSETS_S = [0.004 * step for step in range(18)]


async def check_proved(kit: Kit, receipt: Receipt, name: CheckpointName = NAME) -> None:
    """All copies that the receipt counts are on the disks, and it can be had."""
    _, manifest = await kit.newest(name)
    holders = {int(node, 16) for node in receipt.nodes}
    for object_id in manifest.objects():
        assert len(kit.holders(object_id) & holders) >= receipt.copies, "a copy that was counted is gone"
    await kit.gather(f"back-{receipt.version}", name=name)


# A store that deduplicates against what is being collected


async def race(estate: Estate, offset_s: float) -> None:
    """A store counts on the objects of an earlier version, which is removed for good, and collected, some time after it
    began: before or after it asked for them, put, and committed."""
    record, _ = await estate.store(OLD)
    await asyncio.sleep(3 * HOUR)

    async def collect() -> None:
        await asyncio.sleep(offset_s)
        for number, node in estate.kit.nodes.items():
            await node.records.add(tombstone(record, keep_s=0))
            await estate.collect(number)

    storing = asyncio.create_task(estate.kit.store(NEW, name=OTHER, at="new"))
    await collect()
    receipt = await storing
    assert not receipt.degraded
    await check_proved(estate.kit, receipt, OTHER)


@pytest.mark.parametrize("offset_s", OFFSETS_S)
def test_a_store_that_counts_on_what_is_being_collected_is_whole(offset_s: float) -> None:
    collecting(lambda estate: race(estate, offset_s))


def forget_reservations(estate: Estate) -> None:
    """As if every node had been started again at just the wrong moment: then only the commit's check is left."""
    for node in estate.kit.nodes.values():
        node.store._index._reserved_s = -1.0


@pytest.mark.parametrize("offset_s", OFFSETS_S)
def test_the_commits_check_alone_keeps_it_whole(offset_s: float) -> None:
    async def scenario(estate: Estate) -> None:
        record, _ = await estate.store(OLD)
        await asyncio.sleep(3 * HOUR)
        forget_reservations(estate)

        async def collect() -> None:
            await asyncio.sleep(offset_s)
            for number, node in estate.kit.nodes.items():
                await node.records.add(tombstone(record, keep_s=0))
                await estate.collect(number)

        storing = asyncio.create_task(estate.kit.store(NEW, name=OTHER, at="new"))
        await collect()
        receipt = await storing
        await check_proved(estate.kit, receipt, OTHER)

    collecting(scenario)


def test_the_races_are_races(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the commit's check some of them are lost."""

    async def nothing(self: DiskChunkStore, ids: Sequence[ObjectId]) -> list[ObjectId]:
        return []

    monkeypatch.setattr(DiskChunkStore, "missing", nothing)
    lost = 0
    for offset_s in OFFSETS_S:
        try:
            test_the_commits_check_alone_keeps_it_whole(offset_s)
        except Exception:  # supervised: whatever way it is lost, it is lost
            lost += 1
    assert lost > 0


def test_an_unchanged_store_of_what_is_being_collected_is_whole() -> None:
    async def scenario(estate: Estate) -> None:
        await estate.store(OLD)
        await estate.remove(keep_s=0)
        await asyncio.sleep(3 * HOUR)
        storing = asyncio.create_task(estate.kit.store(OLD, at="again"))
        await estate.collect()
        receipt = await storing
        assert not receipt.unchanged
        await check_proved(estate.kit, receipt)
        await asyncio.sleep(2 * DAY)
        await estate.collect()
        await check_proved(estate.kit, receipt)

    collecting(scenario)


# Uploads and copies under way


@pytest.mark.parametrize("nth", range(6))
def test_uploads_and_copies_under_way_survive_passes_at_any_moment(nth: int) -> None:
    """Each node makes a pass right after it took its nth object, and all of them again before the commit."""

    async def scenario(estate: Estate) -> None:
        await estate.store(OLD)
        await asyncio.sleep(3 * HOUR)
        taken: dict[int, int] = {}
        for number, node in estate.kit.nodes.items():
            put = node.handlers[Put]

            async def counted(call, number=number, put=put):  # type: ignore[no-untyped-def]
                reply = await put(call)
                taken[number] = taken.get(number, 0) + 1
                if taken[number] == nth + 1:
                    assert await estate.collect(number) == 0
                return reply

            node.handlers[Put] = counted
        tree = {f"g{i}": noise(CHUNK_MAX, 100 + i) for i in range(8)}
        receipt = await estate.kit.store(tree, name=OTHER, at="new", redundancy=THREE)
        await check_proved(estate.kit, receipt, OTHER)
        assert max(taken.values()) > nth

    collecting(scenario)


@pytest.mark.parametrize("renewed", [True, False])
def test_a_store_that_takes_longer_than_every_grace_is_whole(renewed: bool) -> None:
    """Its sender renews what it counts on; and if what was put had gone before the commit, it would be put again."""

    async def scenario(estate: Estate) -> None:
        await estate.store(OLD)
        for number in estate.kit.nodes:
            await estate.attach(number, periods=Periods(untouched_s=HOUR))
        slow = asyncio.Event()
        for node in estate.kit.nodes.values():
            put = node.handlers[Put]

            async def waiting(call, put=put):  # type: ignore[no-untyped-def]
                if call.request.length < CHUNK_MAX:
                    while not slow.is_set():
                        call.progress += 1
                        await asyncio.sleep(5)
                return await put(call)

            node.handlers[Put] = waiting
        tree = {**{f"g{i}": noise(CHUNK_MAX, 100 + i) for i in range(4)}, "last": noise(40 * KIB, 7)}
        storing = asyncio.create_task(estate.kit.store(tree, name=OTHER, at="new"))
        gone = 0
        await asyncio.sleep(60)
        for node in estate.kit.nodes.values() if not renewed else ():
            node.refuse(Have, DiskFault("it burns"))
        for _ in range(3):
            await asyncio.sleep(1.1 * HOUR)
            gone += await estate.collect()
        assert (gone == 0) is renewed
        for node in estate.kit.nodes.values():
            node.handlers[Have] = chunk_handlers(node.store, PassingOn(node.store, node.links))[Have]
        slow.set()
        receipt = await storing
        assert not receipt.degraded
        await check_proved(estate.kit, receipt, OTHER)

    collecting(scenario)


def test_a_copy_is_not_passed_on_from_what_went_and_the_store_knows() -> None:
    async def scenario(estate: Estate) -> None:
        _, manifest = await estate.store(OLD)
        await estate.remove(keep_s=0)
        await asyncio.sleep(3 * HOUR)
        wanted = manifest.objects()[0]
        source = min(estate.kit.holders(wanted))
        target = min(set(estate.kit.nodes) - estate.kit.holders(wanted))
        await estate.collect(source)
        answer = await estate.kit.links.call(estate.node(source).node_id, PassOn(wanted, estate.node(target).node_id))
        assert answer.problems == [NotFound.code]  # type: ignore[union-attr]
        assert not estate.node(target).holds(wanted)

    collecting(scenario)


# A node that was away for months


def test_a_node_that_was_away_for_months_resurrects_nothing_and_loses_nothing() -> None:
    async def scenario(estate: Estate) -> None:
        kit = estate.kit
        record, dead = await estate.store(OLD)
        _, live = await estate.store({"y": noise(CHUNK_MAX, 50), "z": noise(CHUNK_MAX, 51)}, name=OTHER)
        away = min(estate.holders(live.objects()) & estate.holders(dead.objects()))
        kept = {i for i in live.objects() if away in kit.holders(i)}
        stale = {i for i in dead.objects() if away in kit.holders(i)}
        kit.crash(away)
        survey = await kit.survey()
        assert estate.node(away).node_id not in survey.reached
        await estate.remove(NAME)
        for _ in range(9):
            await asyncio.sleep(DAY)
            await estate.collect(*(n for n in kit.nodes if n != away))
        assert estate.holders(dead.objects()) == {away}
        await asyncio.sleep(90 * DAY)
        await estate.again(away)
        assert await estate.collect(away) == 0
        status = estate.collectors[away].status
        assert "removed less than" not in status, "the others have known for months that it is over"
        assert f"{len(stale)} chunk" in status
        survey = await kit.survey()
        assert [v.name for v in await kit.catalogue.list()] == [OTHER]
        assert record in estate.node(away).records
        await asyncio.sleep(25 * HOUR)
        assert await estate.collect(away) == len(stale)
        assert all(away in kit.holders(i) for i in kept)
        assert estate.holders(dead.objects()) == set()
        await kit.gather(name=OTHER)

    collecting(scenario)


def test_what_is_needed_again_while_a_node_was_away_is_not_collected_there() -> None:
    """The old version is dead, but a new one, which the node has not heard of, names the same objects."""

    async def scenario(estate: Estate) -> None:
        kit = estate.kit
        _, old = await estate.store(OLD)
        away = min(estate.holders(old.objects()))
        kit.crash(away)
        await kit.survey()
        await kit.store(NEW, name=OTHER, at="new")
        await estate.remove(NAME, keep_s=0)
        await asyncio.sleep(60 * DAY)
        await estate.collect(*(n for n in kit.nodes if n != away))
        held = {i for i in old.objects() if away in kit.holders(i)}
        await estate.again(away)
        assert await estate.collect(away) == 0
        await asyncio.sleep(2 * DAY)
        assert await estate.collect(away) == 0
        assert held
        assert all(away in kit.holders(i) for i in held)

    collecting(scenario)


# Clocks


@pytest.mark.parametrize("jump_s", [-1e10, -40 * DAY, 40 * DAY, 80 * 365 * DAY])
def test_no_clock_that_jumps_makes_anything_go(jump_s: float) -> None:
    async def scenario(estate: Estate) -> None:
        _, manifest = await estate.store(OLD)
        await estate.remove(NAME)
        await asyncio.sleep(3 * HOUR)
        assert await estate.collect() == 0
        estate.kit.runtime.wall_off_s = jump_s
        for number in estate.kit.nodes:
            await estate.again(number)
        await asyncio.sleep(3 * HOUR)
        assert await estate.collect() == 0
        estate.kit.runtime.wall_off_s = -jump_s
        await asyncio.sleep(3 * HOUR)
        assert await estate.collect() == 0
        assert len(estate.holders(manifest.objects())) >= 2

    collecting(scenario)


@pytest.mark.parametrize("wall_s", [0.0, 4_102_444_800.0])
def test_in_1970_and_in_2100_it_goes_after_just_the_same_time(wall_s: float) -> None:
    async def scenario(estate: Estate) -> None:
        estate.kit.runtime.wall_off_s = wall_s - estate.kit.runtime.wall()
        _, manifest = await estate.store({"t": text(40 * KIB)})
        await estate.remove(NAME)
        await estate.collect()
        await asyncio.sleep(KEEP_S - HOUR)
        assert await estate.collect() == 0
        await asyncio.sleep(2 * HOUR)
        assert await estate.collect() == 2
        assert estate.holders(manifest.objects()) == set()

    collecting(scenario)
