"""A node's process: joined once with a token, then serving its home until it is told to stop."""

import os
import platform
from dataclasses import replace

from roost.checkpoints.scrub import Terms
from roost.client.run_state import RunState, take_home, write_run_state
from roost.client.session import member_network, open_session
from roost.cluster.membership import Membership, describe_self
from roost.cluster.records import DiskRecords
from roost.cluster.remembered import Remembered
from roost.codec.records import Standing, encode_record
from roost.core.checkpoint import Redundancy
from roost.core.cluster import Address
from roost.core.errors import Busy, NotAdmitted, NotFound, UsageError
from roost.core.ids import NodeId
from roost.core.runtime import SystemRuntime
from roost.disk.durable import read_small, write_durably
from roost.disk.posix import PosixDisk
from roost.net.tcp import TcpNetwork
from roost.node.admission import join_cluster
from roost.node.events import Event, Say, until_signalled
from roost.node.node import STORE_ID_PATH, Node, NodeOptions
from roost.security.authority import KEY_PATH, fingerprint
from roost.security.identity import Identity
from roost.security.tls import joiner_context
from roost.security.token import Token
from roost.settings.paths import Home
from roost.settings.schema import Settings, default_settings

NAME_PATH = "identity/name"


async def run_node(
    home: Home, settings: Settings, *, token: str | None, at: str | None, name: str | None, client_only: bool, say: Say
) -> None:
    """Join when this home has no identity yet, or come back when its node has left; then serve until SIGINT or SIGTERM
    (`client_only`: join and return).

    Raises NotAdmitted without an identity and without a token, when the node has left or was struck off, and when
    another process with its key is alive; Busy when another process serves the home.
    """
    runtime = SystemRuntime()
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    disk = PosixDisk(home.root)
    if not client_only:
        await runtime.in_thread(_refuse_coordinator_home, disk, home)
    lock = await runtime.in_thread(take_home, disk, home)
    try:
        identity = await _admitted(runtime, disk, token, at, say)
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


async def _admitted(runtime: SystemRuntime, disk: PosixDisk, token: str | None, at: str | None, say: Say) -> Identity:
    parsed = Token.parse(token) if token else None
    try:
        identity = await runtime.in_thread(Identity.load, disk)
    except NotAdmitted:
        if parsed is None:
            raise NotAdmitted(
                "this machine belongs to no cluster yet",
                hint="on the coordinator run: roost token create    and here: roost join TOKEN",
            ) from None
    else:
        if parsed is not None and parsed.authority != identity.cluster_hash:
            raise UsageError(
                "this home belongs to another cluster than the token",
                hint="use another home for it with --home DIR",
            )
        return identity if parsed is None else await _come_back(runtime, disk, identity, parsed, at, say)
    return await _ask_in(runtime, disk, parsed, at, say)


async def _ask_in(runtime: SystemRuntime, disk: PosixDisk, token: Token, at: str | None, say: Say) -> Identity:
    say(Event("starting", "asking the coordinator to be admitted"))
    addresses = [Address.parse(at)] if at else list(token.addresses)
    network = TcpNetwork(runtime, client_context=joiner_context(), server_context=None)
    identity, server, address = await join_cluster(runtime, network, disk, token, addresses)
    await runtime.in_thread(_remember, disk, server, address)
    return identity


async def _come_back(
    runtime: SystemRuntime, disk: PosixDisk, identity: Identity, token: Token, at: str | None, say: Say
) -> Identity:
    """The identity of a home that has one already. If its node has left, it is admitted anew and stays again; the
    token is not used up by any other."""
    membership = Membership(identity.authority)
    records = DiskRecords(disk, runtime, check=membership.check, added=membership.learn)
    await records.open()
    standing = membership.standing(identity.node_id)
    if standing is None or standing.state != "left" or membership.is_revoked(fingerprint(identity.certificate)):
        return identity
    admitted = await _ask_in(runtime, disk, token, at, say)
    stays = Standing(node_id=admitted.node_id, seq=standing.seq + 1, state="staying", at=int(runtime.wall()))
    await records.add(encode_record(stays))
    return admitted


def _refuse_coordinator_home(disk: PosixDisk, home: Home) -> None:
    """UsageError in a home that admits and keeps no chunks: once a node had it, `roost start` would refuse it."""
    if disk.exists(KEY_PATH) and not disk.exists(STORE_ID_PATH):
        raise UsageError(
            f"{home.root} is the home of a coordinator, which keeps no chunks",
            hint="run it with roost start; a node on this machine has a home of its own: roost join TOKEN --home DIR, "
            "or roost start --local 1",
        )


def _remember(disk: PosixDisk, node: NodeId, address: Address) -> None:
    remembered = Remembered(disk)
    remembered.load()
    remembered.worked(node, address)


def _name(disk: PosixDisk, given: str | None) -> str:
    """The node's name: as given now, else as given once, else the machine's."""
    if given is not None:
        chosen = given.strip()
        if not 1 <= len(chosen) <= 64 or not chosen.isprintable():
            raise UsageError("a node's name has 1 to 64 printable characters", hint="give another --name")
        write_durably(disk, NAME_PATH, chosen.encode())
        return chosen
    try:
        return read_small(disk, NAME_PATH, bytes_max=1024).decode("utf-8", "replace")
    except NotFound:
        return (platform.node() or "node")[:64]


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
        home=str(home.root), scrub=Terms(settings.scrub.every_s, settings.scrub.rate),
    )  # fmt: skip

    def ready(address: Address) -> None:
        write_run_state(disk, home, RunState(os.getpid(), str(address)))
        say(
            Event("listening", f"{name} keeps chunks at {address}", {"node": identity.node_id, "address": str(address)})
        )

    async def run(options: NodeOptions) -> None:
        await Node(runtime, network, disk, identity, options).run(ready=ready)

    try:
        await run(options)
    except Busy:
        if settings.node.listen != default_settings().node.listen:
            raise
        await run(replace(options, listen=Address(settings.node.listen.host, 0)))
