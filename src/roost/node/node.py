"""One storage node: its services, built by hand, and run as one task group until cancelled."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from functools import partial

from roost import __version__
from roost.checkpoints.collect import Periods
from roost.checkpoints.collector import Collector
from roost.checkpoints.commit import commit_handler
from roost.checkpoints.scrub import Terms
from roost.checkpoints.scrubber import Scrubber, scrub_handler
from roost.chunks.disk import DiskChunkStore
from roost.chunks.pass_on import PassOn
from roost.chunks.service import chunk_handlers
from roost.client.session import Sighted, dialable, hello_of, unsighted
from roost.cluster.agent import Agent
from roost.cluster.discovery.interfaces import own_addresses
from roost.cluster.exchange import record_handlers
from roost.cluster.heartbeat import Rhythm
from roost.cluster.membership import Membership, describe_self, rounded_capacity
from roost.cluster.pulse import Pulse
from roost.cluster.records import DiskRecords
from roost.cluster.remembered import Remembered
from roost.cluster.statics import meet_static
from roost.codec.records import MemberRecord, Record, SealedAuthority
from roost.core.cluster import Address, NodeState, View
from roost.core.errors import DiskFault, NotFound
from roost.core.ids import NodeId, RecordId
from roost.core.runtime import Runtime
from roost.disk.durable import read_small, sweep_temporaries, write_durably
from roost.disk.port import Disk
from roost.disk.watched import WatchedDisk
from roost.net.contacts import Contacts
from roost.net.links import Links
from roost.net.server import Call, Handlers, Reply, Server
from roost.net.stream import Network, Peer
from roost.node.disk_watch import DiskWatch
from roost.node.measuring import Measuring
from roost.node.presence import Presence
from roost.node.strangers import stranger_handlers
from roost.observe.transfers import Transfers
from roost.security.authority import fingerprint
from roost.security.identity import Identity
from roost.wire.messages import Clock, Commit, GetClock, GetNodes, GetStatus, Hello, Ping, Pong, Scrub, Status
from roost.wire.observing import GetMetrics

STORE_ID_PATH = "identity/store"
OWN_DIRECTORIES = ("", "identity", "state")
INSTANCE_BYTES = 16
STRANGERS_WITHIN_S = 2.0
CATCH_UP_LIMIT_S = 5.0
STATIC_EVERY_S = 15.0
SCRUB_AS_USUAL = Terms(every_s=30 * 86_400, rate=10 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a person may choose. `capacity` 0 is the whole disk; `home` is told to peers on the same machine; `peers`
    are addresses where members may be; `rhythm` is that of the heartbeats, `periods` those of collection."""

    name: str
    listen: Address
    reserve_bytes: int = 0
    capacity: int = 0
    home: str = ""
    peers: tuple[Address, ...] = ()
    scrub: Terms = SCRUB_AS_USUAL
    rhythm: Rhythm = field(default_factory=Rhythm)
    periods: Periods = field(default_factory=Periods)


Beside = Callable[[], Coroutine[object, object, None]]


class Node:
    """A node's services. `run` opens them, serves, and keeps the records in step, until it is cancelled. `sighted`
    tells where others were seen lately."""

    def __init__(
        self, runtime: Runtime, network: Network, disk: Disk, identity: Identity, options: NodeOptions, *,
        sighted: Sighted = unsighted,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._network = network
        self._watch = watch = DiskWatch(runtime, disk)
        self._disk = disk = WatchedDisk(disk, watch.failed)
        self._identity = identity
        self._options = options
        self._begun = runtime.now()
        self._instance = runtime.token_bytes(INSTANCE_BYTES)
        self._bound = options.listen
        self._server: Server | None = None
        self.membership = Membership(identity.authority, changed=self._view_changed)
        self.records = DiskRecords(disk, runtime, check=self.membership.check, added=self._learn)
        self.store = DiskChunkStore(
            disk, runtime, reserve_bytes=options.reserve_bytes, reserved_s=options.periods.promise_s,
            harmed=watch.harmed,
        )  # fmt: skip
        self._remembered = Remembered(disk)
        self._contacts = Contacts(runtime)
        self._transfers = Transfers()
        self.links = Links(
            runtime,
            network,
            hello=hello_of(identity.cluster_hash, instance=self._instance),
            resolve=lambda node: dialable(self.membership, self._remembered, identity, node, sighted),
            worked=self._remembered.worked,
            refuse=self._refuse,
            contacts=self._contacts,
            meter=self._transfers,
        )
        self.agent = Agent(
            runtime, self.links, self.membership, self.records, own=identity.node_id,
            remembered=self._remembered.nodes,
        )  # fmt: skip
        self.pulse = Pulse(
            runtime, self.links, self.membership, self._contacts, own=identity.node_id, on_change=self._node_changed,
            rhythm=options.rhythm, trouble=lambda: watch.trouble,
        )  # fmt: skip
        self._presence = Presence(
            runtime, self.membership, self.records, own=identity.node_id,
            fingerprint=fingerprint(identity.certificate), describe=self._describe,
        )  # fmt: skip
        self.collector = Collector(
            runtime, disk, self.store, self.records, self.links, own=identity.node_id,
            view=lambda: self.membership.view, alive=self._alive, periods=options.periods,
            trouble=lambda: watch.trouble,
        )  # fmt: skip
        self.scrubber = Scrubber(
            runtime, disk, self.store, self.records, options.scrub, watch.condition, lost=self.agent.wake
        )

    async def run(self, *, ready: Callable[[Address], None], beside: Beside | None = None) -> None:
        """Serve until cancelled; `ready` hears the address once peers are accepted, and `beside` runs meanwhile.

        Raises Failed when the chunk directory is not the one this node had (a disk not mounted), Busy when the port is
        taken, NotAdmitted when this node has left, was struck off, or another process with its key is alive. What is
        acknowledged is durable, so being cancelled or killed at any point loses nothing.
        """
        await self._runtime.in_thread(self._sweep)
        await self.records.open()
        self._presence.require_member()
        await self._runtime.in_thread(self._remembered.load)
        await self._open_store()
        await self._watch.open(self.store)
        await self.collector.load()
        self._server = server = Server(
            self._runtime, self.handlers(), greeting=self._greeting, refuse=self._refuse, contacts=self._contacts,
            meter=self._transfers,
        )  # fmt: skip
        await self._catch_up()
        listener = await server.listen(self._network, self._options.listen)
        self._bound = listener.address
        try:
            await self._presence.say()
            ready(listener.address)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.agent.run())
                group.create_task(self.pulse.run())
                group.create_task(self._presence.watch())
                group.create_task(self._presence.keep())
                group.create_task(self._keep_static())
                group.create_task(self._watch.run())
                group.create_task(self.scrubber.run())
                group.create_task(self.collector.run())
                if beside is not None:
                    group.create_task(beside())
        finally:
            await listener.close()
            server.close()
            await self.collector.close()
            await self.links.close()

    async def _catch_up(self) -> None:
        """Hear, before anybody is served, of what was decided while this node was off: who was struck off, above all.
        When nobody answers, as after a power cut, it goes on alone."""
        try:
            async with self._runtime.timeout(CATCH_UP_LIMIT_S):
                await self._meet_static()
                await self.agent.round()
        except TimeoutError:
            pass
        self._presence.require_member()

    async def _meet_static(self) -> None:
        hello = hello_of(self._identity.cluster_hash, instance=self._instance)
        met = await meet_static(
            self._runtime, self._network, hello, self._options.peers, self._remembered.worked,
            own=self._identity.node_id,
        )  # fmt: skip
        for node in met:
            self.agent.meet(node)

    async def _keep_static(self) -> None:
        """Try the configured addresses while somebody is missing, for ever."""
        while self._options.peers:
            await self._runtime.sleep(STATIC_EVERY_S)
            others = self.pulse.states().values()
            if not others or any(seen.state is not NodeState.ALIVE for seen in others):
                await self._meet_static()

    def meet(self, node: NodeId) -> None:
        """A member was seen somewhere new: exchange records with it soon."""
        if self.membership.view.member(node) is not None:
            self.agent.meet(node)

    def _sweep(self) -> None:
        """Remove what writers that died left of their small files; the records and the chunks see to their own."""
        for directory in OWN_DIRECTORIES:
            with contextlib.suppress(NotFound, DiskFault):  # what stays on a disk that is read-only is in nobody's way
                sweep_temporaries(self._disk, directory)

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

    async def _describe(self) -> MemberRecord:
        space = await self.store.space()
        return describe_self(
            self._identity,
            self.membership.newest(self._identity.node_id),
            name=self._options.name,
            machine=self._identity.machine,
            capacity=rounded_capacity(self._options.capacity or space.total),
            addresses=own_addresses(self._bound),
            storage=True,
        )

    def handlers(self) -> Handlers:
        """What this node serves."""
        pass_on = PassOn(self.store, self.links)
        measuring = Measuring(
            self._runtime, self._begun, self.store, self.records, self.scrubber, self.membership, self._transfers
        )  # fmt: skip
        return {
            **chunk_handlers(self.store, pass_on),
            **record_handlers(self.records, changed=self.agent.wake),
            **self.collector.handlers(),
            **stranger_handlers(self._runtime, self._disk, partial(self.records.of_kind, SealedAuthority)),
            Commit: commit_handler(
                self._runtime, self.store, self.records, changed=self.agent.wake, leaving=self._leaving
            ),
            Scrub: scrub_handler(self.scrubber),
            Ping: self._ping,
            GetNodes: self.pulse.get_nodes,
            GetStatus: self._status,
            GetClock: self._clock,
            GetMetrics: measuring.get_metrics,
        }

    @property
    def damaged_total(self) -> int:
        """Objects and records found bad since this process started."""
        return self.store.damaged_total + self.records.damaged_total

    def _learn(self, record_id: RecordId, record: Record) -> None:
        self.membership.learn(record_id, record)
        self.collector.learn(record_id, record)

    def _leaving(self) -> bool:
        standing = self.membership.standing(self._identity.node_id)
        return standing is not None and standing.state != "staying"

    async def _alive(self) -> Collection[NodeId]:
        """The members that serve and are not known to be down, and those who once answered and now do, although no
        record of theirs is here: where the records were lost, they bring them back."""
        here = {node for node, seen in self.pulse.states().items() if seen.state is not NodeState.DOWN}
        known = {member.node_id for member in (*self.membership.view.members, *self.membership.view.left)}
        answers = await self.links.reach(set(self._remembered.nodes()) - known, within_s=STRANGERS_WITHIN_S)
        return here | {node for node, error in answers.items() if error is None}

    def _view_changed(self, view: View) -> None:
        self.agent.wake()
        self._presence.view_changed()
        self.links.review()
        if self._server is not None:
            self._server.review()

    def _node_changed(self, node: NodeId, state: NodeState) -> None:
        if state is NodeState.ALIVE:
            self.agent.meet(node)

    def _refuse(self, peer: Peer) -> None:
        self.membership.refuse_revoked(peer.fingerprint)

    def _greeting(self, peer: Peer) -> Hello:
        authority = self._identity.authority if peer.node_id is None else b""
        return hello_of(self._identity.cluster_hash, authority=authority, instance=self._instance)

    async def _ping(self, call: Call) -> Reply:
        return Reply(Pong(self._runtime.now() - self._begun, self.damaged_total, self._watch.trouble))

    async def _clock(self, call: Call) -> Reply:
        return Reply(Clock(self._runtime.wall()))

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
                damaged_total=self.damaged_total,
                pid=os.getpid(),
                home=self._options.home,
                trouble=self._watch.trouble,
                scrub=self.scrubber.text,
                collection=self.collector.status,
            )
        )
