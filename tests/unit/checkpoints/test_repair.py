"""The repair plan: who copies what where, in which order, and why something waits."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from roost.checkpoints.placement import line
from roost.checkpoints.repair import GRACE, NO_ROOM, NOBODY, Need, Observed, plan
from roost.core.cluster import Member, View
from roost.core.ids import MachineId, NodeId, ObjectId

GIB = 1 << 30


def node(number: int) -> NodeId:
    return NodeId(f"{number:032x}")


def view_of(machines: list[int]) -> View:
    """One node for each entry; the entry is its machine."""
    return View(
        tuple(
            Member(node(i), f"pi-{i}", MachineId(f"{machine:032x}"), 64 * GIB, (), True, b"f" * 32)
            for i, machine in enumerate(machines)
        )
    )


def thing(number: int) -> ObjectId:
    return ObjectId(hashlib.sha256(str(number).encode()).digest())


FOUR = view_of([0, 1, 2, 3])


def test_an_object_with_all_copies_needs_nothing() -> None:
    made = plan({thing(1): Need(2, 10)}, Observed(0.0, {thing(1): {node(0), node(1)}}, {}), FOUR, grace_s=0)
    assert not made.copies
    assert not made.waiting


def test_a_missing_copy_goes_to_the_first_free_node_of_the_line() -> None:
    order = line(thing(1), FOUR)
    made = plan({thing(1): Need(2, 10)}, Observed(0.0, {thing(1): {order[0]}}, {}), FOUR, grace_s=600)
    assert [(c.source, c.target, c.had) for c in made.copies] == [(order[0], order[1], 1)]


def test_a_machine_that_went_down_a_moment_ago_is_waited_for_and_then_no_more() -> None:
    order = line(thing(1), FOUR)
    needs = {thing(1): Need(2, 10)}
    down = {order[1]: 100.0}
    soon = plan(needs, Observed(150.0, {thing(1): {order[0]}}, down), FOUR, grace_s=600)
    assert not soon.copies
    assert [w.reason for w in soon.waiting] == [GRACE]
    later = plan(needs, Observed(701.0, {thing(1): {order[0]}}, down), FOUR, grace_s=600)
    assert [(c.source, c.target) for c in later.copies] == [(order[0], order[2])]


def test_damage_has_no_grace_though_another_machine_is_down() -> None:
    order = line(thing(1), FOUR)
    seen = Observed(1.0, {thing(1): {order[0]}}, {order[3]: 0.0})
    made = plan({thing(1): Need(2, 10)}, seen, FOUR, grace_s=600)
    assert [c.target for c in made.copies] == [order[1]]


def test_the_most_endangered_come_first() -> None:
    safe, endangered = thing(1), thing(2)
    holders = {safe: set(line(safe, FOUR)[:2]), endangered: {line(endangered, FOUR)[0]}}
    made = plan({safe: Need(3, 10), endangered: Need(3, 10)}, Observed(0.0, holders, {}), FOUR, grace_s=0)
    assert [c.object_id for c in made.copies] == [endangered, endangered, safe]


def test_an_object_that_nobody_has_waits_and_says_so() -> None:
    made = plan({thing(1): Need(2, 10)}, Observed(0.0, {thing(1): set()}, {}), FOUR, grace_s=0)
    assert [w.reason for w in made.stuck] == [NOBODY]


def test_no_second_copy_on_one_machine_is_made() -> None:
    two_on_one = view_of([7, 7, 8])
    made = plan({thing(1): Need(2, 10)}, Observed(0.0, {thing(1): {node(0)}}, {node(2): 0.0}), two_on_one, grace_s=0)
    assert not made.copies
    assert [w.reason for w in made.stuck] == [NO_ROOM]


def test_a_full_node_is_passed_over() -> None:
    order = line(thing(1), FOUR)
    seen = Observed(0.0, {thing(1): {order[0]}}, {}, refusing={order[1]})
    made = plan({thing(1): Need(2, 10)}, seen, FOUR, grace_s=0)
    assert [c.target for c in made.copies] == [order[2]]


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.dictionaries(st.integers(0, 20), st.sets(st.integers(0, 5)), max_size=8),
    st.sets(st.integers(0, 5)),
    st.integers(2, 3),
)
def test_carrying_out_the_plan_brings_everything_as_far_as_it_can_come(
    machines: list[int], held: dict[int, set[int]], down: set[int], copies: int
) -> None:
    view = view_of(machines)
    alive = {node(i) for i in range(len(machines)) if i not in down}
    holders = {thing(i): {node(n) for n in nodes} & alive for i, nodes in held.items()}
    needs = {i: Need(copies, 1) for i in holders}
    seen = Observed(1e6, holders, {node(i): 0.0 for i in down if i < len(machines)})
    made = plan(needs, seen, view, grace_s=600)
    for copy in made.copies:
        assert copy.source in holders[copy.object_id]
        assert copy.target in alive
        assert copy.target not in holders[copy.object_id]
    after = {i: set(nodes) | {c.target for c in made.copies if c.object_id == i} for i, nodes in holders.items()}
    reachable = len({view.domain_of(n) for n in alive})
    for object_id, nodes in after.items():
        machines_now = len({view.domain_of(n) for n in nodes})
        assert machines_now == (max(min(copies, reachable), machines_now) if holders[object_id] else 0)
    assert not plan(needs, Observed(1e6, after, seen.down_since), view, grace_s=600).copies
