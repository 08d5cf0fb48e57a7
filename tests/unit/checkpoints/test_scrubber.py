"""The scrubber over virtual days: everything read once a pass, within the rate, whatever is cut short or goes bad."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field

import pytest

from chunk_kits import RESERVE_BYTES
from cluster_kits import tombstone
from roost.checkpoints.scrub import Terms
from roost.checkpoints.scrubber import PLACE_PATH, SAVE_EVERY_S, Place, Scrubber, decode_place, encode_place
from roost.chunks.condition import DiskCondition, Fault
from roost.chunks.disk import DiskChunkStore, Moved
from roost.chunks.store import CopyState
from roost.cluster.records import DiskRecords
from roost.codec.records import record_id
from roost.core.errors import Damaged
from roost.core.ids import ObjectId, RecordId, object_id
from roost.disk.watched import WatchedDisk
from roost.net.body import Body
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime

DAY = 86_400.0
TERMS = Terms(2 * DAY, 0)
"""A pass takes a day."""
OBJECTS = [random.Random(n).randbytes(2000) for n in range(40)]
RECORDS = [tombstone(n) for n in range(20)]


def path_of(object_id: ObjectId) -> str:
    return f"chunks/{object_id.hex()[:2]}/{object_id.hex()}"


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Keeper:
    """One process that keeps things and scrubs them. `reads` are the (time, id) that it read back."""

    disk: MemoryDisk
    terms: Terms = TERMS
    reads: list[tuple[float, bytes]] = field(default_factory=list)
    lost: int = 0

    async def open(self) -> "Keeper":
        self.runtime = runtime = SimRuntime(random.Random(3))
        self.condition = DiskCondition()
        disk = WatchedDisk(
            self.disk, lambda path, writing, error: self.condition.note(Fault(path, writing, now(), error.message))
        )
        self.store = DiskChunkStore(disk, runtime, reserve_bytes=RESERVE_BYTES)
        await self.store.open()
        self.records = DiskRecords(disk, runtime, check=lambda record: None, added=lambda i, record: None)
        await self.records.open()
        self.scrubber = Scrubber(
            runtime, disk, self.store, self.records, self.terms, self.condition, lost=self._lost
        )  # fmt: skip
        self._log()
        return self

    def _lost(self) -> None:
        self.lost += 1

    def _log(self) -> None:
        verify, read_back = self.store.verify, self.records.read_back

        async def logged(ids: Sequence[ObjectId], *, moved: Moved) -> list[CopyState]:
            self.reads += [(now(), i) for i in ids]
            return await verify(ids, moved=moved)

        async def record_logged(record: RecordId) -> int:
            self.reads.append((now(), record))
            return await read_back(record)

        self.store.verify = logged  # type: ignore[method-assign, assignment]
        self.records.read_back = record_logged  # type: ignore[method-assign]

    async def fill(self, objects: Sequence[bytes] = OBJECTS, records: Sequence[bytes] = RECORDS) -> "Keeper":
        for data in objects:
            await self.store.put(object_id(data), Body.of(data))
        for data in records:
            await self.records.add(data)
        return self

    @contextlib.asynccontextmanager
    async def scrubbing(self) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(self.scrubber.run())
        try:
            yield
        finally:
            assert not task.done(), f"the scrub ended: {task!r}"
            task.cancel()
            await asyncio.wait([task])

    async def scrub(self, seconds: float) -> "Keeper":
        async with self.scrubbing():
            await asyncio.sleep(seconds)
        return self

    async def again(self) -> "Keeper":
        """What a process that is killed now leaves, opened by the next one."""
        return await Keeper(self.disk.kill(), self.terms).open()

    @property
    def read(self) -> list[bytes]:
        return [digest for _, digest in self.reads]

    def place(self) -> Place:
        content = self.disk.contents()[PLACE_PATH]
        assert isinstance(content, bytes)
        return decode_place(content)


async def filled(terms: Terms = TERMS) -> Keeper:
    return await (await Keeper(MemoryDisk(), terms).open()).fill()


def simulate(scenario: Callable[[], Coroutine[object, object, None]], *, days: float = 40) -> None:
    run_simulated(scenario(), seconds_max=days * DAY)


EVERYTHING = sorted([*map(object_id, OBJECTS), *map(record_id, RECORDS)])


def test_a_pass_reads_everything_once_in_order_spread_over_half_the_period() -> None:
    async def scenario() -> None:
        begun = now()
        keeper = await (await filled()).scrub(DAY - 1)
        assert keeper.read == EVERYTHING
        for at, digest in keeper.reads:
            assert at - begun == pytest.approx(int.from_bytes(digest[:8]) / 256**8 * DAY, abs=5)
        assert "all is read" in keeper.scrubber.text
        assert "no pass has ended yet" in keeper.scrubber.text
        await keeper.scrub(DAY + 100)

    simulate(scenario)


def test_the_next_pass_follows_and_the_last_one_is_told() -> None:
    async def scenario() -> None:
        keeper = await (await filled()).scrub(2 * DAY - 1)
        assert keeper.read == EVERYTHING * 2
        assert keeper.scrubber.text.endswith(" and found nothing damaged")
        assert keeper.place().ended_bad == 0
        assert keeper.place().ended_at > 1_700_000_000

    simulate(scenario)


def test_reading_back_moves_the_time_at_which_a_copy_was_last_good() -> None:
    async def scenario() -> None:
        ids = sorted(map(object_id, OBJECTS))
        keeper = await filled()
        put = keeper.store.verified(ids)
        await keeper.scrub(DAY - 1)
        moved = [at - before for at, before in zip(keeper.store.verified(ids), put, strict=True)]
        assert moved == sorted(moved)
        assert moved[-1] > 0.8 * DAY
        again = await keeper.again()
        assert again.store.verified(ids) == [before + more for before, more in zip(put, moved, strict=True)]
        assert again.store.verified([ObjectId(bytes(32))]) == [0]

    simulate(scenario)


def test_the_rate_is_kept_and_a_store_too_large_for_it_says_so() -> None:
    async def scenario() -> None:
        terms = Terms(120, 500)  # 80,000 bytes want 160 s, and have 60
        keeper = await (await filled(terms)).scrub(150)
        sizes: dict[bytes, int] = {object_id(data): len(data) for data in OBJECTS}
        sizes |= {record_id(data): len(data) for data in RECORDS}
        for begin in range(len(keeper.reads)):
            window = keeper.reads[begin:]
            for end in range(2, len(window)):
                read = sum(sizes[digest] for _, digest in window[: end - 1])
                assert read <= 500 * (window[end - 1][0] - window[0][0]) + 1
        assert keeper.scrubber.text.startswith("too slow: ")
        assert len(keeper.reads) > 20, "it goes on all the same"

    simulate(scenario)


def test_a_restart_goes_on_where_the_pass_was() -> None:
    async def scenario() -> None:
        keeper = await filled()
        read: list[bytes] = []
        for _ in range(6):
            await keeper.scrub(DAY / 5)
            read += keeper.read
            keeper = await keeper.again()
        again = len(read) - len(set(read))
        assert set(read) == set(EVERYTHING), "all is read in spite of it"
        assert again <= 6, "and little of it twice"
        assert read[: len(EVERYTHING) // 2] == sorted(read[: len(EVERYTHING) // 2])

    simulate(scenario)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        encode_place(Place(b"\x80" * 32, 1.0))[:-1],
        encode_place(Place(b"\x80" * 32, 1.0)).replace(b"1.0", b"2.0"),
        encode_place(Place(b"\x80" * 31, 1.0)),
        encode_place(Place(b"\x80" * 32, -1.0)),
        encode_place(Place(b"\x80" * 32, 1.0, ended_at=1 << 60)),
    ],
)
def test_a_damaged_place_means_to_begin_again(content: bytes) -> None:
    async def scenario() -> None:
        with pytest.raises(Damaged):
            decode_place(content)
        keeper = await (await filled()).scrub(DAY / 2)
        assert keeper.place().after > b"\x40"
        keeper.disk.unlink(PLACE_PATH)
        file = keeper.disk.create(PLACE_PATH)
        file.pwrite(content, 0)
        file.close()
        again = await (await keeper.again()).scrub(DAY - 1)
        assert again.read == EVERYTHING

    simulate(scenario)


def test_a_place_is_read_as_it_was_written() -> None:
    place = Place(b"\x80" * 32, 12.5, 3, 1_750_000_000, 4)
    assert decode_place(encode_place(place)) == place


def test_what_comes_while_a_pass_runs_is_read_by_it_or_by_the_next() -> None:
    async def scenario() -> None:
        keeper = await filled()
        late = [random.Random(n).randbytes(100) for n in range(1000, 1020)]
        async with keeper.scrubbing():
            await asyncio.sleep(DAY / 2)
            await keeper.fill(late, [])
            await asyncio.sleep(DAY / 2 - 1)
            ahead = {i for i in map(object_id, late) if i > b"\x82" * 32}
            assert ahead
            assert ahead <= set(keeper.read)
            await asyncio.sleep(DAY)
            assert set(map(object_id, late)) <= set(keeper.read)

    simulate(scenario)


def test_a_flipped_bit_is_found_unread_quarantined_and_counted() -> None:
    async def scenario() -> None:
        keeper = await filled()
        bad = object_id(OBJECTS[7])
        keeper.disk.flip(path_of(bad), 1000, 3)
        assert await keeper.store.have([bad]) == [True]
        await keeper.scrub(DAY + 100)
        assert await keeper.store.have([bad]) == [False]
        assert (keeper.store.quarantined, keeper.store.damaged_total) == (1, 1)
        assert keeper.store.verified([bad]) == [0]
        assert keeper.scrubber.text.endswith(" and found 1 damaged")

    simulate(scenario)


def test_a_damaged_record_is_found_unread_and_wanted_again() -> None:
    async def scenario() -> None:
        keeper = await filled()
        bad = record_id(RECORDS[4])
        keeper.disk.flip(f"records/{bad.hex()}.tombstone", 20, 3)
        await keeper.scrub(DAY - 1)
        assert bad not in keeper.records
        assert bad in keeper.records.wanted
        assert f"quarantine/{bad.hex()}.tombstone" in keeper.disk.contents()
        assert (keeper.records.damaged_total, keeper.lost) == (1, 1)
        await keeper.records.add(RECORDS[4])
        assert not keeper.records.wanted

    simulate(scenario)


def test_a_passing_fault_heals_within_minutes() -> None:
    async def scenario() -> None:
        keeper = await filled()
        doubted = object_id(OBJECTS[3])
        async with keeper.scrubbing():
            keeper.disk.failing.add(path_of(doubted))
            await keeper.store.verify([doubted], moved=lambda count: None)
            await asyncio.sleep(300)
            assert await keeper.store.have([doubted]) == [False]
            keeper.disk.failing.clear()
            await asyncio.sleep(300)
            assert await keeper.store.have([doubted]) == [True]
        assert keeper.store.damaged_total == 1
        assert keeper.store.quarantined == 0

    simulate(scenario)


def test_a_lasting_fault_is_tried_less_and_less_often() -> None:
    async def scenario() -> None:
        keeper = await filled()
        bad = object_id(OBJECTS[3])
        keeper.disk.failing.add(path_of(bad))
        await keeper.store.verify([bad], moved=lambda count: None)
        await keeper.scrub(DAY - 1)
        assert 24 <= keeper.read.count(bad) <= 32
        assert keeper.store.damaged_total == 1
        assert keeper.condition.trouble == "", "it is one file"

    simulate(scenario)


def test_a_disk_that_is_not_there_is_not_scrubbed_and_loses_nothing() -> None:
    async def scenario() -> None:
        keeper = await filled()
        keeper.disk.rename("chunks", "away")
        assert await keeper.store.problem()
        async with keeper.scrubbing():
            await asyncio.sleep(DAY)
            assert keeper.reads == []
            assert "not there" in keeper.scrubber.text
            keeper.disk.rename("away", "chunks")
            assert not await keeper.store.problem()
            await asyncio.sleep(20 * DAY)
        assert len(keeper.reads) >= len(OBJECTS)
        assert (keeper.store.objects, keeper.store.damaged_total) == (len(OBJECTS), 0)

    simulate(scenario)


def test_a_record_that_the_disk_refuses_twice_is_brought_by_others_and_takes_its_place() -> None:
    async def scenario() -> None:
        keeper = await filled()
        bad = record_id(RECORDS[4])
        path = f"records/{bad.hex()}.tombstone"
        async with keeper.scrubbing():
            keeper.disk.failing.add(path)
            await asyncio.sleep(DAY - 1)
            assert bad in keeper.records.wanted
            assert keeper.lost == 1
            keeper.disk.failing.clear()
            await keeper.records.add(RECORDS[4])
            assert await keeper.records.get(bad) == RECORDS[4]

    simulate(scenario)


def test_a_record_that_the_disk_refuses_once_stays() -> None:
    async def scenario() -> None:
        keeper = await filled()
        bad = record_id(RECORDS[4])
        async with keeper.scrubbing():
            keeper.disk.failing.add(f"records/{bad.hex()}.tombstone")
            while bad not in keeper.read:
                await asyncio.sleep(1)
            keeper.disk.failing.clear()
            await asyncio.sleep(600)
            assert keeper.read.count(bad) == 2
            assert bad in keeper.records
        assert (keeper.records.damaged_total, keeper.lost) == (1, 0)

    simulate(scenario)


def test_no_disk_ends_the_scrub_and_a_clean_pass_ends_the_trouble() -> None:
    async def scenario() -> None:
        keeper = await filled()
        async with keeper.scrubbing():
            await asyncio.sleep(DAY / 4)
            keeper.disk.read_only = True
            await asyncio.sleep(DAY / 4)
            assert keeper.condition.trouble, "it could not remember where it is"
            keeper.disk.failing.add("")
            await asyncio.sleep(DAY / 4)
            keeper.disk.read_only = False
            keeper.disk.failing.clear()
            await asyncio.sleep(DAY / 4 + 2 * SAVE_EVERY_S)
            assert keeper.condition.trouble, "the pass was not clean"
            await asyncio.sleep(DAY)
            assert keeper.condition.trouble == ""
            assert await keeper.store.have([object_id(data) for data in OBJECTS]) == [True] * len(OBJECTS)

    simulate(scenario)


def test_a_pass_that_could_not_write_is_not_clean_although_all_was_good() -> None:
    async def scenario() -> None:
        keeper = await filled()
        async with keeper.scrubbing():
            await asyncio.sleep(DAY / 2)
            keeper.disk.read_only = True
            await asyncio.sleep(DAY / 4)
            keeper.disk.read_only = False
            await asyncio.sleep(DAY / 2)
            assert keeper.place().ended_at
            assert keeper.place().ended_bad == 0
            assert keeper.condition.trouble
            await asyncio.sleep(DAY)
            assert keeper.condition.trouble == ""

    simulate(scenario)


def test_a_pass_that_found_damage_is_not_clean_although_the_disk_gave_everything_out() -> None:
    async def scenario() -> None:
        keeper = await filled()
        for number in range(3):
            keeper.condition.note(Fault(f"chunks/{number}", False, now(), "it burns"))
        assert keeper.condition.trouble
        keeper.disk.flip(path_of(object_id(OBJECTS[7])), 1000, 3)
        await keeper.scrub(DAY + 100)
        assert keeper.condition.trouble
        await keeper.scrub(DAY + 100)
        assert keeper.condition.trouble == ""

    simulate(scenario)


def test_a_full_disk_is_no_trouble() -> None:
    async def scenario() -> None:
        keeper = await filled()
        keeper.disk.bytes_max = 1
        await keeper.scrub(DAY - 1)
        assert keeper.read == EVERYTHING
        assert keeper.condition.trouble == ""
        assert PLACE_PATH not in keeper.disk.contents()

    simulate(scenario)


@pytest.mark.parametrize("wall", [0.0, 1e15])
def test_a_clock_that_is_far_off_changes_only_what_is_told(wall: float) -> None:
    async def scenario() -> None:
        keeper = await filled()
        keeper.runtime.wall = lambda: wall  # type: ignore[method-assign]
        await keeper.scrub(DAY + 2 * SAVE_EVERY_S)
        assert keeper.read[: len(EVERYTHING)] == EVERYTHING
        assert "the last pass ended" in keeper.scrubber.text
        assert keeper.store.verified([object_id(OBJECTS[0])])[0] > 0
        again = await (await keeper.again()).scrub(10)
        assert again.scrubber.text.partition(";")[2] == keeper.scrubber.text.partition(";")[2]

    simulate(scenario)


def test_an_empty_store_costs_nothing_to_speak_of() -> None:
    async def scenario() -> None:
        keeper = await (await Keeper(MemoryDisk()).open()).scrub(10)
        before = keeper.disk.operations
        await keeper.scrub(DAY)
        assert keeper.reads == []
        assert keeper.disk.operations - before < 1000

    simulate(scenario)


# Slices that a peer asks for


async def slices(keeper: Keeper, *, seconds: float = 10.0) -> tuple[int, bytes]:
    """Everything, slice by slice: how many slices it took, and the ids that were damaged."""
    after, damaged, count = b"", b"", 0
    while True:
        told = await keeper.scrubber.slice(after, seconds, lambda moved: None)
        damaged += told.damaged
        count += 1
        if not told.reached:
            return count, damaged
        assert told.reached > after
        after = told.reached


def test_slices_read_all_records_and_then_all_objects_without_a_rate() -> None:
    async def scenario() -> None:
        keeper = await filled(Terms(2 * DAY, 1))
        begun = now()
        count, damaged = await slices(keeper, seconds=0.01)
        assert 3 < count < 20
        assert damaged == b""
        assert now() - begun < 5
        assert keeper.read == [*sorted(map(record_id, RECORDS)), *sorted(map(object_id, OBJECTS))]

    simulate(scenario)


def test_a_slice_tells_what_was_bad_and_moves_as_it_reads() -> None:
    async def scenario() -> None:
        keeper = await filled()
        bad, record = object_id(OBJECTS[7]), record_id(RECORDS[4])
        keeper.disk.flip(path_of(bad), 1000, 3)
        keeper.disk.flip(f"records/{record.hex()}.tombstone", 20, 3)
        moves: list[int] = []
        told = await keeper.scrubber.slice(b"", 10, moves.append)
        assert (told.reached, told.damaged, told.objects) == (b"", record + bad, len(OBJECTS))
        assert told.bytes == sum(moves) >= 2000 * (len(OBJECTS) - 1)
        assert len(moves) == len(OBJECTS) + len(RECORDS) - 1

    simulate(scenario)


def test_a_pass_made_of_slices_is_worth_one_of_ours() -> None:
    async def scenario() -> None:
        keeper = await filled()
        for number in range(3):
            keeper.condition.note(Fault(f"chunks/{number}", False, now(), "it burns"))
        assert keeper.condition.trouble
        async with keeper.scrubbing():
            await asyncio.sleep(DAY / 2)
            await slices(keeper, seconds=0.01)
            assert keeper.condition.trouble == ""
            keeper.reads.clear()
            await asyncio.sleep(DAY - 1)
            assert keeper.read == EVERYTHING, "and the next pass begins with it"

    simulate(scenario)


def test_slices_that_leave_something_out_are_worth_nothing() -> None:
    async def scenario() -> None:
        keeper = await filled()
        for number in range(3):
            keeper.condition.note(Fault(f"chunks/{number}", False, now(), "it burns"))
        first = await keeper.scrubber.slice(b"", 0.001, lambda moved: None)
        assert first.reached < b"\x40" * 32
        assert not (await keeper.scrubber.slice(b"\x40" * 32, 60, lambda moved: None)).reached
        assert keeper.condition.trouble
        assert "no pass has ended yet" in keeper.scrubber.text

    simulate(scenario)
