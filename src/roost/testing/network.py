"""A simulated network: hosts, streams between them, and everything that can go wrong with both, from one seed.

`SimNetwork` is the world. Each of its hosts is a `Network`. A stream behaves like TCP: bytes are never lost, changed or
reordered within it, arrive late and in pieces, and a receiver who does not read stops its sender. What is cut off is
held and arrives when the cut is healed. Where a stream breaks is decided in `testing.pipe`.
"""

import asyncio
import contextvars
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from roost.core.cluster import Address
from roost.core.errors import Busy, NotAdmitted, RoostError, Unreachable
from roost.core.ids import NodeId
from roost.net.stream import Accepted, Peer
from roost.testing.pipe import Pipe, SimStream, Waiters

FIRST_FREE_PORT = 40_000
DELAY_S = (0.000_05, 0.001)
BYTES_PER_S = 1e9
RESET_DELAY_MAX_S = 2.0
FREEZE = "freeze"


@dataclass(frozen=True, slots=True)
class Line:
    """What one direction between two hosts is like: seconds a byte is under way (drawn between two bounds), and how
    many bytes a second enter. With a `cause` it is a fault, which who sends there comes to feel."""

    delay_s: tuple[float, float] = DELAY_S
    bytes_per_s: float = BYTES_PER_S
    cause: str = ""


class SimNetwork:
    """The world between the hosts. All chance comes from `rng`; `line` is what hosts get that `set_line` does not
    name. `felt` hears the cause of every cut and every line that held or slowed something, and ``freeze`` when a frozen
    process kept somebody waiting."""

    def __init__(self, rng: random.Random, *, line: Line = Line()) -> None:
        self.rng = rng
        self.changed = Waiters()
        """Notified whenever a host or a line comes back."""
        self.felt: Callable[[str], None] | None = None
        self._line = line
        self._lines: dict[tuple[str, str], Line] = {}
        self._busy_until: dict[tuple[str, str], float] = {}
        self._cuts: dict[tuple[str, str], str] = {}
        self._hosts: dict[str, SimHost] = {}
        self._listeners: dict[Address, SimListener] = {}
        self._ports = FIRST_FREE_PORT
        self._pipes: list[Pipe] = []

    def host(
        self,
        name: str,
        node_id: NodeId | None,
        fingerprint: bytes | None,
        address: str,
        *,
        certificate: bytes | None = None,
        authority: str = "home",
        joiners: bool = False,
    ) -> "SimHost":
        """A process on the machine at IP `address`. A name used before starts anew: the old process is gone, with its
        streams and listeners. A host without `node_id` is a joiner: it is let in only where `joiners` are, and checks
        nobody. Hosts of different authorities refuse each other."""
        before = self._hosts.get(name)
        if before is not None:
            if not before.dead:
                self.crash(before)
            before.forgotten = True
        host = SimHost(self, name, address, Identity(node_id, fingerprint, certificate, authority, joiners))
        self._hosts[name] = host
        self.resume()
        return host

    def known(self) -> list[str]:
        """The names of all hosts that ever were."""
        return sorted(self._hosts)

    def living(self) -> list["SimHost"]:
        """The hosts whose processes are not dead, by name."""
        return [host for _, host in sorted(self._hosts.items()) if not host.dead]

    def set_line(self, source: "SimHost", target: "SimHost", line: Line) -> None:
        """Set one direction between two hosts; also for streams that are there already."""
        self.set_line_by_name(source.name, target.name, line)

    def set_line_by_name(self, source: str, target: str, line: Line) -> None:
        """The same of hosts that need not be there yet."""
        self._lines[source, target] = line

    def cut(self, source: "SimHost", target: "SimHost", *, both: bool = True, cause: str = "cut") -> None:
        """Let nothing through from `source` to `target`, nor back unless `both` is False. What is under way is held."""
        self._cuts[source.name, target.name] = cause
        if both:
            self._cuts[target.name, source.name] = cause

    def part(self, *groups: Iterable["SimHost"], cause: str = "cut") -> None:
        """Cut every host of a group off from all hosts of the other groups."""
        sides = [list(group) for group in groups]
        for index, side in enumerate(sides):
            for other in sides[index + 1 :]:
                for source in side:
                    for target in other:
                        self.cut(source, target, cause=cause)

    def heal(self) -> None:
        """End all cuts; what was held goes on."""
        self._cuts.clear()
        self.resume()

    def crash(self, host: "SimHost", *, silent: bool | None = None) -> None:
        """End the process: its tasks that serve streams are cancelled and its streams break. The others learn it after
        a moment, or with `silent` (the whole machine is dead) never. None draws one of the two."""
        host.dead = True
        host.silent = self.rng.random() < 0.5 if silent is None else silent
        for address in [address for address, listener in self._listeners.items() if listener.host is host]:
            del self._listeners[address]
        for task in list(host.tasks):
            task.cancel()
        for pipe in [pipe for pipe in self._pipes if pipe.source is host]:
            pipe.sender.die(
                Unreachable(f"host {host.name} crashed"),
                reset_after_s=None if host.silent else self.rng.random() * RESET_DELAY_MAX_S,
            )

    def freeze(self, host: "SimHost") -> None:
        """Stop the process as SIGSTOP does, as far as the network can see: it neither reads, sends, dials nor greets;
        its machine still takes in what its buffers hold."""
        host.frozen = True

    def thaw(self, host: "SimHost") -> None:
        host.frozen = False
        self.resume()

    def is_open(self, source: "SimHost", target: "SimHost") -> bool:
        """Whether bytes get from `source` to `target` now."""
        return (source.name, target.name) not in self._cuts

    def passes(self, source: "SimHost", target: "SimHost") -> bool:
        """The same, asked by who has something to send: if not, the cut is felt."""
        cause = self._cuts.get((source.name, target.name))
        self.feel(cause)
        return cause is None

    def feel(self, cause: str | None) -> None:
        """Tell that something was held or slowed, and why; does nothing without a cause."""
        if cause and self.felt is not None:
            self.felt(cause)

    def delay(self, source: "SimHost", target: "SimHost") -> float:
        """How long the next byte is under way, in seconds."""
        return self.rng.uniform(*self._lines.get((source.name, target.name), self._line).delay_s)

    def arrival(self, source: "SimHost", target: "SimHost", size: int) -> float:
        """When `size` bytes that are sent now will have arrived; all streams of the two share their line."""
        names = (source.name, target.name)
        line = self._lines.get(names, self._line)
        self.feel(line.cause)
        begin = max(asyncio.get_running_loop().time(), self._busy_until.get(names, 0.0))
        self._busy_until[names] = begin + size / line.bytes_per_s
        return self._busy_until[names] + self.rng.uniform(*line.delay_s)

    def resume(self) -> None:
        """Let what was held go on."""
        self._pipes = [pipe for pipe in self._pipes if not pipe.is_done]
        for pipe in self._pipes:
            pipe.resume()
        self.changed.notify()

    def listener(self, address: Address) -> "SimListener | None":
        return self._listeners.get(address)

    def refuses(self, client: "SimHost", address: Address) -> bool:
        """Whether a machine answers at the IP of `address` and says that nobody listens there."""
        if address in self._listeners:
            return False
        here = [host for host in self._hosts.values() if host.address == address.host]
        awake = [host for host in here if not (host.dead and host.silent)]
        return not here or any(self.is_open(client, host) and self.is_open(host, client) for host in awake)

    def bind(self, listener: "SimListener") -> None:
        if listener.address in self._listeners:
            raise Busy(f"{listener.address} is in use")
        self._listeners[listener.address] = listener

    def unbind(self, listener: "SimListener") -> None:
        if self._listeners.get(listener.address) is listener:
            del self._listeners[listener.address]

    def free_port(self) -> int:
        self._ports += 1
        return self._ports

    def join(self, client: "SimHost", server: "SimHost", address: Address) -> tuple[SimStream, SimStream]:
        """Two ends of a new stream, the dialling one first."""
        up, down = Pipe(self, client, server), Pipe(self, server, client)
        from_port = Address(client.address, self.free_port())
        near = SimStream(server.identity.peer(address), from_port, incoming=down, outgoing=up)
        far = SimStream(client.identity.peer(from_port), address, incoming=up, outgoing=down)
        self._pipes = [pipe for pipe in self._pipes if not pipe.is_done] + [up, down]
        return near, far


@dataclass(frozen=True, slots=True)
class Identity:
    """What a host shows to others, and whom it lets in."""

    node_id: NodeId | None
    fingerprint: bytes | None
    certificate: bytes | None
    authority: str
    joiners: bool

    def peer(self, address: Address) -> Peer:
        return Peer(self.node_id, self.fingerprint, address, self.certificate)

    def refusal(self, client: "Identity") -> str:
        """Why a server with this identity and that client do not get together, or nothing."""
        if client.node_id is None:
            return "" if self.joiners else "a certificate is required"
        return "" if client.authority == self.authority else "the certificate is of another authority"


class SimHost:
    """One simulated process's network. It is as dead as its process once that crashed."""

    def __init__(self, world: SimNetwork, name: str, address: str, identity: Identity) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.identity = identity
        self.dead = False
        self.silent = False
        self.frozen = False
        self.forgotten = False
        """True once a new process of that name is there: whoever still sends to the old one is told so."""
        self.tasks: set[asyncio.Task[None]] = set()

    async def connect(self, address: Address, *, expect: NodeId | None, timeout_s: float = 5.0) -> SimStream:
        try:
            async with asyncio.timeout(timeout_s):
                listener = await self._reach(address)
        except TimeoutError:
            raise Unreachable(f"{address} did not answer within {timeout_s:g} s") from None
        refusal = listener.host.identity.refusal(self.identity)
        if refusal:
            raise NotAdmitted(f"{address}: {refusal}", hint="join it with: roost join TOKEN")
        near, far = self.world.join(self, listener.host, address)
        listener.accept(far)
        if expect is not None and near.peer.node_id != expect:
            near.abort()
            raise Unreachable(f"{address} is now node {near.peer.node_id}, not {expect}")
        return near

    async def _reach(self, address: Address) -> "SimListener":
        """Three trips there and back, as TCP and TLS need; each waits for as long as the way is not free."""
        await self.thawed()
        for trip in range(3):
            listener = await self._way_to(address, greeted=trip > 0)
            await asyncio.sleep(self.world.delay(self, listener.host) + self.world.delay(listener.host, self))
        await self.thawed()
        if self.world.listener(address) is not listener:
            raise Unreachable(f"{address} broke the connection")
        return listener

    async def _way_to(self, address: Address, *, greeted: bool) -> "SimListener":
        while True:
            listener = self.world.listener(address)
            if listener is not None and self._is_free(listener.host, greeted=greeted):
                return listener
            if self.world.refuses(self, address):
                await asyncio.sleep(self.world.rng.uniform(*DELAY_S))
                raise Unreachable(f"nobody answers at {address}", hint="is roost running there?")
            await self.world.changed.wait()

    def _is_free(self, other: "SimHost", *, greeted: bool) -> bool:
        """A frozen process's machine still takes the connection, but nobody says hello."""
        way = self.world.passes(self, other) and self.world.passes(other, self)
        frozen = self.frozen or (greeted and other.frozen)
        self.world.feel(FREEZE if frozen else None)
        return way and not frozen

    async def listen(self, address: Address, accepted: Accepted) -> "SimListener":
        if self.dead:
            raise Unreachable(f"host {self.name} crashed")
        listener = SimListener(self, Address(address.host, address.port or self.world.free_port()), accepted)
        self.world.bind(listener)
        return listener

    async def thawed(self) -> None:
        """Return once the process runs; Unreachable when it is dead."""
        while self.frozen and not self.dead:
            self.world.feel(FREEZE)
            await self.world.changed.wait()
        if self.dead:
            raise Unreachable(f"host {self.name} crashed")


class SimListener:
    """One address that a host listens on. Who is accepted is served in the context of whoever listened, not of whoever
    dialled."""

    def __init__(self, host: SimHost, address: Address, accepted: Accepted) -> None:
        self.host = host
        self._address = address
        self._accepted = accepted
        self._context = contextvars.copy_context()

    @property
    def address(self) -> Address:
        return self._address

    def accept(self, stream: SimStream) -> None:
        name = f"{self.host.name} serves {stream.peer.address}"
        task = asyncio.create_task(self._serve(stream), name=name, context=self._context.copy())
        self.host.tasks.add(task)
        task.add_done_callback(self.host.tasks.discard)

    async def _serve(self, stream: SimStream) -> None:
        try:
            await self._accepted(stream)
        except RoostError:
            stream.abort()
        except BaseException:
            stream.abort()
            raise

    async def close(self) -> None:
        self.host.world.unbind(self)
