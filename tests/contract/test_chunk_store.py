"""The contract of the port `ChunkStore`, held by a disk (real and in memory), the fake, and a node far away alike."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from chunk_kits import KITS, Kit, run_with_kit
from roost.chunks.store import CopyState
from roost.core.errors import Damaged, Failed, NoSpace, NotFound, RoostError
from roost.core.ids import ObjectId, object_id
from roost.net.body import Body
from roost.net.stream import SLICE_BYTES

Run = Callable[[Callable[[Kit], Awaitable[None]]], None]
SIZES = [0, 1, 100, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, 3 * SLICE_BYTES + 7]


@pytest.fixture(params=sorted(KITS))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return lambda scenario: run_with_kit(request.param, tmp_path, scenario)


def some(size: int, seed: int = 0) -> tuple[ObjectId, bytes]:
    data = random.Random(seed).randbytes(size)
    return object_id(data), data


async def fetched(kit: Kit, wanted: ObjectId, room: int = 4 * SLICE_BYTES) -> bytes:
    into = memoryview(bytearray(room))
    return bytes(into[: await kit.store.get(wanted, into)])


async def refused(kind: type[RoostError], work: Awaitable[object]) -> None:
    with pytest.raises(kind):
        await work


@pytest.mark.parametrize("size", SIZES)
def test_what_is_put_is_there_and_comes_back(run: Run, size: int) -> None:
    async def scenario(kit: Kit) -> None:
        name, data = some(size)
        assert await kit.store.have([name]) == [False]
        assert await kit.store.put(name, Body.of(data)) is True
        assert await kit.store.have([name]) == [True]
        assert await fetched(kit, name) == data
        assert await fetched(kit, name, room=size) == data
        assert await kit.store.verify([name]) == [CopyState.GOOD]
        assert kit.temporaries() == 0

    run(scenario)


def test_a_second_put_takes_nothing(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        name, data = some(1000)
        taken: list[int] = []

        async def slices() -> AsyncIterator[memoryview]:
            taken.append(1)
            yield memoryview(data)

        assert await kit.store.put(name, Body(len(data), slices())) is True
        assert await kit.store.put(name, Body(len(data), slices())) is False
        assert taken == [1]

    run(scenario)


def test_have_answers_in_order_and_in_any_number(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        first, data = some(10, seed=1)
        second, more = some(11, seed=2)
        await kit.store.put(first, Body.of(data))
        await kit.store.put(second, Body.of(more))
        absent = [ObjectId(number.to_bytes(32, "big")) for number in range(20_000)]
        asked = [absent[0], second, absent[1], first, first, *absent, second]
        here = await kit.store.have(asked, reserve=True)
        assert here == [name in (first, second) for name in asked]
        assert await kit.store.have([]) == []

    run(scenario)


def test_bytes_that_are_not_what_the_id_says_leave_nothing(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        name, data = some(SLICE_BYTES + 5)
        await refused(Damaged, kit.store.put(name, Body.of(data[:-1], b"x")))
        assert await kit.store.have([name]) == [False]
        assert kit.temporaries() == 0
        assert await kit.store.put(name, Body.of(data)) is True

    run(scenario)


def test_a_body_that_breaks_off_leaves_nothing(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        name, data = some(2 * SLICE_BYTES)

        async def slices() -> AsyncIterator[memoryview]:
            yield memoryview(data)[:SLICE_BYTES]
            raise Damaged("the source is bad")

        await refused(Damaged, kit.store.put(name, Body(len(data), slices())))
        assert await kit.store.have([name]) == [False]
        assert kit.temporaries() == 0
        assert await kit.store.put(name, Body.of(data)) is True
        assert await fetched(kit, name) == data

    run(scenario)


def test_a_put_that_is_cancelled_leaves_nothing_or_all(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        name, data = some(2 * SLICE_BYTES)
        halfway = asyncio.Event()

        async def slices() -> AsyncIterator[memoryview]:
            yield memoryview(data)[:SLICE_BYTES]
            halfway.set()
            await asyncio.Event().wait()

        putting = asyncio.create_task(kit.store.put(name, Body(len(data), slices())))
        await halfway.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert await kit.store.put(name, Body.of(data)) is True
        assert await fetched(kit, name) == data
        assert kit.temporaries() == 0

    run(scenario)


def test_two_puts_at_once_both_succeed(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        name, data = some(3 * SLICE_BYTES)
        news = await asyncio.gather(*(kit.store.put(name, Body.of(data)) for _ in range(3)))
        assert True in news
        assert await fetched(kit, name) == data
        assert kit.temporaries() == 0

    run(scenario)


def test_many_puts_and_gets_at_once(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        objects = [some(SLICE_BYTES + seed, seed) for seed in range(30)]
        await asyncio.gather(*(kit.store.put(name, Body.of(data)) for name, data in objects))
        back = await asyncio.gather(*(fetched(kit, name) for name, _ in objects))
        assert back == [data for _, data in objects]
        assert await kit.store.verify([name for name, _ in objects]) == [CopyState.GOOD] * 30

    run(scenario)


def test_a_full_disk_refuses_before_a_byte_is_taken(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        kept, old = some(SLICE_BYTES, seed=1)
        await kit.store.put(kept, Body.of(old))
        name, data = some(5000)
        kit.shrink(4000)
        taken: list[int] = []

        async def slices() -> AsyncIterator[memoryview]:
            taken.append(1)
            yield memoryview(data)

        await refused(NoSpace, kit.store.put(name, Body(len(data), slices())))
        assert taken == []
        assert kit.temporaries() == 0
        assert await kit.store.have([kept, name]) == [True, False]
        assert await fetched(kit, kept) == old
        kit.shrink(40_000)
        assert await kit.store.put(name, Body.of(data)) is True

    run(scenario)


def test_space_counts_what_is_used(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        kit.shrink(1_000_000)
        before = await kit.store.space()
        name, data = some(300_000)
        await kit.store.put(name, Body.of(data))
        after = await kit.store.space()
        assert after.used == before.used + 300_000
        assert 0 <= after.free <= before.free
        assert after.free + after.used <= after.total
        kit.shrink(0)
        assert (await kit.store.space()).free == 0

    run(scenario)


def test_what_is_not_there_is_not_found(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        name, _ = some(10)
        await refused(NotFound, fetched(kit, name))
        assert await kit.store.verify([name]) == [CopyState.ABSENT]

    run(scenario)


@pytest.mark.parametrize("size", [1, SLICE_BYTES, SLICE_BYTES + 1])
def test_too_little_room_is_refused(run: Run, size: int) -> None:
    async def scenario(kit: Kit) -> None:
        name, data = some(size)
        await kit.store.put(name, Body.of(data))
        await refused(Failed, fetched(kit, name, room=size - 1))
        assert await fetched(kit, name, room=size) == data

    run(scenario)


@pytest.mark.parametrize("byte", [0, SLICE_BYTES, 2 * SLICE_BYTES - 1])
def test_a_flipped_bit_is_noticed_by_get_and_the_copy_put_anew(run: Run, byte: int) -> None:
    async def scenario(kit: Kit) -> None:
        name, data = some(2 * SLICE_BYTES)
        await kit.store.put(name, Body.of(data))
        kit.flip(name, byte)
        await refused(Damaged, fetched(kit, name))
        assert await kit.store.have([name]) == [False]
        assert await kit.store.put(name, Body.of(data)) is True
        assert await fetched(kit, name) == data

    run(scenario)


def test_verify_tells_good_absent_and_damaged_and_puts_the_bad_away(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        good, data = some(100, seed=1)
        bad, more = some(SLICE_BYTES + 100, seed=2)
        absent, _ = some(10, seed=3)
        await kit.store.put(good, Body.of(data))
        await kit.store.put(bad, Body.of(more))
        kit.flip(bad, SLICE_BYTES)
        asked = [good, bad, absent, good]
        assert await kit.store.verify(asked) == [
            CopyState.GOOD, CopyState.DAMAGED, CopyState.ABSENT, CopyState.GOOD,
        ]  # fmt: skip
        assert await kit.store.have([good, bad]) == [True, False]
        assert await kit.store.verify([bad]) == [CopyState.ABSENT]

    run(scenario)


def test_a_vanished_object_is_noticed_when_it_is_used(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        name, data = some(100)
        await kit.store.put(name, Body.of(data))
        kit.vanish(name)
        await refused(NotFound, fetched(kit, name))
        assert await kit.store.have([name]) == [False]
        assert await kit.store.put(name, Body.of(data)) is True
        kit.vanish(name)
        assert await kit.store.put(name, Body.of(data)) is True
        kit.vanish(name)
        assert await kit.store.verify([name]) == [CopyState.ABSENT]

    run(scenario)
