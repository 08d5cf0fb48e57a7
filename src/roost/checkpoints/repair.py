"""Repair decides which objects are short of copies and who puts them where, and says why. Pure.

Observations come in (who answered `have` and with what, who is down since when), a plan goes out: the most endangered
first, each copy from a node that has it to the first node of its line that may take it. A member that went down only a
moment ago is waited for, so that a machine that restarts starts no storm; a copy that is missing where everybody
answers was damaged or lost, and is made again at once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from roost.checkpoints.placement import line
from roost.core.cluster import View
from roost.core.ids import NodeId, ObjectId


@dataclass(frozen=True, slots=True)
class Need:
    """An object that something live names: on how many machines it belongs, and its bytes at rest."""

    copies: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen, at `now` (seconds of running time). `down_since` holds the members that do not answer; `refusing`
    those that answer but can take nothing (full)."""

    now: float
    holders: Mapping[ObjectId, Collection[NodeId]]
    down_since: Mapping[NodeId, float]
    refusing: Collection[NodeId] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy to make: `source` passes the object on to `target`. `had` is on how many machines it is now."""

    object_id: ObjectId
    source: NodeId
    target: NodeId
    bytes: int
    had: int
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """An object that is short and not repaired now, and why."""

    object_id: ObjectId
    had: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, the most endangered first; and what has to wait."""

    copies: tuple[Copy, ...]
    waiting: tuple[Waiting, ...]

    @property
    def bytes(self) -> int:
        return sum(copy.bytes for copy in self.copies)

    @property
    def stuck(self) -> tuple[Waiting, ...]:
        """What cannot be repaired by waiting for the grace time alone."""
        return tuple(waiting for waiting in self.waiting if waiting.reason != GRACE)


GRACE = "a machine that should have it went down a moment ago and may come back"
NOBODY = "no node that answers has it"
NO_ROOM = "no other machine that answers can take it"


def plan(needs: Mapping[ObjectId, Need], seen: Observed, view: View, *, grace_s: float) -> Plan:
    """The copies to make so that every object is on as many machines as it needs.

    With `grace_s` 0 nobody is waited for. Sources are chosen so that the work spreads; targets by the object's line.
    """
    copies: list[Copy] = []
    waiting: list[Waiting] = []
    load: dict[NodeId, int] = {}
    for object_id in sorted(needs, key=lambda i: (_machines(seen.holders.get(i, ()), view), i)):
        need = needs[object_id]
        held = sorted(seen.holders.get(object_id, ()))
        had = _machines(held, view)
        if had >= need.copies:
            continue
        if not held:
            waiting.append(Waiting(object_id, 0, NOBODY))
            continue
        missing = need.copies - had
        back = _expected_back(object_id, need, held, seen, view, grace_s)
        if back >= missing:
            waiting.append(Waiting(object_id, had, GRACE))
            continue
        targets = _targets(object_id, held, seen, view)[: missing - back]
        for target in targets:
            source = min(held, key=lambda node: (load.get(node, 0), node))
            load[source] = load.get(source, 0) + need.bytes
            reason = f"on {had} of {need.copies} machines"
            copies.append(Copy(object_id, source, target, need.bytes, had, reason))
        if len(targets) < missing - back:
            waiting.append(Waiting(object_id, had, NO_ROOM))
    return Plan(tuple(copies), tuple(waiting))


def _machines(nodes: Collection[NodeId], view: View) -> int:
    return len({view.domain_of(node) for node in nodes})


def _expected_back(
    object_id: ObjectId, need: Need, held: Sequence[NodeId], seen: Observed, view: View, grace_s: float
) -> int:
    """How many of the machines where the object belongs went down so recently that they are waited for."""
    taken = {view.domain_of(node) for node in held}
    home = line(object_id, view)[: need.copies]
    recent = {
        view.domain_of(node) for node in home if node in seen.down_since and seen.now - seen.down_since[node] < grace_s
    }
    return len(recent - taken)


def _targets(object_id: ObjectId, held: Sequence[NodeId], seen: Observed, view: View) -> list[NodeId]:
    """Nodes of machines without a copy that may take one, best first, one a machine."""
    taken = {view.domain_of(node) for node in held}
    found: list[NodeId] = []
    for node in line(object_id, view):
        domain = view.domain_of(node)
        if domain in taken or node in seen.down_since or node in seen.refusing:
            continue
        taken.add(domain)
        found.append(node)
    return found
