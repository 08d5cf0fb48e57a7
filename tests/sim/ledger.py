"""What was promised in a run, and the promises held against what is really on the disks."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from roost.checkpoints.store import Receipt
from roost.codec.manifest import Manifest
from roost.codec.records import decode_record, record_id
from roost.core.checkpoint import Redundancy
from roost.core.errors import RoostError
from roost.core.ids import ObjectId, RecordId, object_id
from roost.testing.cluster import SimCluster, SimNode
from roost.testing.crash import durable_bytes
from roost.testing.disk import MemoryDisk
from roost.testing.walk import inode_at
from sim.checkpoints import Tree


class Violation(AssertionError):
    """A promise was broken."""


Look = Callable[[SimNode, str], bytes | None]
"""What a power cut would leave of a file on a node's disk."""


class Oldest(random.Random):
    """The chance that loses all that was not synced."""

    def randrange(self, *_: object) -> int:
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
    """All attempts, and the losses that were injected: copies that were damaged at rest (`damaged`, node number and
    object); what is gone for ever, the nodes say. `errors` are promises broken where nobody could be told at once."""

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
        """A receipt was given this very moment: what it claims must survive a power cut of everything now, at its worst
        and, now and then, as drawn."""
        _require(not self.errors, "; ".join(self.errors))
        attempt.receipt = receipt
        nodes = [self.cluster.node_of(node_id) for node_id in receipt.nodes]
        self._check_claim(attempt, receipt, nodes, durable_on)
        chance = random.Random(f"{receipt.version} {attempt.number}")
        if chance.random() < 0.1:
            left = {node.number: node.disk.remains(chance) for node in nodes}
            self._check_claim(attempt, receipt, nodes, lambda node, path: file_on(left[node.number], path))

    def _check_claim(self, attempt: Attempt, receipt: Receipt, nodes: list[SimNode], look: Look) -> None:
        what = f"{attempt.name}@{receipt.version} #{attempt.number}"
        manifests = [self._manifest(node, receipt, look) for node in nodes]
        for node, manifest in zip(nodes, manifests, strict=True):
            _require(manifest is not None, f"{what}: after a power cut {node.name} would not hold the manifest")
        machines, wanted = self._machines(nodes), attempt.redundancy
        if not receipt.degraded:
            _require(machines > wanted.losses, f"{what}: the manifest is on {machines} machines only")
            _require(receipt.copies >= wanted.copies, f"{what}: {receipt.copies} copies are called enough")
        attempt.manifest = manifests[0]
        assert attempt.manifest is not None
        for i in attempt.manifest.objects():
            holders = [node for node in nodes if self._keeps(node, i, look)]
            _require(
                self._machines(holders) >= receipt.copies,
                f"{what}: {receipt.copies} copies of {i.hex()[:12]} are claimed; a power cut would leave it on "
                f"{[node.name for node in holders]} of {[node.name for node in nodes]}",
            )

    def _manifest(self, node: SimNode, receipt: Receipt, look: Look) -> Manifest | None:
        """The version's manifest, if it would be left on the node."""
        digits = receipt.version.partition("-")[2]
        for name in names_on(node.disk, "records"):
            if name.startswith(digits) and name.endswith(".manifest"):
                data = look(node, f"records/{name}")
                if data is not None and record_id(data).hex() == name.partition(".")[0]:
                    manifest = decode_record(data)
                    if isinstance(manifest, Manifest) and manifest.name == receipt.name:
                        return manifest
        return None

    def hear(self, node: SimNode, record: RecordId, manifest: Manifest) -> None:
        """A node lists a version: all its objects must be durable somewhere, or have been and be lost by our faults."""
        if record in self.listed:
            return
        self.listed[record] = manifest
        for i in manifest.objects():
            if not any(self._keeps(other, i, durable_on) for other in self.cluster.nodes):
                self.errors.append(
                    f"{node.name} lists {manifest.name}@{manifest.seq}, but {i.hex()[:12]} is durable nowhere"
                )

    # What is there, and what may be lost

    def _keeps(self, node: SimNode, wanted: ObjectId, look: Look) -> bool:
        """Whether the node would be left with the object, had we not damaged it."""
        if (node.number, wanted) in self.damaged:
            return True
        data = look(node, object_path(wanted))
        return data is not None and object_id(data) == wanted

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
        ObjectId(bytes.fromhex(name))
        for first in names_on(disk, "chunks")
        for name in names_on(disk, f"chunks/{first}")
        if len(name) == 64
    ]


def object_path(wanted: ObjectId) -> str:
    """Where a node keeps the object below its home."""
    return f"chunks/{wanted.hex()[:2]}/{wanted.hex()}"


def names_on(disk: MemoryDisk, path: str) -> list[str]:
    """The names in a folder, whatever faults the disk has; none when it is no folder."""
    inode = inode_at(disk._medium.root, path, follow=False)
    return sorted(name for name, _ in inode.entries()) if inode is not None else []


def file_on(disk: MemoryDisk, path: str) -> bytes | None:
    """The bytes of a file as they are now, whatever faults the disk has."""
    try:
        inode = inode_at(disk._medium.root, path, follow=False)
    except RoostError:
        return None
    return bytes(inode.data) if inode is not None else None


def durable_on(node: SimNode, path: str) -> bytes | None:
    """What a power cut now would leave of a file on the node's disk, if it lost all that was not synced."""
    return durable_bytes(node.disk._medium, path)


def has_good(disk: MemoryDisk, wanted: ObjectId) -> bool:
    """Whether the disk holds the object, its bytes as they should be, whether or not its node could tell."""
    data = file_on(disk, object_path(wanted))
    return data is not None and object_id(data) == wanted


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)
