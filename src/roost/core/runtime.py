"""The one door to time, chance and threads, so that one seed can replay a whole cluster.

`Runtime` is the port; `SystemRuntime` is the real one. Code below the apps never imports `time`, `random` or
`threading`; coroutines may use asyncio's own primitives (locks, events, task groups), which run on virtual time too.
"""

import asyncio
import contextlib
import functools
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

T = TypeVar("T")


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
        `work` must therefore be short: one slice, one chunk, one fsync.
        """
        ...


class SystemRuntime:
    """The machine's own clock, randomness and a bounded pool of threads. For one event loop at a time."""

    def __init__(self, *, threads_max: int = 0) -> None:
        self._threads_max = threads_max or min(16, 4 + (os.cpu_count() or 1))
        self._threads: list[threading.Thread] = []
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._under_way = 0

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
        job = _Job(asyncio.get_running_loop(), functools.partial(work, *args))
        self._under_way += 1
        try:
            if self._under_way > len(self._threads) and len(self._threads) < self._threads_max:
                self._start_thread()
            self._waiting.put(job)
            await job.done()
        finally:
            self._under_way -= 1
        if job.error is not None:
            try:
                raise job.error
            finally:
                del job  # the error's traceback leads here: no cycle
        return cast(T, job.result)

    def _start_thread(self) -> None:
        # A daemon: the process may end while threads are idle, and they work only for callers that wait for them.
        thread = threading.Thread(target=_serve, args=(self._waiting,), name="roost", daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Wait for running work and end the threads."""
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

    async def done(self) -> None:
        """Return when the work has ended; a caller that is cancelled meanwhile learns it only then."""
        cancelled: asyncio.CancelledError | None = None
        while not self._ended:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError as error:
                cancelled = error
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
