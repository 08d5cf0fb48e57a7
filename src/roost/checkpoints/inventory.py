"""The inventory: which objects the live versions need and where they belong, small enough to be kept in memory; while
nodes are emptied, also what was removed and can be brought back.

A manifest is decoded once and then stands here as the ids and lengths of its objects, some 40 bytes each. What is asked
of it comes in slices of the space of ids, so that whoever looks at everything needs memory for one slice at a time.
"""

import itertools
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from roost.checkpoints.catalogue import Catalogue, Listed
from roost.checkpoints.placement import Lines, view_digest
from roost.checkpoints.repair import Need
from roost.codec.manifest import Manifest
from roost.core.checkpoint import Redundancy
from roost.core.cluster import View
from roost.core.errors import Damaged, DiskFault, NotFound
from roost.core.ids import DIGEST_BYTES, NodeId, ObjectId, RecordId
from roost.core.runtime import Runtime

SLICE_IDS = 16_384
"""About how many objects a slice has: what one `have` may ask for."""
LINES_AT_A_TIME = 2_048
_PREFIX_BYTES = 2
_PREFIXES = 1 << (8 * _PREFIX_BYTES)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object that something names: what it needs, and the nodes where it belongs (of what was removed: none)."""

    need: Need
    home: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """The ids that begin with at least `begin` and less than `end`, as numbers of two bytes."""

    begin: int
    end: int


@dataclass(slots=True, eq=False)
class Version:
    """One version: the ids of its distinct objects, sorted and joined, with their bytes at rest, and for each the
    numbers of the nodes where it belongs."""

    listed: Listed
    redundancy: Redundancy
    ids: bytes
    sizes: "array[int]"
    homes: "array[int] | None" = None

    def __len__(self) -> int:
        return len(self.sizes)

    def id(self, place: int) -> ObjectId:
        return ObjectId(self.ids[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES])

    def places(self, part: Slice) -> range:
        """Where the objects of a slice are."""
        return range(self._place(part.begin), self._place(part.end))

    def _place(self, prefix: int) -> int:
        if prefix >= _PREFIXES:
            return len(self)
        bound = prefix.to_bytes(_PREFIX_BYTES, "big")
        begin = range(0, len(self.ids), DIGEST_BYTES)
        return bisect_left(begin, bound, key=lambda at: self.ids[at : at + _PREFIX_BYTES])


class Inventory:
    """What the live versions of a catalogue need, as of the last `refresh`. `unreadable` are the versions whose
    manifests cannot be read here now: what they need is not known."""

    def __init__(self, catalogue: Catalogue, runtime: Runtime) -> None:
        self._catalogue = catalogue
        self._runtime = runtime
        self._versions: dict[RecordId, Version] = {}
        self._removed: dict[RecordId, Version] = {}
        self._machines = 0
        self._view_digest = b""
        self._keepers: tuple[NodeId, ...] = ()
        self.unreadable = 0

    @property
    def versions(self) -> Sequence[Version]:
        """The live ones."""
        return tuple(self._versions.values())

    @property
    def manifests(self) -> frozenset[RecordId]:
        """Of all versions that count."""
        return frozenset(self._versions.keys() | self._removed.keys())

    async def refresh(self, view: View, *, removed: Collection[RecordId] = ()) -> None:
        """Learn what is live now, and where everything belongs in `view`; the `removed` versions count too. Only what
        is new costs anything."""
        known = self._versions | self._removed
        self.unreadable = 0
        self._versions = await self._learn(await self._catalogue.list(), known)
        gone = await self._catalogue.list(removed=True) if removed else []
        self._removed = await self._learn([listed for listed in gone if listed.manifest in removed], known)
        await self._find_homes(view)

    async def _learn(self, listing: Iterable[Listed], known: Mapping[RecordId, Version]) -> dict[RecordId, Version]:
        versions: dict[RecordId, Version] = {}
        for listed in listing:
            version = known.get(listed.manifest)
            if version is None:
                try:
                    manifest = await self._catalogue.manifest(listed.manifest)
                except (Damaged, NotFound, DiskFault):
                    self.unreadable += 1
                    continue
                version = await self._runtime.in_thread(_compact, listed, manifest)
            version.listed = listed
            versions[listed.manifest] = version
        return versions

    async def _find_homes(self, view: View) -> None:
        self._machines = len({view.domain_of(member.node_id) for member in view.keepers})
        digest = view_digest(view)
        if digest != self._view_digest:
            self._view_digest = digest
            self._keepers = tuple(member.node_id for member in view.keepers)
            for version in self._versions.values():
                version.homes = None
        lines = Lines(view)
        numbers = {node: number for number, node in enumerate(self._keepers)}
        for version in self._versions.values():
            if version.homes is not None:
                continue
            homes = array("H")
            for begin in range(0, len(version), LINES_AT_A_TIME):
                end = min(begin + LINES_AT_A_TIME, len(version))
                homes.extend(await self._runtime.in_thread(_homes, version, lines, numbers, range(begin, end)))
            version.homes = homes

    def slices(self) -> Iterator[Slice]:
        """The slices that together are everything."""
        everything = itertools.chain(self._versions.values(), self._removed.values())
        count = min(_PREFIXES, 1 + sum(map(len, everything)) // SLICE_IDS)
        bounds = [number * _PREFIXES // count for number in range(count + 1)]
        return (Slice(begin, end) for begin, end in itertools.pairwise(bounds))

    def wanted(self, part: Slice) -> dict[ObjectId, Wanted]:
        """Each object of a slice that is named by any version, with the most copies that any of them asks for. What
        was removed asks for no more than there are machines to keep it, so that it keeps no node that could leave."""
        found: dict[ObjectId, Wanted] = {}
        for version in self._versions.values():
            assert version.homes is not None
            copies = version.redundancy.copies
            each = min(copies, len(self._keepers))
            for place in version.places(part):
                object_id = version.id(place)
                known = found.get(object_id)
                if known is None or known.need.copies < copies:
                    numbers = version.homes[place * each : (place + 1) * each]
                    home = tuple(self._keepers[number] for number in numbers)
                    found[object_id] = Wanted(Need(copies, version.sizes[place]), home)
        live = set(found)
        for version in self._removed.values():
            copies = max(1, min(version.redundancy.copies, self._machines))
            for place in version.places(part):
                object_id = version.id(place)
                if object_id not in live and (object_id not in found or found[object_id].need.copies < copies):
                    found[object_id] = Wanted(Need(copies, version.sizes[place], removed=True), ())
        return found


def _compact(listed: Listed, manifest: Manifest) -> Version:
    sizes = manifest.object_bytes()
    ids = sorted(sizes)
    redundancy = Redundancy.parse(manifest.redundancy)
    return Version(listed, redundancy, b"".join(ids), array("I", (sizes[object_id] for object_id in ids)))


def _homes(version: Version, lines: Lines, numbers: dict[NodeId, int], places: range) -> "array[int]":
    copies = version.redundancy.copies
    return array("H", (numbers[node] for place in places for node in lines.of(version.id(place))[:copies]))
