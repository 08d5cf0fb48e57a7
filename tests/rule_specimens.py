"""For each alert: series by which it fires, what it tells of them, when it is quiet, and what is none of it.

The first sample of each series is at the time 0, which is also what `time()` is then.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Labels = Mapping[str, str]
DAY_S = 86_400
MIB, GIB = 1024**2, 1024**3
COORDINATOR = {"instance": "coordinator", "role": "coordinator", "job": "roost"}
PI = {"instance": "pi-1", "role": "node", "job": "roost"}


def on_coordinator(metric: str, **labels: str) -> str:
    """A series as Prometheus has it of the coordinator."""
    return _series(metric, {**COORDINATOR, **labels})


def on_pi(metric: str, **labels: str) -> str:
    """A series as Prometheus has it of the node pi-1."""
    return _series(metric, {**PI, **labels})


def _series(metric: str, labels: Labels) -> str:
    listed = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{metric}{{{listed}}}"


def lasting(*steps: tuple[float | None, int]) -> str:
    """Values, each for so many samples; None is no sample."""
    return " ".join(f"_x{count}" if value is None else f"{value}+0x{count - 1}" for value, count in steps)


@dataclass(frozen=True, slots=True)
class Specimen:
    """`series` make the alert `name` fire with their samples of the numbers `fires_at`, with `labels`, telling of
    `value` as Prometheus writes it, and not with those of `quiet_at`. Each of `never` makes it fire with none of all
    these. There is a sample each `every_m` minutes."""

    name: str
    series: Mapping[str, str]
    labels: Labels
    value: str
    fires_at: tuple[int, ...]
    quiet_at: tuple[int, ...]
    never: tuple[Mapping[str, str], ...] = ()
    every_m: int = field(default=1, kw_only=True)


LOST = on_coordinator("roost_chunks", health="lost")
UNKNOWN = on_coordinator("roost_chunks", health="unknown")
DOWN = on_coordinator("roost_node_state", peer="pi-2", state="down")
PENDING = on_coordinator("roost_watch_oldest_pending_seconds")
STORED = on_coordinator("roost_last_success_timestamp_seconds", job="store")
STORING = on_coordinator("roost_operations_running", kind="store")
SPEED = on_coordinator("roost_operation_rate_bytes", kind="store")
FREE, WHOLE = on_pi("roost_disk_free_bytes"), on_pi("roost_disk_total_bytes")
SCRUBBED = on_pi("roost_last_success_timestamp_seconds", job="scrub")
RUNNING = on_pi("roost_running_seconds")
UP = on_coordinator("up")
BAD_COPIES = on_coordinator("roost_integrity_failures_total", peer="pi-2")
ERRORS = on_pi("roost_transfer_errors_total", peer="pi-2", reason="unreachable")
FAILURES = on_coordinator("roost_backup_failures_total", reason="unreachable")
AVAILABLE, MEMORY = on_pi("roost_host_memory_available_bytes"), on_pi("roost_host_memory_total_bytes")
HEAT = on_pi("roost_host_temperature_celsius")
CLUSTER: Labels = COORDINATOR

SPECIMENS = (
    Specimen(
        "RoostUnrecoverable", {LOST: lasting((0, 5), (2, 10), (0, 20))}, {**CLUSTER, "health": "lost"},
        "",
        (5, 14, 17), (4, 21), ({UNKNOWN: lasting((2, 30))},),
    ),
    Specimen(
        "RoostUnrecoverable", {on_coordinator("roost_checkpoints", health="lost"): lasting((0, 5), (1, 10), (0, 20))},
        {**CLUSTER, "health": "lost"},
        "",
        (5, 14), (4, 21),
    ),
    Specimen(
        "RoostOutOfReach", {UNKNOWN: lasting((0, 5), (2, 30), (0, 30))}, {**CLUSTER, "health": "unknown"},
        "",
        (20, 34), (19, 40), ({UNKNOWN: lasting((2, 15), (0, 1), (2, 15), (0, 30))}, {LOST: lasting((2, 60))}),
    ),
    Specimen(
        "RoostAtRisk", {on_coordinator("roost_chunks", health="at-risk"): lasting((0, 5), (3, 30), (0, 10))},
        {**CLUSTER, "health": "at-risk"},
        "3",
        (20, 34), (19, 35),
        ({on_coordinator("roost_chunks", health="at-risk"): lasting((3, 15), (0, 1), (3, 15), (0, 10))},),
    ),
    Specimen(
        "RoostUnderReplicated", {on_coordinator("roost_chunks", health="degraded"): lasting((0, 5), (3, 30), (0, 10))},
        {**CLUSTER, "health": "degraded"},
        "3",
        (20, 34), (19, 35),
        ({on_coordinator("roost_chunks", health="degraded"): lasting((3, 15), (0, 1), (3, 15), (0, 10))},),
    ),
    Specimen(
        "RoostIntegrityFailure", {BAD_COPIES: lasting((4, 70), (6, 90))}, {"instance": "coordinator", "peer": "pi-2"},
        "2", (70, 120), (69, 131),
        ({BAD_COPIES: lasting((4, 200))},),
    ),
    Specimen(
        "RoostIntegrityFailure", {BAD_COPIES: lasting((None, 70), (1, 90))},
        {"instance": "coordinator", "peer": "pi-2"},
        "1", (70, 120), (69, 131),
    ),
    Specimen(
        "RoostCoordinatorDown", {UP: lasting((1, 5), (0, 20), (1, 10))}, CLUSTER,
        "",
        (10, 24), (9, 25), ({UP: lasting((0, 5), (1, 1), (0, 4), (1, 20))},),
    ),
    Specimen(
        "RoostCoordinatorDown", {on_pi("up"): lasting((1, 10)), UP: lasting((None, 10), (1, 20))},
        {"role": "coordinator"},
        "",
        (5, 9), (4, 10),
    ),
    Specimen(
        "RoostNodeDown", {DOWN: lasting((0, 5), (1, 20), (0, 10))}, {**CLUSTER, "peer": "pi-2", "state": "down"},
        "", (10, 24), (9, 25),
        ({DOWN.replace("down", "suspect"): lasting((1, 30))}, {DOWN.replace("down", "left"): lasting((1, 30))}),
    ),
    Specimen(
        "RoostTransferErrors", {ERRORS: f"{lasting((0, 5))} 2+2x39 {lasting((80, 40))}"},
        {"instance": "pi-1", "peer": "pi-2"},
        "10", (25, 44), (19, 60),
        ({ERRORS: lasting((100, 60))},),
    ),
    Specimen(
        "RoostSlowTransfers",
        {STORING: lasting((1, 60)), SPEED: lasting((9 * MIB, 5), (100 * 1024, 25), (9 * MIB, 30))},
        {**CLUSTER, "kind": "store"}, "100kiB", (15, 29, 35), (14, 41),
        ({STORING: lasting((0, 60)), SPEED: lasting((0, 60))},),
    ),
    Specimen(
        "RoostBackupFailed", {FAILURES: lasting((None, 70), (1, 90))}, {"instance": "coordinator"},
        "1", (85, 120), (84, 131),
        ({FAILURES: lasting((None, 70), (1, 90)), STORED: "0+60x160"}, {FAILURES: lasting((7, 160))}),
    ),
    Specimen(
        "RoostWatcherStuck", {PENDING: lasting((60, 5), (4000, 15), (0, 60))}, CLUSTER,
        "1h 6m 40s", (10, 19), (9, 55),
        ({PENDING: lasting((4000, 60)), STORING: lasting((1, 60))}, {PENDING: lasting((3600, 60))}),
    ),
    Specimen(
        "RoostBackupOld", {STORED: lasting((300 - 7 * DAY_S, 20), (1200, 10))}, {**CLUSTER, "job": "store"},
        "7d 0h 10m 0s", (15,), (10, 21), ({PENDING: lasting((0, 30))},),
    ),
    Specimen(
        "RoostDiskFull", {FREE: lasting((GIB, 5), (100 * MIB, 20), (GIB, 20))}, PI,
        "", (10, 24, 28), (9, 31), ({FREE: lasting((GIB, 60))},),
    ),
    Specimen(
        "RoostDiskLow", {WHOLE: lasting((400 * GIB, 60)), FREE: lasting((90 * GIB, 5), (20 * GIB, 20), (90 * GIB, 30))},
        PI, "5%", (15, 24), (14, 36),
        ({WHOLE: lasting((4000 * GIB, 60)), FREE: lasting((60 * GIB, 60))},),
    ),
    Specimen(
        "RoostHostHot", {HEAT: lasting((60, 5), (90, 20), (60, 30))}, PI,
        "90", (15, 24), (14, 36), ({HEAT: lasting((85, 60))},),
    ),
    Specimen(
        "RoostHostMemoryLow",
        {MEMORY: lasting((8 * GIB, 60)), AVAILABLE: lasting((2 * GIB, 5), (GIB // 4, 20), (2 * GIB, 30))}, PI,
        "3.125%", (15, 24), (14, 36),
        ({MEMORY: lasting((8 * GIB, 60)), AVAILABLE: lasting((GIB, 60))},),
    ),
    Specimen(
        "RoostScrubOverdue", {SCRUBBED: lasting((600 - 45 * DAY_S, 150), (90_000, 6))}, {**PI, "job": "scrub"},
        "46d 0h 10m 0s",
        (146,), (145, 151), ({SCRUBBED: lasting((-30 * DAY_S, 156)), RUNNING: lasting((60 * DAY_S, 156))},),
        every_m=10,
    ),
    Specimen(
        "RoostScrubOverdue", {RUNNING: lasting((60 * DAY_S, 150), (0, 6))}, PI,
        "60d 0h 0m 0s",
        (144, 149), (143, 150), every_m=10,
    ),
)  # fmt: skip
