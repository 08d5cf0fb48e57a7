"""When a machine comes or goes, only the objects that it gains or had move."""

from hypothesis import given
from hypothesis import strategies as st

from checkpoint_kits import GIB, member
from roost.checkpoints.placement import line
from roost.core.cluster import Member, View
from roost.core.ids import object_id

ITEMS = [object_id(str(n).encode()) for n in range(60)]
COPIES = 2
CAPACITIES = st.sampled_from([GIB, 2 * GIB, 4 * GIB, 512 * GIB])


@st.composite
def clusters(draw: st.DrawFn) -> list[Member]:
    """At least three machines of one to three nodes."""
    members: list[Member] = []
    for machine in range(draw(st.integers(3, 8))):
        for _ in range(draw(st.integers(1, 3))):
            members.append(member(len(members) + 1, machine=100 + machine, capacity=draw(CAPACITIES)))
    return members


def homes(members: list[Member], item: bytes) -> list[str]:
    """The machines that should hold a copy, best first."""
    view = View(tuple(members))
    return [view.domain_of(node) for node in line(object_id(item), view)[:COPIES]]


@given(clusters(), CAPACITIES)
def test_a_machine_that_comes_takes_only_what_it_gets(members: list[Member], capacity: int) -> None:
    new = member(len(members) + 1, machine=99, capacity=capacity)
    gained = 0
    for item in ITEMS:
        before, after = homes(members, item), homes([*members, new], item)
        moved = set(after) - set(before)
        assert moved <= {new.machine}
        if moved:
            assert [m for m in after if m != new.machine] == before[: COPIES - 1]
            gained += 1
        else:
            assert after == before
    if capacity == GIB and all(m.capacity >= 4 * GIB for m in members):
        assert gained < len(ITEMS), "a small machine takes a small part"


@given(clusters(), st.randoms(use_true_random=False))
def test_a_machine_that_goes_moves_only_what_it_had(members: list[Member], chance: object) -> None:
    gone = members[-1].machine
    left = [m for m in members if m.machine != gone]
    if len({m.machine for m in left}) < COPIES:
        return
    for item in ITEMS:
        before, after = homes(members, item), homes(left, item)
        assert [m for m in before if m != gone] == after[: COPIES - (gone in before)]


@given(clusters())
def test_a_line_holds_every_node_once_and_every_machine_first(members: list[Member]) -> None:
    machines = len({m.machine for m in members})
    view = View(tuple(members))
    for item in ITEMS[:10]:
        found = line(item, view)
        assert sorted(found) == sorted(m.node_id for m in members)
        assert len({view.domain_of(node) for node in found[:machines]}) == machines
