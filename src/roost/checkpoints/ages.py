"""Ages: for how long this node has known each tombstone, and nobody touched each object that nothing needs.

The node's clock is the sum of its running time over all its lives; while it is off, nothing grows older. Everything is
kept by the reading of that clock when the thing was first seen, in one small file:

    state/ages    SHA-256 of the rest (32 bytes), then msgpack: format, clock, tombstones, objects;
                  the last two each as [ids (32 bytes each, joined), readings of the clock]

A file that is absent or damaged makes everything young, which only delays. No wall clock plays a part.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from roost.core.errors import DiskFault, Failed, NotFound
from roost.core.ids import DIGEST_BYTES, ObjectId, RecordId
from roost.core.runtime import Runtime
from roost.disk.durable import make_directory_durably, read_small, write_durably
from roost.disk.port import Disk

DIRECTORY = "state"
PATH = f"{DIRECTORY}/ages"
FORMAT = 1
BYTES_MAX = 64 * 1024 * 1024
OBJECTS_MAX = 1_000_000
"""How many objects' ages outlive the process; of more, those seen first."""


class _Column(msgspec.Struct, array_like=True, frozen=True):
    ids: bytes
    since: list[float]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    clock: float
    tombstones: _Column
    objects: _Column


class Ages:
    """The ages of one node; `load` comes first. `disturbed` is called when what was saved makes something older than it
    is: soon after, `save` should be."""

    def __init__(self, disk: Disk, runtime: Runtime, *, disturbed: Callable[[], None] = lambda: None) -> None:
        self._disk = disk
        self._runtime = runtime
        self._base = 0.0
        self._begun = runtime.now()
        self._tombstones: dict[RecordId, float] = {}
        self._objects: dict[ObjectId, float] = {}
        self._disturbed = disturbed

    def __len__(self) -> int:
        """How many ages there are."""
        return len(self._tombstones) + len(self._objects)

    @property
    def clock(self) -> float:
        """Seconds that this node has run, in all its lives that were saved."""
        return self._base + self._runtime.now() - self._begun

    async def load(self) -> None:
        """Go on from what was saved."""
        found = await self._runtime.in_thread(self._read)
        self._begun = self._runtime.now()
        if found is not None:
            self._base = found.clock
            self._tombstones = {RecordId(i): since for i, since in _pairs(found.tombstones, found.clock)}
            self._objects = {ObjectId(i): since for i, since in _pairs(found.objects, found.clock)}

    def _read(self) -> _File | None:
        try:
            data = read_small(self._disk, PATH, bytes_max=BYTES_MAX)
        except (NotFound, Failed, DiskFault):
            return None
        if hashlib.sha256(data[DIGEST_BYTES:]).digest() != data[:DIGEST_BYTES]:
            return None
        try:
            found = msgspec.msgpack.decode(data[DIGEST_BYTES:], type=_File)
        except ValueError:
            return None
        return found if found.format == FORMAT else None

    async def save(self) -> None:
        """Make the ages as they are now durable. DiskFault or NoSpace: what was saved before still counts."""
        await self._runtime.in_thread(self._write, self.clock, self._tombstones.copy(), self._objects.copy())

    def _write(self, clock: float, tombstones: dict[RecordId, float], objects: dict[ObjectId, float]) -> None:
        """In a thread, for there may be a million."""
        first = sorted(objects.items(), key=lambda pair: (pair[1], pair[0]))[:OBJECTS_MAX]
        data = msgspec.msgpack.encode(_File(FORMAT, clock, _column(tombstones.items()), _column(first)))
        make_directory_durably(self._disk, DIRECTORY)
        write_durably(self._disk, PATH, hashlib.sha256(data).digest() + data)

    # -- tombstones ------------------------------------------------------------------------------------------------

    def see_tombstones(self, ids: Iterable[RecordId]) -> None:
        """These tombstones are here: those that were not seen before are so from now on."""
        for record in ids:
            if record not in self._tombstones:
                self._tombstones[record] = self.clock

    def tombstone_s(self, record: RecordId) -> float:
        """For how long this tombstone is known; 0 when it was never seen."""
        since = self._tombstones.get(record)
        return 0.0 if since is None else self.clock - since

    def hear_tombstones(self, ids: Sequence[RecordId], seconds: Sequence[int]) -> None:
        """A member has known these tombstones for so long: the longest counts. Those not seen here are passed over."""
        for record, age_s in zip(ids, seconds, strict=True):
            since = self._tombstones.get(record)
            if since is not None and self.clock - age_s < since:
                self._tombstones[record] = self.clock - age_s

    # -- objects that nothing needs --------------------------------------------------------------------------------

    def follow(self, ids: Collection[ObjectId]) -> None:
        """These and no others are the objects that nothing needs; those that are new among them are untouched from now
        on."""
        clock = self.clock
        self._objects = {i: self._objects.get(i, clock) for i in ids}

    def touch(self, ids: Iterable[ObjectId]) -> None:
        """These objects were put, asked for, committed or fetched; that matters of those that are followed."""
        if not self._objects:
            return
        clock, followed = self.clock, [object_id for object_id in ids if object_id in self._objects]
        for object_id in followed:
            self._objects[object_id] = clock
        if followed:
            self._disturbed()

    def untouched_s(self, object_id: ObjectId) -> float:
        """For how long nobody touched this object since nothing needs it; 0 when it is not followed."""
        since = self._objects.get(object_id)
        return 0.0 if since is None else self.clock - since


def _column(pairs: Iterable[tuple[bytes, float]]) -> _Column:
    some = list(pairs)
    return _Column(b"".join(i for i, _ in some), [since for _, since in some])


def _pairs(column: _Column, clock: float) -> Iterable[tuple[bytes, float]]:
    """The ids with their readings, none later than `clock`; nothing when they do not fit each other."""
    ids, since = column.ids, column.since
    if len(ids) != DIGEST_BYTES * len(since):
        return []
    return ((ids[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES], min(at, clock)) for i, at in enumerate(since))
