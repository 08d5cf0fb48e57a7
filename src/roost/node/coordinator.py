"""The coordinator: admits machines, keeps the records in step, runs local nodes, and watches folders.

A role, not a place: everything it knows can be had from the nodes again, and data never passes through it.
"""

import asyncio
import contextlib
import os
import platform
from collections.abc import Callable, Collection
from functools import partial

from roost.checkpoints.steward import Steward
from roost.client.cluster import AsyncCluster
from roost.client.discovering import finder_of
from roost.client.run_state import RunState, read_run_state, take_home, write_run_state
from roost.client.session import Session, hello_of, member_network, open_session
from roost.cluster.agent import Agent
from roost.cluster.discovery.interfaces import own_addresses
from roost.cluster.discovery.sightings import Advert, Sighting
from roost.cluster.exchange import record_handlers
from roost.cluster.membership import Membership, describe_self
from roost.cluster.pulse import Pulse
from roost.codec.records import SealedAuthority, encode_record
from roost.core.cluster import Address, NodeState, View
from roost.core.errors import Busy, NotAdmitted, RoostError
from roost.core.ids import NodeId
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.net.contacts import Contacts
from roost.net.server import Call, Reply, Server
from roost.net.stream import Listener, Peer
from roost.node.authority import keep_sealed, refuse_node_home, take_identity
from roost.node.events import Event, History, Say, until_signalled
from roost.node.inside import Beside, Inside
from roost.node.inviting import Inviting
from roost.node.local import LocalNode, LocalNodes, watch_deaths
from roost.node.notifier import notifier_of
from roost.node.observing import Observing
from roost.node.strangers import stranger_handlers
from roost.node.upkeep import steward_of
from roost.node.watching import Watching
from roost.observe.log import bound
from roost.security.authority import Authority, cluster_name_of
from roost.security.identity import Identity
from roost.settings.paths import Home
from roost.settings.schema import Settings, default_settings
from roost.wire.messages import GetNodes, Hello, Ping, Pong
from roost.wire.observing import Report

LOOK_S = 1.0
ADDRESSES_EVERY_S = 5.0
INSTANCE_BYTES = 16


async def run_coordinator(
    home: Home, settings: Settings, *, ready_at: int | None, local: int | None, invite: bool, say: Say,
    beside: Beside | None = None,
) -> None:  # fmt: skip
    """Run until SIGINT or SIGTERM; local nodes end with it then, but not when it is killed.

    `local` is the number of local nodes (None: as the settings say), `ready_at` how many nodes *ready* waits for
    (None: the local ones). With `invite` a join code is shown, and a token once, in events: somebody is there to see
    them. `beside` runs beside its services. Makes the cluster's authority in an empty home. Busy when the home is
    served already, UsageError when it is a storage node's, NotAdmitted when local nodes were asked for that only the
    authority's key could let in.
    """
    runtime = SystemRuntime()
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    disk = PosixDisk(home.root)
    await runtime.in_thread(refuse_node_home, disk, home)
    lock = await runtime.in_thread(take_home, disk, home)
    try:
        found = partial(take_identity, disk, home, settings.cluster, at=int(runtime.wall()), say=say)
        authority, identity = await runtime.in_thread(found)
        coordinator = _Coordinator(runtime, disk, home, settings, authority, identity, say, beside)
        with bound(node="coordinator"):
            await until_signalled(coordinator.run(local, ready_at, invite=invite))
        say(Event("stopping", "stopped"))
    finally:
        lock.release()


class _Coordinator:
    """The coordinator's services, wired by hand."""

    def __init__(
        self, runtime: SystemRuntime, disk: PosixDisk, home: Home, settings: Settings, authority: Authority | None,
        identity: Identity, say: Say, beside: Beside | None,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._disk = disk
        self._home = home
        self._settings = settings
        self._authority = authority
        self._identity = identity
        self._history = History(runtime.wall)
        self._said = say
        self._beside = beside
        self._page = ""
        self._begun = runtime.now()
        self._instance = runtime.token_bytes(INSTANCE_BYTES)
        self._contacts = Contacts(runtime)
        self._network = member_network(runtime, identity, joiners=True)
        self._local = LocalNodes(
            runtime,
            home,
            reserve_bytes=settings.node.reserve,
            scrub=settings.scrub,
            machine=identity.machine,
            name=(platform.node() or "node").partition(".")[0],
        )
        self._observing = Observing(runtime, own=identity.node_id)
        self._watching = Watching(
            runtime, home, settings, self._say, self._tell_state, send=self._observing.operations.send
        )  # fmt: skip
        self._known: set[NodeId] = set()
        self._address = Address("127.0.0.1", 0)
        self._untold = False
        self._finder = finder_of(runtime, settings, cluster=identity.cluster_hash)

    async def run(self, local: int | None, ready_at: int | None, *, invite: bool) -> None:
        count = self._settings.local_nodes if local is None else local
        strange = await self._strange(count, asked=local is not None)
        seeing = self._observing
        session = await open_session(
            self._runtime, self._network, self._disk, self._identity, self._home.catalogue,
            instance=self._instance, contacts=self._contacts, meter=seeing.transfers, sighted=self._finder.addresses,
        )  # fmt: skip
        agent = Agent(
            self._runtime, session.links, session.membership, session.catalogue, own=self._identity.node_id,
            remembered=session.remembered.nodes,
        )  # fmt: skip
        steward = steward_of(session, self._settings.repair, self._say, seeing.tally, seeing.reporting)
        pulse = Pulse(
            self._runtime, session.links, session.membership, self._contacts, own=self._identity.node_id,
            on_change=partial(_node_changed, agent, steward),
        )  # fmt: skip
        seeing.attach(session, pulse, steward, self._watching)
        self._known = {m.node_id for m in session.membership.view.storage}
        inviting = None
        if invite and self._authority is not None:
            inviting = Inviting(self._runtime, self._disk, self._home, self._settings, self._identity, self._say)
        server = self._server(session, agent, pulse, inviting)

        def changed(view: View) -> None:
            self._view_changed(agent.wake, view)
            steward.wake()
            session.links.review()
            server.review()

        session.membership.changed = changed

        def sighted(sighting: Sighting) -> None:
            if session.membership.view.member(sighting.advert.node) is not None:
                agent.meet(sighting.advert.node)

        self._finder.found = sighted
        listener = await self._listen(server)
        try:
            await self._introduce(session, listener.address)
            await self._start_local(count, session.membership, strange)
            ready_count = len(self._local.nodes) if ready_at is None else ready_at
            async with self._finder.running():
                await self._serve(session, agent, pulse, steward, ready_count, inviting)
        finally:
            self._say(Event("stopping", "stopping the local nodes" if self._local.nodes else "stopping"))
            await self._local.stop()
            await listener.close()
            server.close()
            await session.close()

    async def _start_local(self, count: int, membership: Membership, strange: Collection[int]) -> None:
        """Start the local nodes that are members; one that does not start holds up nothing, and is told loudly."""
        gone = await self._runtime.in_thread(self._local.gone, count, membership)
        for number, what in gone.items():
            text = f"local node {number} {what}, and is not started; its home can be deleted: nodes/{number}"
            self._say(Event("local-left-out", text, {"number": number}))
        problems = await self._local.start(
            count, self._authority, coordinator=self._identity.node_id, at=self._address,
            leave_out={*strange, *gone},
        )  # fmt: skip
        if problems and not self._local.nodes:
            raise problems[0]
        for problem in problems:
            self._say(Event("warning", f"{problem.message}; {problem.hint}"))

    async def _strange(self, count: int, *, asked: bool) -> list[int]:
        """Which local nodes have to be left out, because only the authority's key, which is not here, could let them
        in; told loudly. NotAdmitted when somebody `asked` for them, before anything runs."""
        if self._authority is not None:
            return []
        text = "this machine does not hold the authority's key: it does all but admit machines"
        self._say(Event("warning", f"{text}; to let it admit: roost recover CODE"))
        strange = await self._runtime.in_thread(self._local.strange, count)
        if strange and asked:
            raise NotAdmitted(
                f"local nodes {', '.join(map(str, strange))} are new, and this machine does not hold the authority's "
                "key, which alone can let them in",
                hint=f"run those that are in: roost start --local {strange[0] - 1}    or first, with the code "
                "that the first start printed: roost recover CODE",
            )
        if strange:
            self._say(Event("warning", f"local nodes {', '.join(map(str, strange))} are new and cannot be let in"))
        return strange

    async def _keep_sealed(self, session: Session, agent: Agent) -> None:
        async def exchanged() -> bool:
            met = await agent.round()
            return not met or any(not isinstance(outcome, RoostError) for outcome in met.values())

        await keep_sealed(self._runtime, self._disk, session.catalogue, exchanged=exchanged, say=self._say)
        agent.wake()

    async def _serve(
        self,
        session: Session,
        agent: Agent,
        pulse: Pulse,
        steward: Steward,
        ready_at: int,
        inviting: Inviting | None,
    ) -> None:
        await session.meet_static(self._settings.discovery.peers)
        died: asyncio.Queue[LocalNode] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run())
            group.create_task(pulse.run())
            group.create_task(steward.run())
            group.create_task(self._keep_introduced(session))
            if self._authority is not None:
                group.create_task(self._keep_sealed(session, agent))
            if inviting:
                group.create_task(inviting.run())
            group.create_task(watch_deaths(self._runtime, self._local, died))
            group.create_task(self._tell_deaths(died, session.membership))
            group.create_task(self._tell_ready(session, agent, ready_at))
            notifier = await notifier_of(
                self._runtime, self._disk, self._home, self._settings, "coordinator",
                cluster=cluster_name_of(self._identity.authority), look=self._observing.samples, say=self._say,
            )  # fmt: skip
            if notifier is not None:
                group.create_task(notifier.run())
            for folder in self._settings.watch:
                group.create_task(self._watching.run(session, folder))
            if self._beside is not None:
                group.create_task(self._beside(self._inside(session)))

    def _inside(self, session: Session) -> Inside:
        seen = self._observing
        cluster = AsyncCluster(session, self._settings, home=self._home, send=seen.operations.send)
        return Inside(
            cluster, self._history, self._watching.pending, self._opened, seen.operations, seen.metrics
        )  # fmt: skip

    async def _opened(self, url: str, text: str) -> None:
        self._page = url
        self._say(Event("page", text, {"url": url}))
        await self._tell_state()

    def _say(self, event: Event) -> None:
        if event.kind == "stored":
            self._observing.watched_at = self._runtime.wall()
        self._history.add(event)
        self._said(event)

    def _server(self, session: Session, agent: Agent, pulse: Pulse, inviting: Inviting | None) -> Server:
        handlers = {
            **record_handlers(session.catalogue, changed=agent.wake),
            **stranger_handlers(self._runtime, self._disk, partial(session.catalogue.of_kind, SealedAuthority)),
            Ping: self._ping,
            GetNodes: pulse.get_nodes,
            Report: self._observing.operations.handle,
            **(inviting.handlers() if inviting else {}),
        }

        def refuse(peer: Peer) -> None:
            session.membership.refuse_revoked(peer.fingerprint)

        return Server(
            self._runtime, handlers, greeting=self._greeting, refuse=refuse, contacts=self._contacts,
            meter=self._observing.transfers,
        )  # fmt: skip

    def _greeting(self, peer: Peer) -> Hello:
        authority = self._identity.authority if peer.node_id is None else b""
        return hello_of(self._identity.cluster_hash, authority=authority, instance=self._instance)

    async def _ping(self, call: Call) -> Reply:
        return Reply(Pong(self._runtime.now() - self._begun))

    async def _listen(self, server: Server) -> Listener:
        """Listen where the settings say; when they say nothing, at the port used before, the default one, or any."""
        wanted = self._settings.node.listen
        choices = [wanted]
        if wanted == default_settings().node.listen:
            before = await self._runtime.in_thread(read_run_state, self._disk, self._home)
            kept = [Address.parse(before.address)] if before else []
            choices = [*kept, wanted, Address(wanted.host, 0)]
        for choice in choices:
            try:
                listener = await server.listen(self._network, choice)
            except Busy:
                if choice == choices[-1]:
                    raise
                continue
            break
        self._address = listener.address
        name, label = cluster_name_of(self._identity.authority), platform.node() or "coordinator"
        self._finder.tell(
            Advert(
                self._identity.cluster_hash, self._identity.node_id, name, listener.address.port,
                admits=self._authority is not None, label=label[:64],
            )
        )  # fmt: skip
        await self._tell_state()
        doing = "serving" if self._authority is None else "admitting machines"
        self._say(Event("listening", f"{doing} at {listener.address}", {"address": str(listener.address)}))
        return listener

    async def _introduce(self, session: Session, bound: Address) -> None:
        """Tell the others where the coordinator is."""
        record = describe_self(
            self._identity, session.membership.newest(self._identity.node_id),
            name=f"{(platform.node() or 'coordinator')[:52]} coordinator", machine=self._identity.machine, capacity=0,
            addresses=own_addresses(bound), storage=False,
        )  # fmt: skip
        await session.catalogue.add(encode_record(record))

    async def _keep_introduced(self, session: Session) -> None:
        """Tell of our addresses again whenever they change, for ever."""
        while True:
            await self._runtime.sleep(ADDRESSES_EVERY_S)
            with contextlib.suppress(RoostError):
                await self._introduce(session, self._address)

    async def _tell_state(self) -> None:
        """Note in the home who serves it and what is watched. A disk that does not take that ends nothing: it is said,
        once, and tried again at the next change."""
        state = RunState(os.getpid(), str(self._address), self._watching.pending(), self._page)
        try:
            await self._runtime.in_thread(write_run_state, self._disk, self._home, state)
        except RoostError as error:
            if not self._untold:
                self._say(
                    Event("warning", f"{self._home.root} does not take a word of what runs in it: {error.message}")
                )
            self._untold = True
        else:
            self._untold = False

    def _view_changed(self, wake: Callable[[], None], view: View) -> None:
        for member in view.storage:
            if member.node_id not in self._known:
                self._known.add(member.node_id)
                self._say(Event("node-joined", f"{member.name} is in", {"node": member.node_id, "name": member.name}))
        wake()

    async def _tell_deaths(self, died: "asyncio.Queue[LocalNode]", membership: Membership) -> None:
        while True:
            node = await died.get()
            gone = await self._runtime.in_thread(self._local.gone, node.number, membership)
            what = gone.get(node.number)
            then = f"{what}, and ended" if what else "ended; the next roost start starts it again"
            data = {"number": node.number, "home": str(node.home.root)}
            self._say(Event("node-down", f"local node {node.number} {then}", data))

    async def _tell_ready(self, session: Session, agent: Agent, ready_at: int) -> None:
        """Say *ready* once, when so many storage nodes answer."""
        while True:
            storage = [m.node_id for m in session.membership.view.storage]
            answers = await session.links.reach(storage, within_s=2.0)
            alive = sum(1 for error in answers.values() if error is None)
            if alive >= ready_at:
                self._say(Event("ready", f"ready: {alive} nodes", {"nodes": alive}))
                return
            await agent.round()
            await self._runtime.sleep(LOOK_S / 4)


def _node_changed(agent: Agent, steward: Steward, node: NodeId, state: NodeState) -> None:
    """A node went, came back, or found damage: the steward looks, and who is back learns what it missed."""
    if state is not NodeState.SUSPECT:
        steward.wake()
    if state is NodeState.ALIVE:
        agent.meet(node)
