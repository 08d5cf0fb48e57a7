"""Reading parts of a version on a simulated cluster: what is fetched, what is kept, and who fails."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from checkpoint_kits import KIB, Kit, noise, simulate
from roost.checkpoints.reading import ASK_AGAIN_S, Reading
from roost.core.errors import Lost, NotFound, Unreachable, UsageError
from roost.net.server import Call, Reply
from roost.wire.messages import Get

UNIT = 64 * KIB
BIG = b"".join(noise(UNIT, n) for n in range(8))
FILES = {"a.bin": BIG, "small.json": b"{}", "z/b.bin": noise(3 * UNIT, 50), "empty": b""}


def gets_of(kit: Kit) -> list[int]:
    """A list that grows by the number of a node with each object that is asked of it."""
    asked: list[int] = []

    def watch(number: int, inner: Callable[[Call], Awaitable[Reply]]) -> Callable[[Call], Awaitable[Reply]]:
        async def watched(call: Call) -> Reply:
            asked.append(number)
            return await inner(call)

        return watched

    for number, node in kit.nodes.items():
        node.handlers[Get] = watch(number, node.handlers[Get])
    return asked


async def opened(kit: Kit, *, cache_bytes: int = 1 << 30) -> Reading:
    await kit.store({"z": None, **FILES}, chunk_max=UNIT)
    _, manifest = await kit.newest()
    return Reading(kit.peers, manifest, cache_bytes=cache_bytes)


async def some(reading: Reading, path: str, begin: int, end: int) -> bytes:
    found = bytearray(end - begin)
    await reading.read(path, begin, memoryview(found))
    return bytes(found)


def test_any_range_of_any_file_is_read() -> None:
    async def scenario(kit: Kit) -> None:
        reading = await opened(kit)
        chance = random.Random(1)
        for path, content in FILES.items():
            assert reading.size(path) == len(content)
            assert await some(reading, path, 0, len(content)) == content
            for _ in range(20):
                begin, end = sorted(chance.choices(range(len(content) + 1), k=2))
                assert await some(reading, path, begin, end) == content[begin:end]

    simulate(scenario)


def test_only_the_chunks_that_are_needed_are_fetched_and_each_once() -> None:
    async def scenario(kit: Kit) -> None:
        reading = await opened(kit)
        asked = gets_of(kit)
        assert await some(reading, "a.bin", UNIT + 10, UNIT + 20) == BIG[UNIT + 10 : UNIT + 20]
        assert len(asked) == 1
        assert await some(reading, "a.bin", UNIT, 2 * UNIT) == BIG[UNIT : 2 * UNIT]
        assert len(asked) == 1, "it is still there"
        await asyncio.gather(*(some(reading, "a.bin", 3 * UNIT, 4 * UNIT) for _ in range(5)))
        assert len(asked) == 2, "five who want it at once wait for one"
        await some(reading, "a.bin", 0, 0)
        assert len(asked) == 2

    simulate(scenario)


def test_what_is_kept_is_bounded_and_the_oldest_goes_first() -> None:
    async def scenario(kit: Kit) -> None:
        reading = await opened(kit, cache_bytes=2 * UNIT)
        asked = gets_of(kit)
        for number in (0, 1, 0, 2, 0):  # 2 takes the place of 1, for 0 was used since
            await some(reading, "a.bin", number * UNIT, number * UNIT + 1)
        assert len(asked) == 3
        await some(reading, "a.bin", UNIT, UNIT + 1)
        assert len(asked) == 4
        assert await some(reading, "a.bin", 0, len(BIG)) == BIG

    simulate(scenario)


def test_without_a_cache_it_reads_all_the_same() -> None:
    async def scenario(kit: Kit) -> None:
        reading = await opened(kit, cache_bytes=0)
        found = await asyncio.gather(*(some(reading, "a.bin", 5, len(BIG) - 5) for _ in range(3)))
        assert found == [BIG[5:-5]] * 3

    simulate(scenario)


def test_what_is_not_there_is_told() -> None:
    async def scenario(kit: Kit) -> None:
        reading = await opened(kit)
        with pytest.raises(NotFound, match=r"no file .c\.bin."):
            reading.size("c.bin")
        with pytest.raises(NotFound, match="no file 'z'"):
            await some(reading, "z", 0, 1)
        for begin, end in ((0, 3), (-1, 1), (2, 3)):
            with pytest.raises(UsageError, match=r"not all in small\.json"):
                await some(reading, "small.json", begin, end)

    simulate(scenario)


def test_a_node_that_dies_between_two_reads_is_passed_over() -> None:
    async def scenario(kit: Kit) -> None:
        reading = await opened(kit)
        await some(reading, "a.bin", 0, 1)
        kit.crash(2)
        assert await some(reading, "a.bin", 0, len(BIG)) == BIG

    simulate(scenario)


def test_a_damaged_copy_is_passed_over_and_mended() -> None:
    async def scenario(kit: Kit) -> None:
        reading = await opened(kit)
        _, manifest = await kit.newest()
        object_id = manifest.chunks.id_of(reading._layout.chunks_of(0)[0])
        [first, _] = sorted(kit.holders(object_id))
        kit.nodes[first].disk.flip(f"chunks/{object_id.hex()[:2]}/{object_id.hex()}", 77, 1)
        for _ in range(4):
            assert await some(await opened(kit), "a.bin", 0, UNIT) == BIG[:UNIT]
        assert kit.holders(object_id) >= {first}

    simulate(scenario)


def test_when_too_many_are_away_it_says_so_and_goes_on_when_they_are_back() -> None:
    async def scenario(kit: Kit) -> None:
        reading = await opened(kit, cache_bytes=0)
        assert await some(reading, "a.bin", 0, len(BIG)) == BIG
        kit.crash(1, 2, 3)
        with pytest.raises(Unreachable, match=r"a\.bin"):
            await some(reading, "a.bin", 0, len(BIG))

    simulate(scenario)


def test_what_nobody_has_any_more_is_lost() -> None:
    async def scenario(kit: Kit) -> None:
        reading = await opened(kit)
        for node in kit.nodes.values():
            for path in [
                path
                for path in node.disk.contents()
                if path.startswith("chunks/") and len(path) == len("chunks/ab/") + 64
            ]:
                node.disk.flip(path, 0, 0)
        with pytest.raises(Lost, match=r"a\.bin"):
            await some(reading, "a.bin", 0, len(BIG))

    simulate(scenario)


def test_who_has_what_is_asked_again_after_a_while() -> None:
    async def scenario(kit: Kit) -> None:
        reading = await opened(kit, cache_bytes=0)
        await some(reading, "a.bin", 0, 1)
        first = reading._fetcher
        await some(reading, "a.bin", 0, 1)
        assert reading._fetcher is first
        await kit.runtime.sleep(ASK_AGAIN_S + 1)
        await some(reading, "a.bin", 0, 1)
        assert reading._fetcher is not first

    simulate(scenario)
