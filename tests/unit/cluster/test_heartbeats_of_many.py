"""Heartbeats when many members are lost at once: the living do not lose each other over it."""

import heapq
import random

import pytest

from roost.cluster.heartbeat import Heartbeats, Rhythm
from roost.core.cluster import Address, Member, NodeState, View
from roost.core.ids import MachineId, NodeId

RHYTHM = Rhythm()
LOST_AT_S = 20.0
END_S = 70.0
IN_VAIN_S = (5.0, 10.0)
"""How long a ping holds its place when what it sends vanishes: a dial's limit, at one address or two."""


def node(number: int) -> NodeId:
    return NodeId(f"{number:032x}")


def view(total: int) -> View:
    at = (Address("10.0.0.1", 1),)
    return View(tuple(Member(node(n), f"n{n}", MachineId(f"{n:032x}"), 1, at, True, b"") for n in range(total)))


class Crowd:
    """The heartbeats of `total` members, each turning about every 2 s. At `LOST_AT_S` some fall silent for ever."""

    def __init__(self, total: int, lost: int) -> None:
        self.chance = random.Random(total + lost)
        self.view = view(total)
        self.beats = {node(n): Heartbeats(node(n), begun_s=0.0) for n in range(total)}
        self.lost = {node(n) for n in self.chance.sample(range(total), lost)}
        self.asking: dict[NodeId, dict[NodeId, float]] = {one: {} for one in self.beats}
        self.at_once_max = 0

    def live(self, end_s: float) -> dict[NodeState, set[tuple[NodeId, NodeId]]]:
        """Which of the living, after the loss, held which of them for what."""
        held: dict[NodeState, set[tuple[NodeId, NodeId]]] = {state: set() for state in NodeState}
        turns = [(self.chance.uniform(0, RHYTHM.every_s), one) for one in self.beats]
        heapq.heapify(turns)
        while turns[0][0] < end_s:
            now, one = heapq.heappop(turns)
            if now >= LOST_AT_S:
                if one in self.lost:
                    continue
                for other, state in self.states(one, now).items():
                    if other not in self.lost:
                        held[state].add((one, other))
            self.turn(one, now)
            heapq.heappush(turns, (now + RHYTHM.every_s * self.chance.uniform(0.9, 1.1), one))
        return held

    def states(self, one: NodeId, now: float) -> dict[NodeId, NodeState]:
        return {other: seen.state for other, seen in self.beats[one].states(self.view, now).items()}

    def turn(self, one: NodeId, now: float) -> None:
        self.asking[one] = asking = {other: ends for other, ends in self.asking[one].items() if ends > now}
        for other in self.beats[one].due(self.view, now, asking=asking):
            if now >= LOST_AT_S and other in self.lost:
                asking[other] = now + self.chance.uniform(*IN_VAIN_S)
            else:
                self.beats[other].heard(one, now)
                self.beats[one].answered(other, now)
        self.at_once_max = max(self.at_once_max, len(asking))


@pytest.mark.parametrize(("total", "lost"), [(60, 30), (60, 45), (100, 50)])
def test_no_living_member_is_suspect_however_many_are_lost(total: int, lost: int) -> None:
    crowd = Crowd(total, lost)
    held = crowd.live(END_S)
    assert (len(held[NodeState.SUSPECT]), len(held[NodeState.DOWN])) == (0, 0)
    assert len(held[NodeState.ALIVE]) == (total - lost) * (total - lost - 1)
    for one in crowd.beats.keys() - crowd.lost:
        assert {crowd.states(one, END_S)[other] for other in crowd.lost} == {NodeState.DOWN}
    assert crowd.at_once_max <= 2 * RHYTHM.at_once


def test_the_silent_have_half_as_many_places_as_those_that_are_heard() -> None:
    beats, everyone = Heartbeats(node(0), begun_s=0.0), view(101)
    for turn in range(20):
        silent = beats.due(everyone, 2.0 * turn)
    assert len(silent) == RHYTHM.at_once // 2
    back = set(sorted({node(number) for number in range(1, 101)} - set(silent))[:40])
    for one in back:
        beats.answered(one, 38.0)
    due = beats.due(everyone, 40.0, asking=silent)
    assert len(due) == RHYTHM.at_once
    assert set(due) <= back
    due = beats.due(everyone, 41.0, asking=silent[1:])
    assert [one for one in due if one not in back], "a place of the silent is for another of them"
