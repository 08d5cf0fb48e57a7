"""A bounded pool of equal buffers, so that a node's memory does not grow with what passes through it."""

import asyncio

from roost.net.stream import SLICE_BYTES


class SlicePool:
    """Lends up to `loans_max` buffers of `slice_bytes`, in the order they were asked for. Buffers are made when first
    needed and kept for the next."""

    def __init__(self, *, loans_max: int, slice_bytes: int = SLICE_BYTES) -> None:
        self.slice_bytes = slice_bytes
        self._places = asyncio.Semaphore(loans_max)
        self._idle: list[bytearray] = []

    async def borrow(self) -> list[bytearray]:
        """A loan of one buffer; waits for its turn. Each ends with exactly one `give_back`."""
        await self._places.acquire()
        return [self._idle.pop() if self._idle else bytearray(self.slice_bytes)]

    def give_back(self, buffers: list[bytearray]) -> None:
        """End a loan. A buffer that somebody may still write into is left out of `buffers`: it is never lent again."""
        self._idle += buffers
        self._places.release()
