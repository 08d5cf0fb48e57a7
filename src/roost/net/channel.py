"""One connection being driven: the wire's state machine on one stream, with one sender at a time and bodies put
straight into the buffers that will use them.

Bodies are carried where they can be: a thread moves all slices in a row, and only what is not a slice comes back to the
loop. Those that a server sends are not, because between two slices it must be able to say *busy*, however long its disk
takes; nor those of a client that shares its connection, because other requests go between them.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from roost.core.errors import RoostError
from roost.core.runtime import Mutex
from roost.net.body import Sink, unfilled
from roost.net.stream import Ends, Stream
from roost.wire.connection import Connection, Event

T = TypeVar("T")

SMALL_BYTES = 4096
CARRIED_BYTES_MIN = 64 * 1024
"""What must be left of a body for a thread to pay."""

SinkOf = Callable[[int], Sink | None]
SinkFailed = Callable[[int, RoostError], None]


@dataclass(frozen=True, slots=True)
class _SinkFailure:
    """A sink takes no more, and why."""

    error: RoostError


class Channel:
    """A `Connection` and its `Stream`. One task calls `next_event`; any task may send. `carries` allows bodies to be
    carried."""

    def __init__(self, stream: Stream, connection: Connection, *, carries: bool) -> None:
        self.stream = stream
        self.connection = connection
        self.holding = False
        """True while a sink makes the peer wait: silence is then our own doing."""
        self.receiving = 0
        """The request of which body slices are just being received, or 0: bytes that arrive now are that body's."""
        self._carries = carries
        self._turn = asyncio.Lock()
        self._state = Mutex()
        """Held for each step of the state machine: a thread takes some, the loop others."""
        self._small = memoryview(bytearray(SMALL_BYTES))
        self._carried = 0
        self._let_go = asyncio.Event()

    async def send(self, make: Callable[[], bytes], payload: memoryview | None = None) -> None:
        """Send the frame that `make` builds (and a body slice after it) when it is our turn.

        The frame is made inside the turn, so that frames reach the stream in the order the state machine made them. An
        empty frame means that there is nothing left to say, and sends nothing.
        """
        async with self._turn:
            with self._state:
                frame = make()
            if not frame:
                return
            with self._spoiling():
                await self.stream.send([frame] if payload is None else [frame, payload])

    async def send_slices(
        self, request_id: int, slices: AsyncIterator[memoryview], *, moved: Callable[[int], None]
    ) -> None:
        """Send the slices of a body for as long as the peer wants it; `moved` is told of the bytes of each. Raises what
        `slices` does."""
        async for piece in slices:
            if not self.connection.wanted(request_id):
                return
            await self.send(functools.partial(self._slice_header, request_id, len(piece)), piece)
            moved(len(piece))

    async def carry_slices(self, request_id: int, slices: AsyncIterator[memoryview], *, length: int) -> None:
        """As `send_slices`, of a body of `length` bytes, all in one turn: by a thread if that pays."""

        async def job(ends: Ends) -> None:
            async for piece in slices:
                with self._state:
                    header = self._slice_header(request_id, len(piece))
                if not header:
                    return
                await ends.send([header, piece])

        if not self._carries or length < CARRIED_BYTES_MIN:
            await self.send_slices(request_id, slices, moved=lambda count: None)
            return
        async with self._turn:
            with self._spoiling():
                await self.stream.carry(job)

    def _slice_header(self, request_id: int, length: int) -> bytes:
        return self.connection.data_header(request_id, length) if self.connection.wanted(request_id) else b""

    @contextlib.contextmanager
    def _spoiling(self) -> Iterator[None]:
        """Half a frame may be out when a sender is cancelled: the stream is of no further use."""
        try:
            yield
        except asyncio.CancelledError:
            self.stream.abort()
            raise

    @property
    def sending(self) -> bool:
        """Whether a frame is on its way out, or waits for its turn."""
        return self._turn.locked()

    async def next_event(self, sink_of: SinkOf, sink_failed: SinkFailed) -> Event | None:
        """Receive one frame, or a row of body slices, which go through the sink of their request. A request without a
        sink (it was given up) has its slices thrown away; a sink that raises is told to `sink_failed`, and the rest
        thrown away. Raises Unreachable when the stream ends, ProtocolError when the peer misbehaves."""
        expected = self.connection.data_for()
        if expected is None:
            return await self._frame(self.stream)
        request_id, length = expected
        sink = sink_of(request_id)
        self.receiving = request_id
        try:
            if sink is None:
                return await self._frame(self.stream, unfilled(length))
            outcome = await self._receive_slices(request_id, sink, sink_of)
        finally:
            self.receiving = 0
        if isinstance(outcome, _SinkFailure):
            sink_failed(request_id, outcome.error)
            return None
        return outcome

    async def let_go(self, request_id: int) -> None:
        """Return when no thread puts anything into the sink of this request any more, breaking the stream for it. A
        cancellation meanwhile is raised only then."""
        cancelled: asyncio.CancelledError | None = None
        while self._carried == request_id:
            self.stream.abort()
            try:
                await self._let_go.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _receive_slices(self, request_id: int, sink: Sink, sink_of: SinkOf) -> Event | _SinkFailure | None:
        """Receive slices of one body until something else comes: the event that it is, or None when only its header
        has been received so far, or its sink is another now."""

        async def job(ends: Ends) -> Event | _SinkFailure | None:
            while (expected := self.connection.data_for()) is not None and sink_of(request_id) is sink:
                try:
                    view = await self._take(sink, expected[1])
                except RoostError as error:
                    return _SinkFailure(error)
                await self._frame(ends, view)
                if sink_of(request_id) is sink:
                    try:
                        await self._give(sink, view)
                    except RoostError as error:
                        return _SinkFailure(error)
                other = await self._frame(ends)
                if other is not None or (expected := self.connection.data_for()) is None or expected[0] != request_id:
                    return other
            return None

        if not self._carries or self.connection.left(request_id) < CARRIED_BYTES_MIN:
            return await job(self.stream)
        self._carried = request_id
        self._let_go.clear()
        try:
            return await self.stream.carry(job)
        finally:
            self._carried = 0
            self._let_go.set()

    async def _frame(self, ends: Ends, into: memoryview | None = None) -> Event | None:
        """A header, or what belongs to it, which is received `into` that buffer."""
        if into is None:
            size = self.connection.next_size()
            into = self._small[:size] if size <= SMALL_BYTES else unfilled(size)
        if into.nbytes:
            await ends.receive_exactly(into)
        with self._state:
            return self.connection.receive(into)

    async def _take(self, sink: Sink, length: int) -> memoryview:
        self.holding = True
        try:
            return await sink.take(length)
        finally:
            self.holding = False

    async def _give(self, sink: Sink, received: memoryview) -> None:
        self.holding = True
        try:
            await sink.give(received)
        finally:
            self.holding = False
