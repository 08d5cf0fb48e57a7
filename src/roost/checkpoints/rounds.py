"""The rounds of a commit: commit, mend what turns out to be short, and commit again, until nothing more can be gained.

Every operation that makes a version ends in them: what they prove is what its receipt promises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from roost.checkpoints.catalogue import Catalogue
from roost.checkpoints.commit import Votes, ask_commit
from roost.checkpoints.delivery import Delivery, Nowhere, Remake
from roost.checkpoints.placement import line
from roost.checkpoints.progress import Progress
from roost.checkpoints.renewal import renew
from roost.codec.records import record_id
from roost.core.checkpoint import Redundancy
from roost.core.errors import DiskFault, Leaving, NoSpace, RoostError
from roost.core.ids import NodeId, ObjectId, RecordId

ROUNDS_MAX = 8


@dataclass(frozen=True, slots=True)
class Proof:
    """What the nodes vouched for: `nodes` hold the manifest durably, and each object is on at least `copies` machines
    among theirs; `degraded` when that is fewer than asked."""

    nodes: frozenset[NodeId]
    copies: int
    degraded: bool


async def prove(
    delivery: Delivery, data: bytes, objects: Sequence[ObjectId], redundancy: Redundancy, remake: Remake
) -> Proof:
    """Commit the manifest `data`, whose distinct objects are `objects`, to all that hold some of them.

    Raises Nowhere when an object is on no node, before any node was asked for its vote, or when no copy of something
    could be proved; what `remake` raises.
    """
    proved: dict[ObjectId, set[NodeId]] = {}
    yes: frozenset[NodeId] = frozenset()
    for _ in range(ROUNDS_MAX):
        # A node votes for what is counted on it alone. Who was asleep for hours would have some vote yes, and so list
        # the version, while another object of it is collected everywhere: what is gone is found before anybody votes.
        _pass_over(delivery, await renew(delivery))
        await delivery.top_up(objects, remake)
        if not all(delivery.copies(object_id) for object_id in objects):
            raise Nowhere  # before any node lists a version that cannot be had
        counted = _counted(delivery, record_id(data), objects, redundancy)
        votes = await ask_commit(delivery.peers, data, objects, counted)
        yes = votes.yes
        _heed(delivery, votes)
        proved = {i: {node for node in yes if i in counted[node]} for i in objects}
        if not votes.problems and not votes.missing:
            break
    if not yes or not all(proved.values()):
        raise Nowhere
    machines = delivery.chooser.distinct(yes)
    copies = min((delivery.chooser.distinct(nodes) for nodes in proved.values()), default=machines)
    return Proof(yes, copies, copies < redundancy.copies or machines < redundancy.losses + 1)


def _counted(
    delivery: Delivery, manifest: RecordId, objects: Sequence[ObjectId], redundancy: Redundancy
) -> Mapping[NodeId, frozenset[ObjectId]]:
    """Per node the objects counted on it: every live holder that stays, and so many nodes more (with nothing counted)
    that the manifest itself is on f+1 machines."""
    chooser = delivery.chooser
    here: dict[NodeId, set[ObjectId]] = {}
    for object_id in objects:
        for node in chooser.keeping(delivery.of(object_id)):
            here.setdefault(node, set()).add(object_id)
    for node in line(manifest, chooser.view):
        if chooser.distinct(here) > redundancy.losses:
            break
        if chooser.alive(node) and node not in chooser.leaving:
            here.setdefault(node, set())
    return {node: frozenset(ids) for node, ids in here.items()}


def _heed(delivery: Delivery, votes: Votes) -> None:
    """Pass over who could not be asked, count nothing on who is leaving, and believe who lacks what was counted on
    it."""
    leaving = {node for node, error in votes.problems.items() if isinstance(error, Leaving)}
    delivery.chooser.leaving |= leaving
    for node in sorted(leaving):
        delivery.progress.note(f"{delivery.name(node)} is being emptied: nothing is counted on it")
    _pass_over(delivery, {node: error for node, error in votes.problems.items() if node not in leaving})
    for node, missing in votes.missing.items():
        for object_id in missing:
            delivery.lost(object_id, node)


def _pass_over(delivery: Delivery, problems: Mapping[NodeId, RoostError]) -> None:
    for node, error in problems.items():
        delivery.chooser.fail(node, error.message)
        if isinstance(error, NoSpace):
            delivery.chooser.full.add(node)
        delivery.progress.note(f"{delivery.name(node)} is passed over: {error.message}")


async def remember(catalogue: Catalogue, data: bytes, progress: Progress) -> None:
    """Put the version into our own catalogue: only a cache, and the version is durable already."""
    try:
        await catalogue.add(data)
    except DiskFault as error:
        progress.note(f"this machine cannot note the version: {error.message}")
