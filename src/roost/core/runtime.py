"""The one door to time, chance and threads, so that one seed can replay a whole cluster.

`Runtime` is the port; `SystemRuntime` is the real one. Code below the apps never imports `time`, `random` or
`threading`; coroutines may use asyncio's own primitives (locks, events, task groups), which run on virtual time too.
"""

import asyncio
import concurrent.futures
import os
import random
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

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
    """The machine's own clock, randomness and a bounded thread pool."""

    def __init__(self, *, threads_max: int = 0) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(
            max_workers=threads_max or min(16, 4 + (os.cpu_count() or 1)), thread_name_prefix="roost"
        )

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
        future = asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                try:
                    await asyncio.shield(asyncio.wait([future]))
                except asyncio.CancelledError:
                    continue
            if not future.cancelled():
                future.exception()
            raise

    def close(self) -> None:
        """Wait for running work and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)
