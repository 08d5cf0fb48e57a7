"""Unit tests of the real network: strangers, garbage, a process out of descriptors, and what goes into a record."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from contract.certificates import TestAuthority, joiner_context
from roost.core.cluster import Address
from roost.core.errors import Failed, NotAdmitted, Unreachable
from roost.core.ids import NodeId
from roost.core.runtime import SystemRuntime
from roost.net import socket_stream, sockets, tcp
from roost.net.stream import Stream
from roost.net.tcp import TcpListener, TcpNetwork

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning")

ANYWHERE = Address("127.0.0.1", 0)
AUTHORITY = TestAuthority()


def network() -> TcpNetwork:
    member = AUTHORITY.member("member")
    return TcpNetwork(SystemRuntime(), client_context=member.client_context(), server_context=member.server_context())


async def echo(stream: Stream) -> None:
    into = memoryview(bytearray(5))
    while True:
        await stream.receive_exactly(into)
        await stream.send([into])


async def is_served(address: Address) -> bool:
    stream = await network().connect(address, expect=None)
    try:
        await stream.send([b"hello"])
        into = bytearray(5)
        await stream.receive_exactly(memoryview(into))
    finally:
        stream.abort()
    return into == b"hello"


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[TcpListener]:
    async with asyncio.timeout(20):
        listener = await network().listen(ANYWHERE, echo)
        try:
            yield listener
        finally:
            await listener.close()


@contextlib.asynccontextmanager
async def strangers(count: int, address: Address) -> AsyncIterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        loop, here = asyncio.get_running_loop(), []
        for _ in range(count):
            stranger = stack.enter_context(socket.socket())
            stranger.setblocking(False)
            await loop.sock_connect(stranger, (address.host, address.port))
            here.append(stranger)
        yield here


async def end_of(stranger: socket.socket) -> str:
    """Waits until the server ended the connection, and says how; an alert may come first."""
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(stranger, 1000):
            pass
    except ConnectionResetError:
        return "reset"
    return "closed"


async def test_two_hundred_idle_strangers_leave_honest_clients_served() -> None:
    """Fault 10."""
    async with listening() as listener, strangers(200, listener.address) as idle:
        assert await is_served(listener.address)
        assert listener.unfinished <= tcp.UNFINISHED_MAX
        assert await end_of(idle[0]) == "reset"  # the one who waited longest made room


async def test_one_address_gets_few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Address, "is_loopback", False)
    async with listening() as listener, strangers(40, listener.address):
        assert await is_served(listener.address)
        assert 0 < listener.unfinished <= tcp.UNFINISHED_PER_HOST_MAX


async def test_an_address_from_which_too_many_come_is_turned_away_before_the_handshake_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Address, "is_loopback", False)
    monkeypatch.setattr(tcp, "CONNECTIONS_PER_HOST_BURST", 4)
    monkeypatch.setattr(tcp, "CONNECTIONS_PER_HOST_PER_S", 2.0)
    greeted = 0
    greet = TcpNetwork._greet

    async def counted(self: TcpNetwork, connection: socket.socket, address: Address) -> Stream:
        nonlocal greeted
        greeted += 1
        return await greet(self, connection, address)

    monkeypatch.setattr(TcpNetwork, "_greet", counted)
    async with listening() as listener:
        met = [await is_greeted(listener.address) for _ in range(20)]
        assert met.count(True) == greeted
        assert 4 <= greeted < 20
        while not await is_greeted(listener.address):
            await asyncio.sleep(0.05)


async def is_greeted(address: Address) -> bool:
    """Whether a stranger who says nothing sensible gets as far as being told so."""
    with contextlib.suppress(ConnectionResetError):
        async with strangers(1, address) as [stranger]:
            await asyncio.get_running_loop().sock_sendall(stranger, b"not a greeting" * 10)
            return await end_of(stranger) == "closed"
    return False


async def test_a_stranger_who_says_nothing_is_dropped_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "HANDSHAKE_LIMIT_S", 0.05)
    async with listening() as listener, strangers(3, listener.address) as idle:
        for stranger in idle:
            assert await end_of(stranger) == "reset"
        assert listener.unfinished == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: roost\r\n\r\n",
        b"\xff" * 100_000,
        bytes(64),
        b"\x16\x03\x01\xff\xff" + b"\xff" * 70_000,  # a record longer than any may be
    ],
)
async def test_garbage_is_dropped_quietly(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Fault 10. Never by a reset, which could overtake the alert that tells a refused peer why."""
    caplog.set_level(logging.INFO)
    async with listening() as listener, strangers(2, listener.address) as rude:
        for stranger in rude:
            await asyncio.get_running_loop().sock_sendall(stranger, garbage)
            assert await end_of(stranger) == "closed"
        assert await is_served(listener.address)
    assert caplog.records == []


async def test_a_greeting_that_is_never_finished_is_dropped_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "HANDSHAKE_LIMIT_S", 0.05)
    async with listening() as listener, strangers(1, listener.address) as slow:
        await asyncio.get_running_loop().sock_sendall(slow[0], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert await end_of(slow[0]) == "reset"


async def test_a_receiver_that_need_not_wait_lets_others_run() -> None:
    turns, sent = 0, 30_000

    async def serve(stream: Stream) -> None:
        await stream.send([bytes(sent)])
        await stream.close()

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    server = network()
    listener = await server.listen(ANYWHERE, serve)
    stream = await network().connect(listener.address, expect=None)
    into = memoryview(bytearray(1))
    await stream.receive_exactly(into)
    counting = asyncio.create_task(count())
    for _ in range(sent - 1):
        await stream.receive_exactly(into)
    counting.cancel()
    assert turns >= 20
    stream.abort()
    await listener.close()


async def test_who_is_refused_while_sending_learns_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(*_: object) -> None:
        """A server that resets the connection right after its alert."""

    monkeypatch.setattr(tcp, "_let_alert_arrive", at_once)
    async with listening() as listener:
        dialling = TcpNetwork(SystemRuntime(), client_context=joiner_context(), server_context=None)
        stream = await dialling.connect(listener.address, expect=None)
        with pytest.raises(NotAdmitted):
            while True:
                await stream.send([bytes(1000)])
                await asyncio.sleep(0)


async def test_whom_the_network_does_not_identify_gets_nothing() -> None:
    def nobody(certificate: bytes) -> NodeId:
        raise NotAdmitted("not one of ours")

    async def serve(stream: Stream) -> None:
        raise AssertionError("accepted")

    member = AUTHORITY.member("member")
    wary = TcpNetwork(
        SystemRuntime(),
        client_context=member.client_context(),
        server_context=member.server_context(),
        identify=nobody,
    )
    listener = await wary.listen(ANYWHERE, serve)
    stream = await network().connect(listener.address, expect=None)
    with pytest.raises(Unreachable):
        await stream.receive_exactly(memoryview(bytearray(1)))
    with pytest.raises(NotAdmitted, match="not one of ours"):
        await wary.connect(listener.address, expect=None)
    await listener.close()


async def test_a_process_out_of_descriptors_waits_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "ACCEPT_PAUSE_S", 0.02)
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, 0

    async def sock_accept(sock: socket.socket) -> tuple[socket.socket, object]:
        nonlocal failures
        if failures < 5:
            failures += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", sock_accept)
    async with listening() as listener:
        begin = loop.time()
        assert await is_served(listener.address)
        assert failures == 5
        assert loop.time() - begin >= 4 * 0.02


async def test_names_are_looked_up() -> None:
    async with listening() as listener:
        assert await is_served(Address("localhost", listener.address.port))
    with pytest.raises(Unreachable, match=r"nowhere\.invalid"):
        await network().connect(Address("nowhere.invalid", 1), expect=None)


async def test_ipv6() -> None:
    try:
        listener = await network().listen(Address("::1", 0), echo)
    except Failed:
        pytest.skip("this machine has no IPv6")
    assert await is_served(listener.address)
    assert str(listener.address).startswith("[::1]:")
    await listener.close()


async def test_an_address_that_is_not_ours_cannot_be_bound() -> None:
    with pytest.raises(Failed, match=r"192\.0\.2\.1"):
        await network().listen(Address("192.0.2.1", 0), echo)


async def test_a_server_that_is_no_tls_server_is_unreachable_not_foreign() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        connecting = asyncio.create_task(network().connect(Address(*server.getsockname()), expect=None))
        connection, _ = await loop.sock_accept(server)
        with connection:
            await loop.sock_sendall(connection, b"220 mail.example ESMTP\r\n" * 10)
            with pytest.raises(Unreachable) as caught:
                await connecting
    assert not isinstance(caught.value, NotAdmitted)


def test_small_buffers_share_a_record_with_what_follows() -> None:
    large = socket_stream.WRITE_BYTES + 100_000
    buffers: list[bytes | bytearray | memoryview] = [b"h" * 12, b"", memoryview(b"d" * large), b"t" * 12, b"u" * 12]
    pieces = [bytes(piece) for piece in socket_stream._pieces(buffers)]
    assert b"".join(pieces) == b"".join(buffers)
    first, written = sockets.RECORD_BYTES, socket_stream.WRITE_BYTES
    assert [len(piece) for piece in pieces] == [first, written, large - (first - 12) - written, 24]
