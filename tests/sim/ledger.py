"""What was promised in a run, and the promises held against what is really on the disks."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from roost.checkpoints.store import Receipt
from roost.codec.manifest import Manifest
from roost.codec.records import decode_record, record_id
from roost.core.checkpoint import Redundancy
from roost.core.errors import RoostError
from roost.core.ids import ObjectId, RecordId, object_id
from roost.testing.cluster import SimCluster, SimNode
from roost.testing.disk import MemoryDisk
from roost.testing.walk import inode_at
from sim.checkpoints import Tree, read_file


class Violation(AssertionError):
    """A promise was broken."""


class Oldest(random.Random):
    """The chance that loses all that was not synced."""

    def randrange(self, *_: object) -> int:  # type: ignore[override]  # the one use of it
        return 0


@dataclass(slots=True, eq=False)
class Attempt:
    """One store: what, under which name, and what came of it."""

    number: int
    name: str
    tree: Tree
    redundancy: Redundancy
    receipt: Receipt | None = None
    manifest: Manifest | None = None

    @property
    def acknowledged(self) -> bool:
        """Whether somebody may rely on it at full redundancy."""
        return self.receipt is not None and not self.receipt.degraded


@dataclass(slots=True)
class Ledger:
    """All attempts, and the losses that were injected: machines gone for ever (`dead`, by domain), and copies that
    were damaged at rest (`damaged`, node number and object)."""

    cluster: SimCluster
    attempts: list[Attempt] = field(default_factory=list)
    damaged: set[tuple[int, ObjectId]] = field(default_factory=set)
    listed: dict[RecordId, Manifest] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def begin(self, name: str, tree: Tree, redundancy: Redundancy) -> Attempt:
        attempt = Attempt(len(self.attempts), name, tree, redundancy)
        self.attempts.append(attempt)
        return attempt

    # Right when it happens

    def acknowledge(self, attempt: Attempt, receipt: Receipt) -> None:
        """A receipt was given this very moment: what it claims must survive a power cut of everything now."""
        attempt.receipt = receipt
        nodes = [self.cluster.node_of(node_id) for node_id in receipt.nodes]
        for chance in (Oldest(), random.Random(f"receipt {attempt.number}")):
            disks = {node.number: node.disk.remains(chance) for node in nodes}
            manifest = self._manifest_on(disks, receipt)
            attempt.manifest = manifest
            if not receipt.degraded:
                _require(
                    self._machines(nodes) >= attempt.redundancy.losses + 1,
                    f"{receipt.version}: the manifest is on {self._machines(nodes)} machines only",
                )
                _require(receipt.copies >= attempt.redundancy.copies, f"{receipt.version}: too few copies, yet not degraded")
            for wanted in manifest.objects():
                holders = [node for node in nodes if self._holds(node, disks[node.number], wanted)]
                _require(
                    self._machines(holders) >= receipt.copies,
                    f"{receipt.version}: {receipt.copies} copies are claimed of {wanted.hex()[:12]}, "
                    f"{self._machines(holders)} would survive a power cut",
                )

    def _manifest_on(self, disks: Mapping[int, MemoryDisk], receipt: Receipt) -> Manifest:
        """The version's manifest, which each of the disks must hold."""
        digits = receipt.version.partition("-")[2]
        found: Manifest | None = None
        for number, disk in disks.items():
            here = [m for i, m in manifests_on(disk) if i.hex().startswith(digits) and m.name == receipt.name]
            _require(len(here) == 1, f"{receipt.version}: node-{number} would not hold its manifest after a power cut")
            found = here[0]
        if found is None:
            raise Violation(f"{receipt.version}: no node is named by the receipt")
        return found

    def hear(self, node: SimNode, record: RecordId, manifest: Manifest) -> None:
        """A node lists a version: all its objects must be durable somewhere, or have been and be lost by our faults."""
        if record in self.listed:
            return
        self.listed[record] = manifest
        disks = [(other, other.disk.remains(Oldest())) for other in self.cluster.nodes]
        for wanted in manifest.objects():
            if not any(self._holds(other, disk, wanted) for other, disk in disks):
                self.errors.append(
                    f"{node.name} lists {manifest.name}@{manifest.seq}, and {wanted.hex()[:12]} is durable nowhere"
                )

    # What is there, and what may be lost

    def _holds(self, node: SimNode, disk: MemoryDisk, wanted: ObjectId) -> bool:
        return (node.number, wanted) in self.damaged or has_good(disk, wanted)

    def _machines(self, nodes: list[SimNode]) -> int:
        return len({self.cluster.domain_of(node) for node in nodes})

    def losses(self, wanted: ObjectId) -> int:
        """On how many machines a copy of the object may have been lost by injected faults."""
        lost = [node for node in self.cluster.nodes if node.gone or (node.number, wanted) in self.damaged]
        return self._machines(lost)

    def must_survive(self, attempt: Attempt) -> bool:
        """Whether an acknowledged version's losses stayed within its redundancy."""
        if not attempt.acknowledged or attempt.manifest is None:
            return False
        gone = self._machines([node for node in self.cluster.nodes if node.gone])
        worst = max((self.losses(i) for i in attempt.manifest.objects()), default=gone)
        return worst <= attempt.redundancy.losses

    def really_lost(self, manifest: Manifest) -> bool:
        """Whether some object has no good copy on any disk, those that are gone included."""
        return any(not any(has_good(node.disk, i) for node in self.cluster.nodes) for i in manifest.objects())

    def trees_of(self, name: str) -> Iterator[Tree]:
        """All that anybody ever tried to store under the name."""
        return (attempt.tree for attempt in self.attempts if attempt.name == name)


def objects_on(disk: MemoryDisk) -> list[ObjectId]:
    """The objects that a node's disk holds, by name."""
    return [
        ObjectId(bytes.fromhex(path.rpartition("/")[2]))
        for path in disk.contents()
        if path.startswith("chunks/") and len(path) == len("chunks/ab/") + 64
    ]


def object_path(wanted: ObjectId) -> str:
    """Where a node keeps the object below its home."""
    return f"chunks/{wanted.hex()[:2]}/{wanted.hex()}"


def has_good(disk: MemoryDisk, wanted: ObjectId) -> bool:
    """Whether the disk holds the object, its bytes as they should be, whether or not its node could tell."""
    try:
        inode = inode_at(disk._medium.root, object_path(wanted), follow=False)
    except RoostError:
        return False
    return inode is not None and object_id(memoryview(inode.data)) == wanted


def manifests_on(disk: MemoryDisk) -> Iterator[tuple[RecordId, Manifest]]:
    """The good manifests among the records on a node's disk."""
    for name, _ in disk.list("records"):
        if name.endswith(".manifest"):
            data = read_file(disk, f"records/{name}")
            if record_id(data).hex() == name.partition(".")[0]:
                manifest = decode_record(data)
                assert isinstance(manifest, Manifest)
                yield record_id(data), manifest


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)
