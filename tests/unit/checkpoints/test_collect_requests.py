"""A pass that somebody asks for takes as long as it takes: the asker hears that it moves, and need not stay."""

import asyncio
from collections.abc import Callable

import pytest

from checkpoint_kits import noise
from collection_kits import HOUR, Estate, collecting
from roost.checkpoints import collector
from roost.core.errors import DiskFault, Stalled, Unreachable
from roost.core.ids import ObjectId, object_id
from roost.net.body import Body
from roost.net.server import Call, Reply
from roost.wire.messages import Collect, Collected, RecordDigests

LEFT = [noise(64, seed) for seed in range(12)]


async def ripe(estate: Estate) -> list[ObjectId]:
    """Leftovers on node 1 that go with the next pass."""
    await estate.store({"kept": noise(64, 99)})
    node = estate.node(1)
    for data in LEFT:
        await node.store.put(object_id(data), Body.of(data))
    await estate.collect(1)
    await asyncio.sleep(25 * HOUR)
    return [object_id(data) for data in LEFT]


def slow(name: str, seconds: float) -> Callable[[Callable[..., object]], float]:
    return lambda work: seconds if getattr(work, "__name__", "") == name else 0.0


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "REMOVED_AT_ONCE", 1)


async def ask(estate: Estate, *, dry_run: bool = False) -> Collected:
    answer = await estate.kit.links.call(estate.node(1).node_id, Collect(dry_run))
    assert isinstance(answer, Collected)
    return answer


def test_a_removal_that_takes_minutes_says_that_it_moves() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        estate.kit.runtime.on_thread = slow("remove_objects", 12.0)
        assert (await ask(estate)).objects == len(LEFT)

    collecting(scenario)


def test_who_asks_while_a_pass_runs_hears_that_it_moves_and_gets_the_one_after_it() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        estate.kit.runtime.on_thread = slow("remove_objects", 12.0)
        running = asyncio.create_task(estate.collect(1))
        await asyncio.sleep(5)
        assert (await ask(estate)).objects == 0
        assert running.done()
        assert running.result() == len(LEFT)

    collecting(scenario)


@pytest.mark.parametrize("how", ["cancelled", "gone"])
def test_a_pass_goes_on_when_who_asked_for_it_gives_up(how: str) -> None:
    async def scenario(estate: Estate) -> None:
        leftovers = await ripe(estate)
        estate.kit.runtime.on_thread = slow("remove_objects", 12.0)
        asking = asyncio.create_task(ask(estate))
        await asyncio.sleep(20)
        if how == "cancelled":
            asking.cancel()
        else:
            await estate.kit.links.close()
        await asyncio.wait([asking])
        assert len(estate.holders(leftovers) & {1}) == 1
        await asyncio.sleep(12.5 * len(LEFT))
        assert estate.holders(leftovers) == set()
        assert estate.collectors[1].status.startswith(f"freed {len(LEFT)} chunks")

    collecting(scenario)


def test_however_often_somebody_asks_one_pass_waits_behind_the_one_that_runs() -> None:
    async def scenario(estate: Estate) -> None:
        leftovers = await ripe(estate)
        estate.kit.runtime.on_thread = slow("remove_objects", 12.0)
        passes = 0
        look = estate.collectors[1]._pass

        async def counted(dry_run: bool) -> collector.Outcome:
            nonlocal passes
            passes += 1
            return await look(dry_run)

        estate.collectors[1]._pass = counted  # type: ignore[method-assign]
        first = asyncio.create_task(ask(estate))
        await asyncio.sleep(20)
        later = [asyncio.create_task(ask(estate)) for _ in range(5)]
        would = asyncio.create_task(ask(estate, dry_run=True))
        await asyncio.sleep(1)
        later[0].cancel()
        assert (await first).objects == len(leftovers)
        assert [(await task).objects for task in (*later[1:], would)] == [0] * 5
        assert passes == 3
        assert (await ask(estate)).objects == 0
        assert passes == 4

    collecting(scenario)


def test_a_member_that_takes_its_time_to_exchange_is_waited_for() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        serve = estate.node(2).handlers[RecordDigests]

        async def late(call: Call) -> Reply:
            for _ in range(20):
                await asyncio.sleep(2)
                call.progress += 1
            return await serve(call)

        estate.node(2).handlers[RecordDigests] = late
        assert (await ask(estate)).objects == len(LEFT)

    collecting(scenario)


def test_a_disk_that_hangs_is_no_progress() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        estate.kit.runtime.on_thread = slow("remove_objects", 100.0)
        with pytest.raises(Stalled, match="without progress"):
            await ask(estate)

    collecting(scenario)


def test_the_asker_and_the_status_learn_of_a_failure() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        estate.node(1).disk.failing.add("chunks")
        with pytest.raises(DiskFault):
            await ask(estate)
        assert estate.collectors[1].status.startswith("failed: ")

    collecting(scenario)


def test_a_node_that_ends_takes_its_passes_with_it() -> None:
    async def scenario(estate: Estate) -> None:
        leftovers = await ripe(estate)
        estate.kit.runtime.on_thread = slow("remove_objects", 12.0)
        asking = asyncio.create_task(ask(estate))
        await asyncio.sleep(20)
        await estate.collectors[1].close()
        left = sum(estate.node(1).holds(one) for one in leftovers)
        assert 0 < left < len(leftovers)
        await asyncio.sleep(300)
        assert sum(estate.node(1).holds(one) for one in leftovers) == left
        for late in (asking, ask(estate)):
            with pytest.raises(Unreachable, match="ending"):
                await late

    collecting(scenario)
