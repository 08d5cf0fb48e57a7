"""Who would be done first, from what each node was given and finished so far."""

import pytest

from roost.checkpoints.load import EACH_BYTES, FASTEST, MEMORY_S, SLACK_S, Loads
from roost.core.ids import NodeId

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
MB = 1_000_000
NET = EACH_BYTES


def worked(loads: Loads, node: NodeId, *, size: int, seconds: float, begun: float = 0.0) -> None:
    loads.begin(node, size, now=begun)
    loads.end(node, size, now=begun + seconds, moved=True)


def test_nodes_of_which_nothing_is_known_keep_their_order() -> None:
    assert Loads().best_first([B, A, C], MB, now=0) == [B, A, C]


def test_when_nothing_is_known_who_has_less_to_do_is_done_first() -> None:
    loads = Loads()
    loads.begin(A, MB, now=0)
    assert loads.expected_s(A, MB, now=0) == pytest.approx(2 * (MB + NET) / FASTEST)
    assert loads.expected_s(B, MB, now=0) == pytest.approx((MB + NET) / FASTEST)


def test_a_rate_is_what_was_finished_over_the_time_with_something_to_do() -> None:
    loads = Loads()
    worked(loads, A, size=4 * MB - NET, seconds=2)
    assert loads.expected_s(A, 6 * MB - NET, now=100) == 3.0  # what it idled does not count


def test_transfers_that_overlap_count_their_time_once() -> None:
    loads = Loads()
    for _ in range(2):
        loads.begin(A, 4 * MB - NET, now=0)
    for now in (2, 4):
        loads.end(A, 4 * MB - NET, now=now, moved=True)
    assert loads.expected_s(A, 2 * MB - NET, now=4) == 1.0


def test_a_node_that_has_finished_nothing_is_slower_the_longer_it_takes() -> None:
    loads = Loads()
    loads.begin(A, 4 * MB, now=0)
    assert [loads.expected_s(A, 4 * MB, now=now) for now in (1, 5)] == [2.0, 10.0]


def test_what_did_not_go_is_no_work_done() -> None:
    loads = Loads()
    worked(loads, A, size=4 * MB, seconds=2)
    loads.begin(A, 4 * MB, now=2)
    loads.end(A, 4 * MB, now=4, moved=False)
    assert loads.expected_s(A, 4 * MB, now=4) == 4.0


def test_a_slow_node_comes_last_and_a_little_slower_one_keeps_its_place() -> None:
    loads = Loads()
    worked(loads, A, size=4 * MB, seconds=8 + SLACK_S)
    worked(loads, B, size=4 * MB, seconds=1)
    worked(loads, C, size=4 * MB, seconds=1.5)
    assert loads.best_first([A, C, B], 4 * MB, now=20) == [C, B, A]


def test_of_the_slow_the_least_slow_comes_first() -> None:
    loads = Loads()
    for node, seconds in ((A, 60.0), (B, 40.0), (C, 1.0)):
        worked(loads, node, size=4 * MB, seconds=seconds)
    assert loads.best_first([A, B, C], 4 * MB, now=100) == [C, B, A]


def test_a_small_object_does_not_tell_how_fast_a_node_is() -> None:
    loads = Loads()
    worked(loads, A, size=1000, seconds=0.02)
    assert loads.best_first([A, B], 8 * MB, now=1) == [A, B]


def test_a_node_that_recovers_is_known_for_it_after_a_while() -> None:
    loads = Loads()
    worked(loads, A, size=4 * MB, seconds=MEMORY_S)
    slow = loads.expected_s(A, 4 * MB, now=50)
    for i in range(40):
        worked(loads, A, size=4 * MB, seconds=1, begun=50 + i)
    assert loads.expected_s(A, 4 * MB, now=90) < slow / 10
