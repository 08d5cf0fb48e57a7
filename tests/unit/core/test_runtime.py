"""The real runtime: threads whose buffers are free again when the caller is, clocks, and limits."""

import asyncio
import threading

import pytest

from roost.core.runtime import SystemRuntime


async def test_work_in_a_thread_returns_and_raises() -> None:
    runtime = SystemRuntime()
    assert await runtime.in_thread(lambda a, b: a + b, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        await runtime.in_thread(lambda: 1 / 0)
    runtime.close()


async def test_a_cancelled_caller_is_released_only_when_the_work_has_ended() -> None:
    runtime = SystemRuntime()
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait(10)
        ended.set()

    task = asyncio.create_task(runtime.in_thread(work))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    runtime.close()


async def test_no_more_threads_than_allowed_work_at_once() -> None:
    runtime = SystemRuntime(threads_max=2)
    both, go_on = threading.Barrier(3), threading.Event()
    lock, working, most = threading.Lock(), 0, 0

    def work(meet: bool) -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        if meet:
            both.wait(10)
            go_on.wait(10)
        with lock:
            working -= 1

    tasks = [asyncio.create_task(runtime.in_thread(work, number < 2)) for number in range(8)]
    await asyncio.to_thread(both.wait, 10)
    go_on.set()
    await asyncio.gather(*tasks)
    assert most == 2
    runtime.close()


def test_work_that_outlives_its_loop_harms_nobody() -> None:
    runtime = SystemRuntime()
    began, go_on = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait(10)

    loop = asyncio.new_event_loop()
    waiting = runtime.in_thread(work)
    task = loop.create_task(waiting)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert began.wait(10)
    loop.close()
    go_on.set()
    runtime.close()
    assert asyncio.run(SystemRuntime().in_thread(lambda: 7)) == 7
    task.get_coro().close()


async def test_a_timeout_ends_its_block() -> None:
    runtime = SystemRuntime()
    with pytest.raises(TimeoutError):
        async with runtime.timeout(0.001):
            await asyncio.Event().wait()
    runtime.close()


def test_clocks_and_chance() -> None:
    runtime = SystemRuntime()
    first = runtime.now()
    assert runtime.now() >= first
    assert runtime.wall() > 1_600_000_000
    assert 0 <= runtime.random() < 1
    assert len(runtime.token_bytes(16)) == 16
    assert runtime.token_bytes(16) != runtime.token_bytes(16)
    runtime.close()
