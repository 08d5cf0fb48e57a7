"""The real network: TCP with mutual TLS 1.3, dialled and listened for with this machine's identity.

Who a peer is follows from its certificate alone: the node id from its Ed25519 key, the fingerprint from its bytes.
Until a handshake is done a peer is a stranger and costs a socket, a TLS object and at most 5 seconds; when too many
strangers wait, the one who has waited longest goes, because honest handshakes take milliseconds. An address from which
they come too fast costs not even that.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from roost.core.cluster import Address
from roost.core.errors import Busy, Failed, RoostError, Unreachable
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.net.pace import Pace
from roost.net.socket_stream import CLOSE_LIMIT_S, SocketStream
from roost.net.sockets import Readiness, connection_error, end_gently, handshake, reset, tune
from roost.net.stream import Accepted, Peer
from roost.security.authority import node_id_of_certificate
from roost.security.tls import ShownCertificate, shown_certificate

HANDSHAKE_LIMIT_S = 5.0
UNFINISHED_MAX = 64
UNFINISHED_PER_HOST_MAX = 16
"""For one address that is not loopback (on which everybody has the same one)."""
CONNECTIONS_PER_HOST_PER_S = 64.0
CONNECTIONS_PER_HOST_BURST = 512
"""How many connections such an address may begin: more than a machine with many nodes that all start at once does."""
HOSTS_MAX = 1024
"""How many addresses are remembered for that."""
BACKLOG = 256
ACCEPT_PAUSE_S = 0.1
"""How long accepting pauses when the process has no descriptors or memory left for one more connection."""

ContextSource = ssl.SSLContext | Callable[[], ssl.SSLContext] | None


class TcpNetwork:
    """Dials and listens. A context is an SSLContext, or called for one at each connection; None for both means plain
    TCP without any identity, which is for tests only.

    `identify` says which node the certificate (DER) that TLS accepted belongs to, or raises NotAdmitted. A member
    passes one that knows its authority (`security.authority.check_issued`)."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        client_context: ContextSource,
        server_context: ContextSource,
        identify: Callable[[bytes], NodeId] = node_id_of_certificate,
    ) -> None:
        self._runtime = runtime
        self._client_context = client_context
        self._server_context = server_context
        self._identify = identify
        self._serving: set[asyncio.Task[None]] = set()

    async def connect(self, address: Address, *, expect: NodeId | None, timeout_s: float = 5.0) -> SocketStream:
        try:
            async with self._runtime.timeout(timeout_s):
                stream = await self._secure(await _dial(address), address, server=False)
        except TimeoutError:
            raise Unreachable(f"{address} did not answer within {timeout_s:g} s") from None
        if expect is not None and stream.peer.node_id != expect:
            stream.abort()
            raise Unreachable(f"{address} is now node {stream.peer.node_id}, not {expect}")
        return stream

    async def listen(self, address: Address, accepted: Accepted) -> "TcpListener":
        listening = await _bind(address)
        return TcpListener(self._runtime, listening, self._greet, accepted, self._serving)

    async def _greet(self, connection: socket.socket, address: Address) -> SocketStream:
        async with self._runtime.timeout(HANDSHAKE_LIMIT_S):
            return await self._secure(connection, address, server=True)

    async def _secure(self, connection: socket.socket, address: Address, *, server: bool) -> SocketStream:
        """The stream over a new TCP connection; closes the connection when it raises."""
        source = self._server_context if server else self._client_context
        try:
            tune(connection)
            peer, local = Peer(None, None, address), _address(connection.getsockname())
            context = source() if callable(source) else source
            if context is not None:
                connection = context.wrap_socket(connection, server_side=server, do_handshake_on_connect=False)
                await handshake(connection)
                peer = self._peer(address, shown_certificate(connection))
            return SocketStream(self._runtime, connection, peer=peer, local=local)
        except ssl.SSLError as error:
            if server:
                await _let_alert_arrive(self._runtime, connection)
            reset(connection)
            raise connection_error(address, error) from error
        except OSError as error:
            reset(connection)
            raise connection_error(address, error) from error
        except BaseException:
            reset(connection)
            raise

    def _peer(self, address: Address, shown: ShownCertificate | None) -> Peer:
        if shown is None:
            return Peer(None, None, address)
        return Peer(self._identify(shown.certificate), shown.fingerprint, address, shown.certificate)


class TcpListener:
    """One listening socket: greets strangers, and calls `accepted` for each that became a peer."""

    def __init__(
        self,
        runtime: Runtime,
        listening: socket.socket,
        greet: Callable[[socket.socket, Address], Awaitable[SocketStream]],
        accepted: Accepted,
        serving: set[asyncio.Task[None]],
    ) -> None:
        self._runtime = runtime
        self._socket = listening
        self._address = _address(listening.getsockname())
        self._greet = greet
        self._accepted = accepted
        self._serving = serving
        self._unfinished: dict[asyncio.Task[None], str] = {}
        self._pace = Pace(
            per_s=CONNECTIONS_PER_HOST_PER_S, burst=CONNECTIONS_PER_HOST_BURST, hosts_max=HOSTS_MAX
        )  # fmt: skip
        self._accepting = asyncio.create_task(self._accept(), name=f"accept on {self._address}")

    @property
    def address(self) -> Address:
        return self._address

    @property
    def unfinished(self) -> int:
        """How many handshakes are under way."""
        return len(self._unfinished)

    async def close(self) -> None:
        waiting = [self._accepting, *self._unfinished]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._socket.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, remote = await loop.sock_accept(self._socket)
            except ConnectionAbortedError:
                await asyncio.sleep(0)
            except OSError:
                await self._runtime.sleep(ACCEPT_PAUSE_S)
            else:
                address = _address(remote)
                if address.is_loopback or self._pace.admits(address.host, now=self._runtime.now()):
                    self._make_room(address)
                    self._start(connection, address)
                else:
                    reset(connection)
                await asyncio.sleep(0)  # an accept that need not wait would never let another task run

    def _make_room(self, address: Address) -> None:
        same_host = [task for task, other in self._unfinished.items() if other == address.host]
        if len(same_host) >= UNFINISHED_PER_HOST_MAX and not address.is_loopback:
            oldest = same_host[0]
        elif len(self._unfinished) >= UNFINISHED_MAX:
            oldest = next(iter(self._unfinished))
        else:
            return
        del self._unfinished[oldest]
        oldest.cancel()

    def _start(self, connection: socket.socket, address: Address) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            self._unfinished.pop(task, None)
            if task.cancelled():
                connection.close()  # a task cancelled before its first step could not do it

        task = asyncio.create_task(self._serve(connection, address), name=f"peer {address}")
        self._unfinished[task] = address.host
        task.add_done_callback(ended)

    async def _serve(self, connection: socket.socket, address: Address) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            stream = await self._greet(connection, address)
        except (RoostError, TimeoutError):
            return  # a stranger; nothing here depends on it
        self._unfinished.pop(task, None)
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            await self._accepted(stream)
        except RoostError:
            stream.abort()
        except BaseException:
            stream.abort()
            raise


async def _dial(address: Address) -> socket.socket:
    """A TCP connection to the first of the addresses that `address.host` stands for and that answers."""
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for family, kind, protocol, _, where in await _resolve(address):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            await loop.sock_connect(connection, where)
            return connection
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
    raise Unreachable(
        f"nobody answers at {address} ({failure.strerror if failure else 'no such host'})",
        hint="is roost running there? see: roost start",
    )


async def _bind(address: Address) -> socket.socket:
    family, kind, protocol, _, where = (await _resolve(address))[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise Busy(
                f"the address {address} is in use", hint="is roost running already? see: roost status"
            ) from error
        raise Failed(f"cannot listen on {address}: {error.strerror}", hint="give an address of this machine") from error
    return listening


_Resolved = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]]


async def _resolve(address: Address) -> _Resolved:
    """What an IP literal or a name stands for; only a name takes time, and a thread of asyncio's."""
    try:
        return socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )
    except socket.gaierror:
        pass
    try:
        return await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(f"there is no host {address.host!r}: {error.strerror}") from error


async def _let_alert_arrive(runtime: Runtime, connection: socket.socket) -> None:
    """Close so that a refused peer learns why from the alert that TLS has just sent: a reset would take it away."""
    with socket.socket(fileno=connection.detach()) as raw:
        try:
            async with runtime.timeout(CLOSE_LIMIT_S):
                await end_gently(raw, Readiness(raw.fileno()))
        except TimeoutError:
            pass


def _address(name: tuple[Any, ...]) -> Address:
    return Address(name[0], name[1])
