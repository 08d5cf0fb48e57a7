"""Where the live view gets what it shows: snapshots of the cluster, asked again and again, by any paired machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from roost.apps.tui.coordinator import Coordinator, Happened
from roost.apps.vitals import Vital, Vitals
from roost.client import AsyncCluster, ClusterStatus, ListedRow, Shown
from roost.client.alert_memory import with_untold_alerts
from roost.client.backup_notes import with_missed_backups
from roost.client.run_state import serving
from roost.core.cluster import NodeState
from roost.node.operations import OperationRow
from roost.settings.paths import Home

ASK_EVERY_S = 60.0
"""Where no coordinator looks, the nodes are asked so often for what they have."""
ALIVE = (NodeState.ALIVE, NodeState.DRAINING)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cluster at one moment: `at` in seconds since 1970. `checkpoints` are the newest versions; `vitals` are
    those known, by node id; `operations` is None, and `events` are empty, where the coordinator does not run."""

    status: ClusterStatus
    checkpoints: Sequence[ListedRow]
    at: float
    operations: Sequence[OperationRow] | None = None
    events: Sequence[Happened] = ()
    vitals: Mapping[str, Vital] = field(default_factory=dict)


class Source(Protocol):
    """What the live view asks."""

    async def look(self) -> Snapshot:
        """How everything is now. Raises RoostError when that cannot be told; asking again may succeed."""
        ...

    async def show(self, reference: str) -> Shown:
        """One version in full; raises as `AsyncCluster.show`."""
        ...


class ClusterSource:
    """Asks `cluster`, and the coordinator of `home` while it runs there. Close it when done; not the cluster.

    Health is what the coordinator last found, a minute ago at most; where none runs, the nodes are asked for it each
    minute, and when one came or went.
    """

    def __init__(self, cluster: AsyncCluster, home: Home) -> None:
        self._cluster = cluster
        self._home = home
        self._runtime = cluster.session.runtime
        self._coordinator: Coordinator | None = None
        self._asked_at: float | None = None
        self._alive: frozenset[str] = frozenset()
        self._vitals = Vitals(cluster.node_metrics, self._runtime.now)

    async def look(self) -> Snapshot:
        """See `Source.look`."""
        runtime = self._runtime
        looked_after = await runtime.in_thread(serving, self._home) is not None
        ask = not looked_after and (self._asked_at is None or runtime.now() - self._asked_at >= ASK_EVERY_S)
        status, listing = await self._cluster.overview(ask=ask)
        alive = frozenset(row.id for row in status.nodes if row.state in ALIVE)
        if ask:
            self._asked_at = runtime.now()
        elif alive != self._alive:
            self._asked_at = None
        self._alive = alive
        status = await runtime.in_thread(with_missed_backups, status, self._home)
        status = await runtime.in_thread(with_untold_alerts, status, self._home)
        self._vitals.want()
        await self._vitals.look(status.nodes)
        vitals = self._vitals.found
        coordinator = self._coordinator_at(status.page)
        if coordinator is None:
            return Snapshot(status, listing.checkpoints, runtime.wall(), vitals=vitals)
        operations = await runtime.in_thread(coordinator.operations)
        return Snapshot(status, listing.checkpoints, runtime.wall(), operations, coordinator.events(), vitals)

    def _coordinator_at(self, page: str) -> Coordinator | None:
        if self._coordinator is not None and self._coordinator.page != page:
            self._coordinator.close()
            self._coordinator = None
        if self._coordinator is None and page:
            self._coordinator = Coordinator(page, self._home.api_token)
        return self._coordinator

    async def show(self, reference: str) -> Shown:
        """See `Source.show`."""
        return await self._cluster.show(reference)

    def close(self) -> None:
        """Ask the coordinator nothing any more."""
        if self._coordinator is not None:
            self._coordinator.close()
