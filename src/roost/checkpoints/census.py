"""The census: every object of every live version asked for at all nodes; what is well is let go of at once, the rest is
kept for a plan.

It goes through the inventory slice by slice, so that its memory grows with what is to be repaired, up to a limit, and
not with what is stored.
"""

import heapq
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from roost.checkpoints.delivery import ask_all_have
from roost.checkpoints.inventory import Inventory, Slice, Wanted
from roost.checkpoints.memory import Away
from roost.checkpoints.peers import Peers
from roost.checkpoints.repair import Ground, Need, Work
from roost.core.checkpoint import Health, Redundancy, health_of
from roost.core.errors import RoostError
from roost.core.ids import NodeId, ObjectId, RecordId

KEPT_MAX = 20_000
"""Objects that one plan is made for, the most urgent; the next plan takes the others."""


@dataclass(slots=True)
class Held:
    """What a node has that something live names, and how much of that is not yet kept by enough others."""

    objects: int = 0
    left: int = 0
    bytes_left: int = 0


@dataclass(slots=True)
class Census:
    """What was found. `needs` and `holders` are of the objects that something is to be done for; `left_out` counts
    those beyond `KEPT_MAX`. `copies` is, of each version, on how many machines its least kept object is; `chunks`
    counts the objects of live versions by their health, as if everybody had answered; `held` tells of the nodes that
    are being emptied; `away` which nodes keep what in the place of others; `problems` why nodes did not answer."""

    needs: dict[ObjectId, Need] = field(default_factory=dict)
    holders: dict[ObjectId, frozenset[NodeId]] = field(default_factory=dict)
    left_out: Counter[Work] = field(default_factory=Counter)
    copies: dict[RecordId, int] = field(default_factory=dict)
    chunks: Counter[Health] = field(default_factory=Counter)
    held: dict[NodeId, Held] = field(default_factory=dict)
    away: Away = field(default_factory=Away)
    problems: dict[NodeId, RoostError] = field(default_factory=dict)
    _urgency: dict[ObjectId, tuple[bool, Work, int, ObjectId]] = field(default_factory=dict)

    def count(self, wanted: dict[ObjectId, Wanted], holders: dict[ObjectId, set[NodeId]], ground: Ground) -> None:
        """Take in one slice."""
        for object_id, want in wanted.items():
            nodes = holders[object_id]
            if not want.need.removed:
                asked = Redundancy(data=1, parity=want.need.copies - 1)
                self.chunks[health_of(len(ground.machines(nodes)), asked)] += 1
            work = ground.work(want.need, nodes, want.home)
            if nodes and not nodes.issuperset(want.home):
                self.away.note(object_id, nodes.difference(want.home))
            for node in self.held.keys() & nodes:
                self._count_held(self.held[node], want.need, work)
            if work is not None:
                self.needs[object_id] = want.need
                self.holders[object_id] = frozenset(nodes)
                self._urgency[object_id] = (want.need.removed, work, len(ground.machines(nodes)), object_id)
        if len(self.needs) > KEPT_MAX:
            self._leave_out()

    @staticmethod
    def _count_held(held: Held, need: Need, work: Work | None) -> None:
        held.objects += 1
        if work in (Work.SHORT, Work.LEAVING):
            held.left += 1
            held.bytes_left += need.bytes

    def _leave_out(self) -> None:
        urgent = {key[-1] for key in heapq.nsmallest(KEPT_MAX, self._urgency.values())}
        for object_id in self._urgency.keys() - urgent:
            self.left_out[self._urgency.pop(object_id)[1]] += 1
            del self.needs[object_id], self.holders[object_id]


async def take_census(
    peers: Peers, inventory: Inventory, nodes: Collection[NodeId], ground: Ground, *, emptying: Collection[NodeId] = ()
) -> Census:
    """Ask `nodes` for everything in `inventory`. One that does not answer once is not asked again."""
    census = Census(held={node: Held() for node in emptying})
    asked = set(nodes)
    for version in inventory.versions:
        census.copies[version.listed.manifest] = version.redundancy.copies
    for part in inventory.slices():
        wanted = inventory.wanted(part)
        holders, problems = await ask_all_have(peers, sorted(asked), sorted(wanted))
        census.problems |= problems
        asked -= problems.keys()
        census.count(wanted, holders, ground)
        _count_copies(census, inventory, part, {i: len(ground.machines(found)) for i, found in holders.items()})
    for node in census.problems.keys() & census.held.keys():
        del census.held[node]
    return census


def _count_copies(census: Census, inventory: Inventory, part: Slice, machines: dict[ObjectId, int]) -> None:
    for version in inventory.versions:
        places = version.places(part)
        if places:
            fewest = min(machines[version.id(place)] for place in places)
            manifest = version.listed.manifest
            census.copies[manifest] = min(census.copies[manifest], fewest)
