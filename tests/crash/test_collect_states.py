"""A collection and a power cut: after every operation, in every state the disk may be left in, all that is needed is
there, also what a commit beside it counts on; and the next process frees the rest. Planted bugs are noticed."""

import asyncio
import contextlib
import random
from collections.abc import Collection, Iterator
from typing import cast

import pytest

from crash.test_commit_states import NoCheck
from crash.test_put_states import BLOCK_BYTES
from record_specimens import file as file_entry
from record_specimens import manifest
from roost.checkpoints.collect import Periods
from roost.checkpoints.collector import Collector
from roost.checkpoints.commit import commit_handler
from roost.chunks.disk import DiskChunkStore
from roost.cluster.records import DiskRecords
from roost.codec.manifest import Chunk
from roost.codec.records import Record, Tombstone, encode_record, record_id
from roost.core.cluster import Address, View
from roost.core.ids import NodeId, ObjectId, RecordId, object_id
from roost.net.body import Body, Sink
from roost.net.links import Links
from roost.net.server import Call
from roost.net.stream import Peer
from roost.testing.disk import MemoryDisk, PowerCut
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime
from roost.wire.messages import Commit, Committed

PERIODS = Periods(untouched_s=100, uptime_s=20, promise_s=10)
LIVE, SHARED, DEAD, LEFT = DATAS = [random.Random(seed).randbytes(BLOCK_BYTES + seed) for seed in range(4)]
IDS = [object_id(data) for data in DATAS]
NEEDED, USELESS = IDS[:2], IDS[2:]


def naming(*datas: bytes, seq: int) -> bytes:
    chunks = [Chunk(object_id(data), object_id(data), len(data), len(data), 0) for data in datas]
    return encode_record(manifest([file_entry("x", sum(map(len, datas)))], chunks, seq=seq))


KEPT = naming(LIVE, SHARED, seq=1)
REMOVED = naming(SHARED, DEAD, seq=2)
COMMITTED = naming(LIVE, DEAD, seq=3)
GONE = encode_record(Tombstone(name="run/step-1", manifest=record_id(REMOVED), seq=2, at=0, keep_s=0))


class Node:
    """What of a node collects and commits, alone in its cluster."""

    def __init__(self, disk: MemoryDisk, kind: type[DiskChunkStore] = DiskChunkStore) -> None:
        self.runtime = SimRuntime(random.Random(1))
        self.store = kind(disk, self.runtime, reserve_bytes=0, reserved_s=PERIODS.promise_s)
        self.records = DiskRecords(disk, self.runtime, check=lambda record: None, added=self._added)
        self.collector = Collector(
            self.runtime, disk, self.store, self.records, cast(Links, None), own=NodeId("0" * 32),
            view=lambda: View(()), alive=nobody, periods=PERIODS,
        )  # fmt: skip

    def _added(self, record_id: RecordId, record: Record) -> None:
        self.collector.learn(record_id, record)

    async def open(self) -> "Node":
        await self.records.open()
        await self.store.open()
        await self.collector.load()
        return self

    async def commit(self, data: bytes) -> bool:
        """Commit a manifest with all its objects counted; whether the node said yes."""

        async def take(call: Call, sink: Sink) -> None:
            (await sink.take(len(data)))[:] = data
            await sink.give(memoryview(data))

        call = Call(Commit(len(data), b"\x03"), Peer(None, None, Address("127.0.0.1", 1)), take)
        reply = await commit_handler(self.runtime, self.store, self.records, changed=lambda: None)(call)
        assert isinstance(reply.answer, Committed)
        return not reply.answer.missing


async def nobody() -> Collection[NodeId]:
    return []


async def story(
    disk: MemoryDisk, said: list[bool], *, arm: int, commit_after_s: float | None, kind: type[DiskChunkStore]
) -> None:
    """Fill the disk, and let what nothing needs grow old; then a pass, and maybe a commit beside it. `said` gets what
    that said."""
    here = await Node(disk, kind).open()
    for data in DATAS:
        await here.store.put(object_id(data), Body.of(data))
    for data in (KEPT, REMOVED):
        await here.records.add(data)
    await here.collector.collect()
    await asyncio.sleep(PERIODS.untouched_s + 1)
    await here.records.add(GONE)
    disk.stop_after = disk.operations + arm

    async def commit() -> None:
        if commit_after_s is not None:
            await asyncio.sleep(commit_after_s)
            said.append(await here.commit(COMMITTED))

    both = [asyncio.create_task(here.collector.collect()), asyncio.create_task(commit())]
    await asyncio.wait(both)
    for error in [task.exception() for task in both]:
        if error is not None:
            raise error


def cuts(
    *, commit_after_s: float | None = None, kind: type[DiskChunkStore] = DiskChunkStore
) -> Iterator[tuple[bool, MemoryDisk]]:
    """A pass stopped before each operation in turn, and at last not at all: did the commit say yes, and the disk."""
    for count in range(1000):
        disk = MemoryDisk(block_bytes=BLOCK_BYTES)
        said: list[bool] = []
        ended = False
        with contextlib.suppress(PowerCut):
            run_simulated(story(disk, said, arm=count, commit_after_s=commit_after_s, kind=kind), seconds_max=600)
            ended = True
        assert ended or disk.dead
        yield said == [True], disk
        if ended:
            return
    raise AssertionError("a pass has no end")


def lost(state: MemoryDisk, needed: list[ObjectId]) -> list[int]:
    """Which of the needed objects are not whole on the disk, by their place."""
    files = state.contents()
    return [IDS.index(i) for i in needed if files.get(f"chunks/{i.hex()[:2]}/{i.hex()}") != DATAS[IDS.index(i)]]


def listed(state: MemoryDisk, data: bytes) -> bool:
    return state.contents().get(f"records/{record_id(data).hex()}.manifest") == data


async def next_life(disk: MemoryDisk) -> list[ObjectId]:
    """What the next process has after it was up for long enough."""
    node = await Node(disk).open()
    for _ in range(2):
        await asyncio.sleep(PERIODS.untouched_s + 1)
        await node.collector.collect()
    return sorted(node.store.ids())


def test_no_power_cut_in_a_pass_loses_what_is_needed_and_the_next_process_frees_the_rest() -> None:
    states = 0
    for _, disk in cuts():
        for state in disk.crash_states():
            assert lost(state, NEEDED) == []
            assert listed(state, KEPT)
            states += 1
            if states % 3 == 0:
                assert run_simulated(next_life(state), seconds_max=600) == sorted(NEEDED)
                assert lost(state, NEEDED) == []
    assert states > 30


def test_a_pass_that_ended_has_freed_all_that_nothing_needs_for_good() -> None:
    *_, (_, disk) = cuts()
    for state in disk.crash_states():
        assert lost(state, IDS) == [IDS.index(i) for i in USELESS]


def broken(commit_after_s: float, kind: type[DiskChunkStore] = DiskChunkStore) -> Iterator[str]:
    """What goes wrong, in any state of any cut, with a commit that counts on what is being collected."""
    for yes, disk in cuts(commit_after_s=commit_after_s, kind=kind):
        for state in disk.crash_states():
            if lost(state, NEEDED):
                yield "what was needed before is gone"
            if yes and not listed(state, COMMITTED):
                yield "said yes, and the manifest is gone"
            if listed(state, COMMITTED) and lost(state, [object_id(DEAD)]):
                yield "a manifest counts an object that is not there"


MOMENTS_S = [0.0005 * step for step in range(12)]


@pytest.mark.parametrize("commit_after_s", MOMENTS_S)
def test_no_power_cut_in_a_pass_and_a_commit_at_once_breaks_a_promise(commit_after_s: float) -> None:
    assert set(broken(commit_after_s)) == set()


def test_some_of_the_commits_come_before_the_removal_and_some_after() -> None:
    said = {list(cuts(commit_after_s=moment))[-1][0] for moment in MOMENTS_S}
    assert said == {True, False}


class NoGuard(DiskChunkStore):
    """A planted bug: whoever takes the guard keeps nobody out."""

    def guard(self) -> asyncio.Lock:
        return asyncio.Lock()

    def reserved(self, object_id: ObjectId) -> bool:
        return False


@pytest.mark.parametrize(("bug", "moments"), [(NoCheck, MOMENTS_S[::-1]), (NoGuard, MOMENTS_S)])
def test_a_planted_bug_is_noticed(bug: type[DiskChunkStore], moments: list[float]) -> None:
    found = (problem for moment in moments for problem in broken(moment, bug))
    assert "a manifest counts an object that is not there" in found
