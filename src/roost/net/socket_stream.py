"""A `Stream` over one non-blocking socket, plain or TLS, driven by the event loop, and by a thread while it carries.

The socket is read and written directly, by whoever asks: `recv_into` fills the caller's own buffer and `send` takes the
caller's own bytes, so nothing is copied or kept here, and back-pressure is the kernel's. asyncio's TLS transport was
measured to be no faster, holds 256 KiB for every stranger, and drops the alert that tells a refused client why
(decision in docs/decisions). TLS is not made for two threads at once: a mutex is held for each of its calls, and never
while anything is waited for.
"""

import asyncio
import contextlib
import select
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import TypeVar

from roost.core.cluster import Address
from roost.core.errors import RoostError, Unreachable
from roost.core.runtime import Mutex, Runtime
from roost.net.sockets import RECORD_BYTES, Readiness, connection_error, end_gently, reset
from roost.net.stream import Ends, Peer

T = TypeVar("T")

WRITE_BYTES = 256 * 1024
"""Handed to TLS at a time: whole records, and the step in which `bytes_sent` grows."""
JOIN_BYTES_MAX = 4096
"""A buffer smaller than this shares a record, and so a packet, with what follows it."""
WAKE_BYTES = 64 * 1024
"""So many bytes of a slice are waited for at a time: fewer would mean a turn of the loop for every few records. They
count as received only then; a link on which they take 5 s is too slow for a slice's limit anyway."""
TURN_BYTES = 1024 * 1024
"""After so many bytes without waiting the other tasks of the loop get a turn."""
CALL_BYTES = 4096
"""What one call counts for at least in a turn."""
CLOSE_LIMIT_S = 1.0
LOOK_EVERY_MS = 1000
"""How often a thread that waits for the socket looks whether the stream was broken off; that wakes it up too."""


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
        self._mutex = Mutex()
        self._carrying = 0
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
                with self._mutex:
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
                with self._mutex:
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

    async def carry(self, job: Callable[[Ends], Coroutine[object, object, T]]) -> T:
        self._check()
        self._carrying += 1
        try:
            return await self._runtime.carry(lambda: job(_Carried(self)), cancel=self.abort)
        except _Broke as broke:
            raise self._broken(broke.reason) from broke.reason
        finally:
            self._carrying -= 1
            if self._error is not None:
                self._shut()

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
            with self._mutex:
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
        self._ready.wake_all()
        if self._carrying and not self._closed:
            with contextlib.suppress(OSError):  # wakes the thread, which still needs the descriptor; not TLS's shutdown
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self._shut()

    def _shut(self) -> None:
        """Give the descriptor back, once no thread uses it."""
        if not self._closed and not self._carrying:
            self._closed = True
            self._ready.wake_all()
            reset(self._socket)

    def abort(self) -> None:
        self._end(Unreachable(f"the connection with {self._peer.address} was broken off here"))

    async def close(self) -> None:
        if self._error is not None:
            return
        ended = Unreachable(f"the connection with {self._peer.address} was closed here")
        if self._carrying:
            self._end(ended)
            return
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


class _Broke(Exception):
    """The socket broke, or (None) ended, under a thread."""

    def __init__(self, reason: OSError | None) -> None:
        super().__init__(reason)
        self.reason = reason


class _Carried:
    """The ends of a `SocketStream` for a job in a thread: they block, and wait for the socket by themselves."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._poll = select.poll()
        self._descriptor = stream._socket.fileno()

    async def receive_exactly(self, into: memoryview) -> None:
        stream = self._stream
        receive, filled, wanted = stream._receive, 0, into.nbytes
        while filled < wanted:
            try:
                with stream._mutex:
                    while filled < wanted:  # TLS gives one record at a time
                        count = receive(wanted - filled, into[filled:])
                        if count == 0:
                            raise _Broke(None)
                        filled += count
                        stream._received += count
            except (ssl.SSLWantReadError, BlockingIOError):
                stream._wake_at(wanted - filled)
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)
            except OSError as error:
                raise _Broke(error) from error

    async def send(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        for piece in _pieces(buffers):
            self._send_piece(memoryview(piece))

    def _send_piece(self, view: memoryview) -> None:
        stream = self._stream
        while view:
            try:
                with stream._mutex:
                    count = stream._socket.send(view)
            except (ssl.SSLWantWriteError, BlockingIOError):
                self._wait(select.POLLOUT)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
            except OSError as error:
                raise _Broke(error) from error
            else:
                view = view[count:]
                stream._sent += count

    def _wait(self, events: int) -> None:
        self._poll.register(self._descriptor, events)
        while not self._poll.poll(LOOK_EVERY_MS):
            self._stream._check()
        self._stream._check()


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
