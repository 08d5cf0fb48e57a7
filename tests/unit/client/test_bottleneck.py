"""The bottleneck: who holds a store up, by how much, and in which words."""

from collections.abc import Sequence

import pytest

from roost.client.bottleneck import MB, Bottleneck, NodeSpeed, Sender, Verdict, find, shares
from roost.core.ids import NodeId

FAST = Sender(out=None, makes=500 * MB, ratio=0.5, seals=900 * MB, only=False)


def node(
    number: int,
    put: float | None,
    get: float | None = None,
    *,
    capacity: int = 100,
    domain: str = "",
    problem: str = "",
) -> NodeSpeed:
    """Node pi-`number`, a machine of its own, with these MB a second; what it gives is as fast as what it takes."""
    get = put if get is None else get
    rates = (put * MB if put is not None else None, get * MB if get is not None else None)
    return NodeSpeed(NodeId(f"{number:032x}"), f"pi-{number}", domain or f"m{number}", capacity, *rates, problem)


def sender(*, out: float | None = None, makes: float = 500, seals: float = 900, only: bool = False) -> Sender:
    return Sender(out * MB if out is not None else None, makes * MB, 0.5, seals * MB, only)


def named(verdict: Verdict) -> Bottleneck:
    assert verdict.bottleneck is not None, verdict.text
    assert verdict.text == verdict.bottleneck.text
    return verdict.bottleneck


def of(nodes: Sequence[NodeSpeed], copies: int) -> list[float]:
    return list(shares(nodes, copies).values())


def test_shares_go_by_capacity_and_no_machine_has_more_than_one_copy() -> None:
    assert of([node(1, 9), node(2, 9), node(3, 9), node(4, 9)], 2) == pytest.approx([0.5] * 4)
    assert of([node(1, 9, capacity=300), node(2, 9), node(3, 9), node(4, 9)], 2) == pytest.approx([1] + [1 / 3] * 3)
    assert of([node(1, 9, capacity=500), node(2, 9, capacity=400), node(3, 9)], 2) == pytest.approx([1, 0.8, 0.2])
    assert of([node(1, 9), node(2, 9)], 3) == [1, 1]


def test_nodes_of_one_machine_share_its_part() -> None:
    nodes = [node(1, 9, domain="a"), node(2, 9, domain="a", capacity=300), node(3, 9), node(4, 9)]
    assert of(nodes, 2) == pytest.approx([0.25, 0.75, 0.5, 0.5])


def test_a_slow_disk_is_named_and_what_stores_would_gain() -> None:
    # With four nodes each has half: 0.5 / 9. Without pi-3 each of the others has two thirds: (2 / 3) / 50.
    found = named(find([node(1, 50), node(2, 50), node(3, 9, 80), node(4, 50)], FAST, copies=2))
    assert (found.node, found.what) == ("pi-3", "disk")
    assert found.mb_per_s == pytest.approx(9)
    assert found.without == pytest.approx((0.5 / 9) / (2 / 3 / 50))
    assert found.text == "pi-3's disk writes 9.0 MB/s; without it stores would be 4.2 x faster"


def test_a_slow_way_is_named_when_both_directions_are_slow() -> None:
    found = named(find([node(1, 50), node(2, 50), node(3, 11, 11.5), node(4, 50)], FAST, copies=2))
    assert (found.node, found.what) == ("pi-3", "way")
    assert found.text.startswith("the way to pi-3 carries 11 MB/s; without it stores would be 3.")


def test_a_slow_node_with_little_to_keep_holds_nobody_up() -> None:
    nodes = [node(1, 50), node(2, 50), node(3, 9, 80, capacity=1), node(4, 50)]
    assert find(nodes, FAST, copies=2).bottleneck is None


def test_where_every_machine_is_needed_a_slow_one_can_only_become_faster() -> None:
    found = named(find([node(1, 60), node(2, 20)], FAST, copies=2))
    assert found.without == pytest.approx(3.0)
    assert (
        found.text == "the way to pi-2 carries 20 MB/s; were it no slower than the rest, stores would be 3.0 x faster"
    )


def test_the_gain_ends_where_this_machine_is_the_limit() -> None:
    nodes = [node(1, 50), node(2, 50), node(3, 9, 80), node(4, 50)]
    assert named(find(nodes, sender(makes=30), copies=2)).without == pytest.approx((0.5 / 9) * 30)


def test_a_cable_here_is_named_when_all_nodes_share_it() -> None:
    # Each alone gets all of it; all at once they get no more.
    found = named(find([node(n, 12) for n in (1, 2, 3, 4)], sender(out=12), copies=2))
    assert (found.node, found.what) == (None, "way out")
    assert found.mb_per_s == pytest.approx(12)
    assert found.without == pytest.approx(2.0)
    assert found.text.startswith(
        "this machine's own way out carries 12 MB/s: a faster cable here is what would help, stores would be 2.0 x"
    )


def test_nodes_that_reach_together_what_each_reaches_alone_are_not_our_limit() -> None:
    assert find([node(n, 12) for n in (1, 2, 3, 4)], sender(out=40), copies=2).bottleneck is None


def test_who_sends_what_it_can_encrypt_needs_no_cable() -> None:
    found = named(find([node(n, 60) for n in (1, 2, 3, 4)], sender(out=60, seals=70), copies=2))
    assert (found.node, found.what) == (None, "processor")
    assert found.text.startswith("this machine's processor: it encrypts and sends 60 MB/s")


def test_a_slow_encoder_is_named_in_plain_bytes() -> None:
    found = named(find([node(n, 100) for n in (1, 2, 3, 4)], sender(makes=30), copies=2))
    assert (found.node, found.what) == (None, "processor")
    assert found.mb_per_s == pytest.approx(60)
    assert found.text.startswith("this machine's processor: it encodes and hashes 60 MB/s; with a faster one")


def test_nobody_is_named_where_all_are_alike() -> None:
    verdict = find([node(1, 50), node(2, 45), node(3, 55), node(4, 48)], FAST, copies=2)
    assert verdict == Verdict(None, "no single node stands out: they take 45 to 55 MB/s each")


def test_nodes_on_this_machine_share_it_and_no_cable_is_blamed() -> None:
    verdict = find([node(n, 100) for n in (1, 2, 3, 4)], sender(out=50, only=True), copies=2)
    assert verdict.bottleneck is None
    assert "all nodes are on this machine" in verdict.text


def test_a_node_that_failed_counts_for_nothing() -> None:
    nodes = [node(1, 50), node(2, 50), node(3, None, problem="broken"), node(4, 50)]
    assert find(nodes, FAST, copies=2).bottleneck is None
    assert "no node could be measured" in find([nodes[2]], FAST, copies=2).text


def test_a_single_node_has_none_to_be_compared_with() -> None:
    assert find([node(1, 5)], FAST, copies=2).bottleneck is None
