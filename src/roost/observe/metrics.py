"""The metrics: their names and labels, a contract with whoever scrapes them.

Labels come from closed sets (states, healths, the members of the cluster, codes of errors): never a checkpoint, path or
address, so that the number of series does not grow with what is stored.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from roost.core.ids import NodeId
from roost.observe.families import counters, gauge, gauges, histograms, text_of
from roost.observe.histogram import OPERATION_BOUNDS_S, Histogram
from roost.observe.host import HostReading
from roost.observe.transfers import Transfers

if TYPE_CHECKING:
    from prometheus_client.core import Metric

HEALTHS = ("healthy", "degraded", "at-risk", "lost", "unknown")
STATES = ("alive", "suspect", "down", "draining", "left")
RESULTS = ("ok", "degraded", "failed")
KINDS = ("store", "gather", "verify", "repair", "scrub", "drain", "undelete")

Called = Callable[[NodeId | None], str]
"""What a peer is called in the label ``peer``: a storage node by its name, everybody else ``client``."""


@dataclass(frozen=True, slots=True)
class PeerReading:
    """One storage node as the coordinator sees it. `silent_s` is how long nothing came from it, None when nothing ever
    did; `damaged_total` the bad copies that it found since it runs, None while it has not said."""

    name: str
    state: str
    silent_s: float | None
    damaged_total: int | None = None


@dataclass(slots=True)
class Tally:
    """What the coordinator counts of all machines' operations, since it runs."""

    seconds: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    """By kind (``store``, ``gather``) and result."""
    succeeded_at: dict[str, float] = field(default_factory=dict)
    """By kind, in seconds since 1970."""
    backup_failures: dict[str, int] = field(default_factory=dict)
    """By the error's code."""
    repaired_bytes: dict[str, int] = field(default_factory=dict)
    """By the name of the node that they were made on."""

    def ended(self, kind: str, result: str, seconds: float, *, at: float) -> None:
        """An operation ended so after `seconds`."""
        if result != "failed":
            self.succeeded_at[kind] = at
        self.seconds.setdefault((kind, result), Histogram(OPERATION_BOUNDS_S)).add(seconds)

    def backup_failed(self, reason: str) -> None:
        """What a program or a watched folder wanted stored is not."""
        self.backup_failures[reason] = self.backup_failures.get(reason, 0) + 1

    def repaired(self, node: str, count: int) -> None:
        """`count` bytes of copies were made again on `node`."""
        self.repaired_bytes[node] = self.repaired_bytes.get(node, 0) + count


@dataclass(frozen=True, slots=True)
class ClusterReading:
    """All that a coordinator knows now. `stored_at` is when the newest version of any name was stored; `pending_s` how
    long the oldest of what waits has waited; `running` how many operations of each kind run, and at how many bytes a
    second together."""

    version: str
    checkpoints: Mapping[str, int]
    chunks: Mapping[str, int]
    peers: Sequence[PeerReading]
    pending: int
    pending_s: float
    watched_at: float | None
    running: Mapping[str, tuple[int, float]]
    tally: Tally
    transfers: Transfers
    host: HostReading
    stored_at: float | None = None


@dataclass(frozen=True, slots=True)
class NodeReading:
    """All that a storage node tells of itself; `scrubbed_at` is when the last whole scrub ended, None before that."""

    version: str
    running_s: float
    objects: int
    records: int
    quarantined: int
    free_bytes: int
    used_bytes: int
    total_bytes: int
    scrubbed_at: float | None
    transfers: Transfers
    host: HostReading


def cluster_text(reading: ClusterReading, called: Called) -> bytes:
    """What a coordinator answers to who scrapes it."""
    return text_of(
        chain(
            _build(reading.version), _stored(reading), _peers(reading.peers), _operations(reading),
            _watched(reading), _transfers(reading.transfers, called), _host(reading.host),
        )
    )  # fmt: skip


def node_text(reading: NodeReading, called: Called) -> bytes:
    """What a storage node answers to its coordinator."""
    return text_of(
        chain(
            _build(reading.version), _node(reading), _transfers(reading.transfers, called), _host(reading.host)
        )
    )  # fmt: skip


def _build(version: str) -> "Iterator[Metric]":
    yield from gauges("build_info", "1, with the version that runs.", ("version",), [((version,), 1)])


def _stored(reading: ClusterReading) -> "Iterator[Metric]":
    newest = [((health,), reading.checkpoints.get(health, 0)) for health in HEALTHS]
    yield from gauges("checkpoints", "Newest versions, by how they are.", ("health",), newest)
    chunks = [((health,), reading.chunks.get(health, 0)) for health in HEALTHS]
    yield from gauges("chunks", "Distinct chunks at the last look, by how they are.", ("health",), chunks)


def _peers(peers: Sequence[PeerReading]) -> "Iterator[Metric]":
    states = [((peer.name, state), float(peer.state == state)) for peer in peers for state in STATES]
    yield from gauges("node_state", "1 for the state that a node is in.", ("peer", "state"), states)
    ages = [((peer.name,), peer.silent_s) for peer in peers if peer.silent_s is not None]
    yield from gauges("heartbeat_age_seconds", "Since something came from a node.", ("peer",), ages)
    damaged = [((peer.name,), float(peer.damaged_total)) for peer in peers if peer.damaged_total is not None]
    yield from counters("integrity_failures", "Bad copies that a node found since it runs.", ("peer",), damaged)


def _operations(reading: ClusterReading) -> "Iterator[Metric]":
    tally = reading.tally
    for kind in ("store", "gather"):
        empty = Histogram(OPERATION_BOUNDS_S)
        rows = [((result,), tally.seconds.get((kind, result), empty)) for result in RESULTS]
        yield from histograms(f"{kind}_seconds", f"How long each {kind} took, on any machine.", ("result",), rows)
    ended = {job: [at] for job, at in tally.succeeded_at.items()}
    if reading.stored_at is not None:  # before this coordinator began, or told to no one
        ended.setdefault("store", []).append(reading.stored_at)
    succeeded = [((job,), max(ended[job])) for job in ("store", "repair") if job in ended]
    yield from gauges("last_success_timestamp_seconds", "When a job last ended well.", ("job",), succeeded)
    failures = [((reason,), float(count)) for reason, count in sorted(tally.backup_failures.items())]
    yield from counters("backup_failures", "Backups that were wanted and are not there.", ("reason",), failures)
    made = [((name,), float(count)) for name, count in sorted(tally.repaired_bytes.items())]
    yield from counters("repair_bytes", "Bytes of copies made again, by where.", ("peer",), made)
    running = {kind: reading.running.get(kind, (0, 0.0)) for kind in KINDS}
    counts = [((kind,), float(count)) for kind, (count, _) in running.items()]
    yield from gauges("operations_running", "Operations that run now, on any machine.", ("kind",), counts)
    rates = [((kind,), rate) for kind, (_, rate) in running.items()]
    yield from gauges("operation_rate_bytes", "Bytes a second of those that run now, together.", ("kind",), rates)


def _watched(reading: ClusterReading) -> "Iterator[Metric]":
    yield from gauge("watch_pending", "Files and folders that the watcher waits for.", reading.pending)
    oldest = "How long the oldest of what waits has waited."
    yield from gauge("watch_oldest_pending_seconds", oldest, reading.pending_s)
    last = "When the watcher last stored something."
    yield from gauge("watch_last_event_timestamp_seconds", last, reading.watched_at)


def _node(reading: NodeReading) -> "Iterator[Metric]":
    yield from gauge("running_seconds", "Since the node began.", reading.running_s)
    yield from gauge("objects", "Objects that the node has.", reading.objects)
    yield from gauge("records", "Records that the node has.", reading.records)
    yield from gauge("quarantined_objects", "Damaged files that were set aside.", reading.quarantined)
    yield from gauge("disk_free_bytes", "Free on the node's disk above its reserve.", reading.free_bytes)
    yield from gauge("disk_used_bytes", "Taken by objects on the node's disk.", reading.used_bytes)
    yield from gauge("disk_total_bytes", "What the node's disk holds in all.", reading.total_bytes)
    scrubs = [(("scrub",), reading.scrubbed_at)] if reading.scrubbed_at is not None else []
    yield from gauges("last_success_timestamp_seconds", "When a job last ended well.", ("job",), scrubs)


def _transfers(transfers: Transfers, called: Called) -> "Iterator[Metric]":
    flows = list(transfers.flows(called))
    labels = ("peer", "direction")
    took = [((name, direction), flow.seconds) for name, direction, flow in flows]
    yield from histograms("chunk_transfer_seconds", "How long each chunk took to or from a peer.", labels, took)
    moved = [((name, direction), float(flow.bytes)) for name, direction, flow in flows]
    yield from counters("transfer_bytes", "Bytes of chunks to and from a peer.", labels, moved)
    errors = [((name, reason), float(count)) for name, reason, count in transfers.errors(called)]
    yield from counters("transfer_errors", "Chunks that did not go to or from a peer.", ("peer", "reason"), errors)


def _host(host: HostReading) -> "Iterator[Metric]":
    yield from gauge("host_cpu_ratio", "Busy part of all cores since the last look.", host.cpu_ratio)
    yield from gauge("host_memory_available_bytes", "Memory that is to be had.", host.memory_available_bytes)
    yield from gauge("host_memory_total_bytes", "Memory of the machine.", host.memory_total_bytes)
    yield from gauge("host_temperature_celsius", "The hottest sensor of the processor.", host.temperature_c)
    yield from gauge("host_boot_time_seconds", "When the machine began.", host.booted_at)
