"""What a connection of ours wants of its socket: to be waited for, a handshake, its options, an orderly or an abrupt
end, and errors in our own words."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable

from roost.core.cluster import Address
from roost.core.errors import RoostError, Unreachable
from roost.security.tls import refusal_of

RECORD_BYTES = 16 * 1024
UNSENT_BYTES_MAX = 512 * 1024
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
