"""Who would be done first, from what each node was given and finished so far."""

import asyncio

import pytest

from roost.checkpoints.load import EACH_BYTES, FASTEST, MEMORY_S, PATIENCE_S, SLACK_S, Loads, unless_overtaken
from roost.core.ids import NodeId
from roost.testing.loop import run_simulated

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


def test_who_has_been_at_it_for_long_is_overtaken_by_who_would_be_done_long_before() -> None:
    loads = Loads()
    worked(loads, B, size=4 * MB, seconds=1)
    loads.begin(A, 4 * MB, now=0)
    assert not loads.overtaken(A, [B], 4 * MB, now=2)
    assert loads.overtaken(A, [B], 4 * MB, now=10)
    assert not loads.overtaken(A, [], 4 * MB, now=10), "nobody else is there"


def test_a_transfer_is_given_up_only_when_it_is_overtaken_and_has_ended_then() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def transfer(seconds: float) -> str:
            try:
                await asyncio.sleep(seconds)
            finally:
                ended.append("ended")
            return "moved"

        assert await unless_overtaken(transfer(PATIENCE_S / 2), lambda: True) == "moved"
        assert await unless_overtaken(transfer(10 * PATIENCE_S), lambda: False) == "moved"
        begin = asyncio.get_running_loop().time()
        assert await unless_overtaken(transfer(10 * PATIENCE_S), lambda: True) is None
        assert asyncio.get_running_loop().time() - begin == pytest.approx(PATIENCE_S)
        assert len(ended) == 3

    run_simulated(main(), seconds_max=2000)


def test_a_transfer_that_fails_or_is_cancelled_leaves_nothing_behind() -> None:
    async def main() -> None:
        async def fails() -> None:
            raise KeyError("a mistake")

        with pytest.raises(KeyError):
            await unless_overtaken(fails(), lambda: False)
        task = asyncio.get_running_loop().create_task(unless_overtaken(asyncio.sleep(1000), lambda: False))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_simulated(main(), seconds_max=2000)


def test_a_caller_that_is_cancelled_twice_still_learns_it_only_when_its_transfer_has_ended() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def transfer() -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(5)
                ended.append("ended")
                raise KeyError("what it ends with is no news")

        task = asyncio.get_running_loop().create_task(unless_overtaken(transfer(), lambda: False))
        for _ in range(2):
            await asyncio.sleep(1)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["ended"]

    run_simulated(main(), seconds_max=2000)
