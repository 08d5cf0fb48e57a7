"""Repair decides which objects are short of copies, or lie where they do not belong, and who puts them where. Pure.

Observations come in (who answered `have` and with what, who is down since when, who is not well), a plan goes out, and
with each copy its reason in words. First what has too few copies, the most endangered first; then what lies on nodes
that are being emptied or are not well; then, only when nothing else is to do, what is not on the machines where it
belongs. Each copy goes from a node that has it to the first node of its line that may take it.

A member that went down only a moment ago is waited for, so that a machine that restarts starts no storm; a copy that is
missing where everybody answers was damaged or lost, and is made again at once.
"""

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from roost.checkpoints.placement import Lines
from roost.core.cluster import View
from roost.core.ids import NodeId, ObjectId


@dataclass(frozen=True, slots=True)
class Need:
    """An object that something names: on how many machines it belongs, and its bytes at rest. What only `removed`
    versions name is left as it is, but taken along when nodes are emptied."""

    copies: int
    bytes: int
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen, at `now` (seconds of running time).

    `holders` are the nodes that answered and have it. `down_since` holds the members that do not answer, `back_since`
    those that came up lately; `refusing` those that can take nothing (full); `troubled` those that are not well, and
    why; `failed` are pairs of source and target between which a copy failed a moment ago; `last_holders` are nodes that
    went down lately and had a copy in the place of others.
    """

    now: float
    holders: Mapping[ObjectId, Collection[NodeId]]
    down_since: Mapping[NodeId, float]
    refusing: Collection[NodeId] = ()
    troubled: Mapping[NodeId, str] = field(default_factory=dict)
    back_since: Mapping[NodeId, float] = field(default_factory=dict)
    failed: Collection[tuple[NodeId, NodeId]] = ()
    last_holders: Mapping[ObjectId, Collection[NodeId]] = field(default_factory=dict)


class Work(enum.IntEnum):
    """Why a copy is made, the most urgent first: fewer copies than asked; copies on nodes that are being emptied or
    are not well; copies that are not where they belong."""

    SHORT = 0
    LEAVING = 1
    HOME = 2


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy to make: `source` passes the object on to `target`. `had` is on how many machines it is now."""

    object_id: ObjectId
    source: NodeId
    target: NodeId
    bytes: int
    had: int
    reason: str
    work: Work = Work.SHORT


@dataclass(frozen=True, slots=True)
class Waiting:
    """An object that has not enough good copies and is not repaired now, and why."""

    object_id: ObjectId
    had: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, the most urgent first; what has to wait; and how many objects are left away from home because it
    is no time to move them."""

    copies: tuple[Copy, ...]
    waiting: tuple[Waiting, ...]
    withheld: int = 0

    @property
    def bytes(self) -> int:
        return sum(copy.bytes for copy in self.copies)

    @property
    def stuck(self) -> tuple[Waiting, ...]:
        """What cannot be repaired by waiting for the grace time alone."""
        return tuple(waiting for waiting in self.waiting if waiting.reason != GRACE)

    @property
    def short(self) -> frozenset[ObjectId]:
        """The objects with fewer good copies than asked."""
        copied = {copy.object_id for copy in self.copies if copy.work is not Work.HOME}
        return frozenset(copied | {waiting.object_id for waiting in self.waiting})


GRACE = "a machine that should have it went down a moment ago and may come back"
NOBODY = "no node that answers has it"
NO_ROOM = "no other machine that answers can take it"
FULL = "every other machine that could take it is full"
TRIED = "copying it failed a moment ago and is tried again soon"


class Ground:
    """What the view and the observations make of each node, for looking up often: what is lost together with it,
    whether its copies count as enough (`keeping`), and whether it may take more (`able`)."""

    def __init__(self, view: View, seen: Observed) -> None:
        self._domain = {member.node_id: view.domain_of(member.node_id) for member in view.members}
        self.keeping = frozenset(m.node_id for m in view.keepers if m.node_id not in seen.troubled)
        self.able = self.keeping - seen.down_since.keys() - set(seen.refusing)

    def machine(self, node: NodeId) -> str:
        return self._domain.get(node, str(node))

    def machines(self, nodes: Iterable[NodeId]) -> set[str]:
        """The machines that `nodes` are on."""
        return {self.machine(node) for node in nodes}

    def kept(self, nodes: Iterable[NodeId]) -> set[str]:
        """The machines on which a copy counts as enough."""
        return {self.machine(node) for node in nodes if node in self.keeping}

    def work(self, need: Need, nodes: Collection[NodeId], home: Iterable[NodeId]) -> Work | None:
        """What is to do for an object that is on `nodes` and belongs on `home`; None when nothing is."""
        kept = self.kept(nodes)
        if need.removed:
            return Work.LEAVING if len(kept) < need.copies and not self.keeping.issuperset(nodes) else None
        if len(kept) < need.copies:
            return Work.SHORT if len(self.machines(nodes)) < need.copies else Work.LEAVING
        return Work.HOME if any(self.lacks(node, kept) for node in home) else None

    def lacks(self, node: NodeId, kept: Collection[str]) -> bool:
        """Whether `node` may be given a copy of what is kept on the machines `kept`: one copy a machine."""
        return node in self.able and self.machine(node) not in kept


def plan(needs: Mapping[ObjectId, Need], seen: Observed, view: View, *, grace_s: float) -> Plan:
    """The copies to make so that every object is on as many machines as it needs, and on those where it belongs.

    With `grace_s` 0 nobody is waited for. Copies on nodes that are being emptied or are not well do not count as
    enough, but are sources; such nodes get nothing. Sources are chosen so that the work spreads; targets by the
    object's line. Objects move home only while nothing can be done for those that are short, and while no member went
    down or came up within the grace.
    """
    drawing = _Drawing(seen, view, grace_s)
    for object_id in sorted(needs, key=lambda i: drawing.order(i, needs[i])):
        drawing.restore(object_id, needs[object_id])
    calm = drawing.calm()
    withheld = 0
    for object_id in sorted(needs):
        withheld += drawing.bring_home(object_id, needs[object_id], calm=calm)
    return Plan(tuple(drawing.copies), tuple(drawing.waiting), withheld)


class _Drawing:
    """A plan while it is drawn up."""

    def __init__(self, seen: Observed, view: View, grace_s: float) -> None:
        self._seen = seen
        self._view = view
        self._grace_s = grace_s
        self._ground = Ground(view, seen)
        self._lines = Lines(view)
        self._load: dict[NodeId, int] = {}
        self.copies: list[Copy] = []
        self.waiting: list[Waiting] = []

    def order(self, object_id: ObjectId, need: Need) -> tuple[bool, bool, int, int, ObjectId]:
        """The most endangered first; those that have enough, but not where they may stay, after all that have not; and
        what was removed last of all."""
        held = self._held(object_id)
        had = len(self._ground.machines(held))
        return need.removed, had >= need.copies, had, len(self._ground.kept(held)), object_id

    def restore(self, object_id: ObjectId, need: Need) -> None:
        """Bring an object up to the good copies that it needs, or say why not."""
        held = self._held(object_id)
        had, taken = len(self._ground.machines(held)), self._ground.kept(held)
        missing = need.copies - len(taken)
        work = self._ground.work(need, held, ())
        if work is None:
            return
        if not held:
            self.waiting.append(Waiting(object_id, 0, NOBODY))
            return
        order = self._lines.of(object_id)
        waited_for = self._lately_down({*order[: need.copies], *self._seen.last_holders.get(object_id, ())})
        missing -= min(missing, len(self._ground.machines(waited_for) - taken))
        if not missing:
            self.waiting.append(Waiting(object_id, had, GRACE))
            return
        short = f"on {had} of {need.copies} machines"
        reason = short if work is Work.SHORT else self._why_leaving(held, removed=need.removed)
        obstacles: set[str] = set()
        for target in order:
            if not missing:
                return
            if self._ground.machine(target) in taken:
                continue
            source, obstacle = self._source(held, target)
            if source is None:
                obstacles.add(obstacle)
                continue
            self._add(object_id, need, source, target, had, reason, work)
            taken.add(self._ground.machine(target))
            missing -= 1
        if missing:
            self.waiting.append(Waiting(object_id, had, next((o for o in (TRIED, FULL) if o in obstacles), NO_ROOM)))

    def calm(self) -> bool:
        """Whether it is time to tidy up: nothing can be done for what is short, and nobody came or went lately. What
        nobody has is no reason to wait."""
        if self.copies or any(waiting.reason != NOBODY for waiting in self.waiting):
            return False
        times = [*self._seen.down_since.values(), *self._seen.back_since.values()]
        return all(self._seen.now - since >= self._grace_s for since in times)

    def bring_home(self, object_id: ObjectId, need: Need, *, calm: bool) -> bool:
        """Copy an object that is kept well to the machines of the beginning of its line that lack it; True when that
        is to do and is left for later."""
        held = self._held(object_id)
        home = self._lines.of(object_id)[: need.copies]
        if self._ground.work(need, held, home) is not Work.HOME:
            return False
        if not calm:
            return True
        kept = self._ground.kept(held)
        for target in home:
            if not self._ground.lacks(target, kept):
                continue
            source, _ = self._source(held, target)
            if source is not None:
                reason = f"belongs on {self._name(target)}"
                self._add(object_id, need, source, target, len(self._ground.machines(held)), reason, Work.HOME)
                kept.add(self._ground.machine(target))
        return False

    def _held(self, object_id: ObjectId) -> Sequence[NodeId]:
        return sorted(self._seen.holders.get(object_id, ()))

    def _lately_down(self, nodes: Iterable[NodeId]) -> list[NodeId]:
        """Those that went down so recently that they are waited for."""
        down = self._seen.down_since
        return [node for node in nodes if node in down and self._seen.now - down[node] < self._grace_s]

    def _source(self, held: Sequence[NodeId], target: NodeId) -> tuple[NodeId | None, str]:
        """Who copies to `target`, one that is well and has least to do; or why nobody does."""
        if target not in self._ground.able:
            full = target in self._seen.refusing and target not in self._seen.troubled
            return None, FULL if full and target not in self._seen.down_since else NO_ROOM
        sources = [node for node in held if (node, target) not in self._seen.failed]
        best = min(sources, key=lambda n: (n in self._seen.troubled, self._load.get(n, 0), n), default=None)
        return best, "" if best is not None else TRIED

    def _add(
        self, object_id: ObjectId, need: Need, source: NodeId, target: NodeId, had: int, reason: str, work: Work
    ) -> None:
        self._load[source] = self._load.get(source, 0) + need.bytes
        self.copies.append(Copy(object_id, source, target, need.bytes, had, reason, work))

    def _why_leaving(self, held: Iterable[NodeId], *, removed: bool) -> str:
        node = next(node for node in held if node not in self._ground.keeping)
        what = "removed, but can be brought back; " if removed else ""
        if node in self._seen.troubled:
            return f"{what}on {self._name(node)}, which is not well: {self._seen.troubled[node]}"
        return f"{what}on {self._name(node)}, which is being emptied"

    def _name(self, node: NodeId) -> str:
        member = self._view.member(node)
        return member.name if member else node[:8]
