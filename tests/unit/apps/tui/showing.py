"""What the live view's tests look at: a source that answers from values, and the screen as text."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from cli_stand_in import NODE, SHOWN, STATUS, row
from roost.apps.tui.coordinator import Happened
from roost.apps.tui.source import Snapshot
from roost.apps.tui.top import Top
from roost.apps.vitals import Vital
from roost.client import Shown, WatchRow
from roost.node.operations import OperationRow

AT = 1738324800
RUNNING = OperationRow(
    id="1", kind="store", name="qwen/step-5", origin="desk", begun_at="2025-01-31T12:00:00Z", state="running",
    bytes_done=500, bytes_total=1000, rate=50.0, waits_for="pi-2", seconds=3.0, message="",
)  # fmt: skip
ENDED = replace(
    RUNNING, id="2", kind="gather", name="gpt/step-1", origin="lab", state="failed", bytes_done=0, bytes_total=None,
    rate=None, waits_for="", message="pi-1 does not answer",
)  # fmt: skip
HEALTHY = Snapshot(
    replace(
        STATUS, nodes=(NODE, replace(NODE, id="1" * 32, name="pi-2")), checkpoints=3, by_health={"healthy": 3},
        page="http://127.0.0.1:7480/", watching=(WatchRow("/runs", (("step-6", "is still being written"),)),),
    ),
    tuple(row(f"qwen/step-{step}", count=1 << 30) for step in (9, 10, 11)),
    AT,
    (RUNNING, ENDED),
    (Happened(AT, "qwen/step-4 is stored", "stored"), Happened(AT - 5, "pi-2 is down", "node-down")),
    {NODE.id: Vital(1 << 20, 2 << 20, 51.4)},
)  # fmt: skip


def worse(health: str, *problems: str) -> Snapshot:
    """As `HEALTHY`, with one checkpoint that is not."""
    checkpoints = (row("gpt/step-1", health=health), *HEALTHY.checkpoints)
    how = {"healthy": 3, health: 1}
    return Snapshot(replace(HEALTHY.status, checkpoints=4, by_health=how, problems=problems), checkpoints, AT, ())


@dataclass
class Showing:
    """A source that answers with `snapshot`, or raises `error`."""

    snapshot: Snapshot = HEALTHY
    error: BaseException | None = None
    shown: Shown = SHOWN
    asked: list[str] = field(default_factory=list)
    looks: int = 0

    async def look(self) -> Snapshot:
        """See `Source.look`."""
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.snapshot

    async def show(self, reference: str) -> Shown:
        """See `Source.show`."""
        self.asked.append(reference)
        if self.error is not None:
            raise self.error
        return self.shown


def lines(app: Top) -> Sequence[str]:
    """The screen, line by line."""
    return ["".join(piece.text for piece in strip).rstrip() for strip in app.screen._compositor.render_strips()]
