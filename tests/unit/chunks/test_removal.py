"""What the collector does with a store: remove what is not reserved, durably; hear of what is used; notice another
disk."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from roost.chunks.disk import DiskChunkStore
from roost.chunks.index import RESERVED_S
from roost.core.errors import DiskFault, NotFound
from roost.core.ids import ObjectId
from roost.net.body import Body
from roost.testing.disk import MemoryDisk
from unit.chunks.test_disk import opened, path_of, sent, simulate, some, turns

ONE, ONE_DATA = some(100, seed=1)
TWO, TWO_DATA = some(200, seed=2)


async def filled(disk: MemoryDisk) -> DiskChunkStore:
    """A store with two objects that nobody has reserved."""
    store = await opened(disk)
    await store.put(ONE, Body.of(ONE_DATA))
    await store.put(TWO, Body.of(TWO_DATA))
    await asyncio.sleep(RESERVED_S + 1)
    return store


async def remove(store: DiskChunkStore, *ids: ObjectId) -> int:
    async with store.guard():
        return await store.remove(ids)


def test_what_is_removed_is_gone_for_good_and_makes_room() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await filled(disk)
        before = await store.space()
        assert await remove(store, ONE, some(5)[0]) == 100
        assert (store.objects, store.bytes_used, store.size_of(ONE), store.ids()) == (1, 200, None, [TWO])
        assert (await store.space()).free == before.free + 100
        assert await store.have([ONE, TWO]) == [False, True]
        async with store.guard():
            assert await store.missing([ONE, TWO]) == [ONE]
        with pytest.raises(NotFound):
            await store.open_body(ONE)
        for state in disk.crash_states():
            assert path_of(ONE) not in state.contents()
            assert state.contents()[path_of(TWO)] == TWO_DATA
        assert await store.put(ONE, Body.of(ONE_DATA))

    simulate(scenario)


def test_what_is_reserved_or_on_its_way_stays() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await filled(disk)
        await store.have([ONE], reserve=True)
        three, data = some(300, seed=3)
        slow = asyncio.Event()

        async def slices() -> AsyncIterator[memoryview]:
            yield memoryview(data[:100])
            await slow.wait()
            yield memoryview(data[100:])

        putting = asyncio.create_task(store.put(three, Body(len(data), slices())))
        await turns(5)
        assert await remove(store, ONE, TWO, three) == 200
        slow.set()
        assert await putting
        assert sorted(store.ids()) == sorted([ONE, three])

    simulate(scenario)


def test_a_disk_that_fails_in_the_middle_leaves_the_index_true() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await filled(disk)
        disk.failing.add(path_of(TWO))
        with pytest.raises(DiskFault):
            await remove(store, ONE, TWO)
        assert store.ids() == [TWO]
        assert store.bytes_used == 200
        disk.failing.clear()
        assert await remove(store, TWO) == 200

    simulate(scenario)


def test_whoever_reads_what_is_removed_reads_to_its_end() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await filled(disk)
        body = await store.open_body(ONE)
        reading = asyncio.create_task(sent(body))
        await turns(1)
        await remove(store, ONE)
        assert await reading == ONE_DATA

    simulate(scenario)


def test_every_use_of_an_object_is_told_and_reading_back_is_none() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await filled(disk)
        touched: list[ObjectId] = []
        store.touched = touched.extend
        await store.verify([ONE])
        assert touched == []
        await store.have([ONE, TWO])
        async with store.guard():
            await store.missing([ONE])
        await store.put(TWO, Body.of(TWO_DATA))
        await store.get(ONE, memoryview(bytearray(100)))
        await sent(await store.open_body(TWO))
        assert touched == [ONE, TWO, ONE, TWO, ONE, TWO]

    simulate(scenario)


@pytest.mark.parametrize(("there", "words"), [(None, "is missing"), (b"f" * 32 + b"\n", "another"), (b"", "another")])
def test_another_disk_is_noticed_while_the_process_runs(there: bytes | None, words: str) -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        assert await store.problem() == ""
        disk.unlink("chunks/store.id")
        if there is not None:
            file = disk.create("chunks/store.id")
            file.pwrite(there, 0)
            file.close()
        assert words in await store.problem()

    simulate(scenario)
