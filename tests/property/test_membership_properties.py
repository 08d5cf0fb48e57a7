"""Membership under hypothesis: whatever arrives in whatever order, everybody who has the same records sees the same."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from record_specimens import MEMBER
from roost.cluster.membership import Membership, fold
from roost.codec.records import MemberRecord, encode_record, record_id
from roost.core.cluster import View
from roost.core.ids import NodeId

Pairs = list[tuple[bytes, MemberRecord]]

nodes = st.integers(1, 4).map(lambda number: f"{number:032x}")
member_records = st.builds(
    lambda node, seq, name, machine, port, storage: msgspec.structs.replace(
        MEMBER, node_id=node, seq=seq, name=name, machine=f"{machine:032x}", addresses=[f"10.0.0.1:{port}"],
        storage=storage,
    ),
    nodes, st.integers(1, 4), st.sampled_from("abc"), st.integers(1, 3), st.integers(1, 3), st.booleans(),
)  # fmt: skip
sets = st.lists(member_records, max_size=12).map(
    lambda records: [(bytes(record_id(encode_record(record))), record) for record in records]
)


def learned(pairs: Pairs) -> Membership:
    membership = Membership(b"")
    for record, decoded in pairs:
        membership.learn(record, decoded)
    return membership


@given(sets, st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_makes_the_same_view(pairs: Pairs, chance: object) -> None:
    shuffled = pairs + pairs[: len(pairs) // 2]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    view = fold(pairs)
    assert fold(shuffled) == view
    assert learned(pairs).view == view
    assert learned(shuffled).view == view


@given(sets, sets)
def test_two_sets_merge_to_one_view_whoever_gives_first(ours: Pairs, theirs: Pairs) -> None:
    assert learned(ours + theirs).view == learned(theirs + ours).view == fold(ours + theirs)


@given(sets)
def test_each_node_is_there_once_with_its_newest_record(pairs: Pairs) -> None:
    view = fold(pairs)
    assert [member.node_id for member in view.members] == sorted({record.node_id for _, record in pairs})
    for member in view.members:
        newest = max((record.seq, i, record.name) for i, record in pairs if record.node_id == member.node_id)
        assert member.name == newest[2]
        found = learned(pairs).newest(NodeId(member.node_id))
        assert found is not None
        assert found.seq == newest[0]


@given(sets, member_records)
def test_one_record_more_changes_one_node_at_most(pairs: Pairs, more: MemberRecord) -> None:
    before = fold(pairs)
    after = fold([*pairs, (bytes(record_id(encode_record(more))), more)])

    def others(view: View) -> list[object]:
        return [member for member in view.members if member.node_id != more.node_id]

    assert others(before) == others(after)
    assert after.member(NodeId(more.node_id)) is not None


@settings(max_examples=50)
@given(sets)
def test_who_asks_hears_of_every_change_and_of_nothing_else(pairs: Pairs) -> None:
    heard: list[View] = []
    membership = Membership(b"", changed=heard.append)
    views = []
    before = membership.view
    for record, decoded in pairs:
        membership.learn(record, decoded)
        if membership.view != before:
            views.append(membership.view)
            before = membership.view
    assert heard == views
