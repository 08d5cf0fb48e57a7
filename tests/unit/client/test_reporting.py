"""Operations tell the coordinator how they go, whatever becomes of it, and wait for it as good as never."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from roost.checkpoints.progress import Progress
from roost.client.reporting import EVERY_S, LAST_WORD_S, Reporting
from roost.core.errors import NoSpace, Unreachable
from roost.observe.operation import current_operation
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime
from roost.wire.observing import Report


@dataclass
class Coordinator:
    """Hears reports, after `takes_s`; `away` it cannot be reached, `nobody` is there without it."""

    heard: list[Report] = field(default_factory=list)
    takes_s: float = 0.0
    away: bool = False
    nobody: bool = False

    async def send(self, report: Report) -> bool:
        await asyncio.sleep(self.takes_s)
        if self.away:
            raise Unreachable("no route")
        if not self.nobody:
            self.heard.append(report)
        return not self.nobody


Scenario = Callable[[Reporting, Coordinator], Awaitable[None]]


def play(scenario: Scenario, **coordinator: object) -> None:
    async def main() -> None:
        there = Coordinator(**coordinator)  # type: ignore[arg-type]
        reporting = Reporting(SimRuntime(random.Random(1)), there.send)
        await scenario(reporting, there)
        await reporting.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_simulated(main(), seconds_max=1000)


def now() -> float:
    return asyncio.get_running_loop().time()


async def moves(progress: Progress, seconds: float = 3.5, *, degraded: bool = False) -> SimpleNamespace:
    """An operation of so many seconds, 100 bytes each."""
    progress.bytes_total = 1000
    for _ in range(int(seconds * 2)):
        await asyncio.sleep(0.5)
        progress.advance(50)
    return SimpleNamespace(degraded=degraded)


def test_it_is_told_of_when_it_begins_every_second_and_when_it_ends() -> None:
    async def scenario(reporting: Reporting, there: Coordinator) -> None:
        progress = Progress(phase="looking")
        await reporting.follow("store", "run/step-1", progress, lambda: moves(progress))
        first, *others, last = there.heard
        assert (first.kind, first.name, first.state, first.bytes_done) == ("store", "run/step-1", "running", 0)
        assert (first.waits_for, round(first.seconds, 3)) == ("looking", 0.0)
        assert [report.state for report in others] == ["running"] * 3
        assert [report.bytes_done for report in others] == sorted({report.bytes_done for report in others})
        assert (last.state, last.bytes_done, last.bytes_total) == ("done", 350, 1000)
        assert last.seconds == pytest.approx(3.5, abs=0.01)
        assert len({report.id for report in there.heard}) == 1

    play(scenario)


def test_fewer_copies_than_asked_are_told_and_so_is_why_it_failed() -> None:
    async def scenario(reporting: Reporting, there: Coordinator) -> None:
        progress = Progress()
        await reporting.follow("store", "a", progress, lambda: moves(progress, degraded=True))
        assert there.heard[-1].state == "degraded"

        async def fails() -> None:
            raise NoSpace("the cluster is full")

        with pytest.raises(NoSpace):
            await reporting.follow("store", "b", progress, fails)
        last = there.heard[-1]
        assert (last.name, last.state, last.reason, last.message) == ("b", "failed", "no-space", "the cluster is full")
        assert there.heard[0].id != last.id

    play(scenario)


def test_one_that_is_interrupted_is_told_of_too() -> None:
    async def scenario(reporting: Reporting, there: Coordinator) -> None:
        progress = Progress()
        task = asyncio.create_task(reporting.follow("gather", "a", progress, lambda: moves(progress, 60)))
        await asyncio.sleep(2.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (there.heard[-1].state, there.heard[-1].reason) == ("failed", "interrupted")

    play(scenario)


@pytest.mark.parametrize("how", [{"takes_s": 1000.0}, {"away": True}, {"nobody": True}, {"away": True, "takes_s": 2.0}])
@pytest.mark.parametrize("seconds", [0.5, 20.0])
def test_a_coordinator_that_does_not_hear_is_not_waited_for(how: dict[str, object], seconds: float) -> None:
    async def scenario(reporting: Reporting, there: Coordinator) -> None:
        progress, begun = Progress(), now()
        await reporting.follow("store", "a", progress, lambda: moves(progress, seconds))
        assert now() - begun <= seconds + (LAST_WORD_S if seconds < 1 else 0) + 0.001

    play(scenario, **how)


def test_one_that_comes_back_hears_of_what_still_runs() -> None:
    async def scenario(reporting: Reporting, there: Coordinator) -> None:
        progress = Progress()
        task = asyncio.create_task(reporting.follow("store", "a", progress, lambda: moves(progress, 60)))
        await asyncio.sleep(5)
        there.away = False
        await task
        assert there.heard[-1].state == "done"
        assert 40 < len(there.heard) < 60 / EVERY_S

    play(scenario, away=True)


def test_what_happens_within_belongs_to_the_operation() -> None:
    async def scenario(reporting: Reporting, there: Coordinator) -> None:
        assert current_operation() is None
        async with reporting.following("drain", "pi", Progress()):
            here = current_operation()
            assert await asyncio.create_task(asyncio.sleep(0, current_operation())) == here
        assert current_operation() is None
        assert there.heard[-1].id == here

    play(scenario)


def test_a_failed_backup_is_told_without_being_waited_for() -> None:
    async def scenario(reporting: Reporting, there: Coordinator) -> None:
        reporting.backup_failed("run/step-\udcff" + "x" * 5000, NoSpace("full " * 1000))
        assert not there.heard
        await asyncio.sleep(1)
        [report] = there.heard
        assert (report.kind, report.state, report.reason) == ("backup", "failed", "no-space")
        assert report.name.startswith("run/step-\\udcff")
        assert max(len(report.name), len(report.message)) <= 1024

    play(scenario)


def test_in_the_end_the_last_words_get_a_moment_and_no_more() -> None:
    async def scenario(reporting: Reporting, there: Coordinator) -> None:
        reporting.backup_failed("a", NoSpace("full"))
        await reporting.aclose()
        assert len(there.heard) == 1
        there.takes_s, begun = 1000.0, now()
        reporting.backup_failed("b", NoSpace("full"))
        await reporting.aclose()
        assert now() - begun <= LAST_WORD_S + 0.001

    play(scenario, takes_s=0.1)
