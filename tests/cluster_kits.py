"""Members, records and record sets to test a cluster's knowledge with, on disks in memory and the simulated network."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from net_kits import Pair, address, hello
from record_specimens import sha
from roost.cluster.exchange import record_handlers
from roost.cluster.membership import Membership, describe_self
from roost.cluster.records import DiskRecords
from roost.codec.records import MemberRecord, Record, Tombstone, encode_record, record_id
from roost.core.cluster import Address
from roost.core.ids import MachineId, NodeId, RecordId
from roost.net.links import Links
from roost.net.server import Server
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.testing.disk import MemoryDisk
from roost.testing.runtime import SimRuntime

AUTHORITY = Authority.create("home")
STRANGER_AUTHORITY = Authority.create("home")
IDENTITIES = [Identity.found(AUTHORITY, NodeKey.create(), machine=MachineId(f"{number:032x}")) for number in range(4)]


def member_record(
    identity: Identity, *, known: MemberRecord | None = None, name: str = "pi", at: tuple[Address, ...] = (address(1),),
    storage: bool = True,
) -> MemberRecord:  # fmt: skip
    return describe_self(
        identity, known, name=name, machine=identity.machine, capacity=1 << 40, addresses=at, storage=storage
    )


def tombstone(number: int) -> bytes:
    """A small record that needs no signature."""
    return encode_record(
        Tombstone(name=f"run/step-{number}", manifest=sha(str(number)), seq=1 + number, at=number, keep_s=60)
    )


def ids_of(*datas: bytes) -> list[RecordId]:
    return sorted(record_id(data) for data in datas)


@dataclass
class Keeper:
    """A record set on a disk in memory, and the view that its member records make."""

    runtime: SimRuntime
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    heard: list[RecordId] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.membership = Membership(AUTHORITY.certificate)
        self.records = DiskRecords(self.disk, self.runtime, check=self.membership.check, added=self._added)

    def _added(self, record: RecordId, decoded: Record) -> None:
        self.heard.append(record)
        self.membership.learn(record, decoded)

    async def open(self) -> "Keeper":
        await self.records.open()
        return self

    async def again(self, disk: MemoryDisk | None = None) -> "Keeper":
        """The same disk (or what became of it), opened by a new process."""
        return await Keeper(self.runtime, disk or self.disk).open()

    def all(self) -> list[RecordId]:
        return self.records.ids(range(256))

    def path(self, record: RecordId) -> str:
        [name] = [name for name, _ in self.disk.list("records") if name.startswith(record.hex())]
        return f"records/{name}"


async def keeper(*, seed: int = 0) -> Keeper:
    return await Keeper(SimRuntime(random.Random(seed))).open()


async def serve_records(
    pair: Pair, number: int, keeping: Keeper, *, node: NodeId, changed: Callable[[], None] = lambda: None
) -> Links:
    """Put a record set on the simulated network as `node`; returns the links of that node to nodes by number."""
    host = pair.world.host(f"n{number}", node, bytes([number]) * 32, address(number).host)
    server = Server(pair.runtime, record_handlers(keeping.records, changed=changed), greeting=lambda peer: hello())
    await server.listen(host, address(number))
    links = Links(pair.runtime, host, hello=hello(), resolve=lambda other: list(keeping.membership.addresses(other)))
    pair.made.append(links)
    return links
