"""The repair plan: who copies what where, in which order, and why something waits."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from roost.checkpoints.placement import line
from roost.checkpoints.repair import FULL, GRACE, NO_ROOM, NOBODY, TRIED, Need, Observed, Plan, Work, plan
from roost.core.cluster import Member, View
from roost.core.ids import MachineId, NodeId, ObjectId

GIB = 1 << 30
GRACE_S = 600.0
LONG_AGO = 0.0
NOW = 1e6


def node(number: int) -> NodeId:
    return NodeId(f"{number:032x}")


def view_of(machines: list[int], *, draining: Collection[int] = ()) -> View:
    """One node for each entry; the entry is its machine."""
    return View(
        tuple(
            Member(
                node(i), f"pi-{i}", MachineId(f"{machine:032x}"), 64 * GIB, (), True, b"f" * 32, draining=i in draining
            )
            for i, machine in enumerate(machines)
        )
    )


def drained(view: View, *nodes: NodeId) -> View:
    return View(tuple(replace(m, draining=m.node_id in nodes) for m in view.members))


def thing(number: int) -> ObjectId:
    return ObjectId(hashlib.sha256(str(number).encode()).digest())


def two(*things: ObjectId) -> dict[ObjectId, Need]:
    return {each: Need(2, 10) for each in things}


FOUR = view_of([0, 1, 2, 3])


def test_an_object_with_all_copies_at_home_needs_nothing() -> None:
    made = plan(two(thing(1)), Observed(NOW, {thing(1): line(thing(1), FOUR)[:2]}, {}), FOUR, grace_s=0)
    assert made == Plan((), ())


def test_a_missing_copy_goes_to_the_first_free_node_of_the_line() -> None:
    order = line(thing(1), FOUR)
    made = plan(two(thing(1)), Observed(NOW, {thing(1): {order[0]}}, {}), FOUR, grace_s=GRACE_S)
    assert [(c.source, c.target, c.had, c.work) for c in made.copies] == [(order[0], order[1], 1, Work.SHORT)]
    assert [c.reason for c in made.copies] == ["on 1 of 2 machines"]
    assert made.short == {thing(1)}


def test_a_machine_that_went_down_a_moment_ago_is_waited_for_and_then_no_more() -> None:
    order = line(thing(1), FOUR)
    down = {order[1]: 100.0}
    soon = plan(two(thing(1)), Observed(150.0, {thing(1): {order[0]}}, down), FOUR, grace_s=GRACE_S)
    assert not soon.copies
    assert [w.reason for w in soon.waiting] == [GRACE]
    assert not soon.stuck
    later = plan(two(thing(1)), Observed(701.0, {thing(1): {order[0]}}, down), FOUR, grace_s=GRACE_S)
    assert [(c.source, c.target) for c in later.copies] == [(order[0], order[2])]


def test_who_kept_a_copy_in_the_place_of_another_is_waited_for_too() -> None:
    order = line(thing(1), FOUR)
    down = {order[1]: 100.0, order[2]: 1000.0}
    last = {thing(1): {order[2]}}
    soon = plan(two(thing(1)), Observed(1050.0, {thing(1): {order[0]}}, down, last_holders=last), FOUR, grace_s=GRACE_S)
    assert not soon.copies
    assert [w.reason for w in soon.waiting] == [GRACE]
    later = plan(
        two(thing(1)), Observed(1601.0, {thing(1): {order[0]}}, down, last_holders=last), FOUR, grace_s=GRACE_S
    )
    assert [(c.source, c.target) for c in later.copies] == [(order[0], order[3])]


def test_of_two_that_are_missing_only_the_one_that_is_away_is_waited_for() -> None:
    order = line(thing(1), FOUR)
    seen = Observed(NOW, {thing(1): {order[0]}}, {order[2]: NOW - 1})
    made = plan({thing(1): Need(3, 10)}, seen, FOUR, grace_s=GRACE_S)
    assert [c.target for c in made.copies] == [order[1]]


def test_damage_has_no_grace_though_another_machine_is_down() -> None:
    order = line(thing(1), FOUR)
    seen = Observed(1.0, {thing(1): {order[0]}}, {order[3]: 0.0})
    made = plan(two(thing(1)), seen, FOUR, grace_s=GRACE_S)
    assert [c.target for c in made.copies] == [order[1]]


def test_the_most_endangered_come_first_and_what_only_has_to_move_last() -> None:
    safe, endangered, moving = thing(1), thing(2), thing(3)
    view = drained(FOUR, line(moving, FOUR)[0])
    home = {i: [n for n in line(i, FOUR) if n != line(moving, FOUR)[0]] for i in (safe, endangered)}
    holders: Mapping[ObjectId, Collection[NodeId]] = {
        moving: line(moving, FOUR)[:3], safe: home[safe][:2], endangered: home[endangered][:1],
    }  # fmt: skip
    made = plan({i: Need(3, 10) for i in holders}, Observed(NOW, holders, {}), view, grace_s=0)
    assert [c.object_id for c in made.copies] == [endangered, endangered, safe, moving]
    assert [c.work for c in made.copies] == [Work.SHORT, Work.SHORT, Work.SHORT, Work.LEAVING]


def test_what_is_short_comes_before_what_only_has_to_move_however_few_machines_that_is_on() -> None:
    short, moving = thing(1), thing(2)
    view = drained(FOUR, line(moving, FOUR)[0])
    needs = {short: Need(3, 10), moving: Need(2, 10)}
    holders = {moving: line(moving, FOUR)[:2], short: [n for n in line(short, FOUR) if n != line(moving, FOUR)[0]][:2]}
    made = plan(needs, Observed(NOW, holders, {}), view, grace_s=0)
    assert [c.object_id for c in made.copies] == [short, moving]
    renamed = {moving: needs[short], short: needs[moving]}
    view = drained(FOUR, line(short, FOUR)[0])
    holders = {short: line(short, FOUR)[:2], moving: [n for n in line(moving, FOUR) if n != line(short, FOUR)[0]][:2]}
    made = plan(renamed, Observed(NOW, holders, {}), view, grace_s=0)
    assert [c.object_id for c in made.copies] == [moving, short]


def test_two_new_copies_do_not_go_to_one_machine() -> None:
    view = view_of([0, 0, 1])
    made = plan({thing(1): Need(3, 10)}, Observed(NOW, {thing(1): {node(2)}}, {}), view, grace_s=0)
    assert len(made.copies) == 1
    assert [w.reason for w in made.stuck] == [NO_ROOM]


def test_an_object_that_nobody_has_waits_and_says_so() -> None:
    made = plan(two(thing(1)), Observed(NOW, {thing(1): set()}, {}), FOUR, grace_s=0)
    assert [w.reason for w in made.stuck] == [NOBODY]
    assert made.short == {thing(1)}


def test_no_second_copy_on_one_machine_is_made() -> None:
    two_on_one = view_of([7, 7, 8])
    made = plan(two(thing(1)), Observed(NOW, {thing(1): {node(0)}}, {node(2): 0.0}), two_on_one, grace_s=0)
    assert not made.copies
    assert [w.reason for w in made.stuck] == [NO_ROOM]


def test_a_full_node_is_passed_over() -> None:
    order = line(thing(1), FOUR)
    seen = Observed(NOW, {thing(1): {order[0]}}, {}, refusing={order[1]})
    made = plan(two(thing(1)), seen, FOUR, grace_s=0)
    assert [c.target for c in made.copies] == [order[2]]


def test_when_all_others_are_full_that_is_the_reason() -> None:
    order = line(thing(1), FOUR)
    seen = Observed(NOW, {thing(1): {order[0]}}, {order[1]: 0.0}, refusing=order[2:])
    assert [w.reason for w in plan(two(thing(1)), seen, FOUR, grace_s=0).stuck] == [FULL]


# -- sources ---------------------------------------------------------------------------------------------------------


def test_the_work_is_spread_over_the_sources() -> None:
    view = view_of([0, 1, 2])
    away = [i for i in map(thing, range(99)) if line(i, view)[2] == node(2)][:8]
    made = plan(
        {i: Need(3, 10) for i in away}, Observed(NOW, {i: {node(0), node(1)} for i in away}, {}), view, grace_s=0
    )
    assert sorted(c.source for c in made.copies) == [node(0)] * 4 + [node(1)] * 4


def test_a_pair_that_failed_is_not_tried_but_another_source_or_else_another_target_is() -> None:
    order = line(thing(1), FOUR)
    held = {thing(1): {order[0], order[1]}}
    three = {thing(1): Need(3, 10)}
    failed = {(order[0], order[2])}
    made = plan(three, Observed(NOW, held, {}, failed=failed), FOUR, grace_s=0)
    assert [(c.source, c.target) for c in made.copies] == [(order[1], order[2])]
    failed |= {(order[1], order[2])}
    made = plan(three, Observed(NOW, held, {}, failed=failed), FOUR, grace_s=0)
    assert [c.target for c in made.copies] == [order[3]]
    failed |= {(order[0], order[3]), (order[1], order[3])}
    made = plan(three, Observed(NOW, held, {}, failed=failed), FOUR, grace_s=0)
    assert not made.copies
    assert [w.reason for w in made.stuck] == [TRIED]


# -- nodes that are emptied or not well ------------------------------------------------------------------------------


def test_what_is_on_a_draining_node_is_copied_to_the_next_and_the_draining_one_is_a_source() -> None:
    order = line(thing(1), FOUR)
    view = drained(FOUR, order[0])
    seen = Observed(NOW, {thing(1): {order[0]}}, {})
    made = plan(two(thing(1)), seen, view, grace_s=0)
    assert [(c.source, c.target) for c in made.copies] == [(order[0], order[1]), (order[0], order[2])]

    seen = Observed(NOW, {thing(1): set(order[:2])}, {})
    made = plan(two(thing(1)), seen, view, grace_s=GRACE_S)
    assert [(c.target, c.work) for c in made.copies] == [(order[2], Work.LEAVING)]
    number = int(order[0], 16)
    assert made.copies[0].reason == f"on pi-{number}, which is being emptied"


def test_a_node_that_is_not_well_is_no_target_and_its_copies_do_not_count_but_may_serve() -> None:
    order = line(thing(1), FOUR)
    ill = {order[1]: "its disk keeps failing"}
    short = plan(two(thing(1)), Observed(NOW, {thing(1): {order[0]}}, {}, troubled=ill), FOUR, grace_s=0)
    assert [c.target for c in short.copies] == [order[2]]

    both = Observed(NOW, {thing(1): set(order[:2])}, {}, troubled=ill)
    made = plan(two(thing(1)), both, FOUR, grace_s=GRACE_S)
    assert [(c.source, c.target, c.work) for c in made.copies] == [(order[0], order[2], Work.LEAVING)]
    assert made.copies[0].reason == f"on pi-{int(order[1], 16)}, which is not well: its disk keeps failing"

    alone = plan(two(thing(1)), Observed(NOW, {thing(1): {order[1]}}, {}, troubled=ill), FOUR, grace_s=0)
    assert {c.source for c in alone.copies} == {order[1]}
    assert {c.target for c in alone.copies} == {order[0], order[2]}


def test_a_draining_node_with_nowhere_to_copy_to_waits_and_says_why() -> None:
    view = view_of([0, 1], draining=[0])
    made = plan(two(thing(1)), Observed(NOW, {thing(1): {node(0), node(1)}}, {}), view, grace_s=0)
    assert not made.copies
    assert [(w.reason, w.had) for w in made.stuck] == [(NO_ROOM, 2)]


# -- home ------------------------------------------------------------------------------------------------------------


def displaced(number: int, view: View) -> tuple[ObjectId, list[NodeId], set[NodeId]]:
    """An object, its line, and holders of which the second is not at home."""
    order = line(thing(number), view)
    return thing(number), order, {order[0], order[2]}


def test_displaced_copies_move_home() -> None:
    it, order, held = displaced(1, FOUR)
    made = plan(two(it), Observed(NOW, {it: held}, {}), FOUR, grace_s=GRACE_S)
    assert [(c.target, c.work) for c in made.copies] == [(order[1], Work.HOME)]
    assert made.copies[0].reason == f"belongs on pi-{int(order[1], 16)}"
    assert not made.short


def test_nothing_moves_home_while_anything_else_is_to_do_or_waited_for() -> None:
    it, _, held = displaced(1, FOUR)
    other = thing(2)
    home = line(other, FOUR)
    busy = plan(two(it, other), Observed(NOW, {it: held, other: home[:1]}, {}), FOUR, grace_s=GRACE_S)
    assert [c.object_id for c in busy.copies] == [other]
    assert busy.withheld == 1
    away = {home[1]: NOW - 1}
    waiting = plan(two(it, other), Observed(NOW, {it: held, other: home[:1]}, away), FOUR, grace_s=GRACE_S)
    assert not waiting.copies


def test_what_is_lost_does_not_keep_the_rest_from_moving_home() -> None:
    it, order, held = displaced(1, FOUR)
    made = plan(two(it, thing(2)), Observed(NOW, {it: held}, {}), FOUR, grace_s=GRACE_S)
    assert [c.target for c in made.copies] == [order[1]]


def test_nothing_moves_home_while_a_node_comes_and_goes() -> None:
    it, order, held = displaced(1, FOUR)
    for lately in (
        Observed(NOW, {it: held}, {order[3]: NOW - GRACE_S + 1}),
        Observed(NOW, {it: held}, {}, back_since={order[3]: NOW - GRACE_S + 1}),
        Observed(NOW, {it: held}, {}, back_since={order[1]: NOW - GRACE_S + 1}),
    ):
        made = plan(two(it), lately, FOUR, grace_s=GRACE_S)
        assert not made.copies
        assert made.withheld == 1
        assert plan(two(it), replace(lately, now=NOW + 2), FOUR, grace_s=GRACE_S).copies


def test_a_home_that_is_down_for_long_full_or_not_well_is_not_moved_to() -> None:
    it, order, held = displaced(1, FOUR)
    for seen in (
        Observed(NOW, {it: held}, {order[1]: LONG_AGO}),
        Observed(NOW, {it: held}, {}, refusing={order[1]}),
        Observed(NOW, {it: held}, {}, troubled={order[1]: "ill"}),
        Observed(NOW, {it: held}, {}, failed={(order[0], order[1]), (order[2], order[1])}),
    ):
        assert plan(two(it), seen, FOUR, grace_s=GRACE_S) == Plan((), ())


def test_another_node_of_the_same_machine_is_home_enough() -> None:
    view = view_of([0, 0, 1])
    order = line(thing(1), view)
    other = next(n for n in (node(0), node(1)) if n not in order[:2])
    made = plan(two(thing(1)), Observed(NOW, {thing(1): {other, node(2)}}, {}), view, grace_s=0)
    assert made == Plan((), ())


# -- any cluster -----------------------------------------------------------------------------------------------------

NODES = st.sets(st.integers(0, 5))


@given(
    machines=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    held=st.dictionaries(st.integers(0, 20), NODES, max_size=8),
    down=NODES, draining=NODES, ill=NODES, full=NODES, copies=st.integers(2, 3),
)  # fmt: skip
def test_carrying_out_plans_adds_one_copy_a_machine_and_comes_to_an_end(
    machines: list[int], held: dict[int, set[int]], down: set[int], draining: set[int], ill: set[int], full: set[int],
    copies: int,
) -> None:  # fmt: skip
    view = view_of(machines, draining=draining)
    alive = {node(i) for i in range(len(machines)) if i not in down}
    holders = {thing(i): {node(n) for n in nodes} & alive for i, nodes in held.items()}
    needs = {i: Need(copies, 1) for i in holders}
    able = {node(i) for i in range(len(machines))} & alive - {node(i) for i in draining | ill | full}
    keeping = {m.node_id for m in view.keepers} - {node(i) for i in ill}
    before = {i: set(nodes) for i, nodes in holders.items()}

    def made() -> Plan:
        seen = Observed(
            NOW, holders, {node(i): LONG_AGO for i in down if i < len(machines)}, refusing={node(i) for i in full},
            troubled={node(i): "ill" for i in ill},
        )  # fmt: skip
        return plan(needs, seen, view, grace_s=GRACE_S)

    for _ in range(4):
        todo = made()
        for copy in todo.copies:
            kept = {view.domain_of(n) for n in holders[copy.object_id] & keeping}
            assert copy.source in before[copy.object_id] | holders[copy.object_id]
            assert copy.target in able
            assert view.domain_of(copy.target) not in kept, "one copy a machine"
            holders[copy.object_id].add(copy.target)
    assert not made().copies, "nothing is left to do"
    domains = {view.domain_of(n) for n in able}
    for object_id, nodes in holders.items():
        assert nodes >= before[object_id]
        kept = {view.domain_of(n) for n in nodes & keeping}
        reachable = kept | domains
        assert len(kept) >= (min(copies, len(reachable)) if nodes else 0)
        if nodes and len(kept) >= copies:
            home = line(object_id, view)[:copies]
            if all(w.reason == NOBODY for w in made().waiting):
                assert all(view.domain_of(n) in kept for n in home if n in able)
