"""What the front door answers: one value an operation, its fields named as in the JSON that scripts rely on.

Structs and not dataclasses, of which each takes a command milliseconds to begin.
"""

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from roost.checkpoints.progress import Progress as Progress  # part of the front door

if TYPE_CHECKING:
    from roost.checkpoints.catalogue import Listed


class StoreResult(msgspec.Struct, frozen=True):
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


class GatherResult(msgspec.Struct, frozen=True):
    """`path` is absolute: the file, or the folder. `complete` is False when so many members were unreachable that a
    newer version may exist; `repaired` counts damaged copies that were made again from good ones."""

    name: str
    version: str
    path: str
    bytes: int
    seconds: float
    failovers: int
    complete: bool
    already_there: bool
    notes: tuple[str, ...]
    repaired: int = 0


class ListedRow(msgspec.Struct, frozen=True):
    """One version. Times are RFC 3339 in UTC; `shape` is file or directory. The last two are of a removed version: it
    can be brought back at least until `kept_until`, for the nodes count running time only."""

    name: str
    version: str
    bytes: int
    stored_at: str
    health: str
    health_at: str | None
    verified_at: str | None
    redundancy: str
    shape: str = "file"
    removed_at: str | None = None
    kept_until: str | None = None


class Listing(msgspec.Struct, frozen=True):
    """What is stored; `complete` is False when so many members did not answer that something may be missing."""

    checkpoints: tuple[ListedRow, ...]
    complete: bool
    unreachable: tuple[str, ...]


class FileRow(msgspec.Struct, frozen=True):
    """One entry of a version: kind is f, d or l (a link)."""

    path: str
    kind: str
    bytes: int
    sha256: str


class ChunkRow(msgspec.Struct, frozen=True):
    """One distinct object: its id in hex, its bytes at rest, the names of the nodes that have it, and by name when
    each of them last knew its copy to be good."""

    id: str
    bytes: int
    nodes: tuple[str, ...]
    verified_at: Mapping[str, str] = msgspec.field(default_factory=dict)


class Shown(msgspec.Struct, frozen=True):
    """One version in full. `verified_at` is the oldest time at which any copy of it was last verified. Of one copy,
    `bytes_distinct` are its chunks without repetitions, `bytes_encoded` the same at rest, and `bytes_shared` those at
    rest that the newest other versions of its name and run need too."""

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
    bytes_distinct: int = 0
    bytes_encoded: int = 0
    bytes_shared: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """What `verify` found of one version. `damaged` are (object id in hex, node name); `verified_at` is as that of
    `Shown`."""

    name: str
    version: str
    health: str
    copies: int
    damaged: tuple[tuple[str, str], ...]
    deep: bool
    notes: tuple[str, ...]
    verified_at: str | None = None


class FreedRow(msgspec.Struct, frozen=True):
    """What a node freed when it was asked to: objects and bytes; `waiting` says what has to wait and why, `problem` why
    it freed nothing."""

    name: str
    objects: int
    bytes: int
    waiting: tuple[str, ...]
    problem: str


class RemoveResult(msgspec.Struct, frozen=True):
    """What was removed, and by whom that is known already; for `keep_s` seconds of the nodes' running time it can be
    brought back. `freed` is what the nodes made of it, when it was to be freed at once. Of a dry run: `chunks` with
    `chunk_bytes` (of one copy) are named by no other version."""

    removed: tuple[tuple[str, str], ...]
    nodes: tuple[str, ...]
    everywhere: bool
    dry_run: bool
    keep_s: int = 0
    chunks: int = 0
    chunk_bytes: int = 0
    freed: tuple[FreedRow, ...] = ()


class UndeleteResult(msgspec.Struct, frozen=True):
    """The removed version `removed` is back as `version`, or (`unchanged`) was what the newest one is. `nodes` are the
    names of those that hold its record and what was counted on them. Of a dry run: what would be; `copies` are those
    that are there."""

    name: str
    removed: str
    version: str
    unchanged: bool
    bytes: int
    copies: int
    degraded: bool
    nodes: tuple[str, ...]
    seconds: float
    single_machine: bool
    dry_run: bool
    notes: tuple[str, ...]


class RepairRow(msgspec.Struct, frozen=True):
    """One copy to be made: object id in hex, bytes, the names of the nodes, and why, in a word (short, leaving or
    home) and in words."""

    id: str
    bytes: int
    source: str
    target: str
    reason: str
    work: str = "short"


class RepairResult(msgspec.Struct, frozen=True):
    """`copies` were made (none of a dry run); `plan` is what is, or with a dry run was, still to do; `stuck` are
    (object id, why) that nothing can be done for now; `short` is how many objects still lack copies."""

    copies: int
    bytes: int
    short: int
    plan: tuple[RepairRow, ...]
    stuck: tuple[tuple[str, str], ...]
    dry_run: bool
    notes: tuple[str, ...]


class ScrubRow(msgspec.Struct, frozen=True):
    """What one node read back: objects, bytes (of records too), the ids of what was damaged in hex, and why it did not
    come to the end; empty when it did."""

    id: str
    name: str
    objects: int
    bytes: int
    damaged: tuple[str, ...]
    problem: str


class ScrubResult(msgspec.Struct, frozen=True):
    """What a scrub found, by node, and what became of it: `copies` were made again, `short` objects still lack some;
    `lost` are (name, version) of which some object has no copy left."""

    nodes: tuple[ScrubRow, ...]
    copies: int
    short: int
    lost: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


class NodeRow(msgspec.Struct, frozen=True):
    """One storage node. `home` and `pid` only when it is on this machine; `problem` says why it is not alive, or what
    is wrong with it although it is. `damaged_total` copies were found bad since it started, `quarantined` files lie in
    its quarantine; `scrub` and `collection` say how these stand, in words. None and empty when it does not answer."""

    id: str
    name: str
    address: str
    state: str
    home: str | None
    pid: int | None
    bytes_used: int | None
    bytes_free: int | None
    problem: str
    damaged_total: int | None = None
    quarantined: int | None = None
    scrub: str = ""
    collection: str = ""


class DrainResult(msgspec.Struct, frozen=True):
    """How far a drain is. `state` is that of the node: left, draining or (`--cancel`) staying. `copies` were made by
    this command, `plan` is what is still, or with a dry run would be, to do; `objects_left` of `bytes_left` bytes are
    not yet kept by enough others; `reason` says why it has not left, `full` whether for lack of space."""

    id: str
    name: str
    state: str
    copies: int
    bytes: int
    objects_left: int
    bytes_left: int
    plan: tuple[RepairRow, ...]
    reason: str
    full: bool
    dry_run: bool
    notes: tuple[str, ...]


class ForgetResult(msgspec.Struct, frozen=True):
    """A node that was struck off; `endangered` are the (name, version) that have fewer copies than asked without it,
    `nodes` the names of those that know already."""

    id: str
    name: str
    endangered: tuple[tuple[str, str], ...]
    nodes: tuple[str, ...]


class WatchRow(msgspec.Struct, frozen=True):
    """One watched folder and what waits in it: (name, what it waits for)."""

    path: str
    pending: tuple[tuple[str, str], ...]


class OtherRow(msgspec.Struct, frozen=True):
    """A member that keeps nothing: a coordinator, or a machine that only stores and gathers."""

    id: str
    name: str


class ClusterStatus(msgspec.Struct, frozen=True):
    """The whole cluster at one look; `page` is the address of the coordinator's page, if it runs here."""

    cluster: str
    nodes: tuple[NodeRow, ...]
    checkpoints: int
    by_health: dict[str, int]
    bytes: int
    single_machine: bool
    coordinator_running: bool
    problems: tuple[str, ...]
    watching: tuple[WatchRow, ...] = ()
    page: str = ""
    others: tuple[OtherRow, ...] = ()


def rfc3339(seconds: int) -> str:
    """A time as it is printed, in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(seconds: int | None) -> str | None:
    """The same of a time that may be unknown."""
    return rfc3339(seconds) if seconds is not None else None


def row_of(listed: "Listed") -> ListedRow:
    """A version as the catalogue has it."""
    return ListedRow(
        name=listed.name, version=listed.version, bytes=listed.bytes, stored_at=rfc3339(listed.stored_at),
        health=str(listed.health), health_at=moment_of(listed.health_at), verified_at=moment_of(listed.verified_at),
        redundancy=listed.redundancy, shape=listed.shape, removed_at=moment_of(listed.removed_at),
        kept_until=moment_of(listed.kept_until),
    )  # fmt: skip
