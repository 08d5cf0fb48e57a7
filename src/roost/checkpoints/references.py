"""What the records here say of the objects here: which of them a live manifest names, a removed one, or none.

Tombstones are small and kept in memory once they were read. Manifests are read and decoded one at a time.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from roost.checkpoints.ages import Ages
from roost.checkpoints.collect import Removal
from roost.chunks.disk import Moved
from roost.cluster.records import DiskRecords
from roost.codec.manifest import Manifest
from roost.codec.records import Record, Tombstone, decode_record
from roost.core.checkpoint import Redundancy
from roost.core.errors import Damaged
from roost.core.ids import ObjectId, RecordId
from roost.core.runtime import Runtime


def _unwatched(count: int) -> None:
    """Nobody wants to know how many were read."""


@dataclass(frozen=True, slots=True)
class Named:
    """The distinct objects that a manifest names, and on how many machines each belongs."""

    objects: frozenset[ObjectId]
    copies: int


@dataclass(frozen=True, slots=True)
class Need:
    """On how many machines an object belongs, and the live manifest that asks for the most."""

    copies: int
    manifest: RecordId


@dataclass(slots=True)
class References:
    """The references from the records of one node to its objects. `learn` must hear of every record as it is kept."""

    runtime: Runtime
    records: DiskRecords
    ages: Ages
    _tombstones: dict[RecordId, tuple[RecordId, int]] = field(default_factory=dict)
    _removed: dict[RecordId, dict[RecordId, int]] = field(default_factory=dict)
    _unnamed: set[ObjectId] = field(default_factory=set)
    _needs: dict[ObjectId, Need] = field(default_factory=dict)
    _needed_of: frozenset[ObjectId] = frozenset()

    def learn(self, record_id: RecordId, record: Record) -> None:
        """A record is here from now on. What a manifest names is protected at once from a pass that runs, and as many
        copies of it as the manifest asks for."""
        if isinstance(record, Tombstone):
            self._note(record_id, record)
            self.ages.see_tombstones([record_id])
        elif isinstance(record, Manifest) and (self._unnamed or self._needed_of):
            named = _named(record)
            self._unnamed -= named.objects
            if record_id not in self._removed:
                self._need(record_id, named)

    def _note(self, record_id: RecordId, tombstone: Tombstone) -> None:
        manifest = RecordId(tombstone.manifest)
        self._tombstones[record_id] = (manifest, tombstone.keep_s)
        self._removed.setdefault(manifest, {})[record_id] = tombstone.keep_s

    async def load(self, moved: Moved = _unwatched) -> None:
        """Read the tombstones that were here before us; what was read once is not read again. What is said of removals
        counts only after this. Raises what reading a record raises. `moved` is told of each."""
        ids = self.records.ids_of(Tombstone)
        for record_id in ids:
            if record_id not in self._tombstones:
                tombstone = await self.runtime.in_thread(decode_record, await self.records.get(record_id))
                assert isinstance(tombstone, Tombstone)
                self._note(record_id, tombstone)
                moved(1)
        self.ages.see_tombstones(ids)

    def removals(self) -> dict[RecordId, Removal]:
        """The manifests that were removed, with what their tombstones make of them now."""
        return {
            manifest: min(
                Removal.of(age_s=self.ages.tombstone_s(tombstone), keep_s=keep_s)
                for tombstone, keep_s in tombstones.items()
            )
            for manifest, tombstones in self._removed.items()
        }

    def undecided(self) -> list[RecordId]:
        """The tombstones whose age still matters here: of manifests that are here and can be brought back."""
        return sorted(
            tombstone
            for manifest, removal in self.removals().items()
            if removal.left_s > 0 and manifest in self.records
            for tombstone in self._removed[manifest]
        )

    async def unneeded(self, held: Iterable[ObjectId], moved: Moved) -> dict[ObjectId, Removal | None]:
        """Those of the objects `held` that no live manifest here names, each with what the removed ones that name it
        make of it. Until `done` is called, `still_unneeded` knows of each whether a manifest has come that names it.
        Raises what reading a record raises: then nothing is known."""
        removals = self.removals()
        self._unnamed = set(held)
        removed: dict[ObjectId, Removal] = {}
        everything = self.records.ids_of(Manifest)
        for manifest in everything:
            if manifest not in removals:
                self._unnamed.difference_update((await self.named_by(manifest)).objects)
                moved(1)
        for manifest in everything:
            removal = removals.get(manifest)
            if removal is not None:
                named = await self.named_by(manifest)
                for object_id in named.objects & self._unnamed:
                    removed[object_id] = max(removed.get(object_id, removal), removal)
                moved(1)
        return {object_id: removed.get(object_id) for object_id in self._unnamed}

    def still_unneeded(self, object_id: ObjectId) -> bool:
        """Whether no manifest that names the object has come since `unneeded` looked."""
        return object_id in self._unnamed

    def done(self) -> None:
        """Forget what `unneeded` and `needs` found."""
        self._unnamed, self._needs, self._needed_of = set(), {}, frozenset()

    async def needs(self, held: Collection[ObjectId], moved: Moved) -> dict[ObjectId, Need]:
        """How many copies the live manifests here ask of those of the objects `held` that they name. Until `done` is
        called, a manifest that comes and asks for more changes it."""
        self._needs, self._needed_of = {}, frozenset(held)
        for manifest in self.records.ids_of(Manifest):
            if manifest not in self._removed:
                self._need(manifest, await self.named_by(manifest))
                moved(1)
        return self._needs

    def _need(self, manifest: RecordId, named: Named) -> None:
        need = Need(named.copies, manifest)
        for object_id in named.objects & self._needed_of:
            known = self._needs.get(object_id)
            if known is None or known.copies < need.copies:
                self._needs[object_id] = need

    def is_live(self, manifest: RecordId) -> bool:
        """Whether this record is here, and was not removed as far as is known here."""
        return manifest in self.records and manifest not in self._removed

    async def named_by(self, manifest: RecordId) -> Named:
        """What a manifest that is here names. Raises what reading a record raises."""
        data = await self.records.get(manifest)
        return await self.runtime.in_thread(_named_in, data)


def _named_in(data: bytes) -> Named:
    manifest = decode_record(data)
    if not isinstance(manifest, Manifest):
        raise Damaged("a record that is kept as a manifest is none", hint="another member may hold a good copy")
    return _named(manifest)


def _named(manifest: Manifest) -> Named:
    return Named(frozenset(manifest.objects()), Redundancy.parse(manifest.redundancy).copies)
