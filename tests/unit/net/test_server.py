"""The server's end of a connection: what handlers may do, what peers may hold, and for how long."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import msgspec
import pytest

from net_kits import (
    Pair,
    RawPeer,
    address,
    elsewhere,
    hello,
    node_id,
    now,
    play,
    raw_client,
    slow_body,
    some,
    status_of,
)
from roost.core.errors import Damaged, Failed, NoSpace, NotAdmitted, ProtocolError, Refused, RoostError, Unreachable
from roost.core.ids import object_id
from roost.net.body import Body, BytesSink
from roost.net.link import Link
from roost.net.server import (
    BODY_LIMIT_S,
    CONNECTIONS_PER_PEER_MAX,
    GREETING_LIMIT_S,
    IDLE_LIMIT_S,
    STRANGER_LIMIT_S,
    TAKING_LIMIT_S,
    Call,
    Handler,
    Reply,
    Server,
)
from roost.net.stream import SLICE_BYTES, Peer, Stream
from roost.wire.admission import Admitted, Join
from roost.wire.connection import (
    AnswerReceived,
    BusyReceived,
    Connection,
    ErrorReceived,
    Event,
    ProceedReceived,
    Role,
)
from roost.wire.exchange import REQUESTS_MAX
from roost.wire.frames import Kind, pack_header
from roost.wire.messages import Get, GetStatus, Ping, Pong, Put, PutRecord, RecordKept, Sending, Stored

BIG = some(4 * SLICE_BYTES)
NAME = object_id(BIG)


async def forever(call: Call) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def keep(call: Call) -> Reply:
    assert isinstance(call.request, Put | PutRecord)
    sink = BytesSink(call.request.length)
    await call.receive_body(sink)
    return Reply(Stored(already=sink.data() == BIG))


async def skip_busy(peer: RawPeer) -> Event | None:
    while isinstance(event := await peer.receive(), BusyReceived):
        continue
    return event


# Handlers


@pytest.mark.parametrize("mistake", [OSError("a socket"), ValueError("a value"), MemoryError()])
def test_an_error_that_a_handler_did_not_foresee_fails_its_request_only(mistake: Exception) -> None:
    async def scenario(pair: Pair) -> None:
        async def fail(call: Call) -> Reply:
            raise mistake

        pair.handlers[Ping] = fail
        link = await pair.link()
        with pytest.raises(Failed, match="Ping failed there") as caught:
            await link.call(Ping())
        assert "log" in caught.value.hint
        assert await link.call(GetStatus()) == status_of("fine")

    play(scenario)


async def wrong_kind(call: Call) -> Reply:
    return Reply(Pong(1.0))


async def wrong_length(call: Call) -> Reply:
    return Reply(Sending(100), Body.of(bytes(99)))


async def mistaken(call: Call) -> Reply:
    raise KeyError("a mistake")


@pytest.mark.parametrize(
    ("request_", "handler", "raised"),
    [
        (GetStatus(), mistaken, KeyError),
        (GetStatus(), wrong_kind, RuntimeError),
        (Get(NAME), wrong_length, RuntimeError),
    ],
)
def test_a_mistake_of_ours_is_told_to_the_client_and_not_hidden_here(
    request_: GetStatus | Get, handler: Handler, raised: type[Exception]
) -> None:
    async def scenario(pair: Pair) -> None:
        seen: list[BaseException] = []

        async def accepted(stream: Stream) -> None:
            try:
                await pair.server.serve(stream)
            except* Exception as errors:  # supervised: by the test
                seen.extend(errors.exceptions)

        pair.handlers[type(request_)] = handler
        await pair.host.listen(address(2), accepted)
        link = await pair.link()
        with pytest.raises((Failed, Unreachable)):
            await link.call(request_, sink=BytesSink(100))
        await asyncio.sleep(1)
        assert [isinstance(error, raised) for error in seen] == [True]

    play(scenario)


def test_a_kind_without_a_handler_and_one_that_nobody_knows_are_unsupported() -> None:
    async def scenario(pair: Pair) -> None:
        peer = await raw_client(pair)
        for number, payload in enumerate(
            [{"type": "ping"}, {"type": "horoscope"}, {"type": "ping", "more": 1}, {"type": "get-status"}], start=1
        ):
            data = msgspec.msgpack.encode(payload)
            peer.connection._begin(number, GetStatus())
            await peer.send(pack_header(Kind.REQUEST, number, len(data)) + data)
        events = [await peer.receive() for _ in range(4)]
        told = {event.request_id: event.trouble.code for event in events if isinstance(event, ErrorReceived)}
        assert told == {1: "unsupported", 2: "unsupported", 3: "unsupported"}
        assert sum(isinstance(event, AnswerReceived) for event in events) == 1
        peer.stream.abort()

    play(scenario)


def test_busy_is_said_every_second_with_what_the_handler_did() -> None:
    async def scenario(pair: Pair) -> None:
        async def counts(call: Call) -> Reply:
            for _ in range(4):
                await asyncio.sleep(1.0)
                call.progress += 100
            return Reply(status_of("done"))

        pair.handlers[GetStatus] = counts
        peer = await raw_client(pair)
        await peer.send(peer.connection.request(GetStatus())[1])
        begin = now()
        told = []
        while isinstance(event := await peer.receive(), BusyReceived):
            told.append(event.progress)
        assert isinstance(event, AnswerReceived)
        assert told in ([0, 100, 200], [0, 100, 200, 300], [100, 200, 300], [100, 200, 300, 400])
        assert 4 <= now() - begin < 4.2
        peer.stream.abort()

    play(scenario)


def test_a_body_that_breaks_off_before_its_end_is_closed_by_the_server() -> None:
    async def scenario(pair: Pair) -> None:
        freed: list[str] = []

        async def slices() -> AsyncIterator[memoryview]:
            try:
                for _ in range(100):
                    yield memoryview(BIG)[:SLICE_BYTES]
                    await asyncio.sleep(0.3)
            finally:
                freed.append("freed")

        bodies: list[Body] = []

        async def give(call: Call) -> Reply:
            bodies.append(Body(8 * 1024 * 1024, slices()))
            return Reply(Sending(bodies[-1].length), bodies[-1])

        pair.handlers[Get] = give
        link = await pair.link()
        task = await elsewhere(link.call(Get(NAME), sink=BytesSink(8 * 1024 * 1024)))
        task.cancel()
        await asyncio.sleep(1)
        assert freed == ["freed"], "by the server itself: the body is still referred to here"
        assert len(bodies) == 1

    play(scenario)


def test_a_sink_that_raises_fails_the_request_and_the_rest_of_the_body_is_dropped() -> None:
    async def scenario(pair: Pair) -> None:
        class Full(BytesSink):
            async def take(self, length: int) -> memoryview:
                if len(self._slices) == 2:
                    raise NoSpace("the disk is full")
                return await super().take(length)

        async def fill(call: Call) -> Reply:
            await call.receive_body(Full(len(BIG)))
            raise AssertionError("the sink raised")

        pair.handlers[Put] = fill
        link = await pair.link()
        for _ in range(REQUESTS_MAX + 1):
            with pytest.raises(NoSpace):
                await link.call(Put(NAME, len(BIG)), body=Body.of(BIG))
        assert await link.call(GetStatus()) == status_of("fine")

    play(scenario, seeds=[1])


def test_a_sink_that_finds_the_peer_lying_drops_the_connection() -> None:
    async def scenario(pair: Pair) -> None:
        async def fill(call: Call) -> Reply:
            await call.receive_body(BytesSink(10))
            raise AssertionError("the sink raised")

        pair.handlers[Put] = fill
        link = await pair.link()
        with pytest.raises((ProtocolError, Unreachable)):
            await link.call(Put(NAME, len(BIG)), body=Body.of(BIG))
        await asyncio.sleep(1)
        assert not link.usable

    play(scenario)


def test_a_handler_is_cancelled_when_its_connection_ends() -> None:
    async def scenario(pair: Pair) -> None:
        ended: list[type[BaseException]] = []

        async def watched(call: Call) -> Reply:
            try:
                if isinstance(call.request, Put):
                    await call.receive_body(BytesSink(len(BIG)))
                return await forever(call)
            except BaseException as error:
                ended.append(type(error))
                raise

        pair.handlers |= {Ping: watched, Put: watched}
        link = await pair.link()
        tasks = [
            await elsewhere(link.call(Ping())),
            await elsewhere(link.call(Put(NAME, len(BIG)), body=slow_body(BIG, every_s=9))),
        ]
        link.abort()
        for task in tasks:
            with pytest.raises(Unreachable):
                await task
        await asyncio.sleep(1)
        assert ended == [asyncio.CancelledError] * 2

    play(scenario)


def test_a_cancelled_handler_may_still_answer_or_fail_as_it_likes() -> None:
    async def scenario(pair: Pair) -> None:
        async def stubborn(call: Call) -> Reply:
            try:
                return await forever(call)
            except asyncio.CancelledError:
                if isinstance(call.request, Ping):
                    return Reply(Pong(1.0))
                raise Damaged("something else") from None

        pair.handlers |= {Ping: stubborn, GetStatus: stubborn}
        link = await pair.link()
        for _ in range(REQUESTS_MAX + 1):
            for request in (Ping(), GetStatus()):
                task = await elsewhere(link.call(request))
                task.cancel()
                await asyncio.wait([task])
        await asyncio.sleep(1)
        assert link.usable
        assert link._channel.connection.open_requests == 0

    play(scenario, seeds=[1])


# How long a peer may keep us waiting


@pytest.mark.parametrize("says", [b"", b"\1\0\0"])
def test_who_does_not_greet_in_time_is_dropped(says: bytes) -> None:
    async def scenario(pair: Pair) -> None:
        peer = await raw_client(pair, greet=False)
        await peer.send(says)
        begin = now()
        assert GREETING_LIMIT_S - 0.1 <= await peer.silence() - begin <= GREETING_LIMIT_S + 1.1

    play(scenario)


def test_a_greeting_that_trickles_in_is_dropped_as_well() -> None:
    async def scenario(pair: Pair) -> None:
        peer = await raw_client(pair, greet=False)
        frame = peer.connection.hello(hello())
        begin = now()
        with pytest.raises(Unreachable):
            for byte in frame:
                await peer.send(bytes([byte]))
                await asyncio.sleep(1)
        assert now() - begin <= GREETING_LIMIT_S + 2

    play(scenario)


def test_an_idle_connection_is_dropped_after_a_while() -> None:
    async def scenario(pair: Pair) -> None:
        peer = await raw_client(pair)
        await peer.send(peer.connection.request(GetStatus())[1])
        assert isinstance(await peer.receive(), AnswerReceived)
        begin = now()
        assert IDLE_LIMIT_S - 2 <= await peer.silence() - begin <= IDLE_LIMIT_S + 2

    play(scenario, seeds=[1])


def test_a_connection_is_not_idle_while_a_request_is_worked_on() -> None:
    async def scenario(pair: Pair) -> None:
        async def long(call: Call) -> Reply:
            await asyncio.sleep(3 * IDLE_LIMIT_S)
            return Reply(status_of("at last"))

        pair.handlers[GetStatus] = long
        peer = await raw_client(pair)
        await peer.send(peer.connection.request(GetStatus())[1])
        assert isinstance(await skip_busy(peer), AnswerReceived)
        begin = now()
        assert await peer.silence() - begin >= IDLE_LIMIT_S - 2, "idle begins when the work is done"

    play(scenario, seeds=[1])


@pytest.mark.parametrize("slices", [0, 1])
def test_a_body_that_was_asked_for_and_does_not_come_ends_the_connection(slices: int) -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers[Put] = keep
        peer = await raw_client(pair)
        await peer.send(peer.connection.request(Put(NAME, len(BIG)), body_length=len(BIG))[1])
        assert isinstance(await peer.receive(), ProceedReceived)
        for _ in range(slices):
            await peer.send(peer.connection.data_header(1, 100), bytes(100))
        begin = now()
        assert BODY_LIMIT_S - 1 <= await peer.silence() - begin <= BODY_LIMIT_S + 2

    play(scenario)


def test_a_body_may_begin_late_when_it_was_asked_for_late() -> None:
    async def scenario(pair: Pair) -> None:
        async def late(call: Call) -> Reply:
            await asyncio.sleep(10 * BODY_LIMIT_S)
            return await keep(call)

        pair.handlers[Put] = late
        peer = await raw_client(pair)
        await peer.send(peer.connection.request(Put(NAME, 100), body_length=100)[1])
        assert isinstance(await skip_busy(peer), ProceedReceived)
        await asyncio.sleep(BODY_LIMIT_S / 2)
        await peer.send(peer.connection.data_header(1, 100), bytes(100), peer.connection.end(1))
        assert isinstance(await skip_busy(peer), AnswerReceived)
        peer.stream.abort()

    play(scenario, seeds=[1])


def test_a_slice_that_comes_slowly_is_waited_for_and_counted_as_progress() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers[Put] = keep
        peer = await raw_client(pair)
        await peer.send(peer.connection.request(Put(NAME, 60), body_length=60)[1])
        assert isinstance(await peer.receive(), ProceedReceived)
        await peer.send(peer.connection.data_header(1, 60))
        for _ in range(60):
            await asyncio.sleep(BODY_LIMIT_S / 6)
            await peer.send(b"x")
        await peer.send(peer.connection.end(1))
        told = []
        while isinstance(event := await peer.receive(), BusyReceived):
            told.append(event.progress)
        assert isinstance(event, AnswerReceived)
        assert told == sorted(told)
        assert told[-1] >= 50
        peer.stream.abort()

    play(scenario, seeds=[1])


def test_a_sink_that_takes_its_time_is_not_the_clients_silence() -> None:
    async def scenario(pair: Pair) -> None:
        class Slow(BytesSink):
            async def give(self, received: memoryview) -> None:
                await asyncio.sleep(3 * BODY_LIMIT_S)
                await super().give(received)

        async def slow(call: Call) -> Reply:
            sink = Slow(len(BIG))
            await call.receive_body(sink)
            return Reply(Stored(already=sink.data() == BIG))

        pair.handlers[Put] = slow
        peer = await raw_client(pair)
        await peer.send(peer.connection.request(Put(NAME, len(BIG)), body_length=len(BIG))[1])
        assert isinstance(await peer.receive(), ProceedReceived)
        for begin in range(0, len(BIG), SLICE_BYTES):
            await peer.send(peer.connection.data_header(1, SLICE_BYTES), BIG[begin : begin + SLICE_BYTES])
        await peer.send(peer.connection.end(1))
        event = await skip_busy(peer)
        assert isinstance(event, AnswerReceived)
        assert event.answer == Stored(already=True)
        peer.stream.abort()

    play(scenario, seeds=[1])


def test_a_client_that_does_not_take_the_answer_is_dropped_and_the_body_freed() -> None:
    async def scenario(pair: Pair) -> None:
        freed: list[float] = []

        async def slices() -> AsyncIterator[memoryview]:
            try:
                for _ in range(16):
                    yield memoryview(BIG)[:SLICE_BYTES]
            finally:
                freed.append(now())

        async def give(call: Call) -> Reply:
            return Reply(Sending(16 * SLICE_BYTES), Body(16 * SLICE_BYTES, slices()))

        pair.handlers[Get] = give
        peer = await raw_client(pair)
        await peer.send(peer.connection.request(Get(NAME))[1])
        begin = now()
        await asyncio.sleep(2 * TAKING_LIMIT_S)
        assert len(freed) == 1
        assert TAKING_LIMIT_S - 1 <= freed[0] - begin <= TAKING_LIMIT_S + 2
        with pytest.raises(Unreachable):
            await peer.send(bytes(12))

    play(scenario)


def test_a_machine_that_froze_is_dropped_without_leaving_a_task() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers[Get] = lambda call: give_big()

        async def give_big() -> Reply:
            return Reply(Sending(len(BIG)), Body.of(BIG))

        link = await pair.link()
        pair.world.freeze(pair.client)
        await asyncio.sleep(IDLE_LIMIT_S + 10)
        assert pair.host.tasks == set()
        pair.world.thaw(pair.client)
        await asyncio.sleep(1)
        assert not link.usable

    play(scenario, seeds=[1])


# Strangers


async def stranger(pair: Pair, name: str = "stranger") -> RawPeer:
    host = pair.world.host(name, None, None, "10.0.0.66")
    peer = RawPeer(await host.connect(address(2), expect=None), Role.CLIENT)
    peer.connection = Connection(Role.CLIENT, admitted=False)
    await peer.greet()
    return peer


def test_a_stranger_may_join_and_nothing_else() -> None:
    async def scenario(pair: Pair) -> None:
        asked: list[Peer] = []

        async def join(call: Call) -> Reply:
            asked.append(call.peer)
            return Reply(Admitted(b"certificate", "home"))

        pair.handlers[Join] = join
        await pair.serve()
        peer = await stranger(pair)
        await peer.send(peer.connection.request(Join(b"s" * 16, b"r"))[1])
        assert isinstance(await peer.receive(), AnswerReceived)
        assert [one.node_id for one in asked] == [None]
        data = msgspec.msgpack.encode({"type": "get-status"})
        await peer.send(pack_header(Kind.REQUEST, 2, len(data)) + data)
        begin = now()
        assert await peer.silence() - begin < 1, "anything but join is a breach"

    play(scenario)


def test_a_stranger_does_not_stay() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers[Join] = forever
        await pair.serve()
        idle, asking = await stranger(pair, "one"), await stranger(pair, "two")
        await asking.send(asking.connection.request(Join(b"s" * 16, b"r"))[1])
        begin = now()
        for peer in (idle, asking):
            assert STRANGER_LIMIT_S - 2 <= await peer.silence() - begin <= STRANGER_LIMIT_S + 2

    play(scenario)


def test_a_stranger_s_large_frame_is_refused_at_its_header() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        peer = await stranger(pair)
        await peer.send(pack_header(Kind.REQUEST, 1, 16 * 1024 + 1))
        begin = now()
        assert await peer.silence() - begin < 1

    play(scenario)


# How much a peer may hold


def test_a_peer_has_so_many_connections_and_others_are_not_hindered() -> None:
    async def scenario(pair: Pair) -> None:
        links = [await pair.link() for _ in range(CONNECTIONS_PER_PEER_MAX)]
        with pytest.raises(RoostError):
            await pair.link()
        other = pair.member(3)
        link = await Link.open(pair.runtime, other, address(2), expect=node_id(2), hello=hello())
        assert await link.call(GetStatus()) == status_of("fine")
        await link.close()
        await links.pop().close()
        await asyncio.sleep(1)
        assert await (await pair.link()).call(GetStatus()) == status_of("fine")

    play(scenario, seeds=[1])


def test_more_requests_than_there_are_places_are_a_breach() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers[Ping] = forever
        peer = await raw_client(pair)
        for _ in range(REQUESTS_MAX):
            await peer.send(peer.connection.request(Ping())[1])
        data = msgspec.msgpack.encode({"type": "ping"})
        await asyncio.sleep(3)
        await peer.send(pack_header(Kind.REQUEST, REQUESTS_MAX + 1, len(data)) + data)
        begin = now()
        assert await peer.silence() - begin < 1

    play(scenario)


def test_an_announced_body_costs_nothing_before_it_comes() -> None:
    """64 requests announce 64 MiB each; what the server allocates is what arrives."""
    held = 0

    async def scenario(pair: Pair) -> None:
        nonlocal held
        length = 64 * 1024 * 1024

        async def take(call: Call) -> Reply:
            sink = BytesSink(length)
            await call.receive_body(sink)
            return Reply(RecordKept(new=sink.data() != b""))

        pair.handlers[PutRecord] = take
        peer = await raw_client(pair)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1, REQUESTS_MAX + 1):
            await peer.send(peer.connection.request(PutRecord(length), body_length=length)[1])
            assert isinstance(await skip_busy(peer), ProceedReceived)
            await peer.send(peer.connection.data_header(number, 1000), bytes(1000))
        await asyncio.sleep(1)
        held = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        peer.stream.abort()

    play(scenario, seeds=[1])
    assert held < 4 * 1024 * 1024


# Who is let in, and the end


def test_who_is_refused_after_the_handshake_is_told_why_and_nothing_else() -> None:
    async def scenario(pair: Pair) -> None:
        def refuse(peer: Peer) -> None:
            if peer.node_id == node_id(1):
                raise NotAdmitted("revoked")

        pair.server = Server(pair.runtime, pair.handlers, greeting=lambda peer: hello(), refuse=refuse)
        refused = await pair.link()
        with pytest.raises(Refused, match="revoked"):
            await refused.call(GetStatus())
        other = pair.member(3)
        link = await Link.open(pair.runtime, other, address(2), expect=node_id(2), hello=hello())
        assert await link.call(GetStatus()) == status_of("fine")
        await link.close()

    play(scenario)


@pytest.mark.parametrize("nonsense", [b"\xff" * 12, pack_header(Kind.DATA, 1, 5), pack_header(Kind.ANSWER, 1, 5)])
def test_a_client_that_misbehaves_loses_its_connection_and_nobody_else_does(nonsense: bytes) -> None:
    async def scenario(pair: Pair) -> None:
        link = await pair.link()
        peer = await raw_client(pair)
        await peer.send(nonsense)
        begin = now()
        assert await peer.silence() - begin < 1
        assert await link.call(GetStatus()) == status_of("fine")

    play(scenario)


def test_serving_never_raises_for_what_the_peer_does() -> None:
    async def scenario(pair: Pair) -> None:
        served: list[asyncio.Task[None]] = []

        async def accepted(stream: Stream) -> None:
            task = asyncio.get_running_loop().create_task(pair.server.serve(stream))
            served.append(task)
            await task

        pair.handlers[Put] = keep
        await pair.host.listen(address(2), accepted)
        for nonsense in (b"", b"\xff" * 12, b"\1\0\0"):
            peer = await raw_client(pair)
            await peer.send(peer.connection.request(Put(NAME, 100), body_length=100)[1])
            await peer.receive()
            await peer.send(nonsense)
            peer.stream.abort()
        await asyncio.wait(served)
        assert [task.exception() for task in served] == [None] * 3

    play(scenario)


def test_dropping_one_peer_and_closing() -> None:
    async def scenario(pair: Pair) -> None:
        link = await pair.link()
        other = pair.member(3)
        others = await Link.open(pair.runtime, other, address(2), expect=node_id(2), hello=hello())
        pair.server.drop(node_id(1))
        await asyncio.sleep(1)
        assert not link.usable
        assert await others.call(GetStatus()) == status_of("fine")
        pair.server.close()
        await asyncio.sleep(1)
        assert not others.usable
        assert pair.host.tasks == set()

    play(scenario)
