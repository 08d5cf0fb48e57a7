"""One connection being driven: the order of frames, where body bytes go, and what becomes of a stream half used."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from net_kits import Pair, RawPeer, elsewhere, hello, play, raw_client, raw_server, some
from roost.core.errors import ProtocolError, Unreachable
from roost.core.ids import object_id
from roost.net.body import Body, BytesSink, IntoSink, Sink
from roost.net.channel import SMALL_BYTES, Channel, SinkOf
from roost.net.stream import SLICE_BYTES
from roost.testing.pipe import WINDOW_BYTES
from roost.wire.connection import AnswerReceived, Connection, Event, HelloReceived, Role
from roost.wire.messages import Get, GetStatus, Hello, Sending

BIG = some(SLICE_BYTES)
NAME = object_id(BIG)


def no_sink(request_id: int) -> Sink | None:
    return None


def never(request_id: int, error: Exception) -> None:
    raise AssertionError(error)


async def event_of(channel: Channel, sink_of: SinkOf = no_sink) -> Event:
    while (event := await channel.next_event(sink_of, never)) is None:
        continue
    return event


async def channel_to(pair: Pair) -> Channel:
    peer = await raw_client(pair, greet=False)
    channel = Channel(peer.stream, Connection(Role.CLIENT, admitted=True), carries=True)
    await channel.send(lambda: channel.connection.hello(hello()))
    assert isinstance(await event_of(channel), HelloReceived)
    return channel


def test_frames_reach_the_stream_in_the_order_they_were_made() -> None:
    async def scenario(pair: Pair) -> None:
        made: list[int] = []
        channel = await channel_to(pair)

        def make() -> bytes:
            request_id, frame = channel.connection.request(GetStatus())
            made.append(request_id)
            return frame

        await asyncio.gather(*(channel.send(make) for _ in range(60)))
        assert made == list(range(1, 61))
        answered: set[int] = set()
        while len(answered) < 60:
            event = await event_of(channel)
            assert isinstance(event, AnswerReceived), "a request out of order would have been a breach"
            answered.add(event.request_id)
        channel.stream.abort()

    play(scenario)


def test_nothing_to_say_sends_nothing() -> None:
    async def scenario(pair: Pair) -> None:
        channel = await channel_to(pair)
        sent = channel.stream.bytes_sent
        await channel.send(lambda: b"")
        assert channel.stream.bytes_sent == sent
        assert not channel.sending
        channel.stream.abort()

    play(scenario)


def test_a_sender_that_is_cancelled_within_a_frame_breaks_the_stream_and_one_that_waits_does_not() -> None:
    async def scenario(pair: Pair) -> None:
        async def script(peer: RawPeer) -> None:
            await asyncio.Event().wait()

        await raw_server(pair, script)
        peer = await raw_client(pair, greet=False)
        channel = Channel(peer.stream, Connection(Role.CLIENT, admitted=True), carries=True)
        blocked = await elsewhere(channel.send(lambda: bytes(3 * WINDOW_BYTES)))
        waiting = await elsewhere(channel.send(lambda: b"x"))
        assert channel.sending
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not blocked.done()
        blocked.cancel()
        await asyncio.wait([blocked])
        with pytest.raises(Unreachable):
            await channel.send(lambda: b"x")
        for task in list(pair.host.tasks):
            task.cancel()

    play(scenario)


def test_body_bytes_go_straight_into_the_buffer_of_their_sink() -> None:
    async def scenario(pair: Pair) -> None:
        into = bytearray(len(BIG))
        seen: list[int] = []

        class Watched(IntoSink):
            async def take(self, length: int) -> memoryview:
                assert channel.holding
                return await super().take(length)

            async def give(self, received: memoryview) -> None:
                assert channel.holding
                assert received.obj is into
                seen.append(channel.receiving)
                await super().give(received)

        async def script(peer: RawPeer) -> None:
            await peer.greet()
            await peer.receive()
            await peer.send(peer.connection.answer(1, Sending(len(BIG)), len(BIG)))
            for begin in range(0, len(BIG), 1000):
                piece = BIG[begin : begin + 1000]
                await peer.send(peer.connection.data_header(1, len(piece)), piece)
            await peer.send(peer.connection.end(1))
            await peer.silence()

        await raw_server(pair, script)
        channel = await channel_to(pair)
        sink = Watched(memoryview(into))
        await channel.send(lambda: channel.connection.request(Get(NAME))[1])
        while channel.connection.open_requests:
            await channel.next_event(lambda request_id: sink, never)
        assert into == BIG
        assert not channel.holding
        assert set(seen) == {1}
        assert channel.receiving == 0
        channel.stream.abort()

    play(scenario, seeds=[1])


def test_a_message_larger_than_the_small_buffer_arrives_whole() -> None:
    async def scenario(pair: Pair) -> None:
        async def script(peer: RawPeer) -> None:
            await peer.send(peer.connection.hello(Hello(1, 1, "s" * 1000, b"", b"a" * SMALL_BYTES)))
            await peer.silence()

        await raw_server(pair, script)
        peer = await raw_client(pair, greet=False)
        channel = Channel(peer.stream, Connection(Role.CLIENT, admitted=True), carries=True)
        event = await event_of(channel)
        assert isinstance(event, HelloReceived)
        assert event.hello.authority == b"a" * SMALL_BYTES
        peer.stream.abort()

    play(scenario)


# Bodies and sinks


async def test_a_body_of_bytes_in_memory_is_sliced_without_copies() -> None:
    data = bytearray(some(2 * SLICE_BYTES + 3))
    body = Body.of(b"", data, b"end")
    assert body.length == len(data) + 3
    pieces = [piece async for piece in body.slices]
    assert [len(piece) for piece in pieces] == [SLICE_BYTES, SLICE_BYTES, 3, 3]
    assert pieces[0].obj is data
    assert b"".join(pieces) == bytes(data) + b"end"


async def test_what_a_producer_holds_is_free_once_its_body_was_opened_and_left() -> None:
    events: list[str] = []

    @contextlib.asynccontextmanager
    async def held() -> AsyncIterator[None]:
        events.append("held")
        try:
            yield
        finally:
            events.append("freed")

    body = Body(6, Body.of(b"abc", b"def").slices, held())
    async with body.opened() as slices:
        assert bytes(await anext(slices)) == b"abc"
        assert events == ["held"]
    assert events == ["held", "freed"]
    with pytest.raises(StopAsyncIteration):
        await anext(body.slices)


async def test_sinks_take_what_fits_and_no_byte_more() -> None:
    into = IntoSink(memoryview(bytearray(10)))
    await into.give(await into.take(6))
    with pytest.raises(ProtocolError, match="more than was asked for"):
        await into.take(5)
    await into.give(await into.take(4))
    assert into.received == 10
    collected = BytesSink(10)
    view = await collected.take(6)
    view[:] = b"abcdef"
    await collected.give(view)
    with pytest.raises(ProtocolError, match="more than 10 bytes"):
        await collected.take(5)
    assert collected.data() == b"abcdef"
