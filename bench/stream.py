"""What a connection costs: MB/s and processor seconds a GB over loopback, both ends, as plain TLS and as our calls.

    python bench/stream.py [--bytes 500000000] [--streams 1]

`tls` is the least that Python can do: blocking sockets, 256 KiB a call. `stream` is `SocketStream`, `put` is the whole
way of an object: calls with bodies over exclusive links, thrown away where they arrive.
"""

import argparse
import asyncio
import os
import resource
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roost.client.session import hello_of, member_network
from roost.core.cluster import Address
from roost.core.errors import RoostError
from roost.core.ids import MachineId, object_id
from roost.core.runtime import SystemRuntime
from roost.net.body import Body
from roost.net.link import Link
from roost.net.server import Call, Reply, Server
from roost.net.stream import SLICE_BYTES, Stream
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.security.tls import client_context, server_context
from roost.wire.messages import Put, Stored

LOOPBACK = "127.0.0.1"
PLAIN_CALL_BYTES = 256 * 1024
OBJECT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ends:
    """Two members of one cluster."""

    server: Identity
    client: Identity

    @classmethod
    def make(cls) -> "Ends":
        authority = Authority.create("bench")
        machine = MachineId("0" * 32)
        return cls(*(Identity.found(authority, NodeKey.create(), machine=machine) for _ in range(2)))


class Discard:
    """A sink that keeps nothing."""

    def __init__(self) -> None:
        self._buffer = bytearray(SLICE_BYTES)

    async def take(self, length: int) -> memoryview:
        return memoryview(self._buffer)[:length]

    async def give(self, received: memoryview) -> None:
        return


def tls_server(ends: Ends, told: int) -> None:
    """Receive from one blocking connection to its end."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        os.write(told, str(listening.getsockname()[1]).encode())
        raw, _ = listening.accept()
    buffer = bytearray(PLAIN_CALL_BYTES)
    with server_context(ends.server, joiners=False).wrap_socket(raw, server_side=True) as connection:
        while connection.recv_into(buffer):
            pass


def tls_client(ends: Ends, port: int, total: int, streams: int) -> None:
    context = client_context(ends.client)
    context = context() if callable(context) else context
    with context.wrap_socket(socket.create_connection((LOOPBACK, port))) as connection:
        piece = memoryview(os.urandom(PLAIN_CALL_BYTES))
        for _ in range(0, total, len(piece)):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_RDWR)


def stream_server(ends: Ends, told: int) -> None:
    async def receive(stream: Stream) -> None:
        buffer = memoryview(bytearray(SLICE_BYTES))
        while True:
            await stream.receive_exactly(buffer)

    _serve(ends, told, receive)


def stream_client(ends: Ends, port: int, total: int, streams: int) -> None:
    runtime = SystemRuntime()
    network = member_network(runtime, ends.client)
    piece = memoryview(os.urandom(SLICE_BYTES))

    async def one() -> None:
        stream = await network.connect(Address(LOOPBACK, port), expect=ends.server.node_id)
        for _ in range(0, total // streams, len(piece)):
            await stream.send([piece])
        await stream.close()

    asyncio.run(_together(one, streams))


def put_server(ends: Ends, told: int) -> None:
    async def put(call: Call) -> Reply:
        await call.receive_body(Discard())
        return Reply(Stored(already=False))

    server = Server(SystemRuntime(), {Put: put}, greeting=lambda peer: hello_of(ends.server.cluster_hash))
    _serve(ends, told, server.serve)


def put_client(ends: Ends, port: int, total: int, streams: int) -> None:
    runtime = SystemRuntime()
    network = member_network(runtime, ends.client)
    data = os.urandom(OBJECT_BYTES)
    name = object_id(data)

    async def one() -> None:
        link = await Link.open(
            runtime, network, Address(LOOPBACK, port), expect=ends.server.node_id,
            hello=hello_of(ends.client.cluster_hash), exclusive=True,
        )  # fmt: skip
        for _ in range(0, total // streams, len(data)):
            await link.call(Put(name, len(data)), body=Body.of(data))
        await link.close()

    asyncio.run(_together(one, streams))


async def _together(one: Callable[[], Awaitable[None]], streams: int) -> None:
    await asyncio.gather(*(one() for _ in range(streams)))


def _serve(ends: Ends, told: int, serve: Callable[[Stream], Awaitable[None]]) -> None:
    """Serve connections until the last one ended."""

    async def run() -> None:
        left, idle = 0, asyncio.Event()

        async def accepted(stream: Stream) -> None:
            nonlocal left
            left += 1
            try:
                await serve(stream)
            except RoostError:
                pass
            finally:
                left -= 1
                if not left:
                    idle.set()

        network = member_network(SystemRuntime(), ends.server)
        listener = await network.listen(Address(LOOPBACK, 0), accepted)
        os.write(told, str(listener.address.port).encode())
        await idle.wait()
        await listener.close()

    asyncio.run(run())


def measure(
    name: str, server: Callable[[Ends, int], None], client: Callable[[Ends, int, int, int], None], total: int,
    streams: int,
) -> None:  # fmt: skip
    """Run the two ends as two processes and print what they took."""
    ends = Ends.make()
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            server(ends, told)
        except ssl.SSLError:
            pass
        finally:
            os._exit(0)
    port = int(os.read(ready, 16))
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    client(ends, port, total, streams)
    seconds = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    _, _, other = os.wait4(child, 0)
    sending = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    receiving = other.ru_utime + other.ru_stime
    gb = total / 1e9
    print(f"{name:8s} {total / 1e6 / seconds:6.0f} MB/s  {sending / gb:5.2f} + {receiving / gb:5.2f} CPU-s a GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=500_000_000)
    parser.add_argument("--streams", type=int, default=1)
    options = parser.parse_args()
    measure("tls", tls_server, tls_client, options.bytes, 1)
    measure("stream", stream_server, stream_client, options.bytes, options.streams)
    measure("put", put_server, put_client, options.bytes, options.streams)


if __name__ == "__main__":
    main()
