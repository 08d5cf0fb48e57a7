"""The metrics' names, labels and values, as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from roost.core.ids import NodeId
from roost.observe.host import HostReading
from roost.observe.metrics import ClusterReading, NodeReading, PeerReading, Tally, cluster_text, node_text
from roost.observe.transfers import Transfers

A = NodeId("a" * 32)
HOST = HostReading(0.25, 3_000, 4_000, None, 1_700_000_000.0)


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(text: bytes, name: str, **labels: str) -> float | None:
    return samples(text).get((f"roost_{name}", frozenset(labels.items())))


def called(node: NodeId | None) -> str:
    return "pi-1" if node == A else "client"


def reading(**more: object) -> ClusterReading:
    fields: dict[str, object] = {
        "version": "1.2", "checkpoints": {"healthy": 3, "lost": 1}, "chunks": {"at-risk": 7},
        "peers": [PeerReading("pi-1", "alive", 1.5, 2), PeerReading("pi-2", "down", None)],
        "pending": 2, "pending_s": 90.0, "watched_at": None, "running": {"store": (2, 500.0)}, "tally": Tally(),
        "transfers": Transfers(), "host": HOST,
    }  # fmt: skip
    return ClusterReading(**{**fields, **more})  # type: ignore[arg-type]


def test_a_coordinator_tells_states_and_healths_also_those_that_nothing_is_in() -> None:
    text = cluster_text(reading(), called)
    assert value(text, "build_info", version="1.2") == 1
    assert [value(text, "checkpoints", health=h) for h in ("healthy", "degraded", "lost")] == [3, 0, 1]
    assert [value(text, "chunks", health=h) for h in ("at-risk", "lost")] == [7, 0]
    assert [value(text, "node_state", peer="pi-2", state=s) for s in ("down", "alive")] == [1, 0]
    assert value(text, "heartbeat_age_seconds", peer="pi-1") == 1.5
    assert value(text, "heartbeat_age_seconds", peer="pi-2") is None, "never heard of"
    assert value(text, "integrity_failures_total", peer="pi-1") == 2
    assert (value(text, "watch_pending"), value(text, "watch_oldest_pending_seconds")) == (2, 90)
    assert value(text, "watch_last_event_timestamp_seconds") is None
    assert value(text, "host_temperature_celsius") is None
    assert value(text, "host_memory_available_bytes") == 3_000
    assert value(text, "operations_running", kind="store") == 2
    assert value(text, "operation_rate_bytes", kind="store") == 500
    assert value(text, "operations_running", kind="gather") == 0


def test_a_coordinator_counts_what_ended_and_how() -> None:
    tally = Tally()
    tally.ended("store", "ok", 4.0, at=100.0)
    tally.ended("store", "failed", 0.1, at=200.0)
    tally.ended("repair", "degraded", 4.0, at=300.0)
    tally.backup_failed("no-space")
    tally.repaired("pi-1", 10)
    tally.repaired("pi-1", 5)
    text = cluster_text(reading(tally=tally), called)
    assert value(text, "store_seconds_bucket", result="ok", le="5.0") == 1
    assert value(text, "store_seconds_bucket", result="ok", le="2.5") == 0
    assert value(text, "store_seconds_count", result="failed") == 1
    assert value(text, "gather_seconds_count", result="ok") == 0
    assert value(text, "last_success_timestamp_seconds", job="store") == 100, "what failed is no success"
    assert value(text, "last_success_timestamp_seconds", job="repair") == 300
    assert value(text, "backup_failures_total", reason="no-space") == 1
    assert value(text, "repair_bytes_total", peer="pi-1") == 15


def test_what_was_stored_before_this_coordinator_began_counts_too() -> None:
    tally = Tally()
    assert value(cluster_text(reading(), called), "last_success_timestamp_seconds", job="store") is None
    text = cluster_text(reading(tally=tally, stored_at=50.0), called)
    assert value(text, "last_success_timestamp_seconds", job="store") == 50
    tally.ended("store", "ok", 4.0, at=100.0)
    text = cluster_text(reading(tally=tally, stored_at=50.0), called)
    assert value(text, "last_success_timestamp_seconds", job="store") == 100


def test_of_a_node_that_has_not_said_nothing_is_counted() -> None:
    text = cluster_text(reading(), called)
    assert value(text, "integrity_failures_total", peer="pi-2") is None


def test_a_node_tells_of_itself_and_of_its_peers_by_name() -> None:
    transfers = Transfers()
    transfers.moved(A, "out", 1000, 0.2)
    transfers.moved(None, "in", 500, 0.2)
    transfers.failed(A, "stalled")
    text = node_text(NodeReading("1.2", 60.0, 5, 6, 1, 900, 100, 1100, None, transfers, HOST), called)
    assert value(text, "disk_free_bytes") == 900
    assert (value(text, "disk_total_bytes"), value(text, "disk_used_bytes")) == (1100, 100)
    assert value(text, "transfer_bytes_total", peer="pi-1", direction="out") == 1000
    assert value(text, "transfer_bytes_total", peer="client", direction="in") == 500
    assert value(text, "chunk_transfer_seconds_bucket", peer="pi-1", direction="out", le="0.25") == 1
    assert value(text, "transfer_errors_total", peer="pi-1", reason="stalled") == 1
    assert value(text, "last_success_timestamp_seconds", job="scrub") is None
    scrubbed = node_text(NodeReading("1.2", 60.0, 5, 6, 1, 900, 100, 1100, 77.0, transfers, HOST), called)
    assert value(scrubbed, "last_success_timestamp_seconds", job="scrub") == 77
