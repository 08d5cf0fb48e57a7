"""A bounded pool of equal buffers, so that a node's memory does not grow with what passes through it."""

import asyncio

from roost.net.stream import SLICE_BYTES


class SlicePool:
    """Lends up to `loans_max` loans of `each` buffers of `slice_bytes`, in the order they were asked for.

    A loan is taken whole, so that nobody waits for a second buffer while holding a first. Buffers are made when first
    needed and kept for the next.
    """

    def __init__(self, *, loans_max: int, each: int = 1, slice_bytes: int = SLICE_BYTES) -> None:
        self.slice_bytes = slice_bytes
        self._each = each
        self._places = asyncio.Semaphore(loans_max)
        self._idle: list[bytearray] = []

    async def borrow(self) -> list[bytearray]:
        """One loan; waits for its turn. Each loan ends with exactly one `give_back`."""
        await self._places.acquire()
        buffers = [self._idle.pop() for _ in range(min(self._each, len(self._idle)))]
        buffers += [bytearray(self.slice_bytes) for _ in range(self._each - len(buffers))]
        return buffers

    def give_back(self, buffers: list[bytearray]) -> None:
        """End a loan. A buffer that somebody may still write into is left out of `buffers`: it is never lent again."""
        self._idle += buffers
        self._places.release()
