"""The contract of the ports `Stream`, `Network` and `Listener`, held by TCP, TLS and the simulated network alike."""

import asyncio
import hashlib
from collections.abc import Callable

import pytest

from contract.stream_labs import Lab, Member, Pair, Scenario, connected, ignore, play
from roost.core.cluster import Address
from roost.core.errors import Busy, NotAdmitted, RoostError, Unreachable
from roost.net.stream import Ends, Stream

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")

Play = Callable[[Scenario], None]
SETTLED_S = 0.15
MIB = 1 << 20


@pytest.fixture(name="run", params=["tcp", "tls", "simulated"])
def run_anywhere(request: pytest.FixtureRequest) -> Play:
    return lambda scenario: play(request.param, scenario)


@pytest.fixture(name="run_known", params=["tls", "simulated"])
def run_with_identities(request: pytest.FixtureRequest) -> Play:
    return lambda scenario: play(request.param, scenario)


async def receive(stream: Stream, count: int) -> bytes:
    into = bytearray(count)
    await stream.receive_exactly(memoryview(into))
    return bytes(into)


async def still_waiting(task: "asyncio.Task[None]") -> bool:
    await asyncio.wait([task], timeout=SETTLED_S)
    return not task.done()


def test_bytes_arrive_whole_and_in_order_however_they_are_cut(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        data = lab.rng.randbytes(3 * MIB)

        async def send(stream: Stream) -> None:
            at = 0
            while at < len(data):
                sizes = [lab.rng.choice([0, 1, 12, 4095, 4096, 5000, 16384, 70_000, 600_000]) for _ in range(3)]
                buffers: list[bytes | bytearray | memoryview] = []
                for size, kind in zip(sizes, (bytes, bytearray, memoryview), strict=True):
                    buffers.append(kind(data[at : at + size]))
                    at += size
                await stream.send(buffers)

        async def check(stream: Stream) -> None:
            at = 0
            while at < len(data):
                size = min(lab.rng.choice([0, 1, 12, 5000, 16384, 100_000, 524_288]), len(data) - at)
                assert await receive(stream, size) == data[at : at + size]
                at += size

        async with connected(lab) as pair:
            async with asyncio.TaskGroup() as group:
                for stream in (pair.near, pair.far):  # both directions at once
                    group.create_task(send(stream))
                    group.create_task(check(stream))
            for stream in (pair.near, pair.far):
                assert stream.bytes_sent == stream.bytes_received == len(data)

    run(scenario)


def test_a_peer_that_does_not_read_holds_its_sender(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        slices = [bytes([n]) * MIB for n in range(40)]

        async def send(stream: Stream) -> None:
            for piece in slices:
                await stream.send([piece])

        async with connected(lab) as pair:
            sending = asyncio.create_task(send(pair.near))
            assert await still_waiting(sending)
            assert pair.near.bytes_sent <= lab.held_bytes_max
            for piece in slices:
                assert await receive(pair.far, MIB) == piece
            await sending

    run(scenario)


def test_buffers_may_be_reused_when_send_returns(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        async with connected(lab) as pair:
            buffer = bytearray(300_000)

            async def send() -> None:
                for n in range(20):
                    buffer[:] = bytes([n]) * len(buffer)
                    await pair.near.send([memoryview(buffer)[:5], memoryview(buffer)[5:]])
                    buffer[:] = b"x" * len(buffer)

            sending = asyncio.create_task(send())
            assert await still_waiting(sending)  # nobody reads yet, so much of it waits somewhere
            for n in range(20):
                assert await receive(pair.far, len(buffer)) == bytes([n]) * len(buffer)
            await sending

    run(scenario)


def test_bytes_received_grows_within_an_unfinished_receive(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        async with connected(lab) as pair:
            receiving = asyncio.create_task(receive(pair.far, 100_000))
            await pair.near.send([bytes(60_000)])
            async with asyncio.timeout(10):
                while pair.far.bytes_received < 60_000:
                    await asyncio.sleep(0.001)
            assert not receiving.done()
            await pair.near.send([bytes(40_000)])
            assert len(await receiving) == 100_000

    run(scenario)


@pytest.mark.parametrize("who", ["near", "far"])
def test_abort_breaks_what_waits_and_what_comes_later_at_both_ends(run: Play, who: str) -> None:
    async def scenario(lab: Lab) -> None:
        async with connected(lab) as pair:
            waiting = [
                asyncio.create_task(pair.near.receive_exactly(memoryview(bytearray(1)))),
                asyncio.create_task(pair.far.receive_exactly(memoryview(bytearray(30 * MIB)))),
            ]
            await pair.near.send([b"begin"])
            assert await still_waiting(waiting[0])
            stream: Stream = getattr(pair, who)
            stream.abort()
            stream.abort()
            for result in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(result, Unreachable)
            for end in (pair.near, pair.far):
                with pytest.raises(Unreachable):
                    await end.receive_exactly(memoryview(bytearray(1)))
                with pytest.raises(Unreachable):
                    await end.send([b"x"])

    run(scenario)


@pytest.mark.parametrize("who", ["near", "far"])
def test_abort_ends_a_send_that_is_held(run: Play, who: str) -> None:
    async def scenario(lab: Lab) -> None:
        async with connected(lab) as pair:
            sending = asyncio.create_task(pair.near.send([bytes(40 * MIB)]))
            assert await still_waiting(sending)
            stream: Stream = getattr(pair, who)
            stream.abort()
            with pytest.raises(Unreachable):
                await sending

    run(scenario)


def test_close_sends_what_waits_and_then_ends_the_stream(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        async with connected(lab) as pair:
            data = lab.rng.randbytes(300_000)
            await pair.far.send([b"never read by the one who closes"])
            await pair.near.send([data])
            closing = asyncio.create_task(pair.near.close())
            assert await receive(pair.far, len(data)) == data
            with pytest.raises(Unreachable):
                await receive(pair.far, 1)
            await closing
            await pair.near.close()
            for call in (pair.near.send([b"x"]), pair.near.receive_exactly(memoryview(bytearray(1)))):
                with pytest.raises(Unreachable):
                    await call

    run(scenario)


def test_close_waits_for_a_send_that_is_under_way(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        async with connected(lab) as pair:
            sending = asyncio.create_task(pair.near.send([bytes(2 * MIB), bytes(10 * MIB)]))
            await asyncio.sleep(0)
            closing = asyncio.create_task(pair.near.close())
            await asyncio.gather(pair.far.receive_exactly(memoryview(bytearray(12 * MIB))), sending)
            with pytest.raises(Unreachable):
                await receive(pair.far, 1)
            await closing

    run(scenario)


def test_close_ends_in_time_though_the_peer_does_not_read(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        async with connected(lab) as pair:
            sending = asyncio.create_task(pair.near.send([bytes(40 * MIB)]))
            receiving = asyncio.create_task(receive(pair.near, 1))
            assert await still_waiting(sending)
            begin = lab.runtime.now()
            await pair.near.close()
            assert lab.runtime.now() - begin < 2
            for result in await asyncio.gather(sending, receiving, return_exceptions=True):
                assert isinstance(result, Unreachable)

    run(scenario)


def test_the_peer_of_an_ended_stream_cannot_send_for_ever(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        async with connected(lab) as pair:
            closing = asyncio.create_task(pair.near.close())
            with pytest.raises(Unreachable):
                while True:
                    await pair.far.send([bytes(MIB)])
            await closing

    run(scenario)


@pytest.mark.parametrize("what", ["receive", "send"])
def test_a_cancelled_call_ends_at_once_and_leaves_the_buffer_alone(run: Play, what: str) -> None:
    async def scenario(lab: Lab) -> None:
        async with connected(lab) as pair:
            buffer = bytearray(40 * MIB)
            call = pair.near.receive_exactly(memoryview(buffer)) if what == "receive" else pair.near.send([buffer])
            task = asyncio.create_task(call)
            await pair.far.send([b"abc"])
            assert await still_waiting(task)
            begin = lab.runtime.now()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert lab.runtime.now() - begin < 0.5
            before = bytes(buffer)
            late = asyncio.create_task(pair.far.send([b"too late"]))
            await asyncio.wait([late], timeout=SETTLED_S)
            assert buffer == before
            await pair.near.close()
            await asyncio.gather(late, return_exceptions=True)

    run(scenario)


def test_a_job_receives_and_sends_while_others_use_the_other_direction(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        data = lab.rng.randbytes(3 * MIB + 5)

        async def take(ends: Ends) -> bytes:
            into = bytearray(len(data))
            for begin in range(0, len(data), 100_000):
                await ends.receive_exactly(memoryview(into)[begin : begin + 100_000])
            return bytes(into)

        async def give(ends: Ends) -> None:
            for begin in range(0, len(data), 300_000):
                await ends.send([data[begin : begin + 7], memoryview(data)[begin + 7 : begin + 300_000]])

        async with connected(lab) as pair:
            for stream, other in ((pair.near, pair.far), (pair.far, pair.near)):
                taking = asyncio.create_task(stream.carry(take))
                answering = asyncio.create_task(receive(other, 50_000))
                await asyncio.gather(other.carry(give), stream.send([bytes(50_000)]))
                assert await taking == data
                assert await answering == bytes(50_000)
            assert await receive_after(pair) == b"as before"

    run(scenario)


async def receive_after(pair: Pair) -> bytes:
    """What arrives in the ordinary way, after a job."""
    await pair.near.send([b"as before"])
    return await receive(pair.far, 9)


@pytest.mark.parametrize("who", ["near", "far"])
@pytest.mark.parametrize("what", ["receive", "send"])
def test_abort_ends_a_job_that_waits(run: Play, who: str, what: str) -> None:
    async def scenario(lab: Lab) -> None:
        async def job(ends: Ends) -> None:
            buffer = bytearray(40 * MIB)
            await (ends.receive_exactly(memoryview(buffer)) if what == "receive" else ends.send([buffer]))

        async with connected(lab) as pair:
            carried = asyncio.create_task(pair.near.carry(job))
            assert await still_waiting(carried)
            stream: Stream = getattr(pair, who)
            stream.abort()
            with pytest.raises(Unreachable):
                await carried
            with pytest.raises(Unreachable):
                await pair.near.carry(job)

    run(scenario)


@pytest.mark.parametrize("what", ["receive", "send"])
def test_a_cancelled_job_has_ended_when_its_caller_learns_it_and_leaves_the_buffer_alone(run: Play, what: str) -> None:
    async def scenario(lab: Lab) -> None:
        buffer, ended = bytearray(40 * MIB), []

        async def job(ends: Ends) -> None:
            try:
                await (ends.receive_exactly(memoryview(buffer)) if what == "receive" else ends.send([buffer]))
            finally:
                ended.append(what)

        async with connected(lab) as pair:
            carried = asyncio.create_task(pair.near.carry(job))
            await pair.far.send([b"abc"])
            assert await still_waiting(carried)
            begin = lab.runtime.now()
            carried.cancel()
            with pytest.raises(asyncio.CancelledError):
                await carried
            assert ended == [what]
            assert lab.runtime.now() - begin < 0.5
            before = bytes(buffer)
            late = asyncio.create_task(pair.far.send([b"too late"]))
            await asyncio.wait([late], timeout=SETTLED_S)
            assert buffer == before
            await asyncio.gather(late, return_exceptions=True)
            with pytest.raises(Unreachable):
                await pair.near.send([b"x"])

    run(scenario)


def test_what_a_job_raises_reaches_its_caller_and_the_stream_goes_on(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        async def job(ends: Ends) -> None:
            await ends.receive_exactly(memoryview(bytearray(3)))
            raise Busy("a mistake of its own")

        async with connected(lab) as pair:
            await pair.far.send([b"abc"])
            with pytest.raises(Busy):
                await pair.near.carry(job)
            assert await receive_after(pair) == b"as before"

    run(scenario)


def test_an_address_is_bound_once_and_known(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        server = lab.member("server")
        listener = await server.network.listen(server.address, ignore)
        assert listener.address.host == server.address.host
        assert listener.address.port != 0
        with pytest.raises(Busy):
            await server.network.listen(listener.address, ignore)
        await listener.close()
        await listener.close()
        await (await server.network.listen(listener.address, ignore)).close()

    run(scenario)


def test_a_closed_listener_takes_nobody_and_breaks_nobody(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        server, client, pair = lab.member("server"), lab.member("client"), Pair()
        listener = await server.network.listen(server.address, pair.accept)
        pair.near = await client.network.connect(listener.address, expect=None)
        pair.far = await pair.accepted()
        await listener.close()
        with pytest.raises(Unreachable):
            await client.network.connect(listener.address, expect=None)
        await pair.near.send([b"still there"])
        assert await receive(pair.far, 11) == b"still there"
        pair.near.abort()
        pair.far.abort()

    run(scenario)


def test_nobody_at_the_address(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        server, client = lab.member("server"), lab.member("client")
        listener = await server.network.listen(server.address, ignore)
        await listener.close()
        with pytest.raises(Unreachable, match=str(listener.address)):
            await client.network.connect(listener.address, expect=None)

    run(scenario)


def test_a_handler_that_fails_costs_its_own_stream_only(run: Play) -> None:
    async def scenario(lab: Lab) -> None:
        async def fail(stream: Stream) -> None:
            await receive(stream, 1)
            raise Unreachable("somebody else")

        server, client = lab.member("server"), lab.member("client")
        listener = await server.network.listen(server.address, fail)
        for _ in range(2):
            stream = await client.network.connect(listener.address, expect=None)
            await stream.send([b"x"])
            with pytest.raises(Unreachable):
                await receive(stream, 1)
            stream.abort()
        await listener.close()

    run(scenario)


def test_both_ends_know_each_other(run_known: Play) -> None:
    async def scenario(lab: Lab) -> None:
        server, client, pair = lab.member("server"), lab.member("client"), Pair()
        listener = await server.network.listen(server.address, pair.accept)
        pair.near = await client.network.connect(listener.address, expect=server.node_id)
        pair.far = await pair.accepted()
        assert pair.near.peer.node_id == server.node_id
        assert pair.far.peer.node_id == client.node_id
        assert pair.near.peer.address == listener.address == pair.far.local
        assert pair.far.peer.address == pair.near.local
        for peer in (pair.near.peer, pair.far.peer):
            assert peer.fingerprint is not None
            assert len(peer.fingerprint) == 32
            if peer.certificate is not None:
                assert hashlib.sha256(peer.certificate).digest() == peer.fingerprint
        pair.near.abort()
        pair.far.abort()
        await listener.close()

    run_known(scenario)


def test_another_member_than_expected(run_known: Play) -> None:
    async def scenario(lab: Lab) -> None:
        server, client, pair = lab.member("server"), lab.member("client"), Pair()
        listener = await server.network.listen(server.address, pair.accept)
        with pytest.raises(Unreachable, match=str(server.node_id)):
            await client.network.connect(listener.address, expect=lab.member("another").node_id)
        far = await pair.accepted()
        with pytest.raises(Unreachable):
            await receive(far, 1)
        await listener.close()

    run_known(scenario)


async def refused(client: Member, address: Address, *, speak_first: bool) -> RoostError:
    """The error that a client who must not be let in gets: when it dials, or at its first words."""
    try:
        stream = await client.network.connect(address, expect=None)
    except RoostError as error:
        return error
    try:
        if speak_first:
            for _ in range(40):
                await stream.send([bytes(100_000)])
        await receive(stream, 1)
    except RoostError as error:
        return error
    finally:
        stream.abort()
    raise AssertionError("the server talks to a stranger")


@pytest.mark.parametrize("speak_first", [False, True])
@pytest.mark.parametrize("who", ["joiner", "foreigner"])
def test_who_has_no_certificate_of_ours_is_not_admitted_and_knows_why(
    run_known: Play, who: str, speak_first: bool
) -> None:
    async def scenario(lab: Lab) -> None:
        server = lab.member("server")
        client = lab.joiner() if who == "joiner" else lab.foreigner("foreigner")
        listener = await server.network.listen(server.address, ignore)
        for _ in range(5):
            assert isinstance(await refused(client, listener.address, speak_first=speak_first), NotAdmitted)
        await listener.close()

    run_known(scenario)


def test_a_server_of_another_cluster_is_not_trusted(run_known: Play) -> None:
    async def scenario(lab: Lab) -> None:
        server, client = lab.foreigner("server"), lab.member("client")
        listener = await server.network.listen(server.address, ignore)
        with pytest.raises(NotAdmitted):
            await client.network.connect(listener.address, expect=server.node_id)
        await listener.close()

    run_known(scenario)


def test_a_joiner_comes_in_only_where_joiners_are_welcome(run_known: Play) -> None:
    async def scenario(lab: Lab) -> None:
        server, joiner, pair = lab.member("server", joiners=True), lab.joiner(), Pair()
        listener = await server.network.listen(server.address, pair.accept)
        pair.near = await joiner.network.connect(listener.address, expect=None)
        pair.far = await pair.accepted()
        assert pair.far.peer.node_id is None
        assert pair.far.peer.fingerprint is None
        assert pair.near.peer.node_id == server.node_id
        await pair.near.send([b"hello"])
        assert await receive(pair.far, 5) == b"hello"
        refusal = await refused(lab.foreigner("foreigner"), listener.address, speak_first=False)
        assert isinstance(refusal, NotAdmitted)
        pair.near.abort()
        pair.far.abort()
        await listener.close()

    run_known(scenario)


def test_a_listener_that_never_greets(run_known: Play) -> None:
    async def scenario(lab: Lab) -> None:
        client = lab.member("client")
        async with lab.mute() as address:
            begin = lab.runtime.now()
            with pytest.raises(Unreachable, match=str(address)):
                await client.network.connect(address, expect=None, timeout_s=0.3)
            assert lab.runtime.now() - begin < 2

    run_known(scenario)


def test_a_cancelled_connect_leaves_nothing_behind(run_known: Play) -> None:
    async def scenario(lab: Lab) -> None:
        client = lab.member("client")
        async with lab.mute() as address:
            task = asyncio.create_task(client.network.connect(address, expect=None))
            await asyncio.wait([task], timeout=SETTLED_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run_known(scenario)
