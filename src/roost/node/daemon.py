"""A node's process: joined once, then serving its home until it is told to stop."""

import asyncio
import contextlib
import os
import platform
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from roost.checkpoints.scrub import Terms
from roost.client.discovering import finder_of
from roost.client.run_state import RunState, take_home, write_run_state
from roost.client.session import member_network, open_session
from roost.cluster.discovery.sightings import Advert
from roost.cluster.membership import describe_self
from roost.codec.records import encode_record
from roost.core.checkpoint import Redundancy
from roost.core.cluster import Address
from roost.core.errors import Busy, DiskFault, NoSpace, NotFound, RoostError, UsageError
from roost.core.runtime import SystemRuntime
from roost.disk.durable import read_small, write_durably
from roost.disk.posix import PosixDisk
from roost.net.tcp import TcpNetwork
from roost.node.events import Event, Say, until_signalled
from roost.node.joining import Invitation, admitted
from roost.node.node import STORE_ID_PATH, Node, NodeOptions
from roost.node.notifier import notifier_of
from roost.observe.log import bound
from roost.security.authority import KEY_PATH, cluster_name_of
from roost.security.identity import Identity
from roost.settings.paths import Home
from roost.settings.schema import Settings, default_settings

if TYPE_CHECKING:
    from roost.node.alerting import Look

NAME_PATH = "identity/name"
TELL_AGAIN_S = 60.0


async def run_node(
    home: Home, settings: Settings, *, invitation: Invitation | None, name: str | None, client_only: bool, say: Say
) -> None:
    """Join when this home has no identity yet, or come back when its node has left; then serve until SIGINT or SIGTERM
    (`client_only`: join and return).

    Raises NotAdmitted without an identity and without an invitation, when the node has left or was struck off, and when
    another process with its key is alive; Busy when another process serves the home.
    """
    runtime = SystemRuntime()
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    disk = PosixDisk(home.root)
    if not client_only:
        await runtime.in_thread(_refuse_coordinator_home, disk, home)
    lock = await runtime.in_thread(take_home, disk, home)
    try:
        identity = await admitted(runtime, disk, settings, invitation, say)
        called = await runtime.in_thread(_name, disk, name)
        network = member_network(runtime, identity, joiners=True)
        if client_only:
            await _introduce_client(runtime, network, disk, home, identity, called)
            say(Event("ready", f"{called} can store and gather from here", {"node": identity.node_id}))
            return
        await until_signalled(_serve(runtime, network, disk, home, settings, identity, called, say))
        say(Event("stopping", f"{called} stopped"))
    finally:
        lock.release()


def _refuse_coordinator_home(disk: PosixDisk, home: Home) -> None:
    """UsageError in a home that admits and keeps no chunks: once a node had it, `roost start` would refuse it."""
    if disk.exists(KEY_PATH) and not disk.exists(STORE_ID_PATH):
        raise UsageError(
            f"{home.root} is the home of a coordinator, which keeps no chunks",
            hint="run it with roost start; a node on this machine has a home of its own: roost join TOKEN --home DIR, "
            "or roost start --local 1",
        )


def _name(disk: PosixDisk, given: str | None) -> str:
    """The node's name: as given now, else as given once, else the machine's. A new one that the disk does not take
    holds for this life."""
    try:
        known: str | None = read_small(disk, NAME_PATH, bytes_max=1024).decode("utf-8", "replace")
    except NotFound:
        known = None
    if given is None:
        return known or (platform.node() or "node")[:64]
    chosen = given.strip()
    if not 1 <= len(chosen) <= 64 or not chosen.isprintable():
        raise UsageError("a node's name has 1 to 64 printable characters", hint="give another --name")
    if chosen != known:
        with contextlib.suppress(NoSpace, DiskFault):
            write_durably(disk, NAME_PATH, chosen.encode())
    return chosen


async def _introduce_client(
    runtime: SystemRuntime, network: TcpNetwork, disk: PosixDisk, home: Home, identity: Identity, name: str
) -> None:
    """Tell the cluster of a member that keeps nothing."""
    session = await open_session(runtime, network, disk, identity, home.catalogue)
    try:
        record = describe_self(
            identity, session.membership.newest(identity.node_id), name=name, machine=identity.machine, capacity=0,
            addresses=(), storage=False,
        )  # fmt: skip
        await session.catalogue.add(encode_record(record))
        await session.peers.survey(enough=Redundancy.parse("2"))
    finally:
        await session.close()


async def _serve(
    runtime: SystemRuntime, network: TcpNetwork, disk: PosixDisk, home: Home, settings: Settings, identity: Identity,
    name: str, say: Say,
) -> None:  # fmt: skip
    options = NodeOptions(
        name=name, listen=settings.node.listen, reserve_bytes=settings.node.reserve, capacity=settings.node.capacity,
        home=str(home.root), peers=settings.discovery.peers, scrub=Terms(settings.scrub.every_s, settings.scrub.rate),
    )  # fmt: skip

    telling: list[asyncio.Task[None]] = []

    def ready(address: Address) -> None:
        state = RunState(os.getpid(), str(address))
        try:
            write_run_state(disk, home, state)
        except RoostError as error:
            say(Event("warning", f"this home does not take a word of who serves it: {error.message}"))
            telling.append(asyncio.get_running_loop().create_task(_tell_later(runtime, disk, home, state)))
        finder.tell(
            Advert(
                identity.cluster_hash, identity.node_id, cluster_name_of(identity.authority), address.port,
                admits=disk.exists(KEY_PATH), label=name,
            )
        )  # fmt: skip
        say(
            Event("listening", f"{name} keeps chunks at {address}", {"node": identity.node_id, "address": str(address)})
        )

    finder = finder_of(runtime, settings, cluster=identity.cluster_hash)

    async def run(options: NodeOptions) -> None:
        with bound(node=name):
            node = Node(runtime, network, disk, identity, options, sighted=finder.addresses)
            finder.found = lambda sighting: node.meet(sighting.advert.node)
            notifier = await notifier_of(
                runtime, disk, home, settings, "node", cluster=cluster_name_of(identity.authority),
                look=partial(_coordinators, node), say=say,
            )  # fmt: skip
            await node.run(ready=ready, beside=notifier.run if notifier is not None else None)

    try:
        async with finder.running():
            try:
                await run(options)
            except Busy:
                if settings.node.listen != default_settings().node.listen:
                    raise
                await run(replace(options, listen=Address(settings.node.listen.host, 0)))
    finally:
        for task in telling:
            task.cancel()


def _coordinators(node: Node) -> "Look":
    """What a node's notifier looks at."""
    from roost.node.coordinator_watch import coordinators_seen

    return coordinators_seen(node.membership, node.pulse)


async def _tell_later(runtime: SystemRuntime, disk: PosixDisk, home: Home, state: RunState) -> None:
    """Say who serves the home as soon as its disk takes that."""
    while True:
        await runtime.sleep(TELL_AGAIN_S)
        with contextlib.suppress(RoostError):
            await runtime.in_thread(write_run_state, disk, home, state)
            return
