"""Where the live view gets what it shows: snapshots of the cluster, asked again and again, by any paired machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from roost.apps.tui.coordinator import Coordinator, Happened, Operation
from roost.client import AsyncCluster, ClusterStatus, ListedRow, Shown
from roost.client.backup_notes import with_missed_backups
from roost.client.run_state import serving
from roost.core.cluster import NodeState
from roost.settings.paths import Home

ASK_EVERY_S = 60.0
"""Where no coordinator looks, the nodes are asked so often for what they have."""
ALIVE = (NodeState.ALIVE, NodeState.DRAINING)


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second that come in and go out of a node."""

    into: float
    out: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cluster at one moment: `at` in seconds since 1970. `checkpoints` are the newest versions; `operations` is
    None, and `events` and `rates` (by node id) are empty, where nobody can tell."""

    status: ClusterStatus
    checkpoints: Sequence[ListedRow]
    at: float
    operations: Sequence[Operation] | None = None
    events: Sequence[Happened] = ()
    rates: Mapping[str, Rates] = field(default_factory=dict)


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
        self._moved: dict[str, tuple[float, int, int]] = {}

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
        coordinator = self._coordinator_at(status.page)
        if coordinator is None:
            return Snapshot(status, listing.checkpoints, runtime.wall())
        operations = await runtime.in_thread(coordinator.operations)
        rates = {}
        for node in sorted(alive):
            rate = self._rate(node, await runtime.in_thread(coordinator.moved, node))
            if rate is not None:
                rates[node] = rate
        return Snapshot(status, listing.checkpoints, runtime.wall(), operations, coordinator.events(), rates)

    def _rate(self, node: str, moved: tuple[int, int] | None) -> Rates | None:
        """What a node moves, from what it had moved when it was asked last."""
        before = self._moved.pop(node, None)
        if moved is None:
            return None
        now = self._runtime.now()
        self._moved[node] = (now, *moved)
        if before is None or now <= before[0] or moved[0] < before[1] or moved[1] < before[2]:
            return None
        seconds = now - before[0]
        return Rates((moved[0] - before[1]) / seconds, (moved[1] - before[2]) / seconds)

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
