"""A fork server for `test_kill.py`: a cluster of real nodes, one of which, or a client, kills itself at one step.

Every process of the cluster is forked from one that has done the imports and made the homes, so that a process costs
milliseconds. The one that drives the cluster (a subject of `crash_subjects.py`) asks over a socket for processes to be
started, waited for and killed, and prints what it found. Connections go over loopback addresses of a block of their
own.

A `Fuse` counts the steps of one process, in memory that all share: operations of its disk, or frames (the pieces that
it sends and receives), or those that it sends alone. Armed with n, it kills its process with SIGKILL right before the
step after the next n: so all steps are enumerated, and none is hit by luck of timing.
"""

import asyncio
import contextlib
import itertools
import json
import mmap
import os
import secrets
import select
import signal
import socket
import struct
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy  # noqa: F401  # loaded before the fork: else each process would do it for its first chunk

from roost.checkpoints.collect import Periods
from roost.client.session import Session, member_network, open_session
from roost.cluster.remembered import Remembered
from roost.core.cluster import Address
from roost.core.errors import NotAdmitted
from roost.core.ids import MachineId
from roost.core.runtime import Runtime, SystemRuntime
from roost.disk.port import Buffer, WriteFile
from roost.disk.posix import PosixDisk
from roost.disk.posix_file import PosixFile
from roost.net import links
from roost.net.stream import Accepted, Ends, Listener, Network, Peer, Stream
from roost.node.node import Node, NodeOptions
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey

T = TypeVar("T")

PORT = 7400
PATIENCE_S = 20.0
"""For one process to start or to end."""
DRIVER, CLIENT = -1, -2
"""The two members that keep nothing, where nodes are counted from 0: who drives, and who may be killed."""


class Fuse:
    """The kill that waits for one process. `DISK`, `FRAME` and `SEND` are the kinds of steps; it counts one of them at
    a time. To others a process that dies after it received a frame has died before it sent the next one, so that `SEND`
    tells all of a process without a disk."""

    DISK, FRAME, SEND = "disk", "frame", "send"
    _STATE = struct.Struct("=i8s24s")  # how many steps are left (-1: not armed), of which kind, and where it blew

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, self._STATE.size)
        self._lock = threading.Lock()
        self.disarm()

    def arm(self, steps: int, kind: str) -> None:
        """Let `steps` more steps of `kind` pass."""
        self._STATE.pack_into(self._memory, 0, steps, kind.encode(), b"")

    def disarm(self) -> str:
        """Count no more; where it blew, or the empty string."""
        _, _, where = self._STATE.unpack_from(self._memory)
        self._STATE.pack_into(self._memory, 0, -1, b"", b"")
        return str(where.rstrip(b"\0").decode())

    def step(self, kind: str, what: str) -> None:
        """The process is about to do `what`. Does not return when that is the step that it dies at."""
        with self._lock:
            left, counted, _ = self._STATE.unpack_from(self._memory)
            if left < 0 or counted.rstrip(b"\0").decode() != kind:
                return
            if left == 0:
                self._STATE.pack_into(self._memory, 0, 0, counted, what.encode())
                os.kill(os.getpid(), signal.SIGKILL)
            self._STATE.pack_into(self._memory, 0, left - 1, counted, b"")


class FusedDisk(PosixDisk):
    """A disk that tells the fuse of every change before it is made."""

    def __init__(self, root: Path, fuse: Fuse) -> None:
        super().__init__(root)
        self._fuse = fuse

    def create(self, path: str, *, mode: int = 0o600) -> WriteFile:
        self._fuse.step(Fuse.DISK, "create")
        return FusedFile(super().create(path, mode=mode), self._fuse)

    def open_write(self, path: str) -> WriteFile:
        return FusedFile(super().open_write(path), self._fuse)

    def rename(self, source: str, target: str) -> None:
        self._fuse.step(Fuse.DISK, "rename")
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self._fuse.step(Fuse.DISK, "unlink")
        super().unlink(path)

    def sync_directory(self, path: str) -> None:
        self._fuse.step(Fuse.DISK, "sync directory")
        super().sync_directory(path)


class FusedFile:
    """A file of a FusedDisk. A write is two steps: the first half of the bytes is out when the second begins."""

    def __init__(self, file: WriteFile, fuse: Fuse) -> None:
        assert isinstance(file, PosixFile)
        self._file = file
        self._fuse = fuse
        self.pread, self.info, self.begin_writeback = file.pread, file.info, file.begin_writeback
        self.drop_cache, self.set_mode, self.close = file.drop_cache, file.set_mode, file.close

    def pwrite(self, data: Buffer, offset: int) -> None:
        self._fuse.step(Fuse.DISK, "write")
        half = len(data) // 2
        view = memoryview(data)
        self._file.pwrite(view[:half], offset)
        self._fuse.step(Fuse.DISK, "half written")
        self._file.pwrite(view[half:], offset + half)

    def truncate(self, size: int) -> None:
        self._fuse.step(Fuse.DISK, "truncate")
        self._file.truncate(size)

    def set_times(self, mtime_ns: int) -> None:
        self._fuse.step(Fuse.DISK, "set times")
        self._file.set_times(mtime_ns)

    def sync(self) -> None:
        self._fuse.step(Fuse.DISK, "sync")
        self._file.sync()


class FusedStream:
    """A stream that tells the fuse of every piece that it sends, and of each one that it has received."""

    def __init__(self, stream: Stream, fuse: Fuse) -> None:
        self._stream = stream
        self._fuse = fuse
        self.abort, self.close = stream.abort, stream.close

    @property
    def peer(self) -> Peer:
        return self._stream.peer

    @property
    def local(self) -> Address:
        return self._stream.local

    @property
    def bytes_received(self) -> int:
        return self._stream.bytes_received

    @property
    def bytes_sent(self) -> int:
        return self._stream.bytes_sent

    async def receive_exactly(self, into: memoryview) -> None:
        await self._stream.receive_exactly(into)
        self._fuse.step(Fuse.FRAME, "received")

    async def send(self, buffers: Sequence[Buffer]) -> None:
        self._fuse.step(Fuse.FRAME, "send")
        self._fuse.step(Fuse.SEND, "send")
        await self._stream.send(buffers)

    async def carry(self, job: Callable[[Ends], Coroutine[object, object, T]]) -> T:
        return await self._stream.carry(lambda ends: job(FusedEnds(ends, self._fuse)))


class FusedEnds:
    """The ends of a stream, for what carries bodies; they tell the fuse of the same pieces."""

    def __init__(self, ends: Ends, fuse: Fuse) -> None:
        self._ends = ends
        self._fuse = fuse

    async def receive_exactly(self, into: memoryview) -> None:
        await self._ends.receive_exactly(into)
        self._fuse.step(Fuse.FRAME, "received")

    async def send(self, buffers: Sequence[Buffer]) -> None:
        self._fuse.step(Fuse.FRAME, "send")
        self._fuse.step(Fuse.SEND, "send")
        await self._ends.send(buffers)


class FusedNetwork:
    """The real network, its streams fused."""

    def __init__(self, network: Network, fuse: Fuse) -> None:
        self._network = network
        self._fuse = fuse

    async def connect(self, address: Address, **options: Any) -> Stream:
        return FusedStream(await self._network.connect(address, **options), self._fuse)

    async def listen(self, address: Address, accepted: Accepted) -> Listener:
        return await self._network.listen(address, lambda stream: accepted(FusedStream(stream, self._fuse)))


Tell = Callable[[object], None]


class World:
    """The homes of a cluster below `root`, each node on a machine of its own, and what its processes are made of."""

    def __init__(self, root: Path, nodes: int, periods: Periods) -> None:
        self.root = root
        self.periods = periods
        self.fuse = Fuse()
        authority = Authority.create("crash")
        self.identities = [
            Identity.found(authority, NodeKey.create(), machine=MachineId(f"{number:032x}"))
            for number in range(nodes + 2)
        ]
        self.nodes = range(nodes)
        self._block = ".".join(str(byte % 254 + 1) for byte in secrets.token_bytes(2))
        for number in (*self.nodes, DRIVER, CLIENT):
            disk = PosixDisk.make(self.home(number))
            self.identities[number].save(disk)
            remembered = Remembered(disk)
            for other in self.nodes:
                if other != number:
                    remembered.worked(self.identities[other].node_id, self.address(other))

    def home(self, number: int) -> Path:
        return self.root / (f"node-{number}" if number >= 0 else f"client{number}")

    def address(self, number: int) -> Address:
        return Address(f"127.{self._block}.{number + 1}", PORT)

    def disk(self, number: int, *, fused: bool = False) -> PosixDisk:
        return self.disk_at(self.home(number), fused=fused)

    def disk_at(self, root: Path, *, fused: bool) -> PosixDisk:
        return FusedDisk(root, self.fuse) if fused else PosixDisk(root)

    def network(self, runtime: Runtime, number: int, *, fused: bool) -> Network:
        network = member_network(runtime, self.identities[number])
        return FusedNetwork(network, self.fuse) if fused else network

    async def session(self, number: int, *, fused: bool = False) -> Session:
        """What a client's process has."""
        runtime = SystemRuntime()
        disk, network = self.disk(number, fused=fused), self.network(runtime, number, fused=fused)
        catalogue = self.home(number) / "catalogue.sqlite3"
        return await open_session(runtime, network, disk, self.identities[number], catalogue)


class Work(Protocol):
    """What a process does; what it tells reaches who asked for it."""

    def __call__(self, world: World, tell: Tell, fused: bool, /, *arguments: Any) -> Coroutine[Any, Any, None]: ...


async def serve(world: World, tell: Tell, fused: bool, number: int) -> None:
    """Be node `number`, and tell when it serves, and why it ended by itself."""
    runtime = SystemRuntime()
    disk, network = world.disk(number, fused=fused), world.network(runtime, number, fused=fused)
    capacity = 1 << (60 if number < 2 else 30)  # the third and later ones take only what the first two do not
    options = NodeOptions(
        name=f"node-{number}", listen=world.address(number), capacity=capacity, periods=world.periods
    )  # fmt: skip
    try:
        await Node(runtime, network, disk, world.identities[number], options).run(ready=lambda address: tell("ready"))
    except* NotAdmitted:
        tell("not admitted")


@dataclass
class Child:
    """One forked process: its id, and the pipe that it tells by."""

    pid: int
    pipe: int
    heard: bytes = b""

    def hear(self) -> bool:
        """Wait for more of what it tells; False at the end."""
        assert select.select([self.pipe], [], [], PATIENCE_S)[0], f"process {self.pid} says nothing, and does not end"
        data = os.read(self.pipe, 65536)
        self.heard += data
        return bool(data)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.heard.splitlines()]

    def end(self) -> tuple[int, list[Any]]:
        """Wait for its end; the wait status, and all that it told."""
        while self.hear():
            pass
        os.close(self.pipe)
        return os.waitpid(self.pid, 0)[1], self.lines()


class ForkServer:
    """Forks processes, which end when this one does."""

    def __init__(self, world: World, works: dict[str, Work]) -> None:
        self._world = world
        self._works = {"serve": serve, **works}
        self._children: dict[int, Child] = {}
        self._numbers = itertools.count(1)
        self._leash = os.pipe()

    def fork(self, run: Callable[[Tell], Coroutine[Any, Any, None]]) -> Child:
        """A process that runs `run`."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writing)
            return Child(pid, reading)
        try:
            os.close(reading)
            os.close(self._leash[1])
            for child in self._children.values():
                os.close(child.pipe)
            asyncio.run(_leashed(self._leash[0], run(lambda told: _write(writing, told))))
            os._exit(0)
        except BaseException:  # supervised: this is the whole life of a forked process
            traceback.print_exc()
        finally:
            os._exit(1)

    def obey(self, control: socket.socket) -> None:
        """Do what the driver asks until it is gone; then end all others."""
        with control.makefile("rw", encoding="utf-8") as lines:
            for line in lines:
                lines.write(json.dumps(self._do(**json.loads(line))) + "\n")
                lines.flush()
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)

    def _do(self, do: str, number: int = 0, work: str = "", fused: bool = False, arguments: Sequence[Any] = ()) -> Any:
        if do == "start":
            number = next(self._numbers)
            child = self.fork(lambda tell: self._works[work](self._world, tell, fused, *arguments))
            self._children[number] = child
            while work == "serve" and not child.lines() and child.hear():
                pass
            return number
        child = self._children.pop(number)
        if do == "kill":
            os.kill(child.pid, signal.SIGKILL)
        return child.end()


def _write(pipe: int, told: object) -> None:
    os.write(pipe, json.dumps(told).encode() + b"\n")


async def _leashed(leash: int, work: Coroutine[Any, Any, None]) -> None:
    asyncio.get_running_loop().add_reader(leash, os._exit, 3)
    await work


@dataclass
class Lab:
    """The driver's end of the fork server, and the world."""

    world: World
    _control: socket.socket
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._lines = self._control.makefile("rw", encoding="utf-8")

    async def _ask(self, **request: object) -> Any:
        def ask() -> Any:
            self._lines.write(json.dumps(request) + "\n")
            self._lines.flush()
            return json.loads(self._lines.readline())

        async with self._turn:
            return await asyncio.to_thread(ask)

    async def start(self, work: str, *arguments: object, fused: bool = False) -> int:
        """Start a process; a node serves when this returns. The number that it has here."""
        return int(await self._ask(do="start", work=work, arguments=arguments, fused=fused))

    async def ended(self, process: int) -> tuple[bool, list[Any]]:
        """Wait for the end of a process: whether SIGKILL was it, and what it told. Any end but that and a good one
        fails the test."""
        status, told = await self._ask(do="wait", number=process)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or status == 0, f"a process ended with wait status {status}, and told {told}"
        return killed, told

    async def kill(self, process: int) -> None:
        await self._ask(do="kill", number=process)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._lines.close()
        self._control.close()


def run(
    root: Path, *, nodes: int, periods: Periods, works: dict[str, Work], drive: Callable[[Lab, Tell], Awaitable[None]]
) -> int:  # fmt: skip
    """Make the world and its processes, and drive it; the exit status."""
    links.REFUSAL_S, links.DIAL_ATTEMPTS = 0.0, 1  # a node that was killed is back before anybody needs it again
    world = World(root, nodes, periods)
    server = ForkServer(world, works)
    ours, theirs = socket.socketpair()

    async def driver(tell: Tell) -> None:
        ours.close()
        async with Lab(world, theirs) as lab:
            await drive(lab, lambda told: print(json.dumps(told), flush=True))

    child = server.fork(driver)
    theirs.close()
    with contextlib.closing(ours):
        server.obey(ours)
    return os.waitstatus_to_exitcode(child.end()[0])
