"""Bugs that we plant are found by the simulator: each within a few seeds, and for what it breaks."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from unittest import mock

import pytest

from roost.checkpoints import gather
from roost.checkpoints.delivery import Delivery
from roost.chunks.disk import DiskChunkStore
from roost.chunks.read import ObjectReader
from roost.chunks.remote import RemoteChunkStore
from roost.cluster.records import DiskRecords
from roost.codec.manifest import Manifest
from roost.codec.planes import Scratch, decode
from roost.codec.records import decode_record
from roost.core.ids import ObjectId, RecordId
from roost.disk import durable
from roost.disk.durable import DurableFile
from roost.disk.port import Disk
from roost.net.body import IntoSink
from roost.testing.disk import MemoryFile
from roost.wire.messages import Get, Sending
from sim.story import Failure, run

SEEDS = range(500, 560)
Plant = Callable[[ExitStack], None]


def _caught(plant: Plant) -> str:
    """What the first seed that shows the planted bug says."""
    for seed in SEEDS:
        with ExitStack() as planted:
            plant(planted)
            try:
                run(seed)
            except Failure as failure:
                return str(failure)
    return f"nothing in {len(SEEDS)} seeds"


def _no_sync_below(folder: str) -> Plant:
    """Files are renamed into `folder` without having been synced."""

    def plant(planted: ExitStack) -> None:
        sound = DurableFile.commit

        def commit_unsynced(self: DurableFile, path: str) -> None:
            if not path.startswith(folder):
                return sound(self, path)
            with mock.patch.object(MemoryFile, "sync"):
                return sound(self, path)

        planted.enter_context(mock.patch.object(DurableFile, "commit", commit_unsynced))

    return plant


def _no_directory_sync_below(folder: str) -> Plant:
    """Names in `folder` are not synced."""

    def plant(planted: ExitStack) -> None:
        sound = durable._sync_names

        def careless(disk: Disk, source: str, target: str) -> None:
            if not target.startswith(folder):
                sound(disk, source, target)

        planted.enter_context(mock.patch.object(durable, "_sync_names", careless))

    return plant


def _believes_in_copies(planted: ExitStack) -> None:
    """The sender takes the first copies for made without asking for them: it commits before the copies."""
    believed: set[tuple[int, ObjectId]] = set()
    sound = Delivery.spread

    async def spread(self: Delivery, object_id: ObjectId) -> bool:
        if (id(self), object_id) in believed:
            return await sound(self, object_id)
        believed.add((id(self), object_id))
        self.holders[object_id].update(list(self.chooser.candidates(object_id, self.of(object_id)))[: self.wanted - 1])
        return True

    planted.enter_context(mock.patch.object(Delivery, "spread", spread))


def _commits_unchecked(planted: ExitStack) -> None:
    """...and the nodes write the manifest without looking for the objects."""

    async def missing(self: DiskChunkStore, ids: Sequence[ObjectId]) -> list[ObjectId]:
        return []

    _believes_in_copies(planted)
    planted.enter_context(mock.patch.object(DiskChunkStore, "missing", missing))


def _says_yes_without_writing(planted: ExitStack) -> None:
    """A node answers the commit with yes and keeps the manifest in memory only."""

    async def add(self: DiskRecords, data: bytes) -> bool:
        if not isinstance(decode_record(data), Manifest):
            return await sound(self, data)
        self._remember(RecordId(hashlib.sha256(data).digest()), "manifest")
        return True

    sound = DiskRecords.add
    planted.enter_context(mock.patch.object(DiskRecords, "add", add))


def _says_stored_without_writing(planted: ExitStack) -> None:
    """A node takes an object's bytes, says that they are durable, and has forgotten them."""

    async def receive(self: DiskChunkStore, object_id: ObjectId, length: int, take: object, *, moved: object) -> bool:
        await take(IntoSink(memoryview(bytearray(length))))  # type: ignore[operator]
        return True

    async def missing(self: DiskChunkStore, ids: Sequence[ObjectId]) -> list[ObjectId]:
        return []

    planted.enter_context(mock.patch.object(DiskChunkStore, "receive", receive))
    planted.enter_context(mock.patch.object(DiskChunkStore, "missing", missing))


def _trusts_what_it_reads(planted: ExitStack) -> None:
    """Neither the node nor the reader looks at a hash."""

    def read(self: ObjectReader, into: memoryview) -> int:
        count = self._open().pread(into[: min(len(into), self.left)], self._size - self.left)
        self.left -= count
        return count

    async def get(self: RemoteChunkStore, object_id: ObjectId, into: memoryview) -> int:
        answer = await self._links.call(self.node_id, Get(object_id), sink=IntoSink(into), bulk=True)
        assert isinstance(answer, Sending)
        return answer.length

    def decoded(stored: memoryview, plain: memoryview, scratch: Scratch, expected: bytes) -> None:
        decode(stored, plain, scratch=scratch)

    planted.enter_context(mock.patch.object(ObjectReader, "read", read))
    planted.enter_context(mock.patch.object(RemoteChunkStore, "get", get))
    planted.enter_context(mock.patch.object(gather, "_decode", decoded))


def _gathers_unsynced(planted: ExitStack) -> None:
    """The gathered files are renamed into place without having been synced."""
    sound = MemoryFile.sync

    def sync(self: MemoryFile) -> None:
        if ".roost-" not in self._path:
            sound(self)

    planted.enter_context(mock.patch.object(MemoryFile, "sync", sync))


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (_no_sync_below("chunks/"), "is durable nowhere"),
        (_no_directory_sync_below("chunks/"), "is durable nowhere"),
        (_no_sync_below("records/"), "would not hold the manifest"),
        (_no_directory_sync_below("records/"), "would not hold the manifest"),
        (_commits_unchecked, "a power cut would leave it on"),
        (_says_yes_without_writing, "would not hold the manifest"),
        (_says_stored_without_writing, "is durable nowhere"),
        (_trusts_what_it_reads, "not what was stored"),
        (_gathers_unsynced, "not what was stored after a power cut"),
    ],
    ids=[
        "objects not synced", "directories of objects not synced", "records not synced",
        "directory of records not synced", "commit before copies, unchecked", "yes without writing",
        "stored without writing", "no hash looked at", "gathered files not synced",
    ],
)  # fmt: skip
def test_a_planted_bug_is_found(plant: Plant, said: str) -> None:
    assert said in _caught(plant)


def test_the_check_of_the_commit_makes_good_what_the_sender_only_believes() -> None:
    with ExitStack() as planted:
        _believes_in_copies(planted)
        outcomes = [run(seed) for seed in (500, 502)]
    assert all("acknowledged" in outcome.covered for outcome in outcomes)


def test_a_failure_says_how_to_see_it_again() -> None:
    assert "again: .venv/bin/pytest tests/sim --seed 50" in _caught(_no_sync_below("chunks/"))
