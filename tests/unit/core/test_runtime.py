"""The real runtime: threads whose buffers are free again when the caller is, clocks, and limits."""

import asyncio
import threading
from collections.abc import Generator

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


async def test_where_no_thread_can_be_started_any_more_those_that_are_there_do_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    runtime, fresh = SystemRuntime(), SystemRuntime()
    assert await runtime.in_thread(int) == 0
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert await asyncio.gather(*(runtime.in_thread(abs, -number) for number in range(5))) == list(range(5))
    with pytest.raises(RuntimeError, match="shutdown"):
        await fresh.in_thread(int)
    monkeypatch.undo()
    assert await fresh.in_thread(int) == 0
    runtime.close()
    fresh.close()


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


async def test_a_coroutine_is_carried_by_one_thread_and_does_its_work_there() -> None:
    runtime = SystemRuntime()
    loops = threading.get_ident()

    async def work() -> list[int]:
        return [threading.get_ident(), await runtime.in_thread(threading.get_ident)]

    first, second = await runtime.carry(work, cancel=never)
    assert first == second != loops
    with pytest.raises(ZeroDivisionError):
        await runtime.carry(divided, cancel=never)
    assert await runtime.in_thread(threading.get_ident) not in (first, loops)
    runtime.close()


def never() -> None:
    raise AssertionError("nobody cancelled anything")


async def divided() -> None:
    raise ZeroDivisionError


async def test_a_carried_coroutine_that_waits_for_the_loop_is_a_mistake() -> None:
    runtime = SystemRuntime()

    async def work() -> None:
        await Suspended()

    with pytest.raises(RuntimeError, match="waits for what only a loop has"):
        await runtime.carry(work, cancel=never)
    runtime.close()


class Suspended:
    def __await__(self) -> Generator[None, None, None]:
        yield


async def test_a_cancelled_carrier_is_told_and_its_caller_released_when_it_has_ended() -> None:
    runtime = SystemRuntime()
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    async def work() -> None:
        began.set()
        go_on.wait(10)
        ended.set()

    task = asyncio.create_task(runtime.carry(work, cancel=go_on.set))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    runtime.close()
