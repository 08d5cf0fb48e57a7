"""The store on one disk: its id, its space, its reservations, and what it does when files and disks go bad."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from unittest import mock

import pytest

from roost.chunks.disk import READS_MAX, DiskChunkStore
from roost.chunks.index import RESERVED_S
from roost.chunks.store import CopyState
from roost.core.errors import Damaged, DiskFault, Failed, NoSpace, NotFound, ProtocolError, RoostError, Unreachable
from roost.core.ids import ObjectId, object_id
from roost.net.body import Body, Sink
from roost.net.stream import SLICE_BYTES
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime
from roost.wire.fields import OBJECT_BYTES_MAX

RESERVE_BYTES = 1000


def some(size: int, seed: int = 0) -> tuple[ObjectId, bytes]:
    data = random.Random(seed).randbytes(size)
    return object_id(data), data


def path_of(name: ObjectId) -> str:
    return f"chunks/{name.hex()[:2]}/{name.hex()}"


async def opened(disk: MemoryDisk, *, expect: str | None = None, puts_max: int = 10) -> DiskChunkStore:
    store = DiskChunkStore(disk, SimRuntime(random.Random(1)), reserve_bytes=RESERVE_BYTES, puts_max=puts_max)
    await store.open(expected_store_id=expect)
    return store


def simulate(scenario: Callable[[MemoryDisk], Coroutine[object, object, None]]) -> None:
    run_simulated(scenario(MemoryDisk()), seconds_max=5 * RESERVED_S)


async def fetched(store: DiskChunkStore, name: ObjectId) -> bytes:
    into = memoryview(bytearray(4 * SLICE_BYTES))
    return bytes(into[: await store.get(name, into)])


async def sent(body: Body) -> bytes:
    async with body.opened() as slices:
        return b"".join([bytes(piece) async for piece in slices])


async def turns(count: int = 50) -> None:
    """Let everything else run until it waits for something."""
    for _ in range(count):
        await asyncio.sleep(0.01)


# The tree and its id


def test_the_tree_is_made_once_and_known_again() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = DiskChunkStore(disk, SimRuntime(random.Random(1)), reserve_bytes=0)
        store_id = await store.open()
        name, data = some(100)
        await store.put(name, Body.of(data))
        before = disk.operations
        for expected in (store_id, None):
            again = DiskChunkStore(disk, SimRuntime(random.Random(2)), reserve_bytes=0)
            assert await again.open(expected_store_id=expected) == store_id
            assert (again.objects, again.bytes_used) == (1, 100)
            assert await fetched(again, name) == data
        assert {what.what for what in list(disk.journal)[before:]} == {"sync directory"}

    simulate(scenario)


@pytest.mark.parametrize("there", [None, b"", b"f" * 32 + b"\n", b"garbage\n"])
def test_another_disk_or_none_is_refused_and_left_as_it_is(there: bytes | None) -> None:
    async def scenario(disk: MemoryDisk) -> None:
        if there is not None:
            disk.make_directory("chunks")
            file = disk.create("chunks/store.id")
            file.pwrite(there, 0)
            file.close()
        before = disk.contents()
        with pytest.raises(Failed) as refused:
            await opened(disk, expect="a" * 32)
        assert "mount" in refused.value.hint
        assert disk.contents() == before

    simulate(scenario)


def test_leftovers_go_and_what_is_no_object_is_passed_over() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(100)
        await store.put(name, Body.of(data))
        other = some(10, seed=1)[0].hex()
        elsewhere = "01" if other.startswith("00") else "00"
        for path in (f"tmp/{other}-1", "tmp/x", "ab/notes", f"{elsewhere}/{other}"):
            disk.create(f"chunks/{path}").close()
        disk.make_directory(f"chunks/{other[:2]}/{other}")
        again = await opened(disk)
        assert again.objects == 1
        assert disk.list("chunks/tmp") == []
        assert disk.exists("chunks/ab/notes")

    simulate(scenario)


# Space


def test_bytes_promised_to_one_put_are_not_promised_to_another() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        first, data = some(3000, seed=1)
        second, more = some(3000, seed=2)
        disk.bytes_max = 33 + RESERVE_BYTES + 5000
        begun, go = asyncio.Event(), asyncio.Event()

        async def slices() -> AsyncIterator[memoryview]:
            begun.set()
            await go.wait()
            yield memoryview(data)

        putting = asyncio.create_task(store.put(first, Body(3000, slices())))
        await begun.wait()
        assert (await store.space()).free == 2000
        with pytest.raises(NoSpace):
            await store.put(second, Body.of(more))
        go.set()
        assert await putting
        assert (await store.space()).free == 2000
        with pytest.raises(NoSpace):
            await store.put(second, Body.of(more))
        disk.bytes_max += 2000
        assert await store.put(second, Body.of(more))

    simulate(scenario)


def test_what_is_written_while_the_disk_is_measured_is_not_counted_as_free() -> None:
    """It is no longer promised when the measurement comes back, and was not yet there when it was taken."""

    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(3000, seed=1)
        disk.bytes_max = 33 + RESERVE_BYTES + 5000
        begun, go = asyncio.Event(), asyncio.Event()
        measure = disk.space

        async def slices() -> AsyncIterator[memoryview]:
            begun.set()
            await go.wait()
            yield memoryview(data)

        putting = asyncio.create_task(store.put(name, Body(3000, slices())))
        await begun.wait()
        in_thread = store._runtime.in_thread

        async def slow(work: Callable[..., object], *args: object) -> object:
            done = await in_thread(work, *args)
            if work == measure:
                go.set()
                await putting
            return done

        with mock.patch.object(store._runtime, "in_thread", slow):
            assert (await store.space()).free == 2000

    simulate(scenario)


def test_a_disk_that_fills_up_meanwhile_keeps_nothing_and_owes_nothing() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(3 * SLICE_BYTES)
        free = (await store.space()).free

        async def slices() -> AsyncIterator[memoryview]:
            yield memoryview(data)[:SLICE_BYTES]
            disk.bytes_max = SLICE_BYTES + 5000
            yield memoryview(data)[SLICE_BYTES:]

        with pytest.raises(NoSpace):
            await store.put(name, Body(len(data), slices()))
        assert disk.list("chunks/tmp") == []
        disk.bytes_max = None
        assert (await store.space()).free == free
        assert await store.put(name, Body.of(data))

    simulate(scenario)


def test_what_is_longer_than_an_object_may_be_is_refused() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        with pytest.raises(Failed):
            await store.put(some(1)[0], Body(OBJECT_BYTES_MAX + 1, Body.of(b"").slices))
        assert disk.list("chunks/tmp") == []

    simulate(scenario)


# Putting


def test_a_second_put_waits_and_takes_over_when_the_first_fails() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(100)
        begun, go = asyncio.Event(), asyncio.Event()
        taken: list[str] = []

        async def slices(who: str) -> AsyncIterator[memoryview]:
            taken.append(who)
            begun.set()
            if who == "first":
                await go.wait()
                raise Damaged("no")
            yield memoryview(data)

        first = asyncio.create_task(store.put(name, Body(100, slices("first"))))
        await begun.wait()
        others = [asyncio.create_task(store.put(name, Body(100, slices("other")))) for _ in range(3)]
        await turns()
        assert taken == ["first"]
        assert store.reserved(name)
        go.set()
        with pytest.raises(Damaged):
            await first
        assert sorted(await asyncio.gather(*others)) == [False, False, True]
        assert taken == ["first", "other"]

    simulate(scenario)


def test_a_slice_is_written_when_it_was_given() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(3 * SLICE_BYTES)
        written: list[int] = []

        async def take(sink: Sink) -> None:
            for number in range(3):
                view = await sink.take(SLICE_BYTES)
                view[:] = data[number * SLICE_BYTES : (number + 1) * SLICE_BYTES]
                await sink.give(view)
                assert len(written) == number + 1

        assert await store.receive(name, len(data), take, moved=written.append)
        assert written == [SLICE_BYTES] * 3
        assert await fetched(store, name) == data

    simulate(scenario)


def test_slices_longer_than_ours_are_taken() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(2 * SLICE_BYTES)

        async def take(sink: Sink) -> None:
            view = await sink.take(len(data))
            view[:] = data
            await sink.give(view)

        assert await store.receive(name, len(data), take)
        assert await fetched(store, name) == data

    simulate(scenario)


def test_more_than_was_announced_is_the_peers_fault_and_less_is_damage() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(100)
        with pytest.raises(ProtocolError):
            await store.put(name, Body(99, Body.of(data).slices))
        with pytest.raises(Damaged):
            await store.put(name, Body(101, Body.of(data).slices))
        assert await store.have([name]) == [False]
        assert disk.list("chunks/tmp") == []

    simulate(scenario)


def test_a_buffer_that_somebody_may_still_fill_is_never_lent_again() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk, puts_max=1)
        bad, _ = some(SLICE_BYTES, seed=1)
        name, data = some(2 * SLICE_BYTES, seed=2)
        lost: list[memoryview] = []

        async def take_and_fail(sink: Sink) -> None:
            lost.append(await sink.take(SLICE_BYTES))
            raise Damaged("the connection broke")

        with pytest.raises(Damaged):
            await store.receive(bad, SLICE_BYTES, take_and_fail)

        async def take(sink: Sink) -> None:
            for begin in (0, SLICE_BYTES):
                view = await sink.take(SLICE_BYTES)
                view[:] = data[begin : begin + SLICE_BYTES]
                lost[0][:] = bytes(SLICE_BYTES)
                await sink.give(view)

        assert await store.receive(name, len(data), take)
        assert await fetched(store, name) == data

    simulate(scenario)


def test_puts_beyond_the_limit_wait_their_turn() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk, puts_max=2)
        going = 0
        most = 0

        async def put(seed: int) -> bool:
            name, data = some(100, seed)

            async def slices() -> AsyncIterator[memoryview]:
                nonlocal going, most
                going += 1
                most = max(most, going)
                await turns(3)
                going -= 1
                yield memoryview(data)

            return await store.put(name, Body(100, slices()))

        assert await asyncio.gather(*(put(seed) for seed in range(7))) == [True] * 7
        assert most == 2

    simulate(scenario)


def test_a_put_cancelled_at_any_moment_leaves_the_store_usable_and_truthful() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk, puts_max=1)
        kept = 0
        for seed in range(60):
            name, data = some(SLICE_BYTES + 1, seed)
            putting = asyncio.create_task(store.put(name, Body.of(data)))
            await asyncio.sleep(seed * 0.0003)
            putting.cancel()
            await asyncio.wait([putting])
            assert disk.list("chunks/tmp") == []
            assert await store.have([name]) == [disk.exists(path_of(name))]
            kept += disk.exists(path_of(name))
        assert 0 < kept < 60
        assert (await store.space()).used == kept * (SLICE_BYTES + 1)
        name, data = some(3 * SLICE_BYTES, seed=99)
        assert await store.put(name, Body.of(data))

    simulate(scenario)


# Reservations and the guard


def test_what_was_put_or_asked_for_is_reserved_for_an_hour() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(100)
        other = some(1, seed=1)[0]
        await store.put(name, Body.of(data))
        assert store.reserved(name)
        await asyncio.sleep(RESERVED_S - 1)
        assert store.reserved(name)
        await store.have([name])
        await asyncio.sleep(2)
        assert not store.reserved(name)
        for renew in (
            lambda: store.have([other, name], reserve=True),
            lambda: store.put(name, Body.of(data)),
            lambda: store.missing([other, name]),
        ):
            await renew()
            assert store.reserved(name)
            assert not store.reserved(other), "what is not here is not remembered"
            await asyncio.sleep(RESERVED_S + 1)
            assert not store.reserved(name)

    simulate(scenario)


def test_nothing_is_promised_while_the_guard_is_held() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(100)
        await store.put(name, Body.of(data))
        async with store.guard():
            waiting = [
                asyncio.create_task(store.have([name], reserve=True)),
                asyncio.create_task(store.put(name, Body.of(data))),
            ]
            await turns()
            assert not any(task.done() for task in waiting)
            assert await store.missing([name]) == []
        assert await asyncio.gather(*waiting) == [[True], False]

    simulate(scenario)


def test_a_commits_check_looks_at_the_files() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        objects = [some(100, seed) for seed in range(600)]
        for name, data in objects:
            await store.put(name, Body.of(data))
        names = [name for name, _ in objects]
        gone, short, never = names[300], names[599], some(5, seed=700)[0]
        disk.unlink(path_of(gone))
        cut = disk.open_write(path_of(short))
        cut.truncate(99)
        cut.close()
        async with store.guard():
            assert await store.missing([*names, never]) == [gone, short, never]
        assert await store.have([gone, short]) == [False, False]
        assert await store.put(short, Body.of(objects[599][1])) is True
        assert await fetched(store, short) == objects[599][1]

    simulate(scenario)


# Serving, and copies that go bad


@pytest.mark.parametrize("size", [0, 1, SLICE_BYTES, 2 * SLICE_BYTES + 1])
def test_a_body_holds_the_object(size: int) -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(size)
        await store.put(name, Body.of(data))
        body = await store.open_body(name)
        assert body.length == size
        assert await sent(body) == data
        async with (await store.open_body(name)).opened():
            pass  # left unread

    simulate(scenario)


@pytest.mark.parametrize("byte", [0, 2 * SLICE_BYTES])
def test_a_flipped_bit_ends_the_body_before_its_last_slice_and_the_file_is_put_away(byte: int) -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(2 * SLICE_BYTES + 1)
        for number in range(3):
            assert await store.put(name, Body.of(data)) is True
            disk.flip(path_of(name), byte, 0)
            bad = disk.contents()[path_of(name)]
            body = await store.open_body(name)
            received = 0
            with pytest.raises(Damaged):
                async with body.opened() as slices:
                    async for piece in slices:
                        received += len(piece)
            assert received == 2 * SLICE_BYTES
            assert await store.have([name]) == [False]
            assert not disk.exists(path_of(name))
            assert disk.contents()[f"quarantine/{name.hex()}-{number}"] == bad
            assert (store.quarantined, store.damaged_total) == (number + 1, number + 1)
            assert (store.objects, store.bytes_used) == (0, 0)
        assert (await opened(disk)).quarantined == 3

    simulate(scenario)


@pytest.mark.parametrize("size", [0, 99, 101])
def test_a_file_of_another_length_is_damage(size: int) -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(100)
        await store.put(name, Body.of(data))
        file = disk.open_write(path_of(name))
        file.truncate(size)
        file.close()
        with pytest.raises(Damaged):
            await store.open_body(name)
        assert await store.have([name]) == [False]
        assert disk.exists(f"quarantine/{name.hex()}-0")

    simulate(scenario)


def test_a_good_copy_that_was_put_meanwhile_does_not_go_to_quarantine() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(2 * SLICE_BYTES)
        await store.put(name, Body.of(data))
        disk.flip(path_of(name), 0, 0)
        with pytest.raises(Damaged):
            async with (await store.open_body(name)).opened() as slices:
                await anext(slices)
                with pytest.raises(Damaged):
                    await fetched(store, name)
                assert await store.put(name, Body.of(data)) is True
                await anext(slices)
        assert await store.have([name]) == [True]
        assert disk.contents()[path_of(name)] == data
        assert await fetched(store, name) == data

    simulate(scenario)


def test_a_disk_error_is_reported_and_the_copy_kept_until_a_good_one_replaces_it() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(100)
        await store.put(name, Body.of(data))
        disk.failing.add(path_of(name))
        with pytest.raises(DiskFault):
            await fetched(store, name)
        assert await store.verify([name]) == [CopyState.DAMAGED]
        assert await store.have([name]) == [False]
        assert store.damaged_total == 1, "one copy, however often it was not to be had"
        assert store.quarantined == 0
        with pytest.raises(DiskFault):
            await sent(await store.open_body(name))
        disk.failing.clear()
        assert await store.missing([name]) == [name], "a copy that could not be read does not count"
        assert await fetched(store, name) == data, "but it can still be asked for"
        assert await store.have([name]) == [True], "and a good reading clears it"
        disk.failing.add(path_of(name))
        assert await store.verify([name]) == [CopyState.DAMAGED]
        disk.failing.clear()
        assert await store.put(name, Body.of(data)) is True
        assert (store.objects, store.bytes_used) == (1, 100)

    simulate(scenario)


def test_a_failed_put_never_harms_the_copy_that_is_there() -> None:
    """Fault 12: neither wrong bytes nor a broken connection touch what is under the object's name, not even a copy that
    the disk did not give out a moment ago."""

    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(SLICE_BYTES + 1)
        await store.put(name, Body.of(data))
        disk.failing.add(path_of(name))
        assert await store.verify([name]) == [CopyState.DAMAGED]
        disk.failing.clear()

        async def breaking() -> AsyncIterator[memoryview]:
            yield memoryview(data)[:SLICE_BYTES]
            raise Unreachable("gone")

        failures: list[tuple[Body, type[RoostError]]] = [
            (Body.of(data[:-1], b"x"), Damaged),
            (Body(len(data), breaking()), Unreachable),
        ]
        for body, error in failures:
            with pytest.raises(error):
                await store.put(name, body)
            assert disk.contents()[path_of(name)] == data
        assert await fetched(store, name) == data
        assert await store.have([name]) == [True]

    simulate(scenario)


def test_a_read_only_disk_serves_and_says_so_when_it_is_to_keep_something() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(100)
        bad, more = some(100, seed=1)
        await store.put(name, Body.of(data))
        await store.put(bad, Body.of(more))
        disk.flip(path_of(bad), 0, 0)
        disk.read_only = True
        assert await fetched(store, name) == data
        with pytest.raises(DiskFault):
            await store.put(some(5, seed=2)[0], Body.of(some(5, seed=2)[1]))
        assert await store.verify([name, bad]) == [CopyState.GOOD, CopyState.DAMAGED]
        assert await store.have([name, bad]) == [True, False]

    simulate(scenario)


def test_an_object_that_cannot_be_looked_at_does_not_stop_a_start() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(100)
        bad, more = some(100, seed=1)
        await store.put(name, Body.of(data))
        await store.put(bad, Body.of(more))
        disk.failing.add(path_of(bad))
        again = await opened(disk)
        assert await again.have([name, bad]) == [True, False]
        assert again.damaged_total == 1

    simulate(scenario)


def test_what_comes_in_while_a_commit_looks_for_it_has_not_vanished() -> None:
    """At whatever moment the look is: it may be over before the file has its name, and tell of it only afterwards."""

    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        for seed in range(100):
            name, data = some(100, seed)
            putting = asyncio.create_task(store.put(name, Body.of(data)))
            await asyncio.sleep(0.0001 * seed)
            async with store.guard():
                absent = await store.missing([name])
            await putting
            assert absent in ([], [name])
            assert await store.have([name]) == [True]
        assert store.damaged_total == 0

    simulate(scenario)


def test_a_vanished_file_is_not_found() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(100)
        await store.put(name, Body.of(data))
        body = await store.open_body(name)
        disk.unlink(path_of(name))
        with pytest.raises(NotFound):
            await sent(body)
        with pytest.raises(NotFound):
            await store.open_body(name)
        assert (store.objects, store.bytes_used, store.damaged_total) == (0, 0, 1)

    simulate(scenario)


def test_readers_beyond_the_limit_wait_and_all_are_served() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        name, data = some(SLICE_BYTES + 1)
        await store.put(name, Body.of(data))
        begun, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def read_half() -> int:
            async with (await store.open_body(name)).opened() as slices:
                await anext(slices)
                begun.release()
                await go_on.wait()
                return len(await anext(slices))

        readers = [asyncio.create_task(read_half()) for _ in range(READS_MAX)]
        for _ in readers:
            await begun.acquire()
        late = asyncio.create_task(sent(await store.open_body(name)))
        await turns()
        assert not late.done()
        go_on.set()
        assert await late == data
        assert [await reader for reader in readers] == [1] * READS_MAX

    simulate(scenario)


def test_verify_tells_of_progress_object_by_object() -> None:
    async def scenario(disk: MemoryDisk) -> None:
        store = await opened(disk)
        objects = [some(size, size) for size in (10, 0, 30)]
        for name, data in objects:
            await store.put(name, Body.of(data))
        moved: list[int] = []
        names = [name for name, _ in objects]
        assert await store.verify([*names, some(5)[0]], moved=moved.append) == [CopyState.GOOD] * 3 + [CopyState.ABSENT]
        assert moved == [10, 1, 30, 1]

    simulate(scenario)
