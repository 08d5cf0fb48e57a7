"""Looking around: which clusters and nodes are in sight, by which way, and why not.

mDNS and broadcast show whoever tells of himself; remembered and configured addresses are tried. What is seen is a hint:
nothing here is proved, but for the addresses that answered as members of our own cluster.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from roost.client.session import hello_of, member_network
from roost.cluster.discovery.finder import Finder, WayState
from roost.cluster.discovery.sightings import Advert, Way
from roost.cluster.remembered import Remembered
from roost.core.cluster import Address
from roost.core.errors import NotAdmitted, RoostError
from roost.core.ids import NodeId
from roost.core.runtime import Runtime, SystemRuntime
from roost.disk.posix import PosixDisk
from roost.net.link import Link
from roost.net.stream import Network
from roost.net.tcp import TcpNetwork
from roost.security.identity import Identity
from roost.security.tls import joiner_context
from roost.settings.paths import Home
from roost.settings.schema import Settings

LOOK_S = 3.0
SETTLE_S = 1.0
SEEK_S = 2.5
TRY_LIMIT_S = 2.0
TRIED_AT_ONCE = 16
REMEMBERED_MAX = 64


@dataclass(frozen=True, slots=True)
class Tried:
    """An address that was remembered or configured: which node is expected there (if known), and what came of it."""

    address: Address
    way: Way
    node: NodeId | None
    problem: str


@dataclass(frozen=True, slots=True)
class InSight:
    """One node in sight, with the ways by which each of its addresses was seen."""

    advert: Advert
    addresses: dict[Address, frozenset[Way]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is in sight, by cluster and name, and how the ways are doing. `here` are this machine's own addresses."""

    nodes: Sequence[InSight]
    ways: Sequence[WayState]
    here: frozenset[str] = frozenset()
    tried: Sequence[Tried] = ()

    def clusters(self) -> dict[bytes, list[InSight]]:
        """The nodes by their cluster, those that admit first."""
        found: dict[bytes, list[InSight]] = {}
        for node in self.nodes:
            found.setdefault(node.advert.cluster, []).append(node)
        for nodes in found.values():
            nodes.sort(key=lambda node: (not node.advert.admits, node.advert.label, node.advert.node))
        return found

    def verdict(self) -> str:
        """What the ways together say of this network, in words; empty when nothing is wrong."""
        on = [state for state in self.ways if state.on]
        if not on:
            return "mDNS and broadcast are switched off: only remembered and configured addresses are tried"
        if all(state.problem for state in on):
            return "; ".join(dict.fromkeys(state.problem for state in on))
        seen = {
            way
            for node in self.nodes
            for address, ways in node.addresses.items()
            for way in ways
            if address.host not in self.here  # who is on this machine is heard whatever the network does
        }
        answered = any(not tried.problem and tried.address.host not in self.here for tried in self.tried)
        if Way.BROADCAST in seen and Way.MDNS not in seen and any(state.way is Way.MDNS for state in on):
            return "multicast is blocked on this network (some access points do that); broadcast works instead"
        if not seen and answered:
            return (
                "addresses that are known answer, but nobody is seen by multicast or broadcast: this network keeps "
                "both back (client isolation, a guest network, another subnet); go on with addresses in discovery.peers"
            )
        if not seen:
            return (
                "nobody is seen: no roost runs on this network, or it keeps machines from each other (client "
                "isolation, a guest network); try an address: roost join CODE --at HOST:PORT, or discovery.peers"
            )
        return ""


def finder_of(runtime: Runtime, settings: Settings, *, cluster: bytes | None) -> Finder:
    """The finder that the settings ask for, of one cluster or of all. Where this machine listens on loopback alone,
    nobody else can be found or find it, so nothing goes out."""
    local = settings.node.listen.is_loopback
    return Finder(
        runtime, cluster=cluster, host=settings.node.listen.host, mdns=settings.discovery.mdns and not local,
        broadcast=settings.discovery.broadcast and not local,
    )  # fmt: skip


async def look_around(
    runtime: Runtime,
    settings: Settings,
    *,
    cluster: bytes | None = None,
    limit_s: float = LOOK_S,
    patient: bool = False,
) -> Surroundings:
    """Look for so long at most; once somebody is seen only a second more, unless `patient`. Of one cluster or all."""
    seen = asyncio.Event()

    finder = finder_of(runtime, settings, cluster=cluster)
    finder.found = lambda sighting: seen.set()
    async with finder.running():
        try:
            async with runtime.timeout(limit_s):
                await seen.wait()
                await runtime.sleep(limit_s if patient else SETTLE_S)
        except TimeoutError:
            pass
    return Surroundings(
        [InSight(advert, addresses) for advert, addresses in finder.sightings.all()],
        finder.states(),
        frozenset(interface.host for interface in finder.interfaces),
    )


async def seek(runtime: Runtime, finder: Finder, nodes: Collection[NodeId]) -> None:
    """Look until each of these members is in sight, for 2.5 s at most; what is seen stays in the finder."""
    if finder.off:
        return
    news = asyncio.Event()
    finder.found = lambda sighting: news.set()
    async with finder.running():
        try:
            async with runtime.timeout(SEEK_S):
                while not all(finder.addresses(node) for node in nodes):
                    news.clear()
                    await news.wait()
        except TimeoutError:
            return


async def try_addresses(
    runtime: Runtime, network: Network, known: Sequence[tuple[Address, Way, NodeId | None]], *, cluster: bytes,
    admitted: bool,
) -> list[Tried]:  # fmt: skip
    """Dial addresses, some at a time, and say of each what came of it."""
    places = asyncio.Semaphore(TRIED_AT_ONCE)

    async def one(address: Address, way: Way, node: NodeId | None) -> Tried:
        async with places:
            try:
                async with runtime.timeout(TRY_LIMIT_S):
                    link = await Link.open(
                        runtime, network, address, expect=node, hello=hello_of(cluster), admitted=admitted
                    )
            except TimeoutError:
                return Tried(address, way, node, f"no answer within {TRY_LIMIT_S:g} s")
            except RoostError as error:
                return Tried(address, way, node, error.message)
        found = link.stream.peer.node_id
        await link.close()
        return Tried(address, way, found, "")

    return list(await asyncio.gather(*(one(*each) for each in known)))


async def explore(
    home: Home, settings: Settings, *, limit_s: float, explain: bool
) -> tuple[Surroundings, bytes | None]:
    """Everybody in sight, and the hash of the cluster that this home belongs to, if it does. To `explain`, addresses
    that are remembered or configured are tried too."""
    runtime = SystemRuntime()
    disk = PosixDisk(home.root)
    try:
        identity: Identity | None = await runtime.in_thread(Identity.load, disk)
    except NotAdmitted:
        identity = None
    mine = identity.cluster_hash if identity is not None else None
    around = await look_around(runtime, settings, limit_s=limit_s, patient=True)
    if not explain:
        return around, mine
    remembered = Remembered(disk)
    await runtime.in_thread(remembered.load)
    known: list[tuple[Address, Way, NodeId | None]] = [(peer, Way.STATIC, None) for peer in settings.discovery.peers]
    known += [(remembered.addresses(node)[0], Way.REMEMBERED, node) for node in remembered.nodes()][:REMEMBERED_MAX]
    if identity is not None:
        network = member_network(runtime, identity)
    else:
        network = TcpNetwork(runtime, client_context=joiner_context(), server_context=None)
    tried = await try_addresses(runtime, network, known, cluster=mine or b"", admitted=identity is not None)
    return replace(around, tried=tried), mine
