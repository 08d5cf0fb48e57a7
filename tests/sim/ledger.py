"""What was promised in a run, and the promises held against what is really on the disks."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from roost.codec.manifest import Manifest
from roost.codec.records import Tombstone, decode_record, record_id
from roost.core.checkpoint import Redundancy
from roost.core.ids import NodeId, ObjectId, RecordId, object_id
from roost.testing.cluster import SimCluster, SimNode
from roost.testing.disk import Operation
from sim.checkpoints import Tree
from sim.damage import Damage
from sim.disks import (
    Look,
    durable_on,
    file_on,
    has_good,
    manifest_of,
    names_on,
    object_at,
    object_path,
    record_path,
)

PROMISED_S = 30.0
"""A promise to keep a copy, and what is built on it, lasts no longer."""


class Violation(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody was told: this version is on `copies` machines among `nodes`, each of which has its manifest."""

    name: str
    version: str
    copies: int
    degraded: bool
    nodes: Sequence[NodeId]


@dataclass(slots=True, eq=False)
class Attempt:
    """One store or undelete, `began` when: what, under which name, and what came of it."""

    number: int
    name: str
    tree: Tree
    redundancy: Redundancy
    began: float
    claim: Claim | None = None
    record: RecordId | None = None
    manifest: Manifest | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether somebody may rely on it at full redundancy."""
        return self.claim is not None and self.record is not None and not self.claim.degraded


@dataclass(slots=True)
class Ledger:
    """All attempts, and the losses that were injected: objects and records that were damaged at rest; what is gone for
    ever, the nodes say. `removed` are the manifests that somebody began to remove. `errors` are promises broken where
    nobody could be told at once.

    Where collection is `hasty`, reservations end so soon that a commit may find what it counts on gone, and other nodes
    may have listed the version by then: it is not acknowledged before it is whole, which is all that is asked there.
    """

    cluster: SimCluster
    hasty: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    damage: Damage = field(default_factory=Damage)
    listed: dict[RecordId, Manifest] = field(default_factory=dict)
    removed: dict[RecordId, float] = field(default_factory=dict)
    dropped: set[ObjectId] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    _namers: dict[ObjectId, set[RecordId]] = field(default_factory=dict)
    _tombstones: dict[RecordId, dict[RecordId, frozenset[int]]] = field(default_factory=dict)
    """By removed version, the tombstones of acknowledged removals and the numbers of the nodes that hold them."""

    def begin(self, name: str, tree: Tree, redundancy: Redundancy) -> Attempt:
        attempt = Attempt(len(self.attempts), name, tree, redundancy, asyncio.get_running_loop().time())
        self.attempts.append(attempt)
        return attempt

    # Right when it happens

    def acknowledge(self, attempt: Attempt, claim: Claim) -> None:
        """A receipt was given this very moment: what it claims must survive a power cut of everything now, at its worst
        and, now and then, as drawn."""
        require(not self.errors, "; ".join(self.errors))
        nodes = [self.cluster.node_of(node_id) for node_id in claim.nodes]
        self._check_claim(attempt, claim, nodes, durable_on)
        chance = random.Random(f"{claim.version} {attempt.number}")
        if chance.random() < 0.1:
            left = {node.number: node.disk.remains(chance) for node in nodes}
            self._check_claim(attempt, claim, nodes, lambda node, path: file_on(left[node.number], path))
        attempt.claim = claim

    def _check_claim(self, attempt: Attempt, claim: Claim, nodes: list[SimNode], look: Look) -> None:
        what = f"{attempt.name}@{claim.version} #{attempt.number}"
        manifests = [self._manifest(node, claim, look) for node in nodes]
        known = next((manifest for manifest in manifests if manifest is not None), None)
        for node, manifest in zip(nodes, manifests, strict=True):
            held = manifest is not None or self.damage.of_record(node, claim.version.partition("-")[2])
            require(held, f"{what}: after a power cut {node.name} would not hold the manifest")
        if known is None:
            return  # we damaged it on all of them
        machines, wanted = self.machines(nodes), attempt.redundancy
        if not claim.degraded:
            require(machines > wanted.losses, f"{what}: the manifest is on {machines} machines only")
            require(claim.copies >= wanted.copies, f"{what}: {claim.copies} copies are called enough")
        attempt.record, attempt.manifest = known
        for i in attempt.manifest.objects():
            holders = [node for node in nodes if self._keeps(node, i, look, since=attempt.began)]
            require(
                self.machines(holders) >= claim.copies,
                f"{what}: {claim.copies} copies of {i.hex()[:12]} are claimed; a power cut would leave it on "
                f"{[node.name for node in holders]} of {[node.name for node in nodes]}",
            )

    def _manifest(self, node: SimNode, claim: Claim, look: Look) -> tuple[RecordId, Manifest] | None:
        """The version's manifest and its id, if it would be left on the node."""
        digits = claim.version.partition("-")[2]
        for name in names_on(node.disk, "records"):
            if name.startswith(digits) and name.endswith(".manifest"):
                data = look(node, f"records/{name}")
                if data is not None and record_id(data).hex() == name.partition(".")[0]:
                    manifest = manifest_of(data)
                    if manifest is not None and manifest.name == claim.name:
                        return record_id(data), manifest
        return None

    def hear(self, node: SimNode, record: RecordId, manifest: Manifest) -> None:
        """A node lists a version: all its objects must be durable somewhere, or have been and be lost by our faults,
        or by collection where that is hasty."""
        if record in self.listed:
            return
        self.listed[record] = manifest
        for i in manifest.objects():
            self._namers.setdefault(i, set()).add(record)
            collected = self.hasty and i in self.dropped
            if record in self.removed or collected:
                continue
            if not any(self._keeps(n, i, durable_on) for n in self.cluster.nodes):
                self.errors.append(
                    f"{node.name} lists {manifest.name}@{manifest.seq}, but {i.hex()[:12]} is durable nowhere"
                )

    def harm(self, node: SimNode, path: str) -> None:
        """A file on the node's disk holds other bytes than were written to it."""
        self.damage.happens(node, path)

    def watch(self, node: SimNode, operation: Operation) -> None:
        """A node is about to change its disk: no good copy of anything live may go."""
        self.damage.watch(node, operation)
        if operation.what not in ("remove", "rename"):
            return
        gone = object_at(operation.path)
        if gone is None:
            return
        if operation.what == "rename":
            if has_good(node.disk, gone):
                self.errors.append(f"{node.name} moves the good copy of {gone.hex()[:12]} to {operation.target}")
            return
        self.dropped.add(gone)
        for record in sorted(self._namers.get(gone, ())):
            self._check_drop(node, gone, record)

    def _check_drop(self, node: SimNode, gone: ObjectId, record: RecordId) -> None:
        """A node that knows a live manifest, or knew it before we damaged it, drops what it names only as surplus."""
        knows = node.node is not None and record in node.node.records
        if record in self.removed or not (knows or self.damage.hit(node, record)):
            return
        since = asyncio.get_running_loop().time() - PROMISED_S
        manifest = self.listed[record]
        wanted = Redundancy.parse(manifest.redundancy).copies
        others = [
            other
            for other in self.cluster.nodes
            if other is not node and self._counts(other, record) and self._keeps(other, gone, durable_on, since=since)
        ]
        if self.machines(others) < wanted:
            self.errors.append(
                f"{node.name} drops {gone.hex()[:12]} of {manifest.name}@{manifest.seq}, which leaves it on "
                f"{[other.name for other in others]}, not on {wanted} machines"
            )

    def _counts(self, node: SimNode, record: RecordId) -> bool:
        """Whether the node holds the manifest, had we not damaged it."""
        if self.damage.hit(node, record):
            return True
        return file_on(node.disk, record_path(record)) is not None

    # What was removed

    def begin_removal(self, records: Sequence[RecordId], now: float) -> None:
        """Somebody begins to remove these versions: nobody may rely on them from now on."""
        for record in records:
            self.removed.setdefault(record, now)

    def acknowledge_removal(self, what: str, record: RecordId, nodes: Sequence[NodeId]) -> None:
        """Somebody was told this very moment that these nodes keep in mind that the version is removed: a power cut of
        everything must not change that."""
        told = self._tombstones.setdefault(record, {})
        for node in map(self.cluster.node_of, nodes):
            durable, harmed = self._tombstones_on(node, record)
            require(bool(durable or harmed), f"{what}: after a power cut {node.name} would not hold the removal")
            for tombstone in durable:
                told[tombstone] = told.get(tombstone, frozenset()) | {node.number}

    def _tombstones_on(self, node: SimNode, record: RecordId) -> tuple[list[RecordId], bool]:
        """The tombstones of a version that a power cut would leave on a node; and whether we damaged one there."""
        found: list[RecordId] = []
        harmed = False
        for name in names_on(node.disk, "records"):
            path = f"records/{name}"
            if not name.endswith(".tombstone"):
                continue
            data = durable_on(node, path)
            if data is None or record_id(data).hex() != name.partition(".")[0]:
                harmed = harmed or self.damage.of_record(node, name.partition(".")[0])
                continue
            tombstone = decode_record(data)
            if isinstance(tombstone, Tombstone) and tombstone.manifest == record:
                found.append(record_id(data))
        return found, harmed

    def taken_back(self) -> dict[RecordId, frozenset[NodeId]]:
        """The versions whose removal was acknowledged, each with the nodes that must know of it whatever happened."""
        known: dict[RecordId, frozenset[NodeId]] = {}
        for record, tombstones in self._tombstones.items():
            numbers = [number for tombstone, at in tombstones.items() for number in at - self.losses(tombstone)]
            known[record] = frozenset(self.cluster.nodes[number].node_id for number in numbers)
        return known

    # What is there, and what may be lost

    def _keeps(self, node: SimNode, wanted: ObjectId, look: Look, *, since: float = 0.0) -> bool:
        """Whether the node would be left with the object, had we not damaged it, unless it had found that out already
        before `since`."""
        if self.damage.excuses(node, wanted, since=since):
            return True
        data = look(node, object_path(wanted))
        return data is not None and object_id(data) == wanted

    def machines(self, nodes: Sequence[SimNode]) -> int:
        """On how many machines the nodes are; on a single machine, how many they are."""
        return len({self.cluster.domain_of(node) for node in nodes})

    def losses(self, wanted: bytes) -> set[int]:
        """The nodes on which a copy of the object or record may have been lost by injected faults."""
        return {n.number for n in self.cluster.nodes if n.gone or self.damage.hit(n, wanted)}

    def stands(self, attempt: Attempt) -> bool:
        """Whether it was acknowledged at full redundancy and nobody removes it."""
        return attempt.acknowledged and attempt.record not in self.removed

    def within_redundancy(self, attempt: Attempt) -> bool:
        """Whether what was lost of a version, which is known, is no more than it survives."""
        assert attempt.manifest is not None
        assert attempt.record is not None
        of_record = self.losses(attempt.record)
        sets = [of_record, *(of_record | self.losses(i) for i in attempt.manifest.objects())]
        worst = max(self.machines([self.cluster.nodes[number] for number in lost]) for lost in sets)
        return worst <= attempt.redundancy.losses

    def must_survive(self, attempt: Attempt) -> bool:
        """Whether the version is to be had whatever happened."""
        return self.stands(attempt) and self.within_redundancy(attempt)

    def really_lost(self, manifest: Manifest) -> bool:
        """Whether some object has no good copy on any disk, those that are gone included."""
        return any(not any(has_good(node.disk, i) for node in self.cluster.nodes) for i in manifest.objects())

    def trees_of(self, name: str) -> Iterator[Tree]:
        """All that anybody ever tried to store under the name."""
        return (attempt.tree for attempt in self.attempts if attempt.name == name)


def require(holds: bool, what: str) -> None:
    """Violation `what` unless it holds."""
    if not holds:
        raise Violation(what)
