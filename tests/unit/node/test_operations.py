"""What a coordinator knows of operations on all machines."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from roost.core.ids import NodeId
from roost.node.operations import ENDED_KEPT, RUNNING_MAX, SILENT_S, Operations
from roost.observe.metrics import Tally
from roost.testing.loop import run_simulated
from roost.testing.runtime import WALL_S, SimRuntime
from roost.wire.observing import Report

OWN, PEER = NodeId("0" * 32), NodeId("a" * 32)
STORE = Report(b"id-1", "store", "run/step-1", "running", 0.0, 0, 1000, "pi-1")


def play(scenario: Callable[[Operations, Tally], Awaitable[None]]) -> None:
    async def main() -> None:
        tally = Tally()
        await scenario(Operations(SimRuntime(random.Random(1)), tally, own=OWN, called=lambda n: f"m-{n[0]}"), tally)

    run_simulated(main(), seconds_max=1000)


def test_the_end_of_an_operation_is_told_and_only_that() -> None:
    async def main() -> None:
        ended: list[str] = []
        operations = Operations(SimRuntime(random.Random(1)), Tally(), own=OWN, called=str, ended=ended.append)
        last = await moved(operations, 3)
        assert ended == []
        operations.take(PEER, replace(last, state="done"))
        operations.take(PEER, Report(b"id-2", "backup", "run", "failed", 0.0, 0, 0, "", reason="no-space"))
        assert ended == ["store"]

    run_simulated(main(), seconds_max=1000)


async def moved(operations: Operations, seconds: int, *, rate: int = 100, report: Report = STORE) -> Report:
    """So many seconds of reports, one a second."""
    for second in range(seconds + 1):
        report = replace(report, seconds=float(second), bytes_done=rate * second)
        operations.take(PEER, report)
        await asyncio.sleep(1)
    return report


def test_it_runs_moves_and_ends() -> None:
    async def scenario(operations: Operations, tally: Tally) -> None:
        last = await moved(operations, 8)
        [row] = operations.rows()
        assert (row.kind, row.name, row.origin, row.state) == ("store", "run/step-1", "m-a", "running")
        assert (row.bytes_done, row.bytes_total, row.waits_for) == (800, 1000, "pi-1")
        assert row.rate == pytest.approx(100.0, rel=0.01)
        assert operations.running()["store"] == (1, row.rate)
        operations.take(PEER, replace(last, state="done", bytes_done=1000))
        [row] = operations.rows()
        assert (row.state, row.rate, row.waits_for, row.bytes_done) == ("done", None, "", 1000)
        assert operations.running() == {}
        assert tally.seconds["store", "ok"].sum == 8.0
        assert tally.succeeded_at["store"] > WALL_S

    play(scenario)


def test_the_rate_is_that_of_the_last_seconds_and_a_stall_shows() -> None:
    async def scenario(operations: Operations, tally: Tally) -> None:
        last = await moved(operations, 20, rate=1000)
        for _ in range(8):
            operations.take(PEER, last)
            await asyncio.sleep(1)
        assert operations.rows()[0].rate == 0.0

    play(scenario)


def test_what_is_not_heard_of_any_more_has_failed_and_is_not_counted() -> None:
    async def scenario(operations: Operations, tally: Tally) -> None:
        await moved(operations, 3)
        await asyncio.sleep(SILENT_S + 1)
        assert operations.running() == {}
        [row] = operations.rows()
        assert (row.state, row.message[:17]) == ("failed", "nothing was heard")
        assert tally.seconds == {}

    play(scenario)


def test_two_machines_may_use_one_id() -> None:
    async def scenario(operations: Operations, tally: Tally) -> None:
        operations.take(PEER, STORE)
        await operations.send(STORE)
        assert [row.origin for row in operations.rows()] == ["m-a", "m-0"]

    play(scenario)


def test_no_peer_makes_it_remember_without_bound() -> None:
    async def scenario(operations: Operations, tally: Tally) -> None:
        for number in range(2 * RUNNING_MAX):
            operations.take(PEER, replace(STORE, id=number.to_bytes(8, "big")))
        assert len(operations.rows()) == RUNNING_MAX
        for number in range(2 * RUNNING_MAX):
            operations.take(PEER, replace(STORE, id=number.to_bytes(8, "big"), state="done"))
        assert len(operations.rows()) == ENDED_KEPT

    play(scenario)


def test_a_failed_backup_counts_and_is_no_operation() -> None:
    async def scenario(operations: Operations, tally: Tally) -> None:
        operations.take(PEER, replace(STORE, kind="backup", state="failed", reason="no-space"))
        operations.take(PEER, replace(STORE, kind="backup", state="failed", reason=""))
        assert operations.rows() == []
        assert tally.backup_failures == {"no-space": 1, "failed": 1}

    play(scenario)


def test_who_waits_hears_of_each_change_once() -> None:
    async def scenario(operations: Operations, tally: Tally) -> None:
        waiting = asyncio.create_task(operations.wait(operations.number))
        await asyncio.sleep(1)
        assert not waiting.done()
        operations.take(PEER, STORE)
        await waiting
        assert [row.state for row in operations.after(0)] == ["running"]
        seen = operations.number
        operations.take(PEER, replace(STORE, state="failed"))
        operations.take(PEER, replace(STORE, id=b"id-2"))
        assert [(row.id, row.state) for row in operations.after(seen)] == [
            (b"id-1".hex(), "failed"), (b"id-2".hex(), "running"),
        ]  # fmt: skip
        assert operations.after(operations.number) == []

    play(scenario)
