"""The measuring for the floor: what a GB of each step costs on this machine, in some three seconds.

Every step is tried with a little first, which warms it up and tells how much fits its time, and is then done twice with
up to 100 MB; the best counts, because all that disturbs makes it worse. A slow disk is measured with less.
"""

import asyncio
import contextlib
import hashlib
import itertools
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from roost.client.floor.reckoning import GB, Cost, Costs
from roost.codec.planes import Scratch, decode, encode
from roost.core.errors import Failed, RoostError
from roost.core.ids import MachineId
from roost.core.runtime import Runtime
from roost.disk.durable import DurableFile, temporary_name
from roost.disk.port import Disk
from roost.disk.posix import PosixDisk
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.security.tls import client_context, server_context

STEP_BYTES = 100_000_000
STEP_S = 0.3
ROUNDS = 2
WRITERS = 4
"""Objects that are written at once, as several nodes do: their fsyncs share the disk's work."""
OBJECT_BYTES = 7 * 512 * 1024
"""About the bytes at rest of a chunk of weights."""
SLICE_BYTES = 512 * 1024
TLS_BYTES = 256 * 1024
TRIAL_OBJECTS = 4
LIMIT_S = 60.0

_PREFIX = "floor-"

Connect = Callable[[], tuple[Any, Any]]
"""Makes two blocking TCP sockets, connected to each other over loopback. They are handed in: this layer makes none."""

Step = Callable[[int], Awaitable[int]]
"""Does a step with about so many bytes, and tells with how many it was."""


async def measure(runtime: Runtime, folder: Path, connect: Connect, chunk: bytes) -> Costs:
    """What each step costs here and now, at least. `folder` is an empty one on the disk that counts; nothing is
    left in it. `chunk` is a chunk of weights, of at most 8 MiB, by which the codec and the hash are measured.

    - `read`: a file that is in the page cache, in pieces of a chunk's length, by one thread.
    - `sha`: SHA-256 of `chunk`.
    - `encode`, `decode`: `chunk` to its bytes at rest and back, a GB of plain bytes.
    - `tls`: both ends of TLS 1.3 between members, on blocking sockets over loopback, 256 KiB a call.
    - `write_objects`: files of 3.5 MB in writes of 512 KiB, fsynced, renamed, and their folder fsynced.
    - `write_file`: one large file in pieces of a chunk's length, written back as it grows, and fsynced.

    Failed when it does not end within a minute; what a disk raises.
    """
    steps = _Steps(runtime, PosixDisk(folder), connect, chunk)
    try:
        async with runtime.timeout(LIMIT_S):
            write_file = await _best(runtime, steps.write_file, len(chunk))
            return Costs(
                read=await _best(runtime, steps.read, len(chunk)),
                sha=await _best(runtime, steps.sha, len(chunk)),
                encode=await _best(runtime, steps.encode, len(chunk)),
                decode=await _best(runtime, steps.decode, len(chunk)),
                tls=await _best(runtime, steps.tls, len(chunk)),
                write_objects=await _best(runtime, steps.write_objects, TRIAL_OBJECTS * OBJECT_BYTES),
                write_file=write_file,
            )
    except TimeoutError:
        raise Failed(f"this machine did not do within {LIMIT_S:.0f} s what takes others three") from None
    finally:
        await runtime.in_thread(steps.clean)


async def _best(runtime: Runtime, step: Step, trial_bytes: int) -> Cost:
    """The least that a step costs: after a trial of `trial_bytes`, with as much as fits STEP_S by what the trial took,
    and not again once it took much longer than that."""
    begun = runtime.now()
    costs = [await _cost(runtime, step, trial_bytes)]
    size = round(min(STEP_BYTES, max(trial_bytes, STEP_S * GB / max(costs[0].wall_s, 1e-9))))
    while len(costs) <= ROUNDS and runtime.now() - begun < 2 * STEP_S:
        costs.append(await _cost(runtime, step, size))
    return Cost(min(cost.cpu_s for cost in costs), min(cost.wall_s for cost in costs))


async def _cost(runtime: Runtime, step: Step, size: int) -> Cost:
    begun, before = runtime.now(), _cpu_s()
    done = await step(size)
    return Cost((_cpu_s() - before) * GB / done, (runtime.now() - begun) * GB / done)


def _cpu_s() -> float:
    """The processor's seconds of this process so far, all threads together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class _Steps:
    """Each step as a method that takes about how many bytes to do and returns how many it did."""

    def __init__(self, runtime: Runtime, disk: Disk, connect: Connect, chunk: bytes) -> None:
        self._runtime = runtime
        self._disk = disk
        self._connect = connect
        self._chunk = memoryview(chunk)
        self._scratch = Scratch(bytes_max=len(chunk))
        encoded = encode(self._chunk, width=2, scratch=self._scratch)
        self._codec, self._stored = encoded.codec, memoryview(b"".join(encoded.pieces))
        self._into = memoryview(bytearray(len(chunk)))
        self._numbers = itertools.count()
        self._file = ""
        authority, machine = Authority.create("floor"), MachineId("0" * 32)
        self._members = [Identity.found(authority, NodeKey.create(), machine=machine) for _ in range(2)]

    async def _each(self, size: int, work: Callable[[int], object]) -> int:
        """Do `work`, given an offset, for each piece of a chunk's length, in one thread."""
        offsets = range(0, max(size, len(self._chunk)) - len(self._chunk) + 1, len(self._chunk))

        def loop() -> None:
            for offset in offsets:
                work(offset)

        await self._runtime.in_thread(loop)
        return len(offsets) * len(self._chunk)

    async def sha(self, size: int) -> int:
        return await self._each(size, lambda _: hashlib.sha256(self._chunk).digest())

    async def encode(self, size: int) -> int:
        return await self._each(size, lambda _: encode(self._chunk, width=2, scratch=self._scratch))

    async def decode(self, size: int) -> int:
        return await self._each(
            size, lambda _: decode(self._stored, self._into, codec=self._codec, scratch=self._scratch)
        )

    async def write_file(self, size: int) -> int:
        """The file stays, for `read`."""
        self._file = f"{_PREFIX}{next(self._numbers)}"
        file = await self._runtime.in_thread(self._disk.create, self._file)

        def write(offset: int) -> None:
            file.pwrite(self._chunk, offset)
            file.begin_writeback(offset, len(self._chunk))

        try:
            done = await self._each(size, write)
            await self._runtime.in_thread(file.sync)
        finally:
            file.close()
        return done

    async def read(self, size: int) -> int:
        """Of the file that `write_file` left, again and again if it is shorter."""
        file = await self._runtime.in_thread(self._disk.open_read, self._file)
        try:
            there = file.info().size
            return await self._each(size, lambda offset: file.pread(self._into, offset % there))
        finally:
            file.close()

    async def write_objects(self, size: int) -> int:
        count = max(TRIAL_OBJECTS, size // OBJECT_BYTES)
        shares = [range(first, count, WRITERS) for first in range(WRITERS)]
        await asyncio.gather(*(self._runtime.in_thread(self._write_some, len(share)) for share in shares))
        return count * OBJECT_BYTES

    def _write_some(self, count: int) -> None:
        # Of weights, because some file systems make less of zeros.
        data = (bytes(self._stored) * (SLICE_BYTES // len(self._stored) + 1))[:SLICE_BYTES]
        for _ in range(count):
            name = f"{_PREFIX}{next(self._numbers)}"
            with DurableFile(self._disk, temporary_name(name, "0")) as file:
                for _ in range(0, OBJECT_BYTES, SLICE_BYTES):
                    file.write(data)
                file.commit(name)

    async def tls(self, size: int) -> int:
        """Each end in a thread of its own."""
        count = max(1, size // TLS_BYTES)
        sender, receiver = self._connect()
        try:
            await asyncio.gather(
                self._runtime.in_thread(_send, sender, self._members[0], count),
                self._runtime.in_thread(_receive, receiver, self._members[1], count * TLS_BYTES),
            )
        except OSError as error:
            raise Failed(f"TLS over loopback failed: {error}") from error
        return count * TLS_BYTES

    def clean(self) -> None:
        """Remove every file that a step left."""
        for name, _ in self._disk.list(""):
            if name.startswith(_PREFIX):
                with contextlib.suppress(RoostError):
                    self._disk.unlink(name)


def _send(sender: Any, identity: Identity, count: int) -> None:
    """Send so many pieces, and wait until the other end has them all. Whoever fails closes, which ends the other."""
    piece = memoryview(bytes(TLS_BYTES))
    with sender, client_context(identity).wrap_socket(sender) as connection:
        for _ in range(count):
            connection.sendall(piece)
        connection.recv(1)


def _receive(receiver: Any, identity: Identity, total: int) -> None:
    """Receive so many bytes, and say so."""
    buffer, received = bytearray(TLS_BYTES), 0
    with receiver, server_context(identity).wrap_socket(receiver, server_side=True) as connection:
        while received < total:
            count = connection.recv_into(buffer)
            if not count:
                raise Failed("the connection over loopback broke")
            received += count
        connection.sendall(b".")
