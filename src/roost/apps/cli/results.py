"""What each command prints with ``--json``: one struct a result, from which the schemas are made. The HTTP API answers
with the same. What is as the client tells it is in `roost.client.results`."""

from msgspec import UNSET, Struct, UnsetType

from roost.client.results import OtherRow, RepairRow


class Reference(Struct, frozen=True):
    """One version of a checkpoint."""

    name: str
    version: str


class NodeReason(Struct, frozen=True):
    """A node by its name, and why, in words."""

    node: str
    reason: str


# -- running, and letting in -----------------------------------------------------------------------------------------


class Stopped(Struct, frozen=True):
    """What ran until it was told to stop has stopped."""

    stopped: bool = True


class Paired(Struct, frozen=True):
    """This machine can store and gather from now on."""

    paired: bool = True


class TokenCreated(Struct, frozen=True):
    """The word that lets machines join, until when (RFC 3339), and how many; null: any number."""

    token: str
    expires_at: str
    uses: int | None


class TokensRevoked(Struct, frozen=True):
    """How many tokens were ended."""

    revoked: int


class Recovered(Struct, frozen=True):
    """What was brought back. `new` when this home belonged to no cluster before; `keeps` when it is a storage node's,
    which admits by itself; `nodes` answered; `checkpoints` are the versions that are listed now."""

    cluster: str
    node: str
    new: bool
    keeps: bool
    nodes: int
    checkpoints: int


class NewCode(Struct, frozen=True):
    """Another recovery code, and how many nodes hold what it opens already."""

    recovery_code: str
    nodes: int


class ServicePlan(Struct, frozen=True):
    """With ``--dry-run``: the text that `file` would have."""

    role: str
    manager: str
    file: str
    home: str
    config: str | None
    user: str
    text: str
    dry_run: bool = True


class ServiceInstalled(Struct, frozen=True):
    """The service and how it is now; `hint` says what a person has to do still, or is empty."""

    role: str
    manager: str
    file: str
    home: str
    config: str | None
    user: str
    enabled: bool
    running: bool
    pid: int | None
    since: str | None
    detail: str
    changed: bool
    paired: bool
    hint: str


class ServiceRemoved(Struct, frozen=True):
    """One that is gone; its home stays."""

    role: str
    unit: str
    home: str | None


class ServicesRemoved(Struct, frozen=True):
    """Every service that was removed."""

    uninstalled: tuple[ServiceRemoved, ...]


class ServiceRow(Struct, frozen=True):
    """An installed service; null where its file was changed by hand, or where it does not run."""

    role: str
    manager: str
    unit: str
    file: str
    home: str | None
    config: str | None
    user: str | None
    enabled: bool
    running: bool
    pid: int | None
    since: str | None
    detail: str


class Services(Struct, frozen=True):
    """All services of this machine, and whether all of them are enabled and run."""

    installed: bool
    enabled: bool
    running: bool
    services: tuple[ServiceRow, ...]


class ServiceLogs(Struct, frozen=True):
    """How many lines were told of which service; the lines came as progress."""

    unit: str
    lines: int


# -- checkpoints -----------------------------------------------------------------------------------------------------


class DamagedCopy(Struct, frozen=True):
    """A bad copy: the object's id in hex, and the node by its name."""

    chunk: str
    node: str


class VerifiedRow(Struct, frozen=True):
    """What was found of one version; `verified_at` is the oldest time at which any copy of it was last verified."""

    name: str
    version: str
    health: str
    copies: int
    deep: bool
    damaged: tuple[DamagedCopy, ...]
    verified_at: str | None
    notes: tuple[str, ...]


class Verified(Struct, frozen=True):
    """Every version that was looked at, and whether all are healthy and nothing was damaged."""

    checkpoints: tuple[VerifiedRow, ...]
    healthy: bool


class Stuck(Struct, frozen=True):
    """An object that nothing can be done for now, and why."""

    id: str
    reason: str


class Repaired(Struct, frozen=True):
    """`copies` were made; `plan` is what is, or with ``--dry-run`` was, to do; `short` objects still lack copies."""

    copies: int
    bytes: int
    short: int
    dry_run: bool
    plan: tuple[RepairRow, ...]
    stuck: tuple[Stuck, ...]
    notes: tuple[str, ...]
    healthy: bool


class ScrubbedNode(Struct, frozen=True):
    """What one node read back: the ids of what was damaged, and why it did not come to the end, or nothing."""

    id: str
    name: str
    objects: int
    bytes: int
    damaged: tuple[str, ...]
    problem: str


class Scrubbed(Struct, frozen=True):
    """What was found by node, how many copies were `damaged` and made again, and of what no good copy is left."""

    nodes: tuple[ScrubbedNode, ...]
    damaged: int
    copies: int
    short: int
    lost: tuple[Reference, ...]
    notes: tuple[str, ...]
    seconds: float


class Freed(Struct, frozen=True):
    """What all nodes together freed."""

    objects: int
    bytes: int


class Removed(Struct, frozen=True):
    """What was removed, and which nodes know; it can be brought back for `keep_s` seconds of the nodes' running time.
    With ``--now`` what was freed, what waits, and which nodes freed nothing. With ``--dry-run`` `chunks` with
    `chunk_bytes` (of one copy) are needed by nothing else."""

    removed: tuple[Reference, ...]
    nodes: tuple[str, ...]
    everywhere: bool
    dry_run: bool
    keep_s: int
    chunks: int
    chunk_bytes: int
    freed: Freed
    waiting: tuple[NodeReason, ...]
    problems: tuple[NodeReason, ...]


class ExportedRow(Struct, frozen=True):
    """One version that was written out."""

    name: str
    version: str
    bytes: int


class Exported(Struct, frozen=True):
    """All that was written out and read back, and where it is, as it was said."""

    exported: tuple[ExportedRow, ...]
    to: str
    bytes: int
    seconds: float


class ImportedRow(Struct, frozen=True):
    """One checkpoint that was taken in."""

    name: str
    version: str
    bytes: int
    copies: int
    unchanged: bool
    degraded: bool


class Imported(Struct, frozen=True):
    """All that was taken in; `degraded` when any of it has fewer copies than asked."""

    imported: tuple[ImportedRow, ...]
    bytes: int
    degraded: bool
    seconds: float


# -- nodes and the cluster -------------------------------------------------------------------------------------------


class Node(Struct, frozen=True):
    """One storage node. `home` and `pid` only of one on this machine; `problem` says why it is not alive, or what is
    wrong although it is. Null and empty where it does not answer."""

    id: str
    name: str
    address: str
    state: str
    bytes_used: int | None
    bytes_free: int | None
    problem: str
    damaged_total: int | None
    quarantined: int | None
    scrub: str
    collection: str
    home: str | UnsetType = UNSET
    pid: int | UnsetType = UNSET


class Nodes(Struct, frozen=True):
    """The storage nodes, those that have left included."""

    nodes: tuple[Node, ...]


class Drained(Struct, frozen=True):
    """How far a drain is: `state` is left, draining or (``--cancel``) staying; `reason` says why it has not left."""

    id: str
    name: str
    state: str
    copies: int
    bytes: int
    objects_left: int
    bytes_left: int
    reason: str
    dry_run: bool
    plan: tuple[RepairRow, ...]
    notes: tuple[str, ...]


class Forgotten(Struct, frozen=True):
    """A node that was struck off; `checkpoints` (``NAME@VERSION``) have fewer copies than asked without it, `nodes`
    know already."""

    id: str
    name: str
    checkpoints: tuple[str, ...]
    nodes: tuple[str, ...]


class Pending(Struct, frozen=True):
    """What in a watched folder is not stored yet, and what it waits for."""

    name: str
    reason: str


class Watched(Struct, frozen=True):
    """One watched folder of this machine's coordinator."""

    path: str
    pending: tuple[Pending, ...]


class Status(Struct, frozen=True):
    """The whole cluster at one look: `verdict` in one sentence, `by_health` how many newest versions have which health,
    `others` who keeps nothing, `page` the address of the coordinator's page, if it runs here, else empty."""

    cluster: str
    verdict: str
    nodes: tuple[Node, ...]
    checkpoints: int
    by_health: dict[str, int]
    bytes: int
    single_machine: bool
    coordinator_running: bool
    problems: tuple[str, ...]
    watching: tuple[Watched, ...]
    page: str
    others: tuple[OtherRow, ...]
