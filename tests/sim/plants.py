"""Bugs to plant in the product, each by a name that says what it breaks: the simulator must find them."""

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

from roost.checkpoints import fetching, surplus
from roost.checkpoints.catalogue import Catalogue
from roost.checkpoints.collect import Periods, Surplus
from roost.checkpoints.commit import commit_handler
from roost.checkpoints.delivery import Delivery
from roost.checkpoints.mending import Mender
from roost.checkpoints.placement import line
from roost.checkpoints.repair import Copy
from roost.checkpoints.surplus import Dropper
from roost.chunks.disk import DiskChunkStore
from roost.chunks.read import ObjectReader
from roost.chunks.remote import RemoteChunkStore
from roost.chunks.slices import SlicePool
from roost.cluster.records import DiskRecords, RecordSet
from roost.codec.manifest import Manifest
from roost.codec.planes import Scratch, decode
from roost.codec.records import Tombstone, decode_record
from roost.core.cluster import View
from roost.core.ids import NodeId, ObjectId, RecordId
from roost.core.runtime import Runtime
from roost.disk import durable
from roost.disk.durable import DurableFile
from roost.disk.port import Disk
from roost.net import link
from roost.net.body import IntoSink
from roost.net.server import Handler
from roost.node import node
from roost.testing.disk import MemoryFile
from roost.wire.messages import Get, Sending

Plant = Callable[[ExitStack], None]
NEVER_S = 1e9


def no_sync_below(folder: str) -> Plant:
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


def no_directory_sync_below(folder: str) -> Plant:
    """Names in `folder` are not synced."""

    def plant(planted: ExitStack) -> None:
        sound = durable._sync_names

        def careless(disk: Disk, source: str, target: str) -> None:
            if not target.startswith(folder):
                sound(disk, source, target)

        planted.enter_context(mock.patch.object(durable, "_sync_names", careless))

    return plant


def believes_in_copies(planted: ExitStack) -> None:
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


def commits_unchecked(planted: ExitStack) -> None:
    """...and the nodes write the manifest without looking for the objects."""

    async def missing(self: DiskChunkStore, ids: Sequence[ObjectId], *, moved: object) -> list[ObjectId]:
        return []

    believes_in_copies(planted)
    planted.enter_context(mock.patch.object(DiskChunkStore, "missing", missing))


def says_yes_without_writing(planted: ExitStack) -> None:
    """A node answers the commit with yes and keeps the manifest in memory only."""

    async def add(self: DiskRecords, data: bytes) -> bool:
        if not isinstance(decode_record(data), Manifest):
            return await sound(self, data)
        self._remember(RecordId(hashlib.sha256(data).digest()), "manifest")
        return True

    sound = DiskRecords.add
    planted.enter_context(mock.patch.object(DiskRecords, "add", add))


def says_stored_without_writing(planted: ExitStack) -> None:
    """A node takes an object's bytes, says that they are durable, and has forgotten them."""

    async def receive(self: DiskChunkStore, object_id: ObjectId, length: int, take: object, *, moved: object) -> bool:
        await take(IntoSink(memoryview(bytearray(length))))  # type: ignore[operator]
        return True

    async def missing(self: DiskChunkStore, ids: Sequence[ObjectId], *, moved: object) -> list[ObjectId]:
        return []

    planted.enter_context(mock.patch.object(DiskChunkStore, "receive", receive))
    planted.enter_context(mock.patch.object(DiskChunkStore, "missing", missing))


def trusts_what_it_reads(planted: ExitStack) -> None:
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
    planted.enter_context(mock.patch.object(fetching, "_decode", decoded))


def gathers_unsynced(planted: ExitStack) -> None:
    """The gathered files are renamed into place without having been synced."""
    sound = MemoryFile.sync

    def sync(self: MemoryFile) -> None:
        if ".roost-" not in self._path:
            sound(self)

    planted.enter_context(mock.patch.object(MemoryFile, "sync", sync))


def collects_without_check(planted: ExitStack) -> None:
    """The commit takes for granted that what was there when the sender asked is there still."""

    class Unchecked:
        def __init__(self, store: DiskChunkStore) -> None:
            self.guard = store.guard

        async def missing(self, ids: Sequence[ObjectId], *, moved: Callable[[int], None]) -> list[ObjectId]:
            return []

    def handler(
        runtime: Runtime, store: DiskChunkStore, records: RecordSet, *, changed: Callable[[], None],
        leaving: Callable[[], bool],
    ) -> Handler:  # fmt: skip
        return commit_handler(runtime, Unchecked(store), records, changed=changed, leaving=leaving)

    planted.enter_context(mock.patch.object(node, "commit_handler", handler))


def drops_without_promises(planted: ExitStack) -> None:
    """Who has surplus takes for granted that those to whom it belongs have it."""

    async def ask(
        self: Dropper, found: Mapping[ObjectId, tuple[NodeId, ...]], *rest: object
    ) -> dict[ObjectId, set[NodeId]]:
        return {object_id: set(keepers) for object_id, keepers in found.items()}

    planted.enter_context(mock.patch.object(Dropper, "_ask", ask))


def drops_by_two(planted: ExitStack) -> None:
    """Any other holders are enough to drop a copy, and no promise is kept: of two that have a copy too many, both drop
    it."""

    def belongs_to(object_id: ObjectId, copies: int, own: NodeId, view: View) -> tuple[NodeId, ...]:
        others = tuple(node for node in line(object_id, view) if node != own)[:copies]
        return others if len({view.domain_of(node) for node in others}) == copies else ()

    def stays(one: Surplus, *, periods: Periods) -> str:
        return "" if one.keepers and set(one.keepers) <= set(one.promised) else "they did not promise"

    planted.enter_context(mock.patch.object(surplus, "belongs_to", belongs_to))

    def reserved(self: DiskChunkStore, object_id: ObjectId) -> bool:
        return object_id in self._receiving

    planted.enter_context(mock.patch.object(surplus, "why_it_stays", stays))
    planted.enter_context(mock.patch.object(DiskChunkStore, "reserved", reserved))


def blesses_what_it_has(planted: ExitStack) -> None:
    """A node makes the reference checksum from the bytes that it finds: whatever it reads back is good."""

    def read(self: ObjectReader, into: memoryview) -> int:
        count = self._open().pread(into[: min(len(into), self.left)], self._size - self.left)
        self.left -= count
        return count

    planted.enter_context(mock.patch.object(ObjectReader, "read", read))


def forgets_removals(planted: ExitStack) -> None:
    """A person's catalogue takes no tombstone: what was removed is listed on."""
    sound = Catalogue.add

    async def add(self: Catalogue, data: bytes) -> bool:
        return False if isinstance(decode_record(data), Tombstone) else await sound(self, data)

    planted.enter_context(mock.patch.object(Catalogue, "add", add))


def removals_not_synced(planted: ExitStack) -> None:
    """Tombstones are renamed into place without having been synced."""
    sound = DurableFile.commit

    def commit(self: DurableFile, path: str) -> None:
        if not path.endswith(".tombstone"):
            return sound(self, path)
        with mock.patch.object(MemoryFile, "sync"):
            return sound(self, path)

    planted.enter_context(mock.patch.object(DurableFile, "commit", commit))


def waits_for_ever(planted: ExitStack) -> None:
    """No silence of a peer, and no lack of progress, ends a call."""
    planted.enter_context(mock.patch.object(link, "SILENCE_LIMIT_S", NEVER_S))
    planted.enter_context(mock.patch.object(link, "NO_PROGRESS_LIMIT_S", NEVER_S))


def repairs_only_when_asked(planted: ExitStack) -> None:
    """The stewards of coordinators have no copies made."""
    sound = Mender.mend

    async def mend(self: Mender, *rest: Any, unlimited: bool) -> list[Copy]:
        return await sound(self, *rest, unlimited=True) if unlimited else []

    planted.enter_context(mock.patch.object(Mender, "mend", mend))


def repairs_nothing(planted: ExitStack) -> None:
    """No steward has copies made, whoever asks."""

    async def mend(self: Mender, *rest: Any, unlimited: bool) -> list[Copy]:
        return []

    planted.enter_context(mock.patch.object(Mender, "mend", mend))


def keeps_slots(planted: ExitStack) -> None:
    """Every fortieth loan of slices gives back its buffers, and not its place."""
    sound = SlicePool.give_back
    loans = itertools.count(1)

    def give_back(self: SlicePool, buffers: list[bytearray]) -> None:
        if next(loans) % 40:
            sound(self, buffers)
        else:
            self._idle += buffers

    planted.enter_context(mock.patch.object(SlicePool, "give_back", give_back))


def spawns_without_end(planted: ExitStack) -> None:
    """A node begins a task for every object that it is told of, at once."""
    sound = DiskChunkStore.have

    async def have(self: DiskChunkStore, ids: Sequence[ObjectId], *, reserve: bool = False) -> list[bool]:
        async with asyncio.TaskGroup() as group:
            for _ in range(100 * len(ids)):
                group.create_task(asyncio.sleep(0))
        return await sound(self, ids, reserve=reserve)

    planted.enter_context(mock.patch.object(DiskChunkStore, "have", have))
