"""A cluster for the tests of the checkpoints: chunk stores and records on disks in memory, served over a simulated
network on virtual time, one client that stores and gathers, and files to do it with."""

import random
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from chunk_kits import RESERVE_BYTES, address, hello, status_of
from roost.checkpoints.catalogue import Catalogue
from roost.checkpoints.commit import commit_handler
from roost.checkpoints.gather import Gathered, gather
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.scan import scan
from roost.checkpoints.scrub import Terms
from roost.checkpoints.scrubber import Scrubber, scrub_handler
from roost.checkpoints.store import Receipt, StoreRequest, store
from roost.checkpoints.target import Target
from roost.chunks.condition import DiskCondition
from roost.chunks.disk import DiskChunkStore
from roost.chunks.pass_on import PassOn
from roost.chunks.service import chunk_handlers
from roost.cluster.exchange import record_handlers
from roost.cluster.records import DiskRecords
from roost.codec.manifest import Manifest
from roost.codec.records import Record, decode_record
from roost.core.checkpoint import Redundancy
from roost.core.cluster import Member, View
from roost.core.ids import CheckpointName, MachineId, NodeId, ObjectId, RecordId
from roost.net.links import Links
from roost.net.server import Call, Handler, Reply, Server
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import SimHost, SimNetwork
from roost.testing.runtime import SimRuntime
from roost.wire.messages import Commit, GetStatus, Ping, Pong, Scrub

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
CHUNK_MAX = 64 * KIB
"""Small chunks make a checkpoint of many out of little: here a file of so many bytes is a chunk of its own."""
UNIT = CHUNK_MAX // 2
CLIENT = 200
NAME = CheckpointName("run/step-1")
TWO = Redundancy.parse("2")
THREE = Redundancy.parse("3")

Tree = Mapping[str, bytes | str | None]
"""What a folder holds: a file's bytes, a link's target, None for a folder. Parents come first."""


def node_id(number: int) -> NodeId:
    return NodeId(f"{number:032x}")


def machine_id(number: int) -> MachineId:
    return MachineId(f"{number:032x}")


def member(number: int, *, machine: int = 0, capacity: int = GIB, storage: bool = True) -> Member:
    """Node `number`, on a machine of its own unless one is named."""
    return Member(
        node_id(number), f"node-{number}", machine_id(machine or number), capacity, (address(number),), storage, b""
    )


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def text(size: int, seed: int = 0) -> bytes:
    """Bytes that compress well."""
    word = noise(64, seed).hex().encode() + b"\n"
    return (word * (size // len(word) + 1))[:size]


def safetensors(tensors: Mapping[str, bytes], *, dtype: str = "BF16") -> bytes:
    """A safetensors file of one-dimensional tensors."""
    width = {"BF16": 2, "F32": 4, "U8": 1}[dtype]
    header: dict[str, object] = {}
    at = 0
    for name, data in tensors.items():
        header[name] = {"dtype": dtype, "shape": [len(data) // width], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = msgspec.json.encode(header)
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def path_of(object_id: ObjectId) -> str:
    return f"chunks/{object_id.hex()[:2]}/{object_id.hex()}"


def write_tree(disk: MemoryDisk, name: str, tree: Tree | bytes, *, mode: int = 0o644) -> None:
    """Put a file (bytes) or a folder under `name`."""
    if isinstance(tree, bytes):
        write_file(disk, name, tree, mode=mode)
        return
    disk.make_directory(name, mode=0o755, exist_ok=True)
    for path, content in tree.items():
        where = f"{name}/{path}"
        if content is None:
            disk.make_directory(where, mode=0o755, exist_ok=True)
        elif isinstance(content, str):
            if disk.exists(where):
                disk.unlink(where)
            disk.symlink(content, where)
        else:
            write_file(disk, where, content, mode=mode)


def write_file(disk: MemoryDisk, path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Write it, in the place of one that is there."""
    if disk.exists(path):
        disk.unlink(path)
    file = disk.create(path, mode=mode)
    file.pwrite(data, 0)
    file.close()


def read_file(disk: MemoryDisk, path: str) -> bytes:
    file = disk.open_read(path)
    data = bytearray(file.info().size)
    assert file.pread(memoryview(data), 0) == len(data)
    file.close()
    return bytes(data)


@dataclass(slots=True)
class KitNode:
    """One node, and what a test may do to it. `handlers` may be replaced at any time."""

    number: int
    disk: MemoryDisk
    store: DiskChunkStore
    records: DiskRecords
    links: Links
    host: SimHost
    handlers: dict[type, Handler]

    @property
    def node_id(self) -> NodeId:
        return node_id(self.number)

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    def objects(self) -> set[str]:
        """The ids of the objects on its disk, in hex."""
        paths = (path for path in self.disk.contents() if path.startswith("chunks/") and not path.endswith("/"))
        return {path.rpartition("/")[2] for path in paths if path.count("/") == 2}

    def holds(self, object_id: ObjectId) -> bool:
        return object_id.hex() in self.objects()

    def records_of(self, kind: str) -> set[str]:
        """The ids of the records of that kind on its disk, in hex."""
        names = (p.removeprefix("records/") for p in self.disk.contents() if p.startswith("records/"))
        return {name.partition(".")[0] for name in names if name.endswith(f".{kind}")}

    def flip(self, object_id: ObjectId, byte: int = 3) -> None:
        self.disk.flip(path_of(object_id), byte, 2)

    def shrink(self, bytes_left: int) -> None:
        """Make the disk almost full."""
        self.disk.bytes_max = (1 << 50) - self.disk.space().free + RESERVE_BYTES + bytes_left

    def refuse(self, request: type, error: Exception) -> None:
        """Answer all requests of a kind with `error`."""

        async def refused(call: Call) -> Reply:
            raise error

        self.handlers[request] = refused


@dataclass(slots=True)
class Kit:
    """The cluster and its client. `source` and `place` are the client's disks: what is stored, where it is gathered."""

    world: SimNetwork
    runtime: SimRuntime
    nodes: dict[int, KitNode]
    client: SimHost
    links: Links
    catalogue: Catalogue
    peers: Peers
    views: list[View]
    source: MemoryDisk = field(default_factory=MemoryDisk)
    place: MemoryDisk = field(default_factory=MemoryDisk)

    @property
    def view(self) -> View:
        return self.views[-1]

    def crash(self, *numbers: int) -> None:
        """End these nodes' processes; the others learn it at once."""
        for number in numbers:
            self.world.crash(self.nodes[number].host, silent=False)

    async def store(
        self, tree: Tree | bytes | None = None, *, name: CheckpointName = NAME, at: str = "out",
        redundancy: Redundancy = TWO, progress: Progress | None = None, chunk_max: int = CHUNK_MAX,
        compress: bool = True, defaulted: bool = False, source: str = "here:/out",
    ) -> Receipt:  # fmt: skip
        """Store `tree` (what lies at `at` when None)."""
        if tree is not None:
            write_tree(self.source, at, tree)
        request = StoreRequest(name, source, redundancy, chunk_max, compress, defaulted)
        found = scan(self.source, at)
        return await store(self.peers, self.catalogue, self.source, found, request, progress or Progress())

    async def survey(self, redundancy: Redundancy = TWO) -> Survey:
        return await self.peers.survey(enough=redundancy)

    async def newest(self, name: CheckpointName = NAME) -> tuple[RecordId, Manifest]:
        listed = await self.catalogue.find(name, None)
        return listed.manifest, await self.catalogue.manifest(listed.manifest)

    async def gather(
        self, dest: str = "back", *, name: CheckpointName = NAME, force: bool = False, only: str | None = None,
        progress: Progress | None = None,
    ) -> Gathered:  # fmt: skip
        survey = await self.survey()
        record, manifest = await self.newest(name)
        target = Target(self.place, dest, manifest, record, force=force, only=only)
        return await gather(self.peers, survey, manifest, target, progress or Progress())

    def holders(self, object_id: ObjectId) -> set[int]:
        """The numbers of the nodes on whose disks the object lies."""
        return {number for number, node in self.nodes.items() if node.holds(object_id)}

    def stored_tree(self, at: str = "out") -> dict[str, bytes | str]:
        return subtree(self.source, at)

    def gathered_tree(self, dest: str = "back") -> dict[str, bytes | str]:
        return subtree(self.place, dest)


def subtree(disk: MemoryDisk, top: str) -> dict[str, bytes | str]:
    """What lies below `top`."""
    prefix = f"{top}/"
    return {p.removeprefix(prefix): c for p, c in disk.contents().items() if p.startswith(prefix) and p != prefix}


def attributes(disk: MemoryDisk, top: str) -> dict[str, tuple[int, int]]:
    """Mode and mtime of `top` and all below it; a link's mode means nothing."""
    paths = ["", *(path.removesuffix("/") for path in subtree(disk, top))]
    infos = {path: disk.info(f"{top}/{path}" if path else top) for path in paths}
    return {path: (0 if i.kind == "symlink" else i.mode, i.mtime_ns) for path, i in infos.items()}


Scenario = Callable[[Kit], Awaitable[None]]


def simulate(scenario: Scenario, *, nodes: int | Sequence[Member] = 4, seed: int = 1, seconds_max: float = 600) -> None:
    """Run `scenario` with a cluster of so many nodes, each on a machine of its own, or of these members."""
    members = [member(n + 1) for n in range(nodes)] if isinstance(nodes, int) else list(nodes)

    async def main() -> None:
        kit = await make_kit(members, seed=seed)
        try:
            await scenario(kit)
        finally:
            await kit.links.close()
            for node in kit.nodes.values():
                await node.links.close()

    run_simulated(main(), seconds_max=seconds_max)


async def make_kit(members: Sequence[Member], *, seed: int = 1) -> Kit:
    """The cluster of `members`, all serving."""
    world = SimNetwork(random.Random(seed))
    runtime = SimRuntime(random.Random(seed))
    nodes = {n: await start_node(world, runtime, n) for n in (int(m.node_id, 16) for m in members)}
    host = world.host("client", node_id(CLIENT), b"c" * 32, address(CLIENT).host)
    links = links_of(runtime, host)
    views = [View(tuple(sorted(members, key=lambda m: m.node_id)))]
    catalogue = await memory_catalogue(runtime)
    peers = Peers(runtime, links, lambda: views[-1], catalogue)
    return Kit(world, runtime, nodes, host, links, catalogue, peers, views)


def links_of(runtime: SimRuntime, host: SimHost) -> Links:
    return Links(runtime, host, hello=hello(), resolve=lambda node: [address(int(node, 16))])


async def memory_catalogue(runtime: SimRuntime) -> Catalogue:
    catalogue = Catalogue(None, runtime, check=all_pass, added=not_told)
    await catalogue.open()
    return catalogue


def all_pass(record: Record) -> None:
    """No signatures here: who may say what is tested elsewhere."""


def not_told(record_id: RecordId, record: Record) -> None:
    """The view is given."""


async def start_node(world: SimNetwork, runtime: SimRuntime, number: int, disk: MemoryDisk | None = None) -> KitNode:
    """Node `number`, serving; on `disk` when it had a life before."""
    host = world.host(f"node-{number}", node_id(number), bytes([number]) * 32, address(number).host)
    disk = disk or MemoryDisk()
    store = DiskChunkStore(disk, runtime, reserve_bytes=RESERVE_BYTES)
    await store.open()
    records = DiskRecords(disk, runtime, check=all_pass, added=not_told)
    await records.open()
    links = links_of(runtime, host)

    async def ping(call: Call) -> Reply:
        return Reply(Pong(1.0))

    handlers: dict[type, Handler] = {
        **chunk_handlers(store, PassOn(store, links)),
        **record_handlers(records, changed=lambda: None),
        Commit: commit_handler(runtime, store, records, changed=lambda: None),
        Scrub: scrub_handler(Scrubber(runtime, disk, store, records, Terms(0, 0), DiskCondition(), lost=lambda: None)),
        GetStatus: status_of(store),
        Ping: ping,
    }
    await Server(runtime, handlers, greeting=lambda peer: hello()).listen(host, address(number))
    return KitNode(number, disk, store, records, links, host, handlers)


def manifest_of(data: bytes) -> Manifest:
    decoded = decode_record(data)
    assert isinstance(decoded, Manifest)
    return decoded
