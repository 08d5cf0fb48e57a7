"""The networks that the contract of `Stream` and `Network` is checked on: plain TCP, TLS, and the simulated one."""

import asyncio
import contextlib
import functools
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from contract.certificates import TestAuthority, TestMember, joiner_context
from roost.core.cluster import Address
from roost.core.ids import NodeId
from roost.core.runtime import Runtime, SystemRuntime
from roost.net.stream import Network, Stream
from roost.net.tcp import TcpNetwork
from roost.testing.loop import run_simulated
from roost.testing.network import SimHost, SimNetwork
from roost.testing.runtime import SimRuntime

LOOPBACK = "127.0.0.1"
SEEDS = 8


class Member(Protocol):
    """A network and who it is."""

    network: Network
    node_id: NodeId | None
    address: Address
    """Where it may listen; port 0."""


class Lab(Protocol):
    """Makes networks of one kind."""

    runtime: Runtime
    rng: random.Random
    held_bytes_max: int
    """What may be on its way to a peer that does not read: our buffers and the kernel's."""

    def member(self, name: str, *, joiners: bool = False) -> Member: ...

    def foreigner(self, name: str) -> Member:
        """A member of another cluster."""
        ...

    def joiner(self) -> Member:
        """Has no certificate and checks nobody's."""
        ...

    def mute(self) -> contextlib.AbstractAsyncContextManager[Address]:
        """Something that takes connections and never says a word."""
        ...


class Networked:
    def __init__(self, network: Network, node_id: NodeId | None, address: Address) -> None:
        self.network = network
        self.node_id = node_id
        self.address = address


class TcpLab:
    """Plain TCP: no identities."""

    held_bytes_max = 16 << 20

    def __init__(self) -> None:
        self.runtime: Runtime = SystemRuntime()
        self.rng = random.Random(1)

    def member(self, name: str, *, joiners: bool = False) -> Member:
        network = TcpNetwork(self.runtime, client_context=None, server_context=None)
        return Networked(network, None, Address(LOOPBACK, 0))

    def foreigner(self, name: str) -> Member:
        raise NotImplementedError

    def joiner(self) -> Member:
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def mute(self) -> AsyncIterator[Address]:
        with socket.create_server((LOOPBACK, 0)) as listening:
            yield Address(LOOPBACK, listening.getsockname()[1])


class TlsLab(TcpLab):
    def __init__(self) -> None:
        super().__init__()
        self._home, self._abroad = TestAuthority(), TestAuthority()

    def member(self, name: str, *, joiners: bool = False) -> Member:
        return self._networked(self._home.member(name), joiners=joiners)

    def foreigner(self, name: str) -> Member:
        return self._networked(self._abroad.member(name), joiners=False)

    def joiner(self) -> Member:
        network = TcpNetwork(self.runtime, client_context=joiner_context(), server_context=None)
        return Networked(network, None, Address(LOOPBACK, 0))

    def _networked(self, member: TestMember, *, joiners: bool) -> Member:
        network = TcpNetwork(
            self.runtime,
            client_context=member.client_context,
            server_context=member.server_context(joiners=joiners),
        )
        return Networked(network, member.node_id, Address(LOOPBACK, 0))


class SimLab:
    held_bytes_max = 1 << 20

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = SimNetwork(self.rng)
        self.runtime: Runtime = SimRuntime(self.rng)
        self._hosts = 0

    def _host(self, name: str, authority: str, *, known: bool = True, joiners: bool = False) -> SimHost:
        self._hosts += 1
        node_id = NodeId(f"{self._hosts:032x}") if known else None
        fingerprint = bytes([self._hosts]) * 32 if known else None
        return self.world.host(
            name, node_id, fingerprint, f"10.0.0.{self._hosts}", authority=authority, joiners=joiners
        )

    def member(self, name: str, *, joiners: bool = False) -> Member:
        return self._networked(self._host(name, "home", joiners=joiners))

    def foreigner(self, name: str) -> Member:
        return self._networked(self._host(name, "abroad"))

    def joiner(self) -> Member:
        return self._networked(self._host("joiner", "", known=False))

    def _networked(self, host: SimHost) -> Member:
        return Networked(host, host.identity.node_id, Address(host.address, 0))

    @contextlib.asynccontextmanager
    async def mute(self) -> AsyncIterator[Address]:
        host = self._host("mute", "home")
        listener = await host.listen(Address(host.address, 0), ignore)
        self.world.freeze(host)
        yield listener.address
        await listener.close()


async def ignore(stream: Stream) -> None:
    raise AssertionError(f"{stream.peer} was accepted")


Scenario = Callable[[Lab], Awaitable[None]]


def play(kind: str, scenario: Scenario) -> None:
    """Run `scenario` on a fresh lab of that kind; a simulated one from several seeds."""
    if kind == "simulated":
        for seed in range(SEEDS):
            run_simulated(_played(functools.partial(SimLab, seed), scenario), seconds_max=120)
    else:
        asyncio.run(_played(TcpLab if kind == "tcp" else TlsLab, scenario))


async def _played(make: Callable[[], Lab], scenario: Scenario) -> None:
    async with asyncio.timeout(60):
        await scenario(make())
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


class Pair:
    """Two ends of one stream, and the listener it came through."""

    def __init__(self) -> None:
        self.near: Stream
        self.far: Stream
        self._accepted: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()

    async def accept(self, stream: Stream) -> None:
        self._accepted.set_result(stream)

    async def accepted(self) -> Stream:
        async with asyncio.timeout(10):
            return await self._accepted


@contextlib.asynccontextmanager
async def connected(lab: Lab) -> AsyncIterator[Pair]:
    """A client's stream (`near`) to a server (`far`); both are aborted in the end."""
    server, client, pair = lab.member("server"), lab.member("client"), Pair()
    listener = await server.network.listen(server.address, pair.accept)
    pair.near = await client.network.connect(listener.address, expect=server.node_id)
    pair.far = await pair.accepted()
    try:
        yield pair
    finally:
        pair.near.abort()
        pair.far.abort()
        await listener.close()
