"""Heartbeats: from when each member was heard of to its state, and to whom is pinged next."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.cluster.heartbeat import Heartbeats, Rhythm, Seen
from roost.core.cluster import Address, Member, NodeState, View
from roost.core.ids import MachineId, NodeId

ALIVE, SUSPECT, DOWN = NodeState.ALIVE, NodeState.SUSPECT, NodeState.DOWN
RHYTHM = Rhythm()
BEGUN = 1000.0


def node(number: int) -> NodeId:
    return NodeId(f"{number:032x}")


OWN = node(0)


def member(number: int, *, storage: bool = True, at: tuple[Address, ...] = (Address("10.0.0.1", 1),)) -> Member:
    return Member(node(number), f"n{number}", MachineId(f"{number:032x}"), 1, at, storage, b"")


def view(count: int) -> View:
    """Ourselves and so many others."""
    return View(tuple(member(number) for number in range(count + 1)))


class Watch:
    """Heartbeats of node 0 among `others`, on a clock that the test sets; it turns every 2 s, as the pulse does."""

    def __init__(self, others: int = 1, *, rhythm: Rhythm = RHYTHM) -> None:
        self.view = view(others)
        self.beats = Heartbeats(OWN, begun_s=BEGUN, rhythm=rhythm)
        self.now = 0.0
        self.pinged: list[tuple[float, NodeId]] = []

    def heard(self, number: int = 1) -> None:
        self.beats.heard(node(number), BEGUN + self.now)

    def answered(self, number: int = 1) -> None:
        self.beats.answered(node(number), BEGUN + self.now)

    def until(self, seconds: float) -> None:
        """Turn every 2 s until then; nobody answers."""
        while self.now + 2 <= seconds:
            self.now += 2
            self.turn()
        self.now = seconds

    def turn(self) -> list[NodeId]:
        due = self.beats.due(self.view, BEGUN + self.now)
        self.pinged += [(self.now, one) for one in due]
        return due

    def state(self, number: int = 1) -> NodeState:
        return self.beats.states(self.view, BEGUN + self.now)[node(number)].state


def test_a_node_that_was_heard_of_is_alive_then_suspect_then_down() -> None:
    watch = Watch()
    watch.heard()
    states = []
    for seconds in (0, 5.9, 6, 14.9, 15, 100_000):
        watch.until(seconds)
        states.append(watch.state())
    assert states == [ALIVE, ALIVE, SUSPECT, SUSPECT, DOWN, DOWN]
    watch.heard()
    assert watch.state() is ALIVE


def test_the_silence_is_told_and_none_before_the_first_word() -> None:
    watch = Watch(2)
    watch.until(2)
    watch.heard(1)
    watch.until(5)
    assert watch.beats.states(watch.view, BEGUN + 5) == {node(1): Seen(ALIVE, 3.0), node(2): Seen(SUSPECT, None)}


def test_a_member_never_heard_of_is_suspect_until_it_had_its_time() -> None:
    watch = Watch()
    assert watch.state() is SUSPECT
    watch.until(14.9)
    assert watch.state() is SUSPECT
    watch.until(15)
    assert watch.state() is DOWN


def test_a_member_that_joins_later_has_its_time_from_then_on() -> None:
    watch = Watch(0)
    watch.until(100)
    watch.view = view(1)
    assert watch.state() is SUSPECT
    watch.until(114)
    assert watch.state() is SUSPECT
    watch.until(116)
    assert watch.state() is DOWN


def test_who_is_no_member_any_more_is_forgotten() -> None:
    watch = Watch(2)
    watch.heard(1)
    watch.heard(7)
    watch.view = view(0)
    watch.until(2)
    assert watch.beats.states(watch.view, BEGUN + 2) == {}
    assert (watch.beats._heard, watch.beats._since, watch.beats._asked) == ({}, {}, {})


def test_ourselves_and_programs_that_do_not_serve_are_not_watched_but_coordinators_are() -> None:
    watch = Watch()
    watch.view = View((member(0), member(1, storage=False, at=()), member(2, storage=False)))
    assert watch.turn() == [node(2)]


def test_who_was_heard_of_lately_is_not_pinged() -> None:
    watch = Watch(3)
    watch.until(2)
    watch.answered(1)
    watch.answered(2)
    watch.now = 3.4
    watch.pinged.clear()
    assert watch.turn() == [node(3)]
    watch.now = 3.5
    assert watch.turn() == [node(3), node(1), node(2)], "the longest unheard first"


def test_who_is_heard_of_but_did_not_say_for_long_how_it_is_is_asked() -> None:
    watch = Watch()
    watch.heard()
    assert watch.turn() == [node(1)]
    watch.answered()
    for seconds in (2, 4, 6, 8, 9.9):
        watch.now = seconds
        watch.heard()
        assert watch.turn() == []
    watch.now = 10
    assert watch.turn() == [node(1)]


def test_whose_ping_is_under_way_is_not_pinged_again_and_takes_a_place() -> None:
    watch = Watch(40)
    watch.now = 2.0
    due = watch.beats.due(watch.view, BEGUN + 2, asking={node(5), node(6)})
    assert len(due) == RHYTHM.at_once - 2
    assert not {node(5), node(6)} & set(due)


def test_the_dead_are_pinged_less_and_less_and_after_the_others() -> None:
    watch = Watch(1)
    watch.heard(1)
    watch.until(1000)
    times = [at for at, _ in watch.pinged]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps[:5] == [2] * 5
    assert gaps == sorted(gaps)
    assert gaps[-1] == RHYTHM.down_every_s
    assert len(times) < 60

    watch = Watch(2)
    watch.until(18)
    watch.heard(1)
    watch.now = 20
    assert watch.turn() == [node(1), node(2)]


def test_the_time_that_we_stood_still_is_nobodys_silence() -> None:
    watch = Watch(2)
    watch.heard(1)
    watch.until(4)
    watch.now = 64  # stopped for a minute
    assert (watch.state(1), watch.state(2)) == (SUSPECT, SUSPECT), "6 s of silence, as far as we can tell"
    watch.answered(1)
    assert watch.state(1) is ALIVE
    assert watch.turn() == [node(2)]
    watch.until(76)
    assert watch.state(2) is DOWN


def test_a_silence_before_we_stood_still_counts_on() -> None:
    watch = Watch()
    watch.heard()
    watch.until(14)
    watch.now = 100
    assert watch.state() is DOWN


def test_where_a_turn_does_not_reach_all_there_is_more_patience() -> None:
    watch = Watch(96)
    for number in range(1, 97):
        watch.heard(number)
    watch.until(6 + 2 * 2 - 0.1)
    assert watch.state(96) is ALIVE
    watch.until(6 + 2 * 2)
    assert watch.state(96) is SUSPECT
    watch.until(15 + 2 * 2)
    assert watch.state(96) is DOWN


@pytest.mark.parametrize("others", [1, 20, 32, 33, 200, 999])
def test_members_that_answer_are_never_suspect_whoever_pings(others: int) -> None:
    watch = Watch(others)
    for _ in range(200):
        watch.now += 2.2
        for one in watch.turn():
            watch.beats.answered(one, BEGUN + watch.now + 0.1)
        if watch.now > 15 + 2 * others:
            assert {seen.state for seen in watch.beats.states(watch.view, BEGUN + watch.now + 0.1).values()} == {ALIVE}


@pytest.mark.parametrize("late", [0.0, 0.3, 0.9, 1.0, 1.6, 1.9])
def test_of_two_that_see_each_other_one_pings(late: float) -> None:
    """Both turn every 2 s, the second `late`; the other pings only for news."""
    sides = [Watch(), Watch()]
    pings: list[int] = []
    for turn in range(50):
        for side, watch in enumerate(sides):
            watch.now = 2 * turn + (late if side else 0.0)
            if watch.turn():
                pings.append(side)
                watch.answered()
                sides[1 - side].now = watch.now
                sides[1 - side].heard()
    assert 50 <= len(pings) <= 50 + 100 / RHYTHM.news_s + 1


@given(
    events=st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["heard 1", "heard 2", "look", "turn"])), max_size=60)
)
def test_whatever_is_heard_the_state_follows_from_the_silence(events: list[tuple[float, str]]) -> None:
    watch = Watch(2)
    watch.beats.states(watch.view, BEGUN)
    for pause, what in events:
        watch.now += pause
        if what.startswith("heard"):
            watch.heard(int(what[-1]))
            assert watch.state(int(what[-1])) is ALIVE
        elif what == "turn":
            due = watch.turn()
            assert len(due) == len(set(due)) <= RHYTHM.at_once
            assert OWN not in due
        seen = watch.beats.states(watch.view, BEGUN + watch.now)
        assert seen.keys() == {node(1), node(2)}
        for one in seen.values():
            if one.silent_s is None:
                assert one.state is not ALIVE
                continue
            assert 0 <= one.silent_s <= watch.now + 1e-6
            bounds = {ALIVE: (0, 6), SUSPECT: (6, 15), DOWN: (15, float("inf"))}[one.state]
            assert bounds[0] <= one.silent_s < bounds[1]
