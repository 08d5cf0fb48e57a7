"""A commit and a power cut: after every operation, in every state the disk may be left in, a manifest that is there is
whole and all that was counted with it is there too; a commit that said yes is there. Planted bugs would be noticed."""

import asyncio
import contextlib
import random
from collections.abc import Iterator

import pytest

from crash.planted_disks import NoDirectorySync, NoFileSync
from crash.test_put_states import BLOCK_BYTES
from record_specimens import file as file_entry
from record_specimens import manifest
from roost.checkpoints.commit import commit_handler
from roost.chunks.disk import DiskChunkStore
from roost.cluster.records import DiskRecords
from roost.codec.manifest import Chunk
from roost.codec.records import encode_record, record_id
from roost.core.cluster import Address
from roost.core.ids import object_id
from roost.net.body import Body, Sink
from roost.net.server import Call
from roost.net.stream import Peer
from roost.testing.disk import MemoryDisk, PowerCut
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime
from roost.wire.messages import Commit, Committed

OBJECT = random.Random(3).randbytes(BLOCK_BYTES + 7)
NAME = object_id(OBJECT)
OBJECT_PATH = f"chunks/{NAME.hex()[:2]}/{NAME.hex()}"
DATA = encode_record(manifest([file_entry("x", len(OBJECT))], [Chunk(NAME, NAME, len(OBJECT), len(OBJECT), 0)]))
MANIFEST = record_id(DATA)


class NoCheck(DiskChunkStore):
    """A planted bug: the commit takes the sender's word for what is here."""

    async def missing(self, ids: object, *, moved: object) -> list[object]:  # type: ignore[override]
        return []


async def opened(disk: MemoryDisk, kind: type[DiskChunkStore]) -> tuple[DiskChunkStore, DiskRecords]:
    runtime = SimRuntime(random.Random(1))
    store = kind(disk, runtime, reserve_bytes=0)
    await store.open()
    records = DiskRecords(disk, runtime, check=lambda record: None, added=lambda name, record: None)
    await records.open()
    return store, records


async def commit(store: DiskChunkStore, records: DiskRecords) -> bool:
    """Commit the manifest with its one object counted; whether the node said yes."""

    async def take(call: Call, sink: Sink) -> None:
        (await sink.take(len(DATA)))[:] = DATA
        await sink.give(memoryview(DATA))

    call = Call(Commit(len(DATA), b"\x01"), Peer(None, None, Address("127.0.0.1", 1)), take)
    reply = await commit_handler(SimRuntime(random.Random(2)), store, records, changed=lambda: None)(call)
    assert isinstance(reply.answer, Committed)
    return not reply.answer.missing


async def story(disk: MemoryDisk, kind: type[DiskChunkStore], *, put_first: bool, arm: int | None) -> bool:
    store, records = await opened(disk, kind)
    if hasattr(disk, "armed"):
        disk.armed = True
    if arm is not None:
        disk.stop_after = disk.operations + arm
    if put_first:
        await store.put(NAME, Body.of(OBJECT))
    return await commit(store, records)


def cuts(
    disk_kind: type[MemoryDisk], kind: type[DiskChunkStore], *, put_first: bool
) -> Iterator[tuple[bool, MemoryDisk]]:
    """Put and commit stopped before each operation in turn, and at last not at all: did it say yes, and the disk."""
    for count in range(1000):
        disk = disk_kind(block_bytes=BLOCK_BYTES)
        yes, ended = False, False
        with contextlib.suppress(PowerCut):
            yes = run_simulated(story(disk, kind, put_first=put_first, arm=count), seconds_max=60)
            ended = True
        yield yes, disk
        if ended:
            return
    raise AssertionError("a commit has no end")


def found(disk: MemoryDisk) -> tuple[bool, bool]:
    """Whether the manifest, and whether the object, is on the disk under its name, whole. A record that is not whole
    counts as not there: a reader notices by its hash."""
    files = disk.contents()
    return files.get(f"records/{MANIFEST.hex()}.manifest") == DATA, files.get(OBJECT_PATH) == OBJECT


def problems(
    disk_kind: type[MemoryDisk] = MemoryDisk, kind: type[DiskChunkStore] = DiskChunkStore, *, put_first: bool = True
) -> Iterator[str]:
    """What goes wrong, in any state of any cut."""
    for yes, disk in cuts(disk_kind, kind, put_first=put_first):
        for state in disk.crash_states():
            has_manifest, has_object = found(state)
            if yes and not has_manifest:
                yield "said yes, and the manifest is gone"
            if has_manifest and not has_object:
                yield "a manifest counts an object that is not there"


def test_no_power_cut_in_put_and_commit_breaks_a_promise() -> None:
    assert set(problems()) == set()


def test_a_commit_without_its_object_says_no_and_writes_nothing() -> None:
    disk = MemoryDisk(block_bytes=BLOCK_BYTES)
    assert run_simulated(story(disk, DiskChunkStore, put_first=False, arm=None), seconds_max=60) is False
    assert found(disk) == (False, False)


@pytest.mark.parametrize(
    ("disk_kind", "kind", "put_first", "seen"),
    [
        (NoDirectorySync, DiskChunkStore, True, "said yes, and the manifest is gone"),
        (NoFileSync, DiskChunkStore, True, "a manifest counts an object that is not there"),
        (MemoryDisk, NoCheck, False, "a manifest counts an object that is not there"),
    ],
    ids=["no-directory-sync", "no-file-sync", "no-check"],
)
def test_a_planted_bug_is_noticed(
    disk_kind: type[MemoryDisk], kind: type[DiskChunkStore], put_first: bool, seen: str
) -> None:
    assert seen in problems(disk_kind, kind, put_first=put_first)


def test_two_commits_at_once_both_say_yes() -> None:
    async def both() -> list[bool]:
        store, records = await opened(MemoryDisk(block_bytes=BLOCK_BYTES), DiskChunkStore)
        await store.put(NAME, Body.of(OBJECT))
        return list(await asyncio.gather(commit(store, records), commit(store, records)))

    assert run_simulated(both(), seconds_max=60) == [True, True]
