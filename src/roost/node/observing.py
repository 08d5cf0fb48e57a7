"""What a coordinator sees of its cluster from where it stands, as the metrics that it tells: nobody is asked for them.

So they can be had at once, and also while half of the cluster is away.
"""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from roost import __version__
from roost.checkpoints.steward import Steward
from roost.client.overview import node_metrics
from roost.client.reporting import Reporting
from roost.client.session import Session
from roost.cluster.pulse import Pulse
from roost.core.checkpoint import Health
from roost.core.cluster import Member
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.node.measuring import caller
from roost.node.operations import Operations
from roost.node.watching import Watching
from roost.observe.host import Host
from roost.observe.metrics import ClusterReading, PeerReading, Tally, cluster_text
from roost.observe.transfers import Transfers

if TYPE_CHECKING:
    from roost.node.alerting import Look

BRINGING = ("store", "undelete")
"""The kinds of operations that can bring back what no node had."""


@dataclass(frozen=True, slots=True)
class _Sources:
    """The services that know."""

    session: Session
    pulse: Pulse
    steward: Steward
    watching: Watching

    def alive(self) -> list[Member]:
        """The storage nodes that were heard of lately."""
        alive = self.pulse.alive()
        return [member for member in self.session.membership.view.storage if member.node_id in alive]

    def peers(self) -> list[PeerReading]:
        """How the storage nodes stand, also those that have left."""
        peers = []
        view = self.session.membership.view
        for seen in self.pulse.seen():
            node = NodeId(seen.node_id)
            member, pong = view.member(node), self.pulse.pong(node)
            silent_s = seen.heard_s if seen.heard_s >= 0 else None
            damaged = pong.damaged_total if pong is not None else None
            peers.append(PeerReading(member.name if member else node[:8], seen.state, silent_s, damaged))
        return peers + [PeerReading(member.name, "left", None) for member in view.left if member.storage]


class Observing:
    """The operations and counts of one coordinator, whose node id is `own`. `attach` it before it is read."""

    def __init__(self, runtime: Runtime, *, own: NodeId) -> None:
        self._runtime = runtime
        self._host = Host()
        self.tally = Tally()
        self.transfers = Transfers()
        self.operations = Operations(runtime, self.tally, own=own, called=self._machine, ended=self._ended)
        self.reporting = Reporting(runtime, self.operations.send)
        self.watched_at: float | None = None
        """When a watched folder last had something stored, in seconds since 1970."""
        self._sources: _Sources | None = None

    def attach(self, session: Session, pulse: Pulse, steward: Steward, watching: Watching) -> None:
        """Where what is told comes from."""
        self._sources = _Sources(session, pulse, steward, watching)

    def samples(self) -> "Look":
        """What the notifier looks at: our own metrics, and those of the nodes that are alive."""
        from roost.node.sampling import cluster_samples

        sources = self._sources
        assert sources is not None
        return cluster_samples(
            self._runtime, own=self.metrics, of_node=partial(node_metrics, sources.session), nodes=sources.alive
        )

    def _ended(self, kind: str) -> None:
        """Let the steward look anew when a store may have brought back what is told as short or lost: what nobody has
        is else asked for every ten minutes only."""
        if self._sources is None or kind not in BRINGING:
            return
        steward = self._sources.steward
        if any(count and health is not Health.HEALTHY for health, count in steward.chunks.items()):
            steward.wake()

    def _machine(self, node: NodeId) -> str:
        """What the machine of a peer is called."""
        member = self._sources.session.membership.view.member(node) if self._sources is not None else None
        return member.name if member is not None else node[:8]

    async def metrics(self) -> bytes:
        """In the text format of Prometheus."""
        sources = self._sources
        assert sources is not None
        session, watching = sources.session, sources.watching
        listed = await session.catalogue.list(newest=True)
        now = self._runtime.wall()
        stored = [one.stored_at for one in listed if one.stored_at <= now]  # else some clock is wrong
        reading = ClusterReading(
            version=__version__, checkpoints=Counter(str(one.health) for one in listed),
            chunks={str(health): count for health, count in sources.steward.chunks.items()}, peers=sources.peers(),
            pending=sum(len(waits) for _, waits in watching.pending()), pending_s=watching.oldest_s,
            watched_at=self.watched_at, running=self.operations.running(), tally=self.tally,
            transfers=self.transfers, host=await self._runtime.in_thread(self._host.read),
            stored_at=max(stored, default=None),
        )  # fmt: skip
        return await self._runtime.in_thread(cluster_text, reading, caller(session.membership))
