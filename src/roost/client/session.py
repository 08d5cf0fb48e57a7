"""A session is one member's connection to its cluster: who it is, what it knows, and its links to the others.

The coordinator, the command line and programs all stand on one; only where its parts come from differs.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from roost import __version__
from roost.checkpoints.catalogue import Catalogue
from roost.checkpoints.peers import Peers
from roost.cluster.membership import Membership
from roost.cluster.remembered import Remembered
from roost.cluster.statics import meet_static
from roost.codec.records import FORMAT
from roost.core.cluster import Address
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.disk.port import Disk
from roost.net.contacts import Contacts
from roost.net.links import Links
from roost.net.metering import Meter
from roost.net.stream import Network
from roost.net.tcp import TcpNetwork
from roost.security.authority import check_issued
from roost.security.identity import Identity
from roost.security.tls import client_context, server_context
from roost.wire.messages import PROTOCOL, PROTOCOL_MIN, Hello

FORMATS = {"record": FORMAT, "manifest": FORMAT}


def hello_of(cluster_hash: bytes, *, authority: bytes = b"", instance: bytes = b"") -> Hello:
    """How we introduce ourselves; `instance` is that of a process which serves."""
    return Hello(PROTOCOL, PROTOCOL_MIN, f"roost {__version__}", cluster_hash, authority, instance, FORMATS)


Sighted = Callable[[NodeId], Sequence[Address]]
"""Tells where a node was seen lately."""


def unsighted(node: NodeId) -> Sequence[Address]:
    """Nobody looks."""
    return ()


def dialable(
    membership: Membership, remembered: Remembered, identity: Identity, node: NodeId, sighted: Sighted = unsighted
) -> list[Address]:
    """Where to try a member, best first: where it answered last, where it was seen lately, where it answered before,
    and where it says it listens. A loopback address is of use only on the machine that it was said on, so it is left
    out for another machine's member that says others."""
    member = membership.view.member(node)
    said = member.addresses if member else ()
    same_machine = member is None or member.machine == identity.machine
    known = remembered.addresses(node)
    found = dict.fromkeys([*known[:1], *sighted(node), *known[1:], *said])
    if same_machine or all(address.is_loopback for address in found):
        return list(found)
    return [address for address in found if not address.is_loopback]


def member_network(runtime: Runtime, identity: Identity, *, joiners: bool = False) -> TcpNetwork:
    """The network as a member sees it; with `joiners`, machines without a certificate may ask to be admitted."""
    return TcpNetwork(
        runtime,
        client_context=client_context(identity),
        server_context=server_context(identity, joiners=joiners),
        identify=partial(check_issued, authority_der=identity.authority),
    )


@dataclass(slots=True)
class Session:
    """Opened by `open_session`; close it when done."""

    runtime: Runtime
    network: Network
    identity: Identity
    membership: Membership
    catalogue: Catalogue
    remembered: Remembered
    links: Links
    peers: Peers

    async def meet_static(self, addresses: Sequence[Address]) -> None:
        """Learn which nodes answer at configured addresses; those that do not are no error."""
        hello = hello_of(self.identity.cluster_hash)
        own = self.identity.node_id
        await meet_static(self.runtime, self.network, hello, addresses, self.remembered.worked, own=own)

    async def close(self) -> None:
        await self.links.close()
        await self.catalogue.close()


async def open_session(
    runtime: Runtime, network: Network, home: Disk, identity: Identity, catalogue: Path | None, *,
    instance: bytes = b"", contacts: Contacts | None = None, meter: Meter = None, sighted: Sighted = unsighted,
    seek: Callable[[Collection[NodeId]], Awaitable[None]] | None = None,
) -> Session:  # fmt: skip
    """Open the catalogue (in memory without a path) and get ready to dial; nothing is dialled yet. `instance` and
    `contacts` are of a process that serves; `meter` counts the chunks that go; `sighted` and `seek` tell where members
    are that moved."""
    membership = Membership(identity.authority)
    records = Catalogue(catalogue, runtime, check=membership.check, added=membership.learn)
    await records.open()
    remembered = Remembered(home)
    await runtime.in_thread(remembered.load)
    links = Links(
        runtime,
        network,
        hello=hello_of(identity.cluster_hash, instance=instance),
        resolve=lambda node: dialable(membership, remembered, identity, node, sighted),
        worked=remembered.worked,
        refuse=lambda peer: membership.refuse_revoked(peer.fingerprint),
        contacts=contacts,
        meter=meter,
    )
    peers = Peers(runtime, links, lambda: membership.view, records, remembered.nodes, seek)
    return Session(runtime, network, identity, membership, records, remembered, links, peers)
