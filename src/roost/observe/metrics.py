"""The metrics: their names and labels, a contract with whoever scrapes them, in a registry of our own.

Labels come from closed sets (states, healths, the members of the cluster): never a checkpoint, path or address, so that
the number of series does not grow with what is stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Gauge

HEALTHS = ("healthy", "degraded", "at-risk", "lost", "unknown")
STATES = ("alive", "suspect", "down", "draining", "left")


@dataclass(frozen=True, slots=True)
class Peer:
    """One storage node as the coordinator sees it; None for what it does not say now."""

    name: str
    state: str
    free_bytes: int | None
    used_bytes: int | None


class ClusterMetrics:
    """What a coordinator tells of the whole cluster, set anew before each scrape."""

    def __init__(self, version: str) -> None:
        from prometheus_client import CollectorRegistry, Gauge

        self.registry: CollectorRegistry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> "Gauge":
            return Gauge(f"roost_{name}", text, labels, registry=self.registry)

        gauge("build_info", "1, with the version that runs.", "version").labels(version).set(1)
        self._checkpoints = gauge("checkpoints", "Newest versions, by how they are.", "health")
        self._state = gauge("node_state", "1 for the state that a node is in.", "peer", "state")
        self._free = gauge("disk_free_bytes", "Free on a node's disk above its reserve.", "peer")
        self._used = gauge("disk_used_bytes", "Taken by objects on a node's disk.", "peer")
        self._pending = gauge("watch_pending", "Files and folders that the watcher waits for.")
        self._events = gauge("watch_last_event_timestamp_seconds", "When the watcher last stored something.")

    def set(self, health: Mapping[str, int], peers: Sequence[Peer], *, pending: int, stored_at: int | None) -> None:
        """As it is now. Peers that are not named any more lose their series."""
        for each in HEALTHS:
            self._checkpoints.labels(each).set(health.get(each, 0))
        for gauge in (self._state, self._free, self._used):
            gauge.clear()
        for peer in peers:
            for state in STATES:
                self._state.labels(peer.name, state).set(int(peer.state == state))
            if peer.free_bytes is not None:
                self._free.labels(peer.name).set(peer.free_bytes)
            if peer.used_bytes is not None:
                self._used.labels(peer.name).set(peer.used_bytes)
        self._pending.set(pending)
        if stored_at is not None:
            self._events.set(stored_at)

    def text(self) -> bytes:
        """In the text format of Prometheus."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
