"""What a storage node tells of itself in metrics, to the coordinator, who fetches them for whoever scrapes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost import __version__
from roost.checkpoints.scrubber import Scrubber
from roost.chunks.disk import DiskChunkStore
from roost.cluster.membership import Membership
from roost.cluster.records import DiskRecords
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.net.body import Body
from roost.net.server import Call, Reply
from roost.observe.transfers import Transfers
from roost.wire.messages import Sending

if TYPE_CHECKING:
    from roost.observe.host import Host

CLIENT = "client"
"""What whoever is no storage node is called, so that the number of series depends on the nodes alone."""


def caller(membership: Membership) -> Callable[[NodeId | None], str]:
    """Names a peer by the member records as they are now."""

    def called(node: NodeId | None) -> str:
        member = membership.view.member(node) if node is not None else None
        return member.name if member is not None and member.storage else CLIENT

    return called


@dataclass(slots=True)
class Measuring:
    """The metrics of one node, that began at `begun`."""

    runtime: Runtime
    begun: float
    store: DiskChunkStore
    records: DiskRecords
    scrubber: Scrubber
    membership: Membership
    transfers: Transfers
    _host: "Host | None" = None

    async def get_metrics(self, call: Call) -> Reply:
        """The handler of `GetMetrics`: only a node that is asked loads what makes its metrics."""
        from roost.observe.host import Host
        from roost.observe.metrics import NodeReading, node_text

        self._host = self._host or Host()
        space = await self.store.space()
        host = await self.runtime.in_thread(self._host.read)
        reading = NodeReading(
            version=__version__, running_s=self.runtime.now() - self.begun, objects=self.store.objects,
            records=len(self.records), quarantined=self.store.quarantined, free_bytes=space.free,
            used_bytes=space.used, total_bytes=space.total, scrubbed_at=self.scrubber.ended_at or None,
            transfers=self.transfers, host=host,
        )  # fmt: skip
        text = await self.runtime.in_thread(node_text, reading, caller(self.membership))
        return Reply(Sending(len(text)), Body.of(text))
