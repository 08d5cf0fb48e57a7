"""One connection being driven: the wire's state machine on one stream, with one sender at a time and bodies put
straight into the buffers that will use them."""

import asyncio
from collections.abc import Callable

from roost.core.errors import RoostError
from roost.net.body import Sink, unfilled
from roost.net.stream import Stream
from roost.wire.connection import Connection, Event

SMALL_BYTES = 4096

SinkOf = Callable[[int], Sink | None]
SinkFailed = Callable[[int, RoostError], None]


class Channel:
    """A `Connection` and its `Stream`. One task calls `next_event`; any task may send."""

    def __init__(self, stream: Stream, connection: Connection) -> None:
        self.stream = stream
        self.connection = connection
        self.holding = False
        """True while a sink makes the peer wait: silence is then our own doing."""
        self.receiving = 0
        """The request of which a body slice is just being received, or 0: bytes that arrive now are that body's."""
        self._turn = asyncio.Lock()
        self._small = memoryview(bytearray(SMALL_BYTES))

    async def send(self, make: Callable[[], bytes], payload: memoryview | None = None) -> None:
        """Send the frame that `make` builds (and a body slice after it) when it is our turn.

        The frame is made inside the turn, so that frames reach the stream in the order the state machine made them. An
        empty frame means that there is nothing left to say, and sends nothing.
        """
        async with self._turn:
            frame = make()
            if not frame:
                return
            try:
                await self.stream.send([frame] if payload is None else [frame, payload])
            except asyncio.CancelledError:
                self.stream.abort()  # half a frame may be out: the stream is of no further use
                raise

    @property
    def sending(self) -> bool:
        """Whether a frame is on its way out, or waits for its turn."""
        return self._turn.locked()

    async def next_event(self, sink_of: SinkOf, sink_failed: SinkFailed) -> Event | None:
        """Receive one frame; a body slice goes through the sink of its request. A request without a sink (it was
        given up) has its slices thrown away; a sink that raises is told to `sink_failed`, and the rest thrown away.
        Raises Unreachable when the stream ends, ProtocolError when the peer misbehaves."""
        expected = self.connection.data_for()
        if expected is not None:
            return await self._body_slice(*expected, sink_of, sink_failed)
        size = self.connection.next_size()
        view = self._small[:size] if size <= SMALL_BYTES else unfilled(size)
        if size:
            await self.stream.receive_exactly(view)
        return self.connection.receive(view)

    async def _body_slice(self, request_id: int, length: int, sink_of: SinkOf, failed: SinkFailed) -> Event | None:
        sink = sink_of(request_id)
        view: memoryview | None = None
        if sink is not None:
            try:
                view = await self._take(sink, length)
            except RoostError as error:
                failed(request_id, error)
                sink = None
        into = unfilled(length) if view is None else view
        self.receiving = request_id
        try:
            await self.stream.receive_exactly(into)
        finally:
            self.receiving = 0
        event = self.connection.receive(into)
        if sink is not None and sink_of(request_id) is sink:
            try:
                await self._give(sink, into)
            except RoostError as error:
                failed(request_id, error)
        return event

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
