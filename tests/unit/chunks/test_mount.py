"""A disk that goes away while its node runs, and what is not there any more: neither is vouched for, or forgotten."""

import random
from collections.abc import Awaitable, Callable, Coroutine

import pytest

from roost.chunks.disk import DiskChunkStore
from roost.chunks.store import CopyState
from roost.core.errors import DiskFault, NotFound
from roost.core.ids import object_id
from roost.net.body import Body, Sink
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime

DATA = b"kept" * 1000
KEPT = object_id(DATA)
NEW = object_id(b"new")
PATH = f"chunks/{KEPT.hex()[:2]}/{KEPT.hex()}"


class Kept:
    """A store that keeps one object, and what it said of harm."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.harm: list[str] = []
        self.store = DiskChunkStore(
            self.disk, SimRuntime(random.Random(1)), reserve_bytes=0, harmed=lambda path, why: self.harm.append(path)
        )

    def unmount(self) -> None:
        self.disk.rename("chunks", "away")
        self.disk.make_directory("chunks")

    def mount(self) -> None:
        self.disk.remove_directory("chunks")
        self.disk.rename("away", "chunks")

    async def fetched(self) -> bytes:
        into = memoryview(bytearray(len(DATA)))
        return bytes(into[: await self.store.get(KEPT, into)])


def simulate(scenario: Callable[[Kept], Coroutine[object, object, None]]) -> None:
    async def main() -> None:
        kept = Kept()
        await kept.store.open()
        await kept.store.put(KEPT, Body.of(DATA))
        await scenario(kept)

    run_simulated(main(), seconds_max=600)


async def sent(store: DiskChunkStore) -> None:
    await store.open_body(KEPT)


USES: dict[str, Callable[[DiskChunkStore], Awaitable[object]]] = {
    "a put": lambda store: store.put(NEW, Body.of(b"new")),
    "a put of what is here": lambda store: store.put(KEPT, Body.of(DATA)),
    "a commit": lambda store: store.missing([KEPT]),
    "a read": lambda store: store.get(KEPT, memoryview(bytearray(len(DATA)))),
    "a body": sent,
    "a check": lambda store: store.verify([KEPT]),
}


@pytest.mark.parametrize("use", list(USES))
def test_a_disk_that_is_not_mounted_any_more_is_a_fault_and_nothing_is_forgotten(use: str) -> None:
    async def scenario(kept: Kept) -> None:
        kept.unmount()
        with pytest.raises(DiskFault):
            await USES[use](kept.store)
        assert kept.store.unmounted
        assert await kept.store.have([KEPT]) == [False]
        assert kept.store.verified([KEPT]) == [0]
        assert (kept.store.damaged_total, kept.harm) == (0, [])
        kept.mount()
        assert await kept.store.problem() == ""
        assert await kept.store.have([KEPT]) == [True]
        assert kept.store.verified([KEPT]) != [0]
        assert await kept.fetched() == DATA

    simulate(scenario)


@pytest.mark.parametrize("use", ["a put", "a put of what is here"])
def test_another_disk_at_the_same_place_is_a_fault_and_takes_nothing(use: str) -> None:
    async def scenario(kept: Kept) -> None:
        await kept.store.put(object_id(b"looked at"), Body.of(b"looked at"))
        kept.disk.rename("chunks", "away")
        other = DiskChunkStore(kept.disk, SimRuntime(random.Random(2)), reserve_bytes=0)
        await other.open()
        await other.put(KEPT, Body.of(DATA))
        there = kept.disk.contents()
        with pytest.raises(DiskFault, match="names another store"):
            await USES[use](kept.store)
        assert kept.disk.contents() == there
        assert await kept.store.have([KEPT]) == [False]

    simulate(scenario)


def test_who_wants_a_promise_makes_the_node_look_first() -> None:
    async def scenario(kept: Kept) -> None:
        kept.unmount()
        assert await kept.store.have([KEPT], reserve=True) == [False]
        kept.mount()
        assert await kept.store.have([KEPT], reserve=True) == [True]

    simulate(scenario)


def test_a_disk_that_goes_while_an_object_comes_is_a_fault_of_this_node() -> None:
    async def scenario(kept: Kept) -> None:
        async def take(sink: Sink) -> None:
            kept.unmount()
            view = await sink.take(3)
            view[:] = b"new"
            await sink.give(view)

        with pytest.raises(DiskFault):
            await kept.store.receive(NEW, 3, take)

    simulate(scenario)


def test_a_disk_that_does_not_say_is_taken_for_what_it_was() -> None:
    async def scenario(kept: Kept) -> None:
        kept.disk.failing.add("chunks/store.id")
        assert await kept.store.have([KEPT], reserve=True) == [True]
        assert await kept.fetched() == DATA
        await kept.store.put(NEW, Body.of(b"new"))
        with pytest.raises(DiskFault):
            await kept.store.problem()

    simulate(scenario)


async def read(kept: Kept) -> None:
    with pytest.raises(NotFound):
        await kept.fetched()


async def scrubbed(kept: Kept) -> None:
    assert await kept.store.verify([KEPT]) == [CopyState.ABSENT]


async def committed(kept: Kept) -> None:
    async with kept.store.guard():
        assert await kept.store.missing([KEPT]) == [KEPT]


@pytest.mark.parametrize("meet", [read, scrubbed, committed])
def test_a_file_that_has_vanished_is_damage_found_once(meet: Callable[[Kept], Awaitable[None]]) -> None:
    async def scenario(kept: Kept) -> None:
        kept.disk.unlink(PATH)
        await meet(kept)
        assert (kept.store.damaged_total, kept.harm, kept.store.objects) == (1, [PATH], 0)
        with pytest.raises(NotFound):
            await kept.fetched()
        assert kept.store.damaged_total == 1

    simulate(scenario)


def test_what_the_collector_removes_has_not_vanished() -> None:
    async def scenario(kept: Kept) -> None:
        body = await kept.store.open_body(KEPT)
        kept.store._index._reserved.clear()
        async with kept.store.guard():
            assert await kept.store.remove([KEPT])
        with pytest.raises(NotFound):
            async with body.opened() as slices:
                await anext(slices)
        assert (kept.store.damaged_total, kept.harm) == (0, [])

    simulate(scenario)


def test_bytes_that_rot_are_told_of() -> None:
    async def scenario(kept: Kept) -> None:
        kept.disk.flip(PATH, 0, 0)
        assert await kept.store.verify([KEPT]) == [CopyState.DAMAGED]
        assert kept.harm == [PATH]

    simulate(scenario)


def test_names_that_could_not_be_made_durable_can_be_read_and_are_not_vouched_for() -> None:
    async def scenario(kept: Kept) -> None:
        disk = kept.disk.kill()
        disk.read_only = True
        store = DiskChunkStore(disk, SimRuntime(random.Random(2)), reserve_bytes=0)
        await store.open()
        into = memoryview(bytearray(len(DATA)))
        assert await store.get(KEPT, into) == len(DATA)
        async with store.guard():
            with pytest.raises(DiskFault):
                await store.missing([KEPT])
        disk.read_only = False
        async with store.guard():
            assert await store.missing([KEPT]) == []

    simulate(scenario)
