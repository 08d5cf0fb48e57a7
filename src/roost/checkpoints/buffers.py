"""The buffers of one store: windows to read into, scratches to encode in, and room for small chunks on their way.

All three are bounded, whatever the checkpoint's size. A chunk holds its window and its scratch until it is sent, not
until its node has it on the disk; a small one is copied out of them, so that a few kilobytes that wait for a connection
keep no chunk from being read and encoded.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from roost.checkpoints.delivery import Pieces
from roost.codec.planes import RAW, Encoded, Scratch

WINDOWS = 3
ENCODERS = 4
SMALL_BYTES_MAX = 2 * 1024 * 1024
SMALL_BYTES_AT_ONCE = 4 * 1024 * 1024
SMALL_AT_ONCE = 16


@dataclass(slots=True)
class Window:
    """What was read at once, and how many chunks still use it."""

    buffer: memoryview
    users: int


class Buffers:
    """Windows of `window_bytes` and scratches for chunks of at most `chunk_max` bytes."""

    def __init__(self, *, window_bytes: int, chunk_max: int) -> None:
        self.windows: asyncio.Queue[memoryview] = asyncio.Queue()
        self.scratches: asyncio.Queue[Scratch] = asyncio.Queue()
        for _ in range(WINDOWS):
            self.windows.put_nowait(memoryview(bytearray(window_bytes)))
        for _ in range(ENCODERS):
            self.scratches.put_nowait(Scratch(bytes_max=chunk_max))
        self._small_bytes = SMALL_BYTES_AT_ONCE
        self._small = SMALL_AT_ONCE

    async def lend(self, window: Window) -> "Loan":
        """The buffers of one chunk of `window`, once a scratch is free."""
        return Loan(self, window, await self.scratches.get())

    @asynccontextmanager
    async def scratch(self) -> AsyncIterator[Scratch]:
        """A scratch alone."""
        scratch = await self.scratches.get()
        try:
            yield scratch
        finally:
            self.scratches.put_nowait(scratch)

    def take_room(self, size: int) -> bool:
        """Whether so many bytes may be copied now; if so, `give_room` gives them back."""
        if size > SMALL_BYTES_MAX or size > self._small_bytes or not self._small:
            return False
        self._small_bytes -= size
        self._small -= 1
        return True

    def give_room(self, size: int) -> None:
        self._small_bytes += size
        self._small += 1


class Loan:
    """What one chunk holds, each part given back once: with `close` in the end, or as soon as it is of no use."""

    def __init__(self, buffers: Buffers, window: Window, scratch: Scratch) -> None:
        self.scratch = scratch
        self._buffers = buffers
        self._window: Window | None = window
        self._encoding = True
        self._room: int | None = None

    def to_send(self, encoded: Encoded) -> Pieces:
        """The bytes of the chunk, valid until `close`."""
        if self._buffers.take_room(encoded.length):
            self._room = encoded.length
            copied = (b"".join(encoded.pieces),)
            self._give_scratch()
            self._give_window()
            return copied
        if encoded.codec != RAW:  # the pieces of a raw chunk are the window's own bytes
            self._give_window()
        return encoded.pieces

    def close(self) -> None:
        self._give_scratch()
        self._give_window()
        if self._room is not None:
            self._buffers.give_room(self._room)
            self._room = None

    def _give_scratch(self) -> None:
        if self._encoding:
            self._encoding = False
            self._buffers.scratches.put_nowait(self.scratch)

    def _give_window(self) -> None:
        window, self._window = self._window, None
        if window is not None:
            window.users -= 1
            if window.users == 0:
                self._buffers.windows.put_nowait(window.buffer)
