"""Heartbeats: who is alive, suspect or down, judged from when each member was last heard of, and whom to ping next.

It decides only; the clock is an argument, and the pings are those of `roost.cluster.pulse`. Whatever is heard of a
peer counts as a heartbeat, so between two peers that talk, or of which one pings, nobody else need ping.
"""

from collections.abc import Collection
from dataclasses import dataclass

from roost.core.cluster import Member, NodeState, View
from roost.core.ids import NodeId

TRIES_IN_SILENCE = 8
"""A node that is down is pinged after each eighth of its silence more, so that the dead cost less and less."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, in seconds. A member that was not heard of for `quiet_s`, or did not say for `news_s` how it is, is
    pinged in the next turn (one every `every_s`, `at_once` members a turn, and half as many that are silent). It is
    suspect after `suspect_s`, down after `down_s`, and once it is down it is pinged at least every `down_every_s`."""

    every_s: float = 2.0
    quiet_s: float = 1.5
    news_s: float = 10.0
    suspect_s: float = 6.0
    down_s: float = 15.0
    down_every_s: float = 30.0
    at_once: int = 32


@dataclass(frozen=True, slots=True)
class Seen:
    """How a member stands: alive, suspect or down, and for how many seconds it was not heard of; None when never."""

    state: NodeState
    silent_s: float | None


class Heartbeats:
    """What one process knows by itself of the others. `begun_s` is when the process began.

    Every call is told the time, in seconds on a clock that never goes back. Time in which this process stood still
    (nothing was asked of it for much longer than a turn) is nobody's silence.
    """

    def __init__(self, own: NodeId, *, begun_s: float, rhythm: Rhythm | None = None) -> None:
        self._own = own
        self._rhythm = rhythm or Rhythm()
        self._heard: dict[NodeId, float] = {}
        self._since: dict[NodeId, float] = {}
        self._asked: dict[NodeId, float] = {}
        self._answered: dict[NodeId, float] = {}
        self._times = (self._heard, self._since, self._asked, self._answered)
        self._begun = begun_s
        self._last = begun_s
        self._looked = False

    def heard(self, node: NodeId, now: float) -> None:
        """Something came from `node`."""
        self._advance(now)
        self._heard[node] = now

    def answered(self, node: NodeId, now: float) -> None:
        """`node` answered a ping: it was heard of, and said how it is."""
        self.heard(node, now)
        self._answered[node] = now

    def states(self, view: View, now: float) -> dict[NodeId, Seen]:
        """How every member that can be called stands. One that was never heard of is suspect until it had its time to
        say something, since it became a member or since we began; then it is down."""
        self._watch(view, now)
        tour = self._tour_s(len(self._since))
        return {node: self._seen(node, now, tour) for node in self._since}

    def due(self, view: View, now: float, *, asking: Collection[NodeId] = ()) -> list[NodeId]:
        """Whom to ping now. `asking` are those whose ping is under way; with them, at most `at_once` that are heard,
        and half as many that are silent, those that are down last; of each kind the longest unheard first.

        The ping of one that is lost holds its place for as long as a dial takes, and a place that the lost hold must
        not be one that the living need.
        """
        self._watch(view, now)
        tour = self._tour_s(len(self._since))
        heard: list[tuple[bool, float, NodeId]] = []
        silent: list[tuple[bool, float, NodeId]] = []
        for node in self._since.keys() - set(asking):
            seen = self._seen(node, now, tour)
            if self._is_due(node, seen, now):
                order = seen.state is NodeState.DOWN, -self._silence(node, now), node
                (silent if self._is_silent(node, now, tour) else heard).append(order)
        held = sum(node not in self._since or self._is_silent(node, now, tour) for node in asking)
        places = max(0, self._rhythm.at_once - (len(asking) - held))
        silent_places = max(0, self._rhythm.at_once // 2 - held)
        chosen = [node for _, _, node in (*sorted(heard)[:places], *sorted(silent)[:silent_places])]
        for node in chosen:
            self._asked[node] = now
        return chosen

    def _is_silent(self, node: NodeId, now: float, tour_s: float) -> bool:
        """Whether a ping may be in vain: the last one was not answered soon, or the node is unheard for long."""
        heard, asked = self._heard.get(node, self._since[node]), self._asked.get(node)
        unanswered = asked is not None and asked > heard and now - asked >= self._rhythm.quiet_s
        return unanswered or now - heard >= self._rhythm.suspect_s + tour_s

    def _is_due(self, node: NodeId, seen: Seen, now: float) -> bool:
        silence = self._silence(node, now)
        if seen.state is not NodeState.DOWN:
            news = now - self._answered.get(node, now - self._rhythm.news_s)
            return silence >= self._rhythm.quiet_s or news >= self._rhythm.news_s
        pause = min(self._rhythm.down_every_s, max(self._rhythm.every_s, silence / TRIES_IN_SILENCE))
        return now - self._asked.get(node, self._begun) >= pause

    def _seen(self, node: NodeId, now: float, tour_s: float) -> Seen:
        silence = self._silence(node, now)
        known = node in self._heard
        if silence >= self._rhythm.down_s + tour_s:
            state = NodeState.DOWN
        elif silence >= self._rhythm.suspect_s + tour_s or not known:
            state = NodeState.SUSPECT
        else:
            state = NodeState.ALIVE
        return Seen(state, silence if known else None)

    def _silence(self, node: NodeId, now: float) -> float:
        return max(0.0, now - self._heard.get(node, self._since[node]))

    def _tour_s(self, members: int) -> float:
        """What it takes longer than one turn to ping all of so many members: so much more patience is due."""
        turns = -(-members // self._rhythm.at_once)
        return max(0, turns - 1) * self._rhythm.every_s

    def _watch(self, view: View, now: float) -> None:
        """Begin with members that are new, and forget those that are none any more."""
        self._advance(now)
        members = {member.node_id for member in view.members if member.node_id != self._own and is_called(member)}
        for node in sorted(members - self._since.keys()):
            self._since[node] = now if self._looked else self._begun
        self._looked = True
        for times in self._times:
            for gone in times.keys() - members:
                del times[gone]

    def _advance(self, now: float) -> None:
        """Move everything on by the time in which we stood still, but for one turn."""
        gap = now - self._last
        self._last = max(self._last, now)
        if gap > 2 * self._rhythm.every_s:
            lost = gap - self._rhythm.every_s
            for times in self._times:
                for node, then in times.items():
                    times[node] = then + lost
            self._begun += lost


def is_called(member: Member) -> bool:
    """Whether a member serves, so that it can be pinged; programs that only store and gather do not."""
    return member.storage or bool(member.addresses)
