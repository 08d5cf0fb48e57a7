"""Ages add up over a node's lives by running time, are heard from members, and are young when in doubt."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import pytest

from roost.checkpoints import ages as module
from roost.checkpoints.ages import PATH, Ages
from roost.core.errors import DiskFault
from roost.core.ids import ObjectId, RecordId
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime

T = TypeVar("T")
A, B = RecordId(b"a" * 32), RecordId(b"b" * 32)
X, Y = ObjectId(b"x" * 32), ObjectId(b"y" * 32)
HOUR = 3600.0


def simulate(scenario: Callable[[MemoryDisk], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(MemoryDisk())

    run_simulated(main(), seconds_max=1000 * HOUR)


async def life(disk: MemoryDisk, *, wall: float = 0.0, offset: float = 0.0) -> Ages:
    """The ages as the next process finds them; its clocks start anywhere."""
    ages = Ages(disk, SimRuntime(random.Random(1), wall=wall, clock_offset=offset))
    await ages.load()
    return ages


def test_an_age_grows_only_while_the_node_runs() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        ages = await life(disk)
        assert ages.tombstone_s(A) == 0
        ages.see_tombstones([A])
        ages.follow([X])
        await asyncio.sleep(5 * HOUR)
        ages.see_tombstones([A, B])
        ages.follow([X, Y])
        await ages.save()
        await asyncio.sleep(100 * HOUR)  # off
        again = await life(disk, offset=-1e9)
        await asyncio.sleep(HOUR)
        for age, hours in (
            (again.tombstone_s(A), 6), (again.tombstone_s(B), 1), (again.untouched_s(X), 6), (again.untouched_s(Y), 1),
        ):  # fmt: skip
            assert age == pytest.approx(hours * HOUR, abs=1)

    simulate(scenario)


@pytest.mark.parametrize("wall", [0.0, 4_102_444_800.0])
def test_no_wall_clock_makes_anything_older(wall: float) -> None:
    async def scenario(disk: MemoryDisk) -> None:
        ages = await life(disk, wall=1_750_000_000.0)
        ages.see_tombstones([A])
        ages.follow([X])
        await ages.save()
        again = await life(disk, wall=wall)
        assert again.tombstone_s(A) < 1
        assert again.untouched_s(X) < 1

    simulate(scenario)


@pytest.mark.parametrize("byte", [0, 31, 32, 60, -1])
def test_a_damaged_file_makes_everything_young(byte: int) -> None:
    async def scenario(disk: MemoryDisk) -> None:
        ages = await life(disk)
        ages.see_tombstones([A])
        ages.follow([X])
        await asyncio.sleep(5 * HOUR)
        await ages.save()
        disk.flip(PATH, byte % len(disk.contents()[PATH]), 6)
        again = await life(disk)
        again.see_tombstones([A])
        again.follow([X])
        assert again.tombstone_s(A) < 1
        assert again.untouched_s(X) < 1
        assert again.clock < 1

    simulate(scenario)


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 32 + b"\x80"])
def test_what_is_no_file_of_ages_counts_as_none(content: bytes) -> None:
    async def scenario(disk: MemoryDisk) -> None:
        disk.make_directory("state")
        file = disk.create(PATH)
        file.pwrite(content, 0)
        file.close()
        ages = await life(disk)
        assert ages.clock < 1
        await ages.save()
        disk.failing.add(PATH)
        assert len(await life(disk)) == 0

    simulate(scenario)


def test_of_what_members_tell_the_longest_counts() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        ages = await life(disk)
        ages.see_tombstones([A])
        await asyncio.sleep(HOUR)
        ages.hear_tombstones([A, B], [30 * 3600, 30 * 3600])
        assert ages.tombstone_s(A) == pytest.approx(30 * HOUR, abs=1)
        assert ages.tombstone_s(B) == 0
        ages.hear_tombstones([A], [0])
        await ages.save()
        assert (await life(disk)).tombstone_s(A) == pytest.approx(30 * HOUR, abs=1)

    simulate(scenario)


def test_what_is_touched_is_young_again_and_that_is_told() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        disturbed: list[int] = []
        ages = Ages(disk, SimRuntime(random.Random(1)), disturbed=lambda: disturbed.append(1))
        await ages.load()
        ages.touch([X])
        assert not disturbed
        ages.follow([X, Y])
        await asyncio.sleep(HOUR)
        ages.touch([X, ObjectId(b"z" * 32)])
        assert ages.untouched_s(X) == 0
        assert ages.untouched_s(Y) == pytest.approx(HOUR)
        assert disturbed == [1]
        ages.touch([ObjectId(b"z" * 32)])
        assert disturbed == [1]
        ages.follow([Y])
        ages.follow([X, Y])
        await asyncio.sleep(HOUR)
        assert ages.untouched_s(X) == pytest.approx(HOUR)

    simulate(scenario)


def test_what_cannot_be_saved_is_told_and_what_was_saved_still_counts() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        ages = await life(disk)
        ages.see_tombstones([A])
        await asyncio.sleep(HOUR)
        await ages.save()
        disk.read_only = True
        await asyncio.sleep(HOUR)
        with pytest.raises(DiskFault):
            await ages.save()
        disk.read_only = False
        assert (await life(disk)).tombstone_s(A) == pytest.approx(HOUR, abs=1)

    simulate(scenario)


def test_the_ages_are_sorted_and_packed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be a million: the loop, and with it every answer of the node, would stand still for seconds."""
    packed: list[bool] = []
    threads: list[object] = []
    column = module._column

    class Watched(SimRuntime):
        async def in_thread(self, work: Callable[..., T], *args: object) -> T:
            def watched() -> T:
                threads.append(work)
                try:
                    return work(*args)
                finally:
                    threads.pop()

            return await super().in_thread(watched)

    def noted(pairs: Iterable[tuple[bytes, float]]) -> object:
        packed.append(bool(threads))
        return column(pairs)

    monkeypatch.setattr(module, "_column", noted)

    async def scenario(disk: MemoryDisk) -> None:
        ages = Ages(disk, Watched(random.Random(1)))
        await ages.load()
        ages.follow([X, Y])
        await ages.save()
        assert packed == [True, True]

    simulate(scenario)


def test_of_too_many_objects_those_seen_first_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OBJECTS_MAX", 1)

    async def scenario(disk: MemoryDisk) -> None:
        ages = await life(disk)
        ages.follow([Y])
        await asyncio.sleep(HOUR)
        ages.follow([X, Y])
        await ages.save()
        again = await life(disk)
        assert again.untouched_s(Y) == pytest.approx(HOUR, abs=1)
        assert len(again) == 1

    simulate(scenario)
