"""The client's end of one connection: how every call ends, what a stall is, and that nothing is left behind."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from net_kits import (
    Pair,
    RawPeer,
    Scenario,
    address,
    elsewhere,
    hello,
    now,
    play,
    raw_server,
    slow_body,
    some,
    status_of,
)
from roost.core.errors import (
    BY_CODE,
    Damaged,
    DiskFault,
    NoSpace,
    NotAdmitted,
    ProtocolError,
    RoostError,
    Stalled,
    Unreachable,
    Unsupported,
)
from roost.core.ids import object_id
from roost.net.body import Body, BytesSink, IntoSink
from roost.net.link import Link, error_of, trouble_of
from roost.net.server import Call, Reply
from roost.net.stream import SLICE_BYTES
from roost.testing.network import Line
from roost.wire.connection import RequestReceived
from roost.wire.frames import Kind, pack_header
from roost.wire.messages import PROTOCOL, Get, GetStatus, Hello, Ping, Pong, Put, Sending, Stored, Trouble
from roost.wire.payloads import ANSWER, TROUBLE, decode, encode

BIG = some(3 * SLICE_BYTES + 17)
NAME = object_id(BIG)


async def forever(call: Call) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def keep(call: Call) -> Reply:
    """A handler that takes the whole body."""
    assert isinstance(call.request, Put)
    sink = BytesSink(call.request.length)
    await call.receive_body(sink)
    return Reply(Stored(already=sink.data() != BIG))


async def give(call: Call) -> Reply:
    return Reply(Sending(len(BIG)), Body.of(BIG))


async def at_rest(link: Link) -> None:
    """All that was asked on the link is over at both ends: a server that remembers more would refuse 64 at once."""
    await asyncio.sleep(5)
    assert link._channel.connection.open_requests == 0
    assert link._pending == {}
    await asyncio.gather(*(link.call(GetStatus()) for _ in range(64)))


# Calls that go well


def test_a_call_is_answered_with_and_without_bodies() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers |= {Put: keep, Get: give}
        link = await pair.link()
        assert await link.call(GetStatus()) == status_of("fine")
        assert await link.call(Put(NAME, len(BIG)), body=Body.of(BIG)) == Stored(already=False)
        sink = BytesSink(len(BIG))
        assert await link.call(Get(NAME), sink=sink) == Sending(len(BIG))
        assert sink.data() == BIG
        into = bytearray(len(BIG))
        await link.call(Get(NAME), sink=IntoSink(memoryview(into)))
        assert into == BIG
        await at_rest(link)

    play(scenario)


def test_bodies_without_a_byte_go_both_ways() -> None:
    async def scenario(pair: Pair) -> None:
        async def keep_nothing(call: Call) -> Reply:
            sink = BytesSink(0)
            await call.receive_body(sink)
            return Reply(Stored(already=sink.data() == b""))

        async def give_nothing(call: Call) -> Reply:
            return Reply(Sending(0), Body.of(b""))

        pair.handlers |= {Put: keep_nothing, Get: give_nothing}
        link = await pair.link()
        assert await link.call(Put(NAME, 0), body=Body.of()) == Stored(already=True)
        sink = BytesSink(0)
        assert await link.call(Get(NAME), sink=sink) == Sending(0)
        assert sink.data() == b""
        await at_rest(link)

    play(scenario)


def test_many_more_calls_than_places_share_one_link() -> None:
    async def scenario(pair: Pair) -> None:
        chance = random.Random(pair.seed)
        most = going = 0

        async def slow(call: Call) -> Reply:
            nonlocal most, going
            going += 1
            most = max(most, going)
            await asyncio.sleep(chance.random() * 3)
            going -= 1
            return Reply(status_of("fine"))

        pair.handlers |= {GetStatus: slow, Put: keep, Get: give}
        link = await pair.link()
        sinks = [BytesSink(len(BIG)) for _ in range(50)]
        await asyncio.gather(
            *(link.call(GetStatus()) for _ in range(200)),
            *(link.call(Put(NAME, len(BIG)), body=Body.of(BIG)) for _ in range(50)),
            *(link.call(Get(NAME), sink=sink) for sink in sinks),
        )
        assert {sink.data() for sink in sinks} == {BIG}
        assert 30 < most <= 64
        pair.handlers[GetStatus] = pair.status
        await at_rest(link)

    play(scenario, seeds=[1])


def test_a_server_that_is_slow_but_says_that_its_work_moves_is_waited_for() -> None:
    async def scenario(pair: Pair) -> None:
        async def slow(call: Call) -> Reply:
            for _ in range(20):
                await asyncio.sleep(25)
                call.progress += 1
            return Reply(status_of("at last"))

        pair.handlers[GetStatus] = slow
        link = await pair.link()
        begin = now()
        assert await link.call(GetStatus()) == status_of("at last")
        assert now() - begin > 500, "longer than a connection may be idle"

    play(scenario, seeds=[1])


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_slow_line_is_not_a_stalled_peer(exclusive: bool) -> None:
    async def scenario(pair: Pair) -> None:
        async def trickle(call: Call) -> Reply:
            return Reply(Sending(len(BIG)), slow_body(BIG, every_s=0, slice_bytes=16_000))

        pair.handlers |= {Put: keep, Get: trickle}
        link = await pair.link(exclusive=exclusive)
        for one, other in ((pair.client, pair.host), (pair.host, pair.client)):
            pair.world.set_line(one, other, Line(delay_s=(0.2, 0.3), bytes_per_s=8_000))
        begin = now()
        body = slow_body(BIG, every_s=0, slice_bytes=16_000)
        assert await link.call(Put(NAME, len(BIG)), body=body) == Stored(already=False)
        assert now() - begin > 150
        sink = BytesSink(len(BIG))
        await link.call(Get(NAME), sink=sink)
        assert sink.data() == BIG

    play(scenario, seeds=[1])


def test_a_slice_that_takes_longer_than_every_limit_is_no_stall_while_its_bytes_move() -> None:
    async def scenario(pair: Pair) -> None:
        async def script(peer: RawPeer) -> None:
            await peer.greet()
            await peer.receive()
            await peer.send(peer.connection.answer(1, Sending(200), 200), peer.connection.data_header(1, 200))
            for byte in range(200):
                await asyncio.sleep(3)
                await peer.send(bytes([byte]))
            await peer.send(peer.connection.end(1))
            await peer.silence()

        await raw_server(pair, script)
        link = await pair.link()
        sink = BytesSink(200)
        await link.call(Get(NAME), sink=sink)
        assert sink.data() == bytes(range(200))

    play(scenario)


def test_a_producer_that_takes_its_time_is_waited_for() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers |= {Put: keep}
        link = await pair.link()
        body = slow_body(BIG, every_s=8)
        assert await link.call(Put(NAME, len(BIG)), body=body) == Stored(already=False)

    play(scenario)


# Calls that the server ends early


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("slices_taken", [0, 1, 2])
def test_an_early_answer_ends_the_call_while_the_client_streams(exclusive: bool, slices_taken: int) -> None:
    async def scenario(pair: Pair) -> None:
        class Enough(BytesSink):
            async def give(self, received: memoryview) -> None:
                await super().give(received)
                if len(self._slices) == slices_taken:
                    enough.set()

        enough = asyncio.Event()

        async def early(call: Call) -> Reply:
            if slices_taken:
                taking = asyncio.get_running_loop().create_task(call.receive_body(Enough(len(BIG))))
                await enough.wait()
                taking.cancel()
            return Reply(Stored(already=True))

        pair.handlers |= {Put: early}
        link = await pair.link(exclusive=exclusive)
        for _ in range(70):
            enough.clear()
            body = slow_body(BIG, every_s=0.1)
            assert await link.call(Put(NAME, len(BIG)), body=body) == Stored(already=True)
        await at_rest(link)

    play(scenario)


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("moment", ["before proceed", "while streaming", "after the body"])
def test_an_error_while_the_client_streams_is_the_calls_end_and_not_the_links(exclusive: bool, moment: str) -> None:
    async def scenario(pair: Pair) -> None:
        async def full(call: Call) -> Reply:
            if moment == "while streaming":
                taking = asyncio.get_running_loop().create_task(call.receive_body(BytesSink(len(BIG))))
                await asyncio.sleep(0.15)
                taking.cancel()
            elif moment == "after the body":
                await call.receive_body(BytesSink(len(BIG)))
            raise NoSpace("the disk is full", hint="buy another")

        pair.handlers |= {Put: full}
        link = await pair.link(exclusive=exclusive)
        for _ in range(70):
            with pytest.raises(NoSpace, match="the disk is full") as caught:
                await link.call(Put(NAME, len(BIG)), body=slow_body(BIG, every_s=0.1))
            assert caught.value.hint == "buy another"
        await at_rest(link)

    play(scenario)


def test_a_client_that_is_slow_to_stop_after_an_early_answer_is_not_the_servers_silence() -> None:
    async def scenario(pair: Pair) -> None:
        async def early(call: Call) -> Reply:
            taking = asyncio.get_running_loop().create_task(call.receive_body(BytesSink(len(BIG))))
            await asyncio.sleep(1)
            taking.cancel()
            return Reply(Stored(already=True))

        pair.handlers |= {Put: early}
        link = await pair.link()
        assert await link.call(Put(NAME, len(BIG)), body=slow_body(BIG, every_s=20)) == Stored(already=True)
        await at_rest(link)

    play(scenario)


@pytest.mark.parametrize("code", sorted(BY_CODE.keys() - {"protocol"}))
def test_every_error_crosses_the_wire(code: str) -> None:
    async def scenario(pair: Pair) -> None:
        async def fail(call: Call) -> Reply:
            raise BY_CODE[code]("so it is", hint="do that")

        pair.handlers[GetStatus] = fail
        link = await pair.link()
        with pytest.raises(BY_CODE[code], match="so it is") as caught:
            await link.call(GetStatus())
        assert (type(caught.value), caught.value.hint) == (BY_CODE[code], "do that")

    play(scenario, seeds=[1])


def test_an_error_of_a_newer_release_is_a_failure_and_any_text_travels() -> None:
    assert error_of(Trouble("horoscope", "bad stars")).code == "failed"
    for text in ("\ud800" * 2000, "ä" * 5000, "\0", ""):
        trouble = trouble_of(DiskFault(text, hint=text))
        assert decode(TROUBLE, Kind.ERROR, memoryview(encode(TROUBLE, Kind.ERROR, trouble))) == trouble
        assert isinstance(error_of(trouble), DiskFault)


def test_a_body_that_ends_in_trouble_raises_it() -> None:
    async def scenario(pair: Pair) -> None:
        async def damaged(call: Call) -> Reply:
            async def slices() -> AsyncIterator[memoryview]:
                yield memoryview(BIG)[:SLICE_BYTES]
                raise Damaged("a bit flipped")

            return Reply(Sending(len(BIG)), Body(len(BIG), slices()))

        pair.handlers[Get] = damaged
        link = await pair.link()
        for _ in range(70):
            with pytest.raises(Damaged, match="a bit flipped"):
                await link.call(Get(NAME), sink=BytesSink(len(BIG)))
        await at_rest(link)

    play(scenario, seeds=[1])


# Producers and sinks of ours that fail


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_producer_that_fails_fails_its_call_only(exclusive: bool) -> None:
    async def scenario(pair: Pair) -> None:
        heard: list[RoostError] = []

        async def listen(call: Call) -> Reply:
            try:
                await call.receive_body(BytesSink(len(BIG)))
            except RoostError as error:
                heard.append(error)
                raise
            raise AssertionError("the body cannot be whole")

        async def slices() -> AsyncIterator[memoryview]:
            yield memoryview(BIG)[:SLICE_BYTES]
            raise DiskFault("our own disk")

        pair.handlers |= {Put: listen}
        link = await pair.link(exclusive=exclusive)
        for _ in range(70):
            with pytest.raises(DiskFault, match="our own disk"):
                await link.call(Put(NAME, len(BIG)), body=Body(len(BIG), slices()))
        await asyncio.sleep(1)
        assert [type(error) for error in heard] == [DiskFault] * 70
        await at_rest(link)

    play(scenario, seeds=[1])


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("fault", ["raises", "too short"])
def test_a_producer_with_a_mistake_of_its_own_leaves_no_request_behind(exclusive: bool, fault: str) -> None:
    async def scenario(pair: Pair) -> None:
        async def slices() -> AsyncIterator[memoryview]:
            yield memoryview(BIG)[:SLICE_BYTES]
            if fault == "raises":
                raise KeyError("a mistake")

        pair.handlers |= {Put: keep}
        link = await pair.link(exclusive=exclusive)
        with pytest.raises((KeyError, RuntimeError)):
            await link.call(Put(NAME, len(BIG)), body=Body(len(BIG), slices()))
        if exclusive:
            assert not link.usable
        else:
            await at_rest(link)

    play(scenario)


class Choking:
    """A sink that takes some slices and no more."""

    def __init__(self, slices: int, *, at_give: bool) -> None:
        self._left = slices
        self._at_give = at_give

    async def take(self, length: int) -> memoryview:
        if not self._at_give and not self._left:
            raise NoSpace("no room here")
        return memoryview(bytearray(length))

    async def give(self, received: memoryview) -> None:
        if self._at_give and not self._left:
            raise NoSpace("no room here")
        self._left -= 1


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("at_give", [True, False])
def test_a_sink_that_raises_ends_its_call(exclusive: bool, at_give: bool) -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers |= {Get: give}
        link = await pair.link(exclusive=exclusive)
        for slices in (0, 1, 3):
            with pytest.raises(NoSpace, match="no room here"):
                await link.call(Get(NAME), sink=Choking(slices, at_give=at_give))
            if exclusive:
                assert not link.usable, "what is under way is of no use to anybody"
                link = await pair.link(exclusive=True)
        await at_rest(link)

    play(scenario)


def test_a_sink_that_takes_its_time_is_not_the_peers_silence() -> None:
    async def scenario(pair: Pair) -> None:
        class Slow(BytesSink):
            async def give(self, received: memoryview) -> None:
                await asyncio.sleep(20)
                await super().give(received)

        pair.handlers |= {Get: give}
        link = await pair.link()
        sink = Slow(len(BIG))
        await link.call(Get(NAME), sink=sink)
        assert sink.data() == BIG

    play(scenario)


def test_an_answers_body_that_nobody_asked_for_is_refused() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers |= {Get: give}
        link = await pair.link()
        with pytest.raises(ProtocolError, match="nobody asked for"):
            await link.call(Get(NAME))
        await at_rest(link)

    play(scenario)


# Giving up


def waiting(link: Link) -> Coroutine[object, object, object]:
    return link.call(GetStatus())


def uploading(link: Link) -> Coroutine[object, object, object]:
    return link.call(Put(NAME, len(BIG)), body=slow_body(BIG, every_s=0.3))


def offering(link: Link) -> Coroutine[object, object, object]:
    return link.call(Put(NAME, len(BIG) + 1), body=Body(len(BIG) + 1, slow_body(BIG, every_s=1).slices))


def fetching(link: Link) -> Coroutine[object, object, object]:
    return link.call(Get(NAME), sink=BytesSink(len(BIG)))


@pytest.mark.parametrize("ask", [waiting, uploading, offering, fetching])
@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.4, 0.8])
def test_cancelling_a_call_on_a_shared_link_stops_the_server_and_keeps_the_link(
    ask: Callable[[Link], Coroutine[object, object, object]], after_s: float
) -> None:
    async def scenario(pair: Pair) -> None:
        ended: list[str] = []

        async def watched(call: Call) -> Reply:
            try:
                if isinstance(call.request, Put) and call.request.length == len(BIG):
                    await call.receive_body(BytesSink(len(BIG)))
                await asyncio.Event().wait()
            finally:
                ended.append("stopped")
            raise AssertionError("nobody sets it")

        async def trickle(call: Call) -> Reply:
            return Reply(Sending(len(BIG)), slow_body(BIG, every_s=0.3))

        pair.handlers |= {GetStatus: watched, Put: watched, Get: trickle}
        link = await pair.link()
        for _ in range(70):
            task = asyncio.get_running_loop().create_task(ask(link))
            await asyncio.sleep(after_s)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        assert link.usable
        pair.handlers[GetStatus] = pair.status
        await at_rest(link)
        assert after_s == 0.0 or ask is fetching or len(ended) == 70

    play(scenario, seeds=[1])


def test_cancelling_a_call_on_an_exclusive_link_breaks_it_at_once() -> None:
    async def scenario(pair: Pair) -> None:
        ended = asyncio.Event()

        async def watched(call: Call) -> Reply:
            try:
                return await forever(call)
            finally:
                ended.set()

        pair.handlers[GetStatus] = watched
        link = await pair.link(exclusive=True)
        task = await elsewhere(link.call(GetStatus()))
        task.cancel()
        await asyncio.wait([task])
        assert not link.usable
        await asyncio.sleep(0.1)
        assert ended.is_set(), "the server sees the connection end"
        with pytest.raises(Unreachable, match="given up"):
            await link.call(GetStatus())

    play(scenario)


def test_places_that_cancelled_calls_held_are_free_for_those_who_wait() -> None:
    async def scenario(pair: Pair) -> None:
        async def stubborn(call: Call) -> Reply:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(1)
            raise AssertionError("nobody sets it")

        pair.handlers[Ping] = stubborn
        link = await pair.link()
        given_up = [await elsewhere(link.call(Ping())) for _ in range(64)]
        waits = await elsewhere(link.call(GetStatus()))
        for task in given_up:
            task.cancel()
        begin = now()
        assert await waits == status_of("fine")
        assert now() - begin < 1.5
        await at_rest(link)

    play(scenario)


# Peers that fail


def test_five_seconds_of_silence_are_a_stall() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers[GetStatus] = forever
        link = await pair.link()
        tasks = [await elsewhere(link.call(GetStatus())) for _ in range(3)]
        await asyncio.sleep(20)
        assert not any(task.done() for task in tasks), "busy is no silence"
        pair.world.freeze(pair.host)
        begin = now()
        for task in tasks:
            with pytest.raises(Stalled, match="silent for 5 s"):
                await task
        assert 4 <= now() - begin <= 7
        with pytest.raises(Stalled):
            await link.call(GetStatus())

    play(scenario)


def test_a_link_on_which_nobody_waits_is_not_stalled_by_silence() -> None:
    async def scenario(pair: Pair) -> None:
        link = await pair.link()
        await link.call(GetStatus())
        pair.world.cut(pair.client, pair.host)
        await asyncio.sleep(100)
        assert link.usable
        pair.world.heal()
        assert await link.call(GetStatus()) == status_of("fine")

    play(scenario)


def test_a_frozen_server_is_noticed_although_every_call_is_cancelled_early() -> None:
    """Who pings with little patience must not fill the link with requests that nobody ever ends."""

    async def scenario(pair: Pair) -> None:
        link = await pair.link()
        await link.call(GetStatus())
        pair.world.freeze(pair.host)
        for _ in range(64):
            task = asyncio.get_running_loop().create_task(link.call(GetStatus()))
            await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.wait([task])
        with pytest.raises(Unreachable):
            await link.call(GetStatus())
        assert not link.usable

    play(scenario)


@pytest.mark.parametrize("exclusive", [True, False])
def test_thirty_seconds_of_busy_without_progress_end_the_call(exclusive: bool) -> None:
    async def scenario(pair: Pair) -> None:
        async def stuck(call: Call) -> Reply:
            await asyncio.sleep(20)
            call.progress += 1
            return await forever(call)

        pair.handlers[Ping] = stuck
        link = await pair.link(exclusive=exclusive)
        begin = now()
        with pytest.raises(Stalled, match="without progress for 30 s"):
            await link.call(Ping())
        assert 49 <= now() - begin <= 53
        assert link.usable is not exclusive
        if not exclusive:
            await at_rest(link)

    play(scenario)


@pytest.mark.parametrize("exclusive", [True, False])
def test_an_answers_body_that_stands_still_ends_the_call_although_busy_is_said(exclusive: bool) -> None:
    async def scenario(pair: Pair) -> None:
        async def stuck(call: Call) -> Reply:
            async def slices() -> AsyncIterator[memoryview]:
                yield memoryview(BIG)[:SLICE_BYTES]
                await asyncio.Event().wait()

            return Reply(Sending(len(BIG)), Body(len(BIG), slices()))

        pair.handlers[Get] = stuck
        link = await pair.link(exclusive=exclusive)
        begin = now()
        with pytest.raises(Stalled, match="without progress for 30 s"):
            await link.call(Get(NAME), sink=BytesSink(len(BIG)))
        assert 29 <= now() - begin <= 33

    play(scenario)


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_server_that_takes_no_more_of_a_body_ends_the_call_although_busy_is_said(exclusive: bool) -> None:
    async def scenario(pair: Pair) -> None:
        class Stuck(BytesSink):
            async def give(self, received: memoryview) -> None:
                await asyncio.Event().wait()

        async def stuck(call: Call) -> Reply:
            await call.receive_body(Stuck(8 * len(BIG)))
            raise AssertionError("nobody sets it")

        pair.handlers[Put] = stuck
        link = await pair.link(exclusive=exclusive)
        begin = now()
        with pytest.raises(Stalled, match="without progress for 30 s"):
            await link.call(Put(NAME, 2 * len(BIG)), body=Body.of(BIG, BIG))
        assert 29 <= now() - begin <= 34

    play(scenario)


def test_calls_end_when_the_server_crashes() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers |= {GetStatus: forever, Put: keep}
        link = await pair.link()
        tasks = [await elsewhere(ask(link)) for ask in (waiting, uploading, fetching)]
        pair.world.crash(pair.host, silent=False)
        for task in tasks:
            with pytest.raises(RoostError):
                await task
        assert not link.usable

    play(scenario)


@pytest.mark.parametrize("how", ["stalls", "is cancelled"])
def test_nothing_is_put_into_the_sink_of_a_call_that_has_ended(how: str) -> None:
    async def scenario(pair: Pair) -> None:
        go_on = asyncio.Event()

        class Waiting(IntoSink):
            """Takes its time over the slice that it was given, as a thread may that is not told to end."""

            async def give(self, received: memoryview) -> None:
                try:
                    await go_on.wait()
                finally:
                    ended.append("given")
                    await super().give(received)

        async def script(peer: RawPeer) -> None:
            await peer.greet()
            await peer.receive()
            await peer.send(peer.connection.answer(1, Sending(len(BIG)), len(BIG)))
            await peer.send(peer.connection.data_header(1, SLICE_BYTES), BIG[:SLICE_BYTES])
            await peer.silence()

        await raw_server(pair, script)
        link = await pair.link(exclusive=True)
        ended: list[str] = []
        call = await elsewhere(link.call(Get(NAME), sink=Waiting(memoryview(bytearray(len(BIG))))))
        if how == "stalls":
            link.abort()
        else:
            call.cancel()
        with pytest.raises((Unreachable, asyncio.CancelledError)):
            await call
        assert ended == ["given"]

    play(scenario)


FRAME = pack_header(Kind.BUSY, 99, 8) + bytes(8)


@pytest.mark.parametrize(
    "nonsense",
    [b"\xff" * 12, FRAME, pack_header(Kind.ANSWER, 1, 1) + b"\xc1", pack_header(Kind.END, 1, 0)],
    ids=["unknown kind", "an id never used", "no message", "not its turn"],
)
def test_a_peer_that_misbehaves_breaks_the_link_with_a_protocol_error(nonsense: bytes) -> None:
    async def scenario(pair: Pair) -> None:
        async def script(peer: RawPeer) -> None:
            await peer.greet()
            assert isinstance(await peer.receive(), RequestReceived)
            await peer.send(nonsense)
            await peer.silence()

        await raw_server(pair, script)
        link = await pair.link()
        with pytest.raises(ProtocolError):
            await link.call(GetStatus())
        assert not link.usable

    play(scenario, seeds=[1])


def test_an_answer_of_another_kind_is_a_breach() -> None:
    async def scenario(pair: Pair) -> None:
        async def script(peer: RawPeer) -> None:
            await peer.greet()
            await peer.receive()
            payload = encode(ANSWER, Kind.ANSWER, Pong(1.0))
            await peer.send(pack_header(Kind.ANSWER, 1, len(payload)) + payload)
            await peer.silence()

        await raw_server(pair, script)
        link = await pair.link()
        with pytest.raises(ProtocolError, match="Pong where Status"):
            await link.call(GetStatus())

    play(scenario, seeds=[1])


# Greeting


def greeting(theirs: Hello) -> Scenario:
    async def scenario(pair: Pair) -> None:
        async def script(peer: RawPeer) -> None:
            await peer.send(peer.connection.hello(theirs))
            await peer.silence()

        await raw_server(pair, script)
        await pair.link()

    return scenario


def test_a_peer_of_another_cluster_or_of_no_common_version_is_left() -> None:
    with pytest.raises(NotAdmitted, match="another cluster"):
        play(greeting(hello(b"d" * 32)))
    with pytest.raises(Unsupported, match="protocol 2-3"):
        play(greeting(Hello(3, 2, "newer", hello().cluster)))
    play(greeting(Hello(PROTOCOL + 5, PROTOCOL, "newer, and knows ours", hello().cluster)), seeds=[1])


def test_a_peer_that_does_not_greet_is_stalled_after_five_seconds() -> None:
    async def scenario(pair: Pair) -> None:
        async def script(peer: RawPeer) -> None:
            await peer.silence()

        await raw_server(pair, script)
        begin = now()
        with pytest.raises(Stalled, match="within 5 s"):
            await pair.link()
        assert 5 <= now() - begin < 5.1

    play(scenario)


def test_dialling_can_be_cancelled() -> None:
    async def scenario(pair: Pair) -> None:
        async def script(peer: RawPeer) -> None:
            await peer.silence()

        await raw_server(pair, script)
        for after_s in (0.0, 0.0005, 0.1, 2.0):
            task = asyncio.get_running_loop().create_task(pair.link())
            await asyncio.sleep(after_s)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    play(scenario)


def test_who_is_not_admitted_asks_for_nothing_but_to_join() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        joiner = pair.world.host("joiner", None, None, "10.0.0.9")
        link = await Link.open(pair.runtime, joiner, address(2), expect=None, hello=hello(b""), admitted=False)
        pair.links.append(link)
        with pytest.raises(RuntimeError, match="before admission"):
            await link.call(GetStatus())

    play(scenario)


# The end


def test_closing_ends_the_calls_and_the_tasks_and_may_be_repeated() -> None:
    async def scenario(pair: Pair) -> None:
        pair.handlers[GetStatus] = forever
        link = await pair.link()
        tasks = [await elsewhere(link.call(GetStatus())) for _ in range(70)]
        await link.close()
        assert link._tasks == set()
        await link.close()
        for task in tasks:
            with pytest.raises(Unreachable, match="given up"):
                await task

    play(scenario)


def test_answers_are_those_of_their_own_requests() -> None:
    async def scenario(pair: Pair) -> None:
        async def later(call: Call) -> Reply:
            assert isinstance(call.request, Get)
            await asyncio.sleep(random.Random(call.request.object_id[0]).random())
            return Reply(Sending(32), Body.of(call.request.object_id))

        pair.handlers[Get] = later
        link = await pair.link()
        sinks = {bytes([number]) * 32: BytesSink(32) for number in range(150)}
        await asyncio.gather(*(link.call(Get(name), sink=sink) for name, sink in sinks.items()))
        assert all(sink.data() == name for name, sink in sinks.items())

    play(scenario, seeds=[1])
