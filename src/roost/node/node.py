"""One storage node: its services, built by hand, and run as one task group until cancelled."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from roost import __version__
from roost.checkpoints.commit import commit_handler
from roost.chunks.disk import DiskChunkStore
from roost.chunks.pass_on import PassOn
from roost.chunks.service import chunk_handlers
from roost.client.session import dialable, hello_of
from roost.cluster.agent import Agent
from roost.cluster.discovery import own_addresses
from roost.cluster.exchange import record_handlers
from roost.cluster.membership import Membership, describe_self, rounded_capacity
from roost.cluster.records import DiskRecords
from roost.cluster.remembered import Remembered
from roost.codec.records import encode_record
from roost.core.cluster import Address, View
from roost.core.errors import NotFound
from roost.core.runtime import Runtime
from roost.disk.durable import read_small, write_durably
from roost.disk.port import Disk
from roost.net.links import Links
from roost.net.server import Call, Handlers, Reply, Server
from roost.net.stream import Network, Peer
from roost.security.identity import Identity
from roost.wire.messages import Commit, GetStatus, Hello, Ping, Pong, Status

STORE_ID_PATH = "identity/store"


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a person may choose. `capacity` 0 is the whole disk; `home` is told to peers on the same machine."""

    name: str
    listen: Address
    reserve_bytes: int = 0
    capacity: int = 0
    home: str = ""


class Node:
    """A node's services. `run` opens them, serves, and keeps the records in step, until it is cancelled."""

    def __init__(
        self, runtime: Runtime, network: Network, disk: Disk, identity: Identity, options: NodeOptions
    ) -> None:
        self._runtime = runtime
        self._network = network
        self._disk = disk
        self._identity = identity
        self._options = options
        self._begun = runtime.now()
        self.membership = Membership(identity.authority, changed=self._view_changed)
        self.records = DiskRecords(disk, runtime, check=self.membership.check, added=self.membership.learn)
        self.store = DiskChunkStore(disk, runtime, reserve_bytes=options.reserve_bytes)
        self._remembered = Remembered(disk)
        self.links = Links(
            runtime,
            network,
            hello=hello_of(identity.cluster_hash),
            resolve=lambda node: dialable(self.membership, self._remembered, identity, node),
            worked=self._remembered.worked,
        )
        self.agent = Agent(
            runtime, self.links, self.membership, self.records, own=identity.node_id,
            remembered=self._remembered.nodes,
        )  # fmt: skip

    async def run(self, *, ready: Callable[[Address], None]) -> None:
        """Serve until cancelled; `ready` hears the address once peers are accepted.

        Raises Failed when the chunk directory is not the one this node had (a disk not mounted), Busy when the port is
        taken. What is acknowledged is durable, so being cancelled or killed at any point loses nothing.
        """
        await self.records.open()
        await self._runtime.in_thread(self._remembered.load)
        await self._open_store()
        server = Server(self._runtime, self.handlers(), greeting=self._greeting)
        listener = await server.listen(self._network, self._options.listen)
        try:
            await self._describe(listener.address)
            ready(listener.address)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.agent.run())
        finally:
            await listener.close()
            server.close()
            await self.links.close()

    async def _open_store(self) -> None:
        work = self._runtime.in_thread
        try:
            expected: str | None = (await work(self._read_store_id)).decode("ascii", "replace").strip()
        except NotFound:
            expected = None
        store_id = await self.store.open(expected_store_id=expected)
        if expected is None:
            await work(write_durably, self._disk, STORE_ID_PATH, store_id.encode() + b"\n")

    def _read_store_id(self) -> bytes:
        return read_small(self._disk, STORE_ID_PATH, bytes_max=256)

    async def _describe(self, bound: Address) -> None:
        """Tell who and where we are, when that changed."""
        space = await self.store.space()
        record = describe_self(
            self._identity,
            self.membership.newest(self._identity.node_id),
            name=self._options.name,
            machine=self._identity.machine,
            capacity=rounded_capacity(self._options.capacity or space.total),
            addresses=own_addresses(bound),
            storage=True,
        )
        await self.records.add(encode_record(record))

    def handlers(self) -> Handlers:
        """What this node serves."""
        pass_on = PassOn(self.store, self.links)
        return {
            **chunk_handlers(self.store, pass_on),
            **record_handlers(self.records, changed=self.agent.wake),
            Commit: commit_handler(self._runtime, self.store, self.records, changed=self.agent.wake),
            Ping: self._ping,
            GetStatus: self._status,
        }

    def _view_changed(self, view: View) -> None:
        self.agent.wake()

    def _greeting(self, peer: Peer) -> Hello:
        return hello_of(self._identity.cluster_hash)

    async def _ping(self, call: Call) -> Reply:
        return Reply(Pong(self._runtime.now() - self._begun))

    async def _status(self, call: Call) -> Reply:
        space = await self.store.space()
        return Reply(
            Status(
                node_id=self._identity.node_id,
                name=self._options.name,
                software=f"roost {__version__}",
                running_s=self._runtime.now() - self._begun,
                objects=self.store.objects,
                bytes_used=self.store.bytes_used,
                bytes_free=space.free,
                records=len(self.records),
                quarantined=self.store.quarantined,
                damaged_total=self.store.damaged_total,
                pid=os.getpid(),
                home=self._options.home,
            )
        )
