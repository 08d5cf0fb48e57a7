"""What a steward remembers from look to look: who went and came when, who is full, between whom a copy failed, and what
those that went away kept in the place of others.

Pure: the clock is an argument. It grows with the members and, to a bound, with what is not where it belongs.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from roost.core.ids import NodeId, ObjectId

FULL_S = 300.0
"""A node that was full gets nothing for so long."""
FAILED_S, FAILED_S_MAX = 5.0, 120.0
"""Two nodes between which a copy failed are not tried for so long, twice as long after each further failure: a node
that just came back may not yet be known to others where it is now."""
AWAY_MAX = 100_000
"""Of how many objects that a node keeps in the place of others it is remembered; 8 bytes each."""
_KEY_BYTES = 8

Pair = tuple[NodeId, NodeId]


def key_of(object_id: ObjectId) -> int:
    """The beginning of an id, which stands for it where a mistake costs only time."""
    return int.from_bytes(object_id[:_KEY_BYTES], "big")


@dataclass(slots=True)
class Away:
    """Per node, the keys of the objects that it keeps because not all have them to whom they belong."""

    keys: dict[NodeId, "array[int]"] = field(default_factory=dict)

    def note(self, object_id: ObjectId, nodes: Iterable[NodeId]) -> None:
        """The object is on these nodes and does not belong there."""
        for node in nodes:
            keys = self.keys.setdefault(node, array("Q"))
            if len(keys) < AWAY_MAX:
                keys.append(key_of(object_id))


@dataclass(slots=True)
class Memory:
    """The memory of one steward. `grace_s` is how long a machine that went down is waited for."""

    grace_s: float
    down_since: dict[NodeId, float] = field(default_factory=dict)
    back_since: dict[NodeId, float] = field(default_factory=dict)
    full_until: dict[NodeId, float] = field(default_factory=dict)
    failed_until: dict[Pair, float] = field(default_factory=dict)
    _failed_s: dict[Pair, float] = field(default_factory=dict)
    _away: Away = field(default_factory=Away)

    def note_times(
        self, silent: Iterable[NodeId], running_s: Mapping[NodeId, float], members: Collection[NodeId], now: float
    ) -> None:
        """Since when members are down or back; a process that started lately (`running_s` tells of those that answer)
        is back, whoever saw it away. Who is no member any more is forgotten."""
        self.note_silent(silent, now)
        for node, seconds in running_s.items():
            known = now if self.down_since.pop(node, None) is not None else self.back_since.get(node, 0.0)
            self.back_since[node] = max(known, now - seconds)
        for times in (self.down_since, self.back_since, self.full_until):
            for node in times.keys() - set(members):
                del times[node]
        self.full_until = {node: until for node, until in self.full_until.items() if until > now}
        self.failed_until = {pair: until for pair, until in self.failed_until.items() if until > now}

    def note_silent(self, nodes: Iterable[NodeId], now: float) -> None:
        """These do not answer."""
        for node in nodes:
            self.down_since.setdefault(node, now)

    def note_full(self, node: NodeId, now: float) -> None:
        """This one had no room."""
        self.full_until[node] = now + FULL_S

    def note_failure(self, pair: Pair, now: float) -> None:
        """Several copies that were under way at once and failed count as one failure."""
        if self.failed_until.get(pair, 0.0) > now:
            return
        self._failed_s[pair] = min(FAILED_S_MAX, 2 * self._failed_s.get(pair, FAILED_S / 2))
        self.failed_until[pair] = now + self._failed_s[pair]

    def note_copied(self, pair: Pair) -> None:
        """A copy came through between these two."""
        self._failed_s.pop(pair, None)

    def changes_at(self) -> Iterator[float]:
        """When the grace of somebody ends, or two nodes may be tried again."""
        for since in (*self.down_since.values(), *self.back_since.values()):
            yield since + self.grace_s
        yield from self.failed_until.values()

    def note_away(self, away: Away, now: float) -> None:
        """What was just seen to be away from home; of those that are waited for it stays as it was."""
        waited = {node: keys for node, keys in self._away.keys.items() if self._is_waited_for(node, now)}
        self._away = Away({**away.keys, **waited})

    def last_holders(self, ids: Iterable[ObjectId], now: float) -> dict[ObjectId, frozenset[NodeId]]:
        """Which nodes that are waited for kept which of these in the place of others when they last answered."""
        wanted = {key_of(object_id): object_id for object_id in ids}
        found: dict[ObjectId, frozenset[NodeId]] = {}
        for node, keys in self._away.keys.items():
            if self._is_waited_for(node, now):
                for object_id in (wanted[key] for key in keys if key in wanted):
                    found[object_id] = found.get(object_id, frozenset()) | {node}
        return found

    def _is_waited_for(self, node: NodeId, now: float) -> bool:
        return node in self.down_since and now - self.down_since[node] < self.grace_s
