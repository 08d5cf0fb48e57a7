"""Placement says where copies should be: weighted rendezvous hashing over the machines of the view. Pure.

Each object ranks all machines by the score of Schindelhauer and Schomaker's weighted rendezvous hashing,
``-ln(u) / weight`` with u drawn from SHA-256(object, machine), lowest first: a machine gets objects in proportion to
its weight, and when one comes or goes only the objects that it gains or had move. The *line* of an object is all
storage nodes in that order, one node of each machine before any machine's second.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from roost.core.cluster import Member, View
from roost.core.ids import NodeId, ObjectId, RecordId

LINES_KEPT = 1024
"""Lines that a `Chooser` remembers: those of the objects that are under way, each asked for several times."""


class Lines:
    """The lines of many objects in one view."""

    def __init__(self, view: View) -> None:
        machines: dict[str, list[Member]] = {}
        single = view.single_machine
        for member in view.keepers:
            machines.setdefault(member.node_id if single else member.machine, []).append(member)
        self._machines = [(name, sum(n.capacity for n in nodes), nodes) for name, nodes in machines.items()]
        self._depth = max((len(nodes) for nodes in machines.values()), default=0)

    def of(self, item: ObjectId | RecordId) -> list[NodeId]:
        """All storage nodes of the view that are not draining, in the order in which they should keep `item`."""
        ranked = sorted((_score(item, name, weight), name, nodes) for name, weight, nodes in self._machines)
        if self._depth == 1:
            return [nodes[0].node_id for _, _, nodes in ranked]
        within = [sorted(nodes, key=lambda n: (_score(item, n.node_id, n.capacity), n.node_id)) for *_, nodes in ranked]
        return [nodes[i].node_id for i in range(self._depth) for nodes in within if i < len(nodes)]


def line(item: ObjectId | RecordId, view: View) -> list[NodeId]:
    """The line of one object; see `Lines`."""
    return Lines(view).of(item)


def view_digest(view: View) -> bytes:
    """The SHA-256 of all that lines are made from: two nodes whose views have the same digest draw the same lines."""
    digest = hashlib.sha256(b"view\0" + str(view.single_machine).encode())
    for member in view.keepers:
        digest.update(f"\0{member.node_id} {member.machine} {member.capacity}".encode())
    return digest.digest()


def _score(item: bytes, name: str, weight: int) -> float:
    drawn = int.from_bytes(hashlib.sha256(item + name.encode()).digest()[:8], "big")
    return -math.log((drawn + 1) / (2**64 + 1)) / max(weight, 1)


@dataclass(slots=True)
class Chooser:
    """Chooses nodes for copies in one operation: the line, less those that failed or are full in it.

    `usable` are the nodes that answered; `failed`, `full` and `leaving` grow while the operation runs. What is on one
    that is leaving (that is being drained) can be had from there, but is no copy that counts.
    """

    view: View
    usable: set[NodeId]
    failed: dict[NodeId, str] = field(default_factory=dict)
    full: set[NodeId] = field(default_factory=set)
    leaving: set[NodeId] = field(init=False)
    _line: Callable[[ObjectId], list[NodeId]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._line = lru_cache(LINES_KEPT)(Lines(self.view).of)
        self.leaving = {member.node_id for member in self.view.storage if member.draining}

    def keeping(self, holders: Collection[NodeId]) -> set[NodeId]:
        """Those of `holders` whose copies count."""
        return set(holders) - self.leaving

    def candidates(self, item: ObjectId, holders: Collection[NodeId]) -> Iterator[NodeId]:
        """Nodes to put the next copy of `item` on, best first, given who holds it: nodes of machines without a copy;
        after those, while a machine can take no copy of its own, none: a second copy on one machine survives nothing
        more, so it is offered only when fewer machines than copies exist at all (see `spare`)."""
        taken = {self.view.domain_of(node) for node in self.keeping(holders)}
        for node in self._line(item):
            if self.can_take(node) and self.view.domain_of(node) not in taken:
                yield node

    def spare(self, item: ObjectId, holders: Collection[NodeId]) -> Iterator[NodeId]:
        """Nodes for a further copy on a machine that has one already: better than none, never counted as one more."""
        for node in self._line(item):
            if self.can_take(node) and node not in holders:
                yield node

    def can_take(self, node: NodeId) -> bool:
        return self.alive(node) and node not in self.full and node not in self.leaving

    def alive(self, node: NodeId) -> bool:
        return node in self.usable and node not in self.failed

    def fail(self, node: NodeId, why: str) -> None:
        """Pass `node` over for the rest of this operation."""
        self.failed.setdefault(node, why)

    def distinct(self, holders: Collection[NodeId]) -> int:
        """On how many machines `holders` are: the number of copies that count."""
        return len({self.view.domain_of(node) for node in self.keeping(holders)})
