"""What the commands that look at this machine and its network print with ``--json``: one struct a result."""

from msgspec import UNSET, Struct, UnsetType


class SeenAddress(Struct, frozen=True):
    """Where something was seen, and by which ways."""

    address: str
    ways: tuple[str, ...]


class SeenNode(Struct, frozen=True):
    """Who says that it is there; `admits` when it lets machines join."""

    id: str
    label: str
    admits: bool
    addresses: tuple[SeenAddress, ...]


class SeenCluster(Struct, frozen=True):
    """A cluster in sight: its name, the start of its id, and whether it is this machine's."""

    name: str
    id: str
    mine: bool
    nodes: tuple[SeenNode, ...]


class Way(Struct, frozen=True):
    """One way of finding others: whether it is on, how many it saw, what keeps it from working and what mends that."""

    way: str
    on: bool
    problem: str
    hint: str
    seen: int


class Tried(Struct, frozen=True):
    """An address that was called: which node is expected there, if that is known, and the problem, if any."""

    address: str
    way: str
    node: str | None
    problem: str


class Discovered(Struct, frozen=True):
    """The clusters in sight; `ways` and `tried` only with ``--explain``."""

    clusters: tuple[SeenCluster, ...]
    verdict: str
    ways: tuple[Way, ...] | UnsetType = UNSET
    tried: tuple[Tried, ...] | UnsetType = UNSET


class Found(Struct, frozen=True):
    """One line of the doctor: `level` is ok, note, warning or problem; `mend` is what mends it, or empty."""

    check: str
    level: str
    text: str
    mend: str


class Examined(Struct, frozen=True):
    """What the doctor found, and whether there is nothing to mend."""

    findings: tuple[Found, ...]
    well: bool


class Value(Struct, frozen=True):
    """A setting in force, and where it is from."""

    key: str
    value: str
    origin: str


class Configured(Struct, frozen=True):
    """The settings in force, and their file, if there is one."""

    file: str | None
    home: str
    settings: tuple[Value, ...]


class Step(Struct, frozen=True):
    """One thing that the demo did, and the bytes that it was about."""

    step: str
    seconds: float
    bytes: int | None
    what: str


class Demonstrated(Struct, frozen=True):
    """What the demo did; `folder` when it was kept."""

    steps: tuple[Step, ...]
    identical: bool
    seconds: float
    folder: str | None


class Figure(Struct, frozen=True):
    """One measured figure, and the most that it should be; null: it is for information."""

    figure: str
    value: float
    unit: str
    bound: float | None = None


class ProbedNode(Struct, frozen=True):
    """How fast a node takes and gives; `problem` when it failed."""

    name: str
    put_mb_per_s: float | None
    get_mb_per_s: float | None
    problem: str | UnsetType = UNSET


class Bottleneck(Struct, frozen=True):
    """What holds stores up: a node's `disk` or the `way` to it, or, without a node, this machine's `way out` or
    `processor`. `without` is how many times as fast a store would be."""

    node: str | None
    what: str
    mb_per_s: float
    without: float
    text: str


class Measured(Struct, frozen=True):
    """What a benchmark measured; `bottleneck` (null: none stands out) and `nodes` only with ``--cluster``."""

    figures: tuple[Figure, ...]
    seconds: float
    bottleneck: Bottleneck | UnsetType | None = UNSET
    nodes: tuple[ProbedNode, ...] | UnsetType = UNSET
