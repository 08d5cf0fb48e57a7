"""An event loop in a thread of its own: results, errors and interrupts come back to whoever waits."""

import asyncio
import os
import signal
import threading

import pytest

from roost.core.errors import Failed
from roost.core.runtime import LoopThread


def test_what_a_coroutine_returns_or_raises_comes_back() -> None:
    loop = LoopThread()

    async def work(value: int) -> int:
        await asyncio.sleep(0)
        if value < 0:
            raise ValueError(value)
        return value + 1

    assert loop.run(work(1)) == 2
    assert loop.start(work(2)).result(timeout=5) == 3
    with pytest.raises(ValueError, match="-1"):
        loop.run(work(-1))
    loop.close()
    loop.close()
    assert not loop.is_open


def test_it_serves_a_program_that_has_a_loop_of_its_own() -> None:
    async def main() -> str:
        loop = LoopThread()
        try:
            return loop.run(_name_of_the_thread())
        finally:
            loop.close()

    assert asyncio.run(main()) == "roost loop"


async def _name_of_the_thread() -> str:
    return threading.current_thread().name


def test_an_interrupt_cancels_the_work_and_is_raised_when_it_has_ended() -> None:
    loop = LoopThread()
    ended: list[str] = []

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)  # the main thread gets it, as with Ctrl-C
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.append("whole")

    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert ended == ["whole"]
    loop.close()


def test_closing_cancels_what_still_runs() -> None:
    loop = LoopThread()
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    loop.start(work())
    loop.close()
    assert ended.is_set()


def test_in_a_forked_process_it_says_so_instead_of_waiting_for_ever() -> None:
    loop = LoopThread()
    assert loop.run(_name_of_the_thread()) == "roost loop"
    child = os.fork()
    if not child:
        try:
            loop.run(_name_of_the_thread())
        except Failed:
            loop.close()
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert loop.run(_name_of_the_thread()) == "roost loop"
    loop.close()
