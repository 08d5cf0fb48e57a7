"""Placement: the line of an object, and who is chosen from it."""

from checkpoint_kits import GIB, member, node_id
from roost.checkpoints.placement import Chooser, line
from roost.core.cluster import Member, View
from roost.core.ids import ObjectId, object_id

ITEMS = [object_id(str(n).encode()) for n in range(300)]
THREE_MACHINES = [member(1), member(2), member(3)]
SHARED = [member(1, machine=91), member(2, machine=91), member(3, machine=92), member(4, machine=93)]


def view(members: list[Member]) -> View:
    return View(tuple(members))


def chooser(members: list[Member]) -> Chooser:
    return Chooser(view(members), {m.node_id for m in members})


def test_a_line_is_all_storage_nodes_once_whatever_the_order_of_the_view() -> None:
    members = [*SHARED, member(5, storage=False)]
    for item in ITEMS[:50]:
        found = line(item, view(members))
        assert sorted(found) == [node_id(n) for n in (1, 2, 3, 4)]
        assert line(item, view(members[::-1])) == found


def test_every_machine_comes_once_before_any_comes_twice() -> None:
    for item in ITEMS:
        machines = [view(SHARED).domain_of(node) for node in line(item, view(SHARED))]
        assert len(set(machines[:3])) == 3


def test_the_lines_do_not_change_from_release_to_release() -> None:
    assert [int(node, 16) for node in line(ObjectId(b"\x01" * 32), view(SHARED))] == [2, 3, 4, 1]


def test_a_machine_gets_objects_by_its_weight_whether_it_is_one_node_or_two() -> None:
    members = [member(1, capacity=3 * GIB), member(2), member(3, machine=93, capacity=2 * GIB)]
    members += [member(4, machine=93, capacity=2 * GIB)]
    items = [object_id(str(n).encode()) for n in range(4000)]
    firsts = [line(item, view(members))[0] for item in items]
    share = {n: firsts.count(node_id(n)) / len(items) for n in (1, 2, 3, 4)}
    assert abs(share[1] - 3 / 8) < 0.03
    assert abs(share[2] - 1 / 8) < 0.03
    assert abs(share[3] - 2 / 8) < 0.03
    assert abs(share[4] - 2 / 8) < 0.03


def test_members_without_capacity_take_part_all_the_same() -> None:
    assert len(line(ITEMS[0], view([member(1, capacity=0), member(2, capacity=0)]))) == 2


def test_no_node_no_line() -> None:
    assert line(ITEMS[0], View(())) == []
    assert line(ITEMS[0], view([member(1, storage=False)])) == []


def test_a_copy_goes_to_a_machine_without_one() -> None:
    chosen = chooser(SHARED)
    for item in ITEMS[:50]:
        assert set(chosen.candidates(item, {node_id(1)})) == {node_id(3), node_id(4)}
        assert list(chosen.candidates(item, set())) == line(item, view(SHARED))
        assert list(chosen.candidates(item, {node_id(n) for n in (2, 3, 4)})) == []
        assert set(chosen.spare(item, {node_id(n) for n in (2, 3, 4)})) == {node_id(1)}


def test_who_fails_or_is_full_is_passed_over_and_who_is_full_still_holds() -> None:
    chosen = chooser(THREE_MACHINES)
    chosen.fail(node_id(1), "it burns")
    chosen.fail(node_id(1), "later trouble")
    chosen.full.add(node_id(2))
    assert set(chosen.candidates(ITEMS[0], set())) == {node_id(3)}
    assert [chosen.alive(node_id(n)) for n in (1, 2, 3, 4)] == [False, True, True, False]
    assert chosen.failed == {node_id(1): "it burns"}


def test_copies_are_counted_by_machine_and_on_one_machine_by_node() -> None:
    assert chooser(SHARED).distinct({node_id(1), node_id(2), node_id(3)}) == 2
    one = [member(1, machine=91), member(2, machine=91), member(3, machine=91)]
    assert view(one).single_machine
    assert chooser(one).distinct({node_id(1), node_id(2)}) == 2
    assert set(chooser(one).candidates(ITEMS[0], {node_id(1)})) == {node_id(2), node_id(3)}


def test_a_client_on_another_machine_does_not_make_two_of_one() -> None:
    assert view([member(1, machine=91), member(2, machine=91), member(9, storage=False)]).single_machine
