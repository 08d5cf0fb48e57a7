"""A `Runtime` of one simulated process: virtual time, seeded chance, and threads that are only a moment's delay."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")

THREAD_DELAY_MAX_S = 0.002
WALL_S = 1_750_000_000.0

OnThread = Callable[[Callable[..., object]], float]
"""Called before work runs "in a thread", with that work: returns the virtual seconds it takes in addition, or raises
what shall befall it."""


class SimRuntime:
    """The runtime of one process, for `testing.loop`. Its chance comes from `rng` alone; its clocks may be off:
    `clock_offset` seconds for `now`, any `wall` (seconds since 1970 when the simulation starts), which `wall_off_s`
    moves further at any time."""

    def __init__(self, rng: random.Random, *, clock_offset: float = 0.0, wall: float = WALL_S) -> None:
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._begin = self._loop.time()
        self._clock_offset = clock_offset
        self._wall = wall
        self.wall_off_s = 0.0
        self.on_thread: OnThread | None = None

    def now(self) -> float:
        return self._loop.time() + self._clock_offset

    def wall(self) -> float:
        return max(0.0, self._wall + self._loop.time() - self._begin + self.wall_off_s)

    def random(self) -> float:
        return self._rng.random()

    def token_bytes(self, count: int) -> bytes:
        return self._rng.randbytes(count)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout(seconds)

    async def in_thread(self, work: Callable[..., T], *args: object) -> T:
        """Run `work` now or a moment later, and return a moment after. As with a real thread, the work of a caller
        who is cancelled meanwhile is done all the same."""
        delay = self._rng.random() * THREAD_DELAY_MAX_S
        if self.on_thread is not None:
            delay += self.on_thread(work)
        if self._rng.random() < 0.5:
            try:
                return work(*args)
            finally:
                await asyncio.sleep(delay)
        try:
            await asyncio.sleep(delay)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):  # supervised: the caller is gone, as with a real thread
                work(*args)
            raise
        return work(*args)

    async def carry(self, work: Callable[[], Coroutine[object, object, T]], *, cancel: Callable[[], None]) -> T:
        """Run it right here: on virtual time it may wait for whatever it likes."""
        return await work()
