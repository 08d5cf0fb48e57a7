"""Bytes on their way: bodies that are sent in slices, and the sinks that received slices go to."""

import mmap
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from roost.core.errors import ProtocolError
from roost.net.stream import SLICE_BYTES

UNFILLED_BYTES_MIN = 64 * 1024


def unfilled(length: int) -> memoryview:
    """A new buffer of `length` bytes (1 or more), which a peer only announced so far: a large one takes no memory
    before it is filled, so that announcing costs us nothing."""
    return memoryview(mmap.mmap(-1, length) if length >= UNFILLED_BYTES_MIN else bytearray(length))


@dataclass(frozen=True, slots=True)
class Body:
    """`length` bytes in slices, to be had once, by `opened`. A slice may be reused by its producer once the next is
    asked for. The iterator raises when the bytes cannot be had or are not what they should be; it may be asked in a
    thread, so it waits for nothing but `Runtime.in_thread`."""

    length: int
    slices: AsyncIterator[memoryview]
    held: AbstractAsyncContextManager[object] = field(default_factory=nullcontext)
    """What the producer holds meanwhile: its buffer, its file."""

    @classmethod
    def of(cls, *pieces: bytes | bytearray | memoryview) -> "Body":
        """A body of bytes that are in memory already."""
        views = [memoryview(piece).cast("B") for piece in pieces]
        return cls(sum(len(view) for view in views), _sliced(views))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[AsyncIterator[memoryview]]:
        """The slices. What their producer holds it holds until the block ends, and no longer."""
        async with self.held:
            try:
                yield self.slices
            finally:
                if isinstance(self.slices, AsyncGenerator):
                    await self.slices.aclose()


async def _sliced(views: Iterable[memoryview]) -> AsyncIterator[memoryview]:
    for view in views:
        for begin in range(0, len(view), SLICE_BYTES):
            yield view[begin : begin + SLICE_BYTES]


class Sink(Protocol):
    """Where a received body goes. `take` hands out the buffer for the next slice, exactly `length` bytes (1 to 1 MiB);
    `give` is told when it is filled. Either may wait, and so slows the sender, or raise, and so ends the call. They are
    called in a thread, so they wait for nothing but `Runtime.in_thread`."""

    async def take(self, length: int) -> memoryview: ...

    async def give(self, received: memoryview) -> None: ...


class IntoSink:
    """Fills one buffer; a body that is longer raises ProtocolError."""

    def __init__(self, into: memoryview) -> None:
        self._into = into
        self.received = 0

    async def take(self, length: int) -> memoryview:
        if self.received + length > len(self._into):
            raise ProtocolError("the peer sent more than was asked for")
        return self._into[self.received : self.received + length]

    async def give(self, received: memoryview) -> None:
        self.received += len(received)


class BytesSink:
    """Collects a body of at most `bytes_max` bytes; memory grows only with what really arrives."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._slices: list[memoryview] = []
        self._received = 0

    async def take(self, length: int) -> memoryview:
        if self._received + length > self._bytes_max:
            raise ProtocolError(f"the peer sent more than {self._bytes_max} bytes")
        self._slices.append(unfilled(length))
        return self._slices[-1]

    async def give(self, received: memoryview) -> None:
        self._received += len(received)

    def data(self) -> bytes:
        return b"".join(self._slices)
