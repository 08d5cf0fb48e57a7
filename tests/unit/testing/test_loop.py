"""Unit tests of the loop on virtual time."""

import asyncio
import contextlib
import time

import pytest

from roost.testing.loop import BEGIN_S, Deadlock, RanOut, SimulatedLoop, run_simulated


def test_hours_pass_in_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    begin = time.monotonic()
    assert run_simulated(main(), seconds_max=4000) == pytest.approx(BEGIN_S + 3600, abs=0.01)
    assert time.monotonic() - begin < 1


def test_timers_end_in_their_order() -> None:
    async def main() -> list[float]:
        ended: list[float] = []

        async def wait(seconds: float) -> None:
            await asyncio.sleep(seconds)
            ended.append(seconds)

        async with asyncio.TaskGroup() as group:
            for seconds in (3.0, 1.0, 2.5, 0.0, 2.0):
                group.create_task(wait(seconds))
        return ended

    assert run_simulated(main(), seconds_max=10) == [0.0, 1.0, 2.0, 2.5, 3.0]


def test_a_timeout_ends_what_would_wait_for_ever() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()

    run_simulated(main(), seconds_max=60)


def test_a_deadlock_names_who_waits_and_where() -> None:
    async def waits_for_nothing() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.create_task(waits_for_nothing(), name="the patient one")

    with pytest.raises(Deadlock, match=r"the patient one \(Event.wait"):
        run_simulated(main(), seconds_max=60)


def test_virtual_time_is_limited_and_tasks_may_clean_up() -> None:
    cleaned = []

    async def main() -> None:
        try:
            while True:
                await asyncio.sleep(1)
        finally:
            await asyncio.sleep(0.5)
            cleaned.append(True)

    with pytest.raises(RanOut, match="not done at"):
        run_simulated(main(), seconds_max=60)
    assert cleaned == [True]


def test_steps_are_limited() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(RanOut, match="more than 1000 steps"):
        run_simulated(main(), seconds_max=60, steps_max=1000)


def test_a_task_that_only_yields_does_not_stop_the_clock() -> None:
    async def main() -> None:
        timer = asyncio.create_task(asyncio.sleep(0.01))
        while not timer.done():
            await asyncio.sleep(0)

    run_simulated(main(), seconds_max=1)


def test_there_are_no_threads() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="in_thread"):
            await asyncio.to_thread(print)

    run_simulated(main(), seconds_max=1)


def test_what_a_program_raises_comes_out() -> None:
    async def main() -> None:
        raise KeyError("as it was")

    with pytest.raises(KeyError, match="as it was"):
        run_simulated(main(), seconds_max=1)


def test_tasks_are_cancelled_in_the_order_they_were_made_in() -> None:
    async def main() -> list[int]:
        cancelled: list[int] = []
        padding = []  # moves the tasks about in memory

        async def wait(number: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(number)

        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(wait(number))
                    padding.append(bytearray(number * 37 % 1000))
                await asyncio.sleep(0)
                raise ValueError
        return cancelled

    assert run_simulated(main(), seconds_max=1) == list(range(50))


def test_steps_tell_whether_two_runs_were_the_same() -> None:
    async def main(rounds: int) -> int:
        for _ in range(rounds):
            await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        return loop.steps

    assert run_simulated(main(5), seconds_max=9) == run_simulated(main(5), seconds_max=9)
    assert run_simulated(main(5), seconds_max=9) < run_simulated(main(6), seconds_max=9)
