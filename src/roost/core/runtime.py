"""The one door to time, chance and threads, so that one seed can replay a whole cluster.

`Runtime` is the port; `SystemRuntime` is the real one. Code below the apps never imports `time`, `random` or
`threading`; coroutines may use asyncio's own primitives (locks, events, task groups), which run on virtual time too.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Protocol, TypeVar, cast

from roost.core.errors import Failed

T = TypeVar("T")

CARRIERS_MAX = 64
"""Threads that carry coroutines; they wait for peers, so they are not those that hash and sync."""

Mutex = threading.Lock
"""What a thread and the loop exclude each other with, for a moment and never while anything is waited for."""
Started = concurrent.futures.Future
"""What a `LoopThread` has begun, seen from any other thread."""
_carried = threading.local()


class Runtime(Protocol):
    """Clock, chance and threads, handed to everything that needs them."""

    def now(self) -> float:
        """Seconds on a clock that never goes back and starts anywhere."""
        ...

    def wall(self) -> float:
        """Seconds since 1970 by the machine's clock, which may be wrong: for display, never for a decision."""
        ...

    def random(self) -> float:
        """A number in [0, 1), for jitter and for spreading load."""
        ...

    def token_bytes(self, count: int) -> bytes:
        """`count` unguessable bytes."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` (>= 0)."""
        ...

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """An async context manager that ends its block with TimeoutError after `seconds`; can be rescheduled."""
        ...

    async def in_thread(self, work: Callable[..., T], *args: object) -> T:
        """Run blocking `work(*args)` off the loop and return what it returns.

        A cancelled caller is released only after `work` has ended, so buffers handed to it are never in use afterwards.
        `work` must therefore be short: one slice, one chunk, one fsync. In a coroutine that is carried by a thread
        already it is done right there.
        """
        ...

    async def carry(self, work: Callable[[], Coroutine[object, object, T]], *, cancel: Callable[[], None]) -> T:
        """Run the coroutine that `work` makes off the loop, in one thread from its beginning to its end, and return
        what it returns: a whole body costs one hop to a thread so, not several a slice.

        It may wait for nothing that needs the loop: `in_thread`, and a stream that was made for it. A cancelled caller
        calls `cancel`, which must make it end soon, and is released only when it has ended.
        """
        ...


class SystemRuntime:
    """The machine's own clock, randomness and a bounded pool of threads. For one event loop at a time."""

    def __init__(self, *, threads_max: int = 0) -> None:
        self._workers = _Pool("roost", threads_max or min(16, 4 + (os.cpu_count() or 1)))
        self._carriers = _Pool("roost carrier", CARRIERS_MAX)

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def random(self) -> float:
        return random.random()  # noqa: S311  # jitter, not secrets

    def token_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout(seconds)

    async def in_thread(self, work: Callable[..., T], *args: object) -> T:
        if getattr(_carried, "here", False):
            return work(*args)
        return cast(T, await self._workers.run(functools.partial(work, *args)))

    async def carry(self, work: Callable[[], Coroutine[object, object, T]], *, cancel: Callable[[], None]) -> T:
        return cast(T, await self._carriers.run(functools.partial(_to_its_end, work), cancel=cancel))

    def close(self) -> None:
        """Wait for running work and end the threads."""
        self._workers.close()
        self._carriers.close()


def _to_its_end(work: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run a coroutine that never has to wait for the loop, in this thread."""
    _carried.here = True
    coroutine = work()
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast(T, end.value)
    finally:
        _carried.here = False
        coroutine.close()
    raise RuntimeError(f"{coroutine} waits for what only a loop has")


class LoopThread:
    """An event loop in a thread of its own, for programs that have none, or one of their own. A process that is forked
    has no such thread: there it raises Failed instead of waiting for ever."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        # A daemon: a program that ends without closing must not hang here.
        self._thread = threading.Thread(target=self._serve, name="roost loop", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def start(self, work: Coroutine[object, object, T]) -> "Started[T]":
        """Let `work` run there; what is returned tells how it ended."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[object, object, T]) -> T:
        """Run `work` there to its end and return what it returns. An interrupt here, such as Ctrl-C, cancels it, and is
        raised when it has ended."""
        if self.is_foreign:
            work.close()
            raise Failed(
                "this belongs to the process that this one was forked from, and does not work here",
                hint="connect anew in each process",
            )
        ended = threading.Event()
        begun: list[asyncio.Task[T]] = []

        def begin() -> None:
            begun.append(self._loop.create_task(work))
            begun[0].add_done_callback(lambda _: ended.set())

        def cancel() -> None:
            if begun:
                begun[0].cancel()
            else:
                work.close()
                ended.set()

        try:
            self._loop.call_soon_threadsafe(begin)
            ended.wait()
        except BaseException:  # also between the two
            self._loop.call_soon_threadsafe(cancel)
            ended.wait()
            raise
        return begun[0].result()

    @property
    def is_open(self) -> bool:
        """Whether it still takes work."""
        return not self._loop.is_closed()

    @property
    def is_foreign(self) -> bool:
        """Whether it was made in another process, which was forked since."""
        return os.getpid() != self._process

    def close(self) -> None:
        """Cancel what still runs and end the thread. Idempotent; nothing in a forked process."""
        if not self.is_open or self.is_foreign:
            return
        self.run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class _Pool:
    """Up to `threads_max` threads, each started when it is first needed."""

    def __init__(self, name: str, threads_max: int) -> None:
        self._name = name
        self._threads_max = threads_max
        self._threads: list[threading.Thread] = []
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._under_way = 0

    async def run(self, work: Callable[[], object], *, cancel: Callable[[], None] | None = None) -> object:
        job = _Job(asyncio.get_running_loop(), work)
        self._under_way += 1
        try:
            if self._under_way > len(self._threads) and len(self._threads) < self._threads_max:
                try:
                    self._start_thread()
                except RuntimeError:  # none can be started now: those that are there do it all
                    if not self._threads:
                        raise
            self._waiting.put(job)
            await job.done(cancel)
        finally:
            self._under_way -= 1
        if job.error is not None:
            try:
                raise job.error
            finally:
                del job  # the error's traceback leads here: no cycle
        return job.result

    def _start_thread(self) -> None:
        # A daemon: the process may end while threads are idle, and they work only for callers that wait for them.
        thread = threading.Thread(target=_serve, args=(self._waiting,), name=self._name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def close(self) -> None:
        for _ in self._threads:
            self._waiting.put(None)
        while self._threads:
            self._threads.pop().join()


class _Job:
    """Work for a thread, and the way back to its caller. Leaner than concurrent.futures, which takes eight turns of
    the loop and two locks for each hop: data passes through here in slices, by the thousand."""

    __slots__ = ("_ended", "_loop", "_waiter", "_work", "error", "result")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> None:
        self._loop = loop
        self._work = work
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self.result: object = None
        self.error: BaseException | None = None

    async def done(self, cancel: Callable[[], None] | None = None) -> None:
        """Return when the work has ended; a caller that is cancelled meanwhile calls `cancel`, and learns it only
        then."""
        cancelled: asyncio.CancelledError | None = None
        while not self._ended:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError as error:
                cancelled = error
                if cancel is not None:
                    cancel()
        if cancelled is not None:
            raise cancelled

    def run(self) -> None:
        """Do the work, in a thread."""
        try:
            self.result = self._work()
        except BaseException as error:  # supervised: it is raised where the caller waits
            self.error = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._ended = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _serve(waiting: "queue.SimpleQueue[_Job | None]") -> None:
    """One thread of the pool: work until told to end."""
    while (job := waiting.get()) is not None:
        job.run()
        del job
