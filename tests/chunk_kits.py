"""Every implementation of `ChunkStore` ready to be tested: on real files, in memory, the fake, and over the network."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from roost.chunks.disk import DiskChunkStore
from roost.chunks.pass_on import PassOn
from roost.chunks.remote import RemoteChunkStore
from roost.chunks.service import chunk_handlers
from roost.chunks.store import ChunkStore
from roost.core.cluster import Address
from roost.core.ids import NodeId, ObjectId
from roost.core.runtime import Runtime, SystemRuntime
from roost.disk.port import DiskSpace
from roost.disk.posix import PosixDisk
from roost.net.links import Links
from roost.net.server import Call, Handlers, Reply, Server
from roost.testing.chunks import MemoryChunkStore
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import SimHost, SimNetwork
from roost.testing.runtime import SimRuntime
from roost.wire.messages import PROTOCOL, PROTOCOL_MIN, GetStatus, Hello, Status

T = TypeVar("T")
PORT = 7400
RESERVE_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Kit:
    """A store and what a test may do behind its back. `shrink(bytes_left)` makes the disk almost full."""

    store: ChunkStore
    flip: Callable[[ObjectId, int], None]
    vanish: Callable[[ObjectId], object]
    shrink: Callable[[int], None]
    temporaries: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Node:
    """One simulated node: a store on a disk in memory, served, and links to all others."""

    node_id: NodeId
    disk: MemoryDisk
    store: DiskChunkStore
    links: Links
    host: SimHost
    handlers: Handlers


def hello() -> Hello:
    return Hello(PROTOCOL, PROTOCOL_MIN, "test", b"")


def memory_kit(disk: MemoryDisk, disk_store: DiskChunkStore, store: ChunkStore) -> Kit:
    def path(object_id: ObjectId) -> str:
        return f"chunks/{object_id.hex()[:2]}/{object_id.hex()}"

    def shrink(bytes_left: int) -> None:
        disk.bytes_max = disk_store.bytes_used + RESERVE_BYTES + bytes_left + len("0" * 32 + "\n")

    return Kit(
        store,
        lambda object_id, byte: disk.flip(path(object_id), byte, 3),
        lambda object_id: disk.unlink(path(object_id)),
        shrink,
        lambda: len(disk.list("chunks/tmp")),
    )


async def start_node(world: SimNetwork, runtime: Runtime, number: int, *, disk: MemoryDisk | None = None) -> Node:
    """Node `number` of a simulated cluster whose members all know each other's addresses."""
    node_id = NodeId(f"{number:032x}")
    host = world.host(f"node{number}", node_id, bytes([number]) * 32, address(number).host)
    disk = disk or MemoryDisk()
    store = DiskChunkStore(disk, runtime, reserve_bytes=RESERVE_BYTES)
    await store.open()
    links = Links(runtime, host, hello=hello(), resolve=lambda node: [address(int(node, 16))])
    handlers = {**chunk_handlers(store, PassOn(store, links)), GetStatus: status_of(store)}
    await Server(runtime, handlers, greeting=lambda peer: hello()).listen(host, address(number))
    return Node(node_id, disk, store, links, host, handlers)


def address(number: int) -> Address:
    return Address(f"10.0.0.{number}", PORT)


def status_of(store: DiskChunkStore) -> Callable[[Call], Awaitable[Reply]]:
    async def status(call: Call) -> Reply:
        free = (await store.space()).free
        return Reply(
            Status(
                "0" * 32, "n", "test", 0.0, store.objects, store.bytes_used, free, 0, store.quarantined,
                store.damaged_total, 0, "/",
            )
        )  # fmt: skip

    return status


FREE_BYTES = 1 << 40


class _FixedSpace(PosixDisk):
    """A real disk whose free space nobody else changes meanwhile."""

    def space(self) -> DiskSpace:
        return DiskSpace(free=FREE_BYTES, total=2 * FREE_BYTES)


@contextlib.asynccontextmanager
async def posix(root: Path) -> AsyncIterator[Kit]:
    runtime = SystemRuntime()
    disk = _FixedSpace(root)
    store = DiskChunkStore(disk, runtime, reserve_bytes=0)
    await store.open()

    def file(object_id: ObjectId) -> Path:
        return root / "chunks" / object_id.hex()[:2] / object_id.hex()

    def flip(object_id: ObjectId, byte: int) -> None:
        data = bytearray(file(object_id).read_bytes())
        data[byte] ^= 8
        file(object_id).write_bytes(data)

    def shrink(bytes_left: int) -> None:
        store._reserve_bytes = FREE_BYTES - bytes_left

    try:
        yield Kit(store, flip, lambda i: file(i).unlink(), shrink, lambda: len(list((root / "chunks/tmp").iterdir())))
    finally:
        runtime.close()


@contextlib.asynccontextmanager
async def memory(root: Path) -> AsyncIterator[Kit]:
    disk = MemoryDisk()
    store = DiskChunkStore(disk, SimRuntime(random.Random(1)), reserve_bytes=RESERVE_BYTES)
    await store.open()
    yield memory_kit(disk, store, store)


@contextlib.asynccontextmanager
async def fake(root: Path) -> AsyncIterator[Kit]:
    store = MemoryChunkStore()

    def shrink(bytes_left: int) -> None:
        store.bytes_max = sum(map(len, store.stored.values())) + bytes_left

    yield Kit(store, lambda i, byte: store.flip(i, byte, 3), store.stored.pop, shrink, lambda: 0)


@contextlib.asynccontextmanager
async def remote(root: Path) -> AsyncIterator[Kit]:
    world = SimNetwork(random.Random(2))
    runtime = SimRuntime(random.Random(3))
    node = await start_node(world, runtime, 1)
    client = await start_node(world, runtime, 2)
    yield memory_kit(node.disk, node.store, RemoteChunkStore(runtime, client.links, node.node_id))
    await client.links.close()


KITS = {"posix": posix, "memory": memory, "fake": fake, "remote": remote}


def run_with_kit(name: str, root: Path, scenario: Callable[[Kit], Awaitable[T]]) -> T:
    """Run `scenario` on a kit of that name: real threads for real files, virtual time for all else."""

    async def main() -> T:
        async with KITS[name](root) as kit:
            return await scenario(kit)

    return asyncio.run(main()) if name == "posix" else run_simulated(main(), seconds_max=600)
