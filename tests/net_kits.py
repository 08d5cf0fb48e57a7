"""Peers on the simulated network to test calls with: one that serves, one that asks, and one that does as it likes."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field

from roost.core.cluster import Address
from roost.core.errors import Unreachable
from roost.core.ids import NodeId
from roost.net.body import Body
from roost.net.link import Link
from roost.net.links import Links
from roost.net.server import Call, Handler, Reply, Server
from roost.net.stream import SLICE_BYTES, Stream
from roost.testing.loop import run_simulated
from roost.testing.network import SimHost, SimNetwork
from roost.testing.runtime import SimRuntime
from roost.wire.connection import Connection, Event, HelloReceived, Role
from roost.wire.messages import PROTOCOL, PROTOCOL_MIN, GetStatus, Hello, Status

PORT = 7400
CLUSTER = b"c" * 32
SEEDS = range(3)
SECONDS_MAX = 3000.0


def node_id(number: int) -> NodeId:
    return NodeId(f"{number:032x}")


def address(number: int) -> Address:
    return Address(f"10.0.0.{number}", PORT)


def hello(cluster: bytes = CLUSTER) -> Hello:
    return Hello(PROTOCOL, PROTOCOL_MIN, "test", cluster)


def some(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def now() -> float:
    return asyncio.get_running_loop().time()


def status_of(text: str) -> Status:
    return Status("0" * 32, "n", text, 0.0, 0, 0, 0, 0, 0, 0, 0, "/")


@dataclass
class Pair:
    """Host 1 asks, host 2 serves; a test fills `handlers` in, also later."""

    seed: int = 0
    handlers: dict[type, Handler] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = SimNetwork(random.Random(self.seed))
        self.runtime = SimRuntime(random.Random(self.seed + 1))
        self.client, self.host = self.member(1), self.member(2)
        self.server = Server(self.runtime, self.handlers, greeting=lambda peer: hello())
        self.links: list[Link] = []
        self.made: list[Links] = []
        self.handlers[GetStatus] = self.status

    def member(self, number: int) -> SimHost:
        return self.world.host(f"n{number}", node_id(number), bytes([number]) * 32, address(number).host, joiners=True)

    async def status(self, call: Call) -> Reply:
        return Reply(status_of("fine"))

    async def serve(self) -> None:
        await self.server.listen(self.host, address(2))

    async def link(self, *, exclusive: bool = False) -> Link:
        if self.world.listener(address(2)) is None:
            await self.serve()
        link = await Link.open(
            self.runtime, self.client, address(2), expect=node_id(2), hello=hello(), exclusive=exclusive
        )
        self.links.append(link)
        return link

    def links_of(self, *known: Address, worked: Callable[[NodeId, Address], None] | None = None) -> Links:
        """The client's links; node 2 is at its address, or at those in `known`."""
        links = Links(
            self.runtime,
            self.client,
            hello=hello(),
            resolve=lambda node: list(known) or [address(int(node, 16))],
            worked=worked,
        )
        self.made.append(links)
        return links

    async def end(self) -> None:
        for link in self.links:
            await link.close()
        for links in self.made:
            await links.close()
        self.world.thaw(self.host)
        self.world.heal()
        self.server.close()
        await asyncio.sleep(5)


Scenario = Callable[[Pair], Awaitable[None]]


def play(scenario: Scenario, *, seeds: Sequence[int] = SEEDS) -> None:
    """Run `scenario` once with each seed. In the end nothing may be left running, and nobody may have failed unseen."""
    for seed in seeds:
        unseen: list[dict[str, object]] = []

        async def main(seed: int = seed, unseen: list[dict[str, object]] = unseen) -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))
            pair = Pair(seed)
            await scenario(pair)
            await pair.end()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"still running: {left}"

        run_simulated(main(), seconds_max=SECONDS_MAX)
        assert not unseen, unseen


async def elsewhere(work: Coroutine[object, object, object]) -> "asyncio.Task[object]":
    """Start `work` and let it come to where it waits."""
    task = asyncio.get_running_loop().create_task(work)
    await asyncio.sleep(0.1)
    return task


def slow_body(data: bytes, *, every_s: float, slice_bytes: int = SLICE_BYTES) -> Body:
    """A body whose producer takes `every_s` for each slice."""

    async def slices() -> AsyncIterator[memoryview]:
        for begin in range(0, len(data), slice_bytes):
            await asyncio.sleep(every_s)
            yield memoryview(data)[begin : begin + slice_bytes]

    return Body(len(data), slices())


class RawPeer:
    """One end of a stream that sends what the test says, not what the protocol wants."""

    def __init__(self, stream: Stream, role: Role) -> None:
        self.stream = stream
        self.connection = Connection(role, admitted=True)

    async def send(self, *frames: bytes) -> None:
        await self.stream.send([b"".join(frames)])

    async def receive(self) -> Event | None:
        """The next event; Unreachable when the stream ends."""
        while True:
            view = memoryview(bytearray(self.connection.next_size()))
            await self.stream.receive_exactly(view)
            event = self.connection.receive(view)
            if event is not None:
                return event

    async def greet(self) -> None:
        await self.send(self.connection.hello(hello()))
        event = await self.receive()
        assert isinstance(event, HelloReceived), event

    async def silence(self) -> float:
        """Read until the peer breaks the stream; when that was."""
        try:
            while True:
                await self.receive()
        except Unreachable:
            return now()


async def raw_client(pair: Pair, *, greet: bool = True) -> RawPeer:
    """A client by hand, connected to the pair's server."""
    if pair.world.listener(address(2)) is None:
        await pair.serve()
    peer = RawPeer(await pair.client.connect(address(2), expect=node_id(2)), Role.CLIENT)
    if greet:
        await peer.greet()
    return peer


async def raw_server(pair: Pair, script: Callable[[RawPeer], Awaitable[None]]) -> None:
    """A server by hand at the address of the pair's server; its connections end with `script`."""

    async def accepted(stream: Stream) -> None:
        peer = RawPeer(stream, Role.SERVER)
        try:
            await script(peer)
        finally:
            stream.abort()

    await pair.host.listen(address(2), accepted)
