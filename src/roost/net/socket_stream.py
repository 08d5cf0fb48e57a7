"""A `Stream` over one non-blocking socket, plain or TLS, driven by the event loop.

The socket is read and written directly, in the coroutine that asks: `recv_into` fills the caller's own buffer and
`send` takes the caller's own bytes, so nothing is copied or kept here, back-pressure is the kernel's, and cancelling
the coroutine is all there is to cancelling. asyncio's TLS transport was measured to be no faster, holds 256 KiB for
every stranger, and drops the alert that tells a refused client why (decision in docs/decisions).
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence

from roost.core.cluster import Address
from roost.core.errors import RoostError, Unreachable
from roost.core.runtime import Runtime
from roost.net.stream import Peer
from roost.security.tls import refusal_of

WRITE_BYTES = 256 * 1024
"""Handed to TLS at a time: whole records, and the step in which `bytes_sent` grows."""
RECORD_BYTES = 16 * 1024
JOIN_BYTES_MAX = 4096
"""A buffer smaller than this shares a record, and so a packet, with what follows it."""
WAKE_BYTES = 64 * 1024
"""So many bytes of a slice are waited for at a time: fewer would mean a turn of the loop for every few records. They
count as received only then; a link on which they take 5 s is too slow for a slice's limit anyway."""
UNSENT_BYTES_MAX = 512 * 1024
TURN_BYTES = 1024 * 1024
"""After so many bytes without waiting the other tasks of the loop get a turn."""
CALL_BYTES = 4096
"""What one call counts for at least in a turn."""
CLOSE_LIMIT_S = 1.0
KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10


class Readiness:
    """Waits until a non-blocking socket can be read or written; any number of tasks may wait."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._readers: list[asyncio.Future[None]] = []
        self._writers: list[asyncio.Future[None]] = []

    async def readable(self) -> None:
        await self._wait(self._readers, self._loop.add_reader, self._loop.remove_reader)

    async def writable(self) -> None:
        await self._wait(self._writers, self._loop.add_writer, self._loop.remove_writer)

    def wake_all(self) -> None:
        """Wake every waiter and forget the descriptor; do this before it is closed."""
        self._wake(self._readers, self._loop.remove_reader)
        self._wake(self._writers, self._loop.remove_writer)

    async def _wait(
        self,
        waiters: list[asyncio.Future[None]],
        add: Callable[..., object],
        remove: Callable[[int], object],
    ) -> None:
        future = self._loop.create_future()
        if not waiters:
            add(self._descriptor, self._wake, waiters, remove)
        waiters.append(future)
        try:
            await future
        finally:
            if future in waiters:
                waiters.remove(future)
                if not waiters:
                    remove(self._descriptor)

    def _wake(self, waiters: list[asyncio.Future[None]], remove: Callable[[int], object]) -> None:
        if not waiters:
            return
        remove(self._descriptor)
        for future in waiters:
            if not future.done():
                future.set_result(None)
        waiters.clear()


async def handshake(tls: ssl.SSLSocket) -> None:
    """Finish the handshake of `tls`, a non-blocking socket; raises OSError (ssl.SSLError among them)."""
    ready = Readiness(tls.fileno())
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await ready.readable()
        except ssl.SSLWantWriteError:
            await ready.writable()
        else:
            return


def connection_error(address: Address, error: BaseException | None) -> RoostError:
    """What an error (or None: the end) of a connection with `address` is called in Roost."""
    if error is None:
        return Unreachable(f"{address} ended the connection")
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        meant = refusal_of(error)
        return type(meant)(f"{address}: {meant.message}", hint=meant.hint)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Unreachable(f"the connection with {address} broke: {reason}")


def tune(connection: socket.socket) -> None:
    """Set what each connection wants: no delay, proof of life, little waiting unsent in the kernel."""
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPALIVE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_NOTSENT_LOWAT", UNSENT_BYTES_MAX),
    ):
        if hasattr(socket, name):
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def reset(connection: socket.socket) -> None:
    """Close at once, so that the peer learns it even when it does not read what was sent before."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def end_gently(raw: socket.socket, ready: Readiness) -> None:
    """Say that nothing more comes and wait for the peer's own end: closing with unread bytes would throw away what it
    has not read yet. The caller sets the limit and closes the socket."""
    scratch = bytearray(RECORD_BYTES)
    with contextlib.suppress(OSError):
        raw.shutdown(socket.SHUT_WR)
        while True:
            try:
                if raw.recv_into(scratch) == 0:
                    return
                await asyncio.sleep(0)
            except BlockingIOError:
                await ready.readable()


class SocketStream:
    """The stream over `connection`, which is non-blocking, connected, and (if TLS) has its handshake behind it."""

    def __init__(self, runtime: Runtime, connection: socket.socket, *, peer: Peer, local: Address) -> None:
        self._runtime = runtime
        self._socket = connection
        self._receive = _receiver(connection)
        self._ready = Readiness(connection.fileno())
        self._peer = peer
        self._local = local
        self._received = 0
        self._sent = 0
        self._turn_bytes = 0
        self._wake_bytes = 1
        self._sending = asyncio.Lock()
        self._error: RoostError | None = None
        self._closed = False

    @property
    def peer(self) -> Peer:
        return self._peer

    @property
    def local(self) -> Address:
        return self._local

    @property
    def bytes_received(self) -> int:
        return self._received

    @property
    def bytes_sent(self) -> int:
        return self._sent

    async def receive_exactly(self, into: memoryview) -> None:
        self._check()
        into = into.cast("B") if into.nbytes else into
        filled, wanted = 0, into.nbytes
        while filled < wanted:
            try:
                count = self._receive(wanted - filled, into[filled:])
            except (ssl.SSLWantReadError, BlockingIOError):
                self._wake_at(wanted - filled)
                await self._wait(self._ready.readable)
            except ssl.SSLWantWriteError:
                await self._wait(self._ready.writable)
            except OSError as error:
                raise self._broken(error) from error
            else:
                if count == 0:
                    raise self._broken(None)
                filled += count
                self._received += count
                self._turn_bytes += max(count, CALL_BYTES)
                if self._turn_bytes >= TURN_BYTES:
                    await self._end_turn()

    def _wake_at(self, missing: int) -> None:
        """Let the kernel wake us only when a good part of the `missing` bytes is there. TLS may have taken up to a
        record of them already; all of the others come, or the end of the stream, which wakes us too."""
        if sys.platform != "linux":
            return
        wake_at = max(1, min(WAKE_BYTES, missing - 2 * RECORD_BYTES))
        if wake_at != self._wake_bytes:
            self._wake_bytes = wake_at
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wake_at)

    async def send(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        async with self._sending:
            self._check()
            for piece in _pieces(buffers):
                await self._send_piece(piece)

    async def _send_piece(self, piece: bytearray | memoryview) -> None:
        view = memoryview(piece)
        while view:
            try:
                # TLS takes all or asks for the same bytes again; a plain socket takes a part.
                count = self._socket.send(view)
            except (ssl.SSLWantWriteError, BlockingIOError):
                await self._wait(self._ready.writable)
            except ssl.SSLWantReadError:
                await self._wait(self._ready.readable)
            except OSError as error:
                raise self._broken(self._refusal() or error) from error
            else:
                view = view[count:]
                self._sent += count
                self._turn_bytes += max(count, CALL_BYTES)
                if self._turn_bytes >= TURN_BYTES:
                    await self._end_turn()

    async def _wait(self, ready: Callable[[], Awaitable[None]]) -> None:
        self._turn_bytes = 0
        await ready()
        self._check()

    async def _end_turn(self) -> None:
        self._turn_bytes = 0
        await asyncio.sleep(0)
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise type(self._error)(self._error.message, hint=self._error.hint)

    def _refusal(self) -> ssl.SSLError | None:
        """The alert that may explain why sending failed: in TLS 1.3 a client is ready, and sends, before the server
        has looked at its certificate and refused it."""
        if self._received or not isinstance(self._socket, ssl.SSLSocket):
            return None
        try:
            self._socket.recv(1)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLError as error:
            return error
        except OSError:
            return None
        return None

    def _broken(self, error: BaseException | None) -> RoostError:
        if self._error is None:
            self._end(connection_error(self._peer.address, error))
        assert self._error is not None
        return self._error

    def _end(self, error: RoostError) -> None:
        self._error = self._error or error
        if not self._closed:
            self._closed = True
            self._ready.wake_all()
            reset(self._socket)

    def abort(self) -> None:
        self._end(Unreachable(f"the connection with {self._peer.address} was broken off here"))

    async def close(self) -> None:
        if self._error is not None:
            return
        ended = Unreachable(f"the connection with {self._peer.address} was closed here")
        try:
            async with self._runtime.timeout(CLOSE_LIMIT_S), self._sending:
                if self._error is None:
                    self._error = ended
                    self._ready.wake_all()
                    await self._end_gently()
        except TimeoutError:
            pass
        finally:
            self._error = self._error or ended
            if not self._closed:
                self._closed = True
                self._ready.wake_all()
                self._socket.close()

    async def _end_gently(self) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self._socket.unwrap()  # says close_notify, and does not wait for theirs
            self._socket = socket.socket(fileno=self._socket.detach())
        await end_gently(self._socket, self._ready)


def _receiver(connection: socket.socket) -> Callable[[int, memoryview], int]:
    """`connection.recv_into`, taking the length and the buffer. For TLS it is `read`, which recv_into calls in the end:
    a call returns one record of 16 KiB, so that what stands around it counts."""
    if isinstance(connection, ssl.SSLSocket):
        return connection.read  # type: ignore[return-value]  # the number of bytes, when a buffer is given
    return lambda length, into: connection.recv_into(into, length)


def _pieces(buffers: Sequence[bytes | bytearray | memoryview]) -> Iterator[bytearray | memoryview]:
    """The bytes of `buffers` in portions that make good TLS records: the small ones joined, the large ones as views."""
    joined = bytearray()
    for buffer in buffers:
        view = memoryview(buffer)
        view = view.cast("B") if view.nbytes else view
        while view.nbytes:
            if joined or len(view) < JOIN_BYTES_MAX:
                room = RECORD_BYTES - len(joined)
                joined += view[:room]
                view = view[room:]
                if len(joined) == RECORD_BYTES:
                    yield joined
                    joined = bytearray()
            else:
                yield view[:WRITE_BYTES]
                view = view[WRITE_BYTES:]
    if joined:
        yield joined
