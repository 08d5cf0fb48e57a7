"""The machine that joins: with a token or a join code, through addresses that it was given or that it finds.

A home that has an identity keeps it: joining again is harmless, and brings a node back that had left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from roost.client.discovering import InSight, Surroundings, look_around
from roost.cluster.membership import Membership
from roost.cluster.records import DiskRecords
from roost.cluster.remembered import Remembered
from roost.codec.records import Standing, encode_record
from roost.core.cluster import Address
from roost.core.errors import NotAdmitted, RoostError, Unreachable, UsageError
from roost.core.ids import NodeId
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.net.tcp import TcpNetwork
from roost.node.admission import by_code, by_token, join_cluster
from roost.node.events import Event, Say
from roost.security.authority import fingerprint
from roost.security.identity import Identity
from roost.security.pairing import JoinCode
from roost.security.tls import joiner_context
from roost.security.token import PREFIX, Token
from roost.settings.schema import Settings

LOOK_LIMIT_S = 6.0
CLUSTER_SHOWN = 8
"""Characters of a cluster's hash that tell it from others of its name."""
ID_CHARACTERS_MIN = 4


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a person joins with: a token or a join code; `at` an address (else those of the token, or what is found),
    `cluster` the name or the beginning of the hash of the one that is meant."""

    word: str
    at: str | None = None
    cluster: str | None = None

    def read(self) -> Token | JoinCode:
        """The token or code. UsageError tells what is wrong with it, and never repeats it."""
        if self.word.strip().lower().startswith(PREFIX):
            return Token.parse(self.word)
        try:
            return JoinCode.parse(self.word)
        except UsageError as error:
            raise UsageError(f"{error.message} (and a join token begins with {PREFIX})", hint=error.hint) from error


async def admitted(
    runtime: SystemRuntime, disk: PosixDisk, settings: Settings, invitation: Invitation | None, say: Say
) -> Identity:
    """The identity of this home, made now by `invitation` if it has none. NotAdmitted without either."""
    meant = invitation.read() if invitation is not None else None
    try:
        identity = await runtime.in_thread(Identity.load, disk)
    except NotAdmitted:
        if invitation is None or meant is None:
            raise NotAdmitted(
                "this machine belongs to no cluster yet",
                hint="where roost start runs a join code is shown: roost join CODE; or roost token create there, and "
                "here: roost join TOKEN",
            ) from None
        return await _ask_in(runtime, disk, settings, invitation, meant, say)
    if invitation is None or meant is None:
        return identity
    if isinstance(meant, Token) and meant.authority != identity.cluster_hash:
        raise UsageError(
            "this home belongs to another cluster than the token", hint="use another home for it with --home DIR"
        )
    return await _come_back(runtime, disk, settings, identity, invitation, meant, say)


async def _ask_in(
    runtime: SystemRuntime, disk: PosixDisk, settings: Settings, invitation: Invitation, meant: Token | JoinCode,
    say: Say, *, cluster: bytes | None = None,
) -> Identity:  # fmt: skip
    network = TcpNetwork(runtime, client_context=joiner_context(), server_context=None)
    if isinstance(meant, Token):
        say(Event("starting", "asking the coordinator to be admitted"))
        at = [Address.parse(invitation.at)] if invitation.at else list(meant.addresses)
        identity, server, address = await join_cluster(runtime, network, disk, by_token(meant), at)
    else:
        doors = await _doors(runtime, settings, invitation, say, cluster=cluster)
        identity, server, address = await _knock(runtime, network, disk, meant, doors)
    await runtime.in_thread(_remember, disk, server, address)
    return identity


async def _doors(
    runtime: SystemRuntime, settings: Settings, invitation: Invitation, say: Say, *, cluster: bytes | None
) -> list[list[Address]]:
    """Where to knock with a join code: for each machine that may show it, its addresses."""
    if invitation.at:
        return [[Address.parse(invitation.at)]]
    say(Event("starting", "looking for clusters on this network"))
    around = await look_around(runtime, settings, cluster=cluster, limit_s=LOOK_LIMIT_S)
    peers = [[address] for address in settings.discovery.peers]
    if not around.nodes:
        if peers:
            return peers
        raise Unreachable(f"no cluster is in sight: {around.verdict()}", hint="see: roost discover --explain")
    nodes = the_cluster(around, invitation.cluster)
    name = nodes[0].advert.name
    say(Event("starting", f"asking the cluster {name!r} to be admitted", {"cluster": name}))
    return [*[list(node.addresses) for node in nodes], *peers]


def the_cluster(around: Surroundings, wanted: str | None) -> list[InSight]:
    """The nodes of the one cluster in sight, or of the one that is `wanted`, those that admit first. UsageError names
    the choice when there is one, NotFound is an Unreachable that says who is in sight."""
    clusters = around.clusters()
    if wanted is not None:
        by_hash = len(wanted) >= ID_CHARACTERS_MIN
        clusters = {
            hash_: nodes
            for hash_, nodes in clusters.items()
            if nodes[0].advert.name == wanted or (by_hash and hash_.hex().startswith(wanted.lower()))
        }
    told = ", ".join(cluster_shown(nodes[0]) for nodes in around.clusters().values())
    if not clusters:
        raise Unreachable(
            f"no cluster {wanted!r} is in sight (there are: {told})", hint="see: roost discover --explain"
        )
    if len(clusters) > 1:
        raise UsageError(
            f"several clusters are in sight: {told}", hint="say which one: roost join CODE --cluster NAME-OR-ID"
        )
    [nodes] = clusters.values()
    return nodes


def cluster_shown(node: InSight) -> str:
    """A cluster as it is told apart from others: its name and the beginning of its hash."""
    return f"{node.advert.name} ({node.advert.cluster.hex()[:CLUSTER_SHOWN]})"


async def _knock(
    runtime: SystemRuntime, network: TcpNetwork, disk: PosixDisk, code: JoinCode, doors: Sequence[Sequence[Address]]
) -> tuple[Identity, NodeId, Address]:
    """Try the code at one door after the other, until one opens or says that the code is wrong: a code is worth one
    guess at each machine, whatever the number of its addresses."""
    problem: RoostError | None = None
    for addresses in doors:
        try:
            return await join_cluster(runtime, network, disk, by_code(runtime, code), addresses, once=True)
        except Unreachable as error:
            problem = problem or error
    assert problem is not None
    raise problem


async def _come_back(
    runtime: SystemRuntime, disk: PosixDisk, settings: Settings, identity: Identity, invitation: Invitation,
    meant: Token | JoinCode, say: Say,
) -> Identity:  # fmt: skip
    """The identity of a home that has one already. If its node has left, it is admitted anew and stays again; the
    invitation is not used up by any other."""
    membership = Membership(identity.authority)
    records = DiskRecords(disk, runtime, check=membership.check, added=membership.learn)
    await records.open()
    standing = membership.standing(identity.node_id)
    if standing is None or standing.state != "left" or membership.is_revoked(fingerprint(identity.certificate)):
        return identity
    again = await _ask_in(runtime, disk, settings, invitation, meant, say, cluster=identity.cluster_hash)
    stays = Standing(node_id=again.node_id, seq=standing.seq + 1, state="staying", at=int(runtime.wall()))
    await records.add(encode_record(stays))
    return again


def _remember(disk: PosixDisk, node: NodeId, address: Address) -> None:
    remembered = Remembered(disk)
    remembered.load()
    remembered.worked(node, address)
