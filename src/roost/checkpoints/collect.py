"""Collection decides which of a node's objects go, and says in words why the others stay. Pure.

An object that no live manifest names goes when every removal that names it is old enough, nobody touched it for a day,
and the node is up for two hours. An object that is needed, but belongs to others, is surplus: it goes when the disk is
nearly full or the node is drained, and all to whom it belongs have just promised to keep theirs. Ages are running time,
never a wall clock. See "The collection" in docs/protocol.md.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from roost.checkpoints.placement import line
from roost.core.cluster import View
from roost.core.ids import NodeId, ObjectId
from roost.settings.units import format_duration, readable_size

GIVEN_NAMES_MAX = 4


@dataclass(frozen=True, slots=True)
class Periods:
    """How long collection waits for what, in seconds of running time.

    A pass is made every `every_s`, and `retry_s` after one that was blocked. `untouched_s` and `uptime_s` are the grace
    of what nothing needs; `promise_s` is how long reservations and promises last; surplus goes from a disk that is
    filled to `pressure` (a part of 1). ValueError when a restart could forget a promise.
    """

    every_s: float = 3600.0
    retry_s: float = 300.0
    save_s: float = 600.0
    untouched_s: float = 24 * 3600.0
    uptime_s: float = 2 * 3600.0
    promise_s: float = 3600.0
    pressure: float = 0.80

    def __post_init__(self) -> None:
        if self.uptime_s < self.promise_s:
            raise ValueError("a node that is up again must not drop what it promised to keep before")


@dataclass(frozen=True, slots=True, order=True)
class Removal:
    """What tombstones make of one manifest: `left_s` seconds more it can be brought back, of `keep_s`.

    Ordered by what is left, then by what it was: of several tombstones of one manifest the least counts (`min`), of
    several removed manifests that name an object the greatest (`max`).
    """

    left_s: float
    keep_s: float

    @classmethod
    def of(cls, *, age_s: float, keep_s: float) -> "Removal":
        """One tombstone that is known here, or to a member that told us, for `age_s`."""
        return cls(max(0.0, keep_s - age_s), keep_s)

    @property
    def at_once(self) -> bool:
        """Whether it was removed to free its space at once."""
        return not self.keep_s


@dataclass(frozen=True, slots=True)
class Unneeded:
    """An object here that no live manifest here names. `removal` is that of the removed manifests that name it, None
    when nothing does; `untouched_s` for how long nobody put, asked for, committed or fetched it."""

    object_id: ObjectId
    bytes: int
    removal: Removal | None
    untouched_s: float
    reserved: bool


@dataclass(frozen=True, slots=True)
class Blockers:
    """Why nothing at all may go now.

    `store` is what is wrong with the disk's tree, `unread` with a record that is here. `unmet` says why members that
    are alive did not exchange their records, `lacking` counts the records that a member knows and that could not be had
    (both by the member's name). `unknown` counts the records here that this release does not know, `wanted` those that
    ought to be here and are not. `alone` says that there are objects, but not one manifest, and that no other member is
    known.
    """

    store: str = ""
    unread: str = ""
    wanted: int = 0
    unknown: int = 0
    lacking: Mapping[str, int] = field(default_factory=dict)
    unmet: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False

    @property
    def reason(self) -> str:
        """The first of them in words; empty when there is none."""
        if self.store:
            return f"{self.store}: the disk with the chunks may not be mounted"
        if self.unmet:
            why = next(iter(self.unmet.values()))
            if len(self.unmet) == 1:
                return f"{_names(self.unmet)} is alive and did not exchange its records ({why})"
            return f"{_names(self.unmet)} are alive and did not exchange their records ({why})"
        if self.lacking:
            number = _counted(sum(self.lacking.values()), "record")
            return f"{_names(self.lacking)} told of {number} that could not be had"
        if self.unread:
            return f"a record here cannot be read ({self.unread})"
        if self.unknown:
            return f"{_counted(self.unknown, 'record')} here can only be read by a newer release"
        if self.wanted:
            return (
                f"{_counted(self.wanted, 'record')} missing here (found damaged, or offered and of a newer release), "
                "and no member that is alive gave a good copy"
            )
        if self.alone:
            return "there are chunks, but no records and no other member: the records may have been lost"
        return ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """So many objects and bytes wait, and why."""

    reason: str
    objects: int
    bytes: int

    def __str__(self) -> str:
        verb = "waits" if self.objects == 1 else "wait"
        return f"{_counted(self.objects, 'chunk')} ({readable_size(self.bytes)}) {verb}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What may go now, how many bytes that is, and what has to wait; nothing may go while `blocked`, which says why."""

    go: tuple[ObjectId, ...]
    bytes: int
    waiting: tuple[Waiting, ...]
    blocked: str = ""


def plan(found: Iterable[Unneeded], *, up_s: float, periods: Periods, blocked: str = "") -> Plan:
    """Sort what is not needed into what goes and what waits. `up_s` is for how long this node is up."""
    go: list[ObjectId] = []
    freed = 0
    waiting: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for one in found:
        reason = why_it_waits(one, up_s=up_s, periods=periods)
        if not reason and not blocked:
            go.append(one.object_id)
            freed += one.bytes
        elif reason:
            waiting[reason][0] += 1
            waiting[reason][1] += one.bytes
    told = (Waiting(reason, *counts) for reason, counts in waiting.items())
    return Plan(tuple(go), freed, tuple(sorted(told, key=lambda w: (-w.bytes, w.reason))), blocked)


def why_it_waits(one: Unneeded, *, up_s: float, periods: Periods) -> str:
    """Why an object that no live manifest names may not go yet; empty when it may."""
    removal = one.removal
    if removal is not None and removal.left_s > 0:
        return f"removed less than {_duration(removal.keep_s)} ago"
    if one.reserved:
        return f"put or asked for less than {_duration(periods.promise_s)} ago: a store may count on them"
    if removal is not None and removal.at_once:
        return ""
    if one.untouched_s < periods.untouched_s:
        return f"not needed and not used, but not for {_duration(periods.untouched_s)} yet"
    if up_s < periods.uptime_s:
        return f"this node is up for less than {_duration(periods.uptime_s)}"
    return ""


@dataclass(frozen=True, slots=True)
class Pressure:
    """How much this node needs to let go of surplus: how full its disk is (a part of 1, its reserve counted as used),
    whether it is drained, for how long it is up."""

    fill: float
    draining: bool
    up_s: float


def why_surplus_stays(pressure: Pressure, periods: Periods) -> str:
    """Why no surplus may go from this node now; empty when it may.

    A node that was just started may have promised to keep what it does not remember, so it drops nothing before any
    promise has run out.
    """
    if not pressure.draining and pressure.fill < periods.pressure:
        return f"the disk is under {periods.pressure:.0%} full"
    if pressure.up_s < periods.uptime_s:
        return f"this node is up for less than {_duration(periods.uptime_s)}"
    return ""


def belongs_to(object_id: ObjectId, copies: int, own: NodeId, view: View) -> tuple[NodeId, ...]:
    """Who must promise to keep an object before `own` may drop it: the first `copies` of its line, each on a machine of
    its own. Empty when `own` is one of them, or there are not so many machines: then it may not be dropped."""
    first = tuple(line(object_id, view)[:copies])
    machines = {view.domain_of(node) for node in first}
    return first if own not in first and len(machines) == copies else ()


@dataclass(frozen=True, slots=True)
class Surplus:
    """An object that belongs to others. `keepers` are those to whom it belongs, `promised` those of them that answered
    that they hold it and a live manifest that names it and keep both; the first was asked `asked_s` ago. `same_view`
    says whether the view is still the one under which all of that was so."""

    keepers: tuple[NodeId, ...]
    promised: Collection[NodeId]
    asked_s: float
    same_view: bool
    reserved: bool


def why_it_stays(one: Surplus, *, periods: Periods) -> str:
    """Why this node must not drop its copy; empty when it may."""
    if one.reserved:
        return "this node promised to keep them, or a store may be under way"
    if not one.same_view or one.asked_s > periods.promise_s / 2:
        return "the promises of the others are not fresh any more"
    if not one.keepers or not set(one.keepers) <= set(one.promised):
        return "not all to whom they belong hold them and promised to keep them"
    return ""


def in_words(plan: Plan, *, objects: int, freed: int) -> str:
    """What a pass came to, for a person: `objects` chunks with `freed` bytes went."""
    if plan.blocked:
        return f"blocked: {plan.blocked}"
    parts = [f"freed {_counted(objects, 'chunk')} ({readable_size(freed)})"] if objects else []
    parts += [str(waiting) for waiting in plan.waiting]
    return "; ".join(parts) or "idle: nothing to free"


def _names(by_name: Mapping[str, object]) -> str:
    names = sorted(by_name)
    told = ", ".join(names[:GIVEN_NAMES_MAX])
    if len(names) > GIVEN_NAMES_MAX:
        return f"{told} and {len(names) - GIVEN_NAMES_MAX} more"
    return told


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    return format_duration(round(seconds)) if seconds >= 60 else f"{seconds:g} s"
