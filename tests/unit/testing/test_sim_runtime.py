"""Unit tests of the simulated runtime."""

import asyncio
import random
from collections.abc import Callable

import pytest

from roost.core.runtime import Runtime
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime


def test_two_runtimes_of_one_seed_are_alike() -> None:
    async def main() -> tuple[object, ...]:
        runtime: Runtime = SimRuntime(random.Random(7))
        drawn = [runtime.random() for _ in range(5)]
        await runtime.in_thread(lambda: None)
        return drawn, runtime.token_bytes(16), runtime.now()

    assert run_simulated(main(), seconds_max=1) == run_simulated(main(), seconds_max=1)


def test_clocks_run_together_but_may_be_off() -> None:
    async def main() -> None:
        right, wrong = SimRuntime(random.Random(1)), SimRuntime(random.Random(2), clock_offset=500, wall=0.0)
        await right.sleep(10)
        assert wrong.now() - right.now() == 500
        assert wrong.wall() == pytest.approx(10, abs=0.01)

    run_simulated(main(), seconds_max=20)


@pytest.mark.parametrize("seed", range(6))
def test_the_work_of_a_cancelled_caller_is_done_all_the_same(seed: int) -> None:
    async def main() -> None:
        runtime = SimRuntime(random.Random(seed))
        done: list[int] = []
        task = asyncio.create_task(runtime.in_thread(done.append, 1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == [1]

    run_simulated(main(), seconds_max=1)


@pytest.mark.parametrize("seed", range(6))
def test_what_the_work_returns_or_raises_comes_out(seed: int) -> None:
    async def main() -> None:
        runtime = SimRuntime(random.Random(seed))
        assert await runtime.in_thread(max, 3, 4) == 4
        with pytest.raises(ZeroDivisionError):
            await runtime.in_thread(lambda: 1 // 0)

    run_simulated(main(), seconds_max=1)


def test_the_simulator_may_charge_time_for_work_or_stop_it() -> None:
    class PowerCut(BaseException):
        pass

    async def main() -> None:
        runtime = SimRuntime(random.Random(3))
        done: list[int] = []

        def slow(work: Callable[..., object]) -> float:
            return 2.0

        def cut(work: Callable[..., object]) -> float:
            raise PowerCut

        runtime.on_thread = slow
        begin = runtime.now()
        await runtime.in_thread(done.append, 1)
        assert 2.0 <= runtime.now() - begin < 2.1
        runtime.on_thread = cut
        with pytest.raises(PowerCut):
            await runtime.in_thread(done.append, 2)
        assert done == [1]

    run_simulated(main(), seconds_max=10)
