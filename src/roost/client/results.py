"""What the front door answers: one value an operation, its fields named as in the JSON that scripts rely on."""

import datetime
from dataclasses import dataclass

from roost.checkpoints.progress import Progress as Progress  # part of the front door


@dataclass(frozen=True, slots=True)
class StoreResult:
    """`bytes` is the logical size, `bytes_sent` the object bytes that this process sent, `copies` the fewest over all
    objects; `nodes` are the names of those that hold the version's record and what was counted on them."""

    name: str
    version: str
    unchanged: bool
    bytes: int
    bytes_sent: int
    chunks: int
    chunks_new: int
    copies: int
    degraded: bool
    nodes: tuple[str, ...]
    seconds: float
    single_machine: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GatherResult:
    """`path` is absolute: the file, or the folder. `complete` is False when so many members were unreachable that a
    newer version may exist."""

    name: str
    version: str
    path: str
    bytes: int
    seconds: float
    failovers: int
    complete: bool
    already_there: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListedRow:
    """One version. Times are RFC 3339 in UTC."""

    name: str
    version: str
    bytes: int
    stored_at: str
    health: str
    health_at: str | None
    verified_at: str | None
    redundancy: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What is stored; `complete` is False when so many members did not answer that something may be missing."""

    checkpoints: tuple[ListedRow, ...]
    complete: bool
    unreachable: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileRow:
    """One entry of a version: kind is f, d or l (a link)."""

    path: str
    kind: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """One distinct object: its id in hex, its bytes at rest, and the names of the nodes that have it."""

    id: str
    bytes: int
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """One version in full."""

    name: str
    version: str
    bytes: int
    stored_at: str
    redundancy: str
    source: str
    files: tuple[FileRow, ...]
    chunks: tuple[ChunkRow, ...]
    health: str
    copies: int
    verified_at: str | None
    complete: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found of one version. `damaged` are (object id in hex, node name)."""

    name: str
    version: str
    health: str
    copies: int
    damaged: tuple[tuple[str, str], ...]
    deep: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """What was removed, and by whom that is known already."""

    removed: tuple[tuple[str, str], ...]
    nodes: tuple[str, ...]
    everywhere: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class RepairRow:
    """One copy made or to be made: object id in hex, bytes, the names of the nodes, and why."""

    id: str
    bytes: int
    source: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class RepairResult:
    """`copies` were made (none of a dry run); `plan` is what is, or with a dry run was, still to do; `stuck` are
    (object id, why) that nothing can be done for now; `short` is how many objects still lack copies."""

    copies: int
    bytes: int
    short: int
    plan: tuple[RepairRow, ...]
    stuck: tuple[tuple[str, str], ...]
    dry_run: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One storage node. `home` and `pid` only when it is on this machine; `problem` says why it is not alive."""

    id: str
    name: str
    address: str
    state: str
    home: str | None
    pid: int | None
    bytes_used: int | None
    bytes_free: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class WatchRow:
    """One watched folder and what waits in it: (name, what it waits for)."""

    path: str
    pending: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The whole cluster at one look."""

    cluster: str
    nodes: tuple[NodeRow, ...]
    checkpoints: int
    by_health: dict[str, int]
    bytes: int
    single_machine: bool
    coordinator_running: bool
    problems: tuple[str, ...]
    watching: tuple[WatchRow, ...] = ()


def rfc3339(seconds: int) -> str:
    """A time as it is printed, in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
