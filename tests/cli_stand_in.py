"""What the command line is tested against: a cluster that answers from values, and a way to run one command."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from msgspec.structs import replace

from roost.apps.cli import program
from roost.client import (
    ChunkRow,
    ClusterStatus,
    DrainResult,
    FileRow,
    ForgetResult,
    GatherResult,
    ListedRow,
    Listing,
    NodeRow,
    Progress,
    RemoveResult,
    RepairResult,
    ScrubResult,
    Shown,
    StoreResult,
    UndeleteResult,
    Verdict,
)
from roost.settings.paths import Home
from roost.settings.schema import Settings

STORED = StoreResult(
    name="run/step-7", version="1-abcdef", unchanged=False, bytes=2048, bytes_sent=1024, chunks=2, chunks_new=1,
    copies=2, degraded=False, nodes=("pi-2", "pi-1"), seconds=0.5, single_machine=False, notes=(),
)  # fmt: skip
GATHERED = GatherResult(
    name="run/step-7", version="1-abcdef", path="/there/step-7", bytes=2048, seconds=0.5, failovers=0, complete=True,
    already_there=False, notes=(),
)  # fmt: skip
NODE = NodeRow(
    id="0" * 32, name="pi-1", address="192.168.1.2:7400", state="alive", home=None, pid=None, bytes_used=10,
    bytes_free=20, problem="",
)  # fmt: skip
UNDELETED = UndeleteResult(
    name="run/step-7", removed="1-abcdef", version="2-fedcba", unchanged=False, bytes=2048, copies=2, degraded=False,
    nodes=("pi-2", "pi-1"), seconds=0.5, single_machine=False, dry_run=False, notes=(),
)  # fmt: skip
REPAIRED = RepairResult(copies=0, bytes=0, short=0, plan=(), stuck=(), dry_run=False, notes=())
DRAINED = DrainResult(
    id="0" * 32, name="pi-1", state="left", copies=3, bytes=3072, objects_left=0, bytes_left=0, plan=(), reason="",
    full=False, dry_run=False, notes=(),
)  # fmt: skip
FORGOTTEN = ForgetResult(id="0" * 32, name="pi-1", endangered=(), nodes=("pi-2", "pi-3"))
SCRUBBED = ScrubResult(nodes=(), copies=0, short=0, lost=(), notes=())
CHUNK = "ab" * 32
SHOWN = Shown(
    name="run/step-7", version="1-abcdef", bytes=2048, stored_at="2025-01-31T12:00:00Z", redundancy="2",
    source="desk:/runs/step-7", files=(FileRow("model.safetensors", "f", 2048, "cd" * 32),),
    chunks=(
        ChunkRow(
            CHUNK, 1024, ("pi-1", "pi-2"), {"pi-1": "2025-02-01T12:00:00Z", "pi-2": "2025-02-03T12:00:00Z"}
        ),
    ),
    health="healthy", copies=2, verified_at="2025-02-01T12:00:00Z", complete=True,
)  # fmt: skip
STATUS = ClusterStatus(
    cluster="home", nodes=(NODE,), checkpoints=1, by_health={"healthy": 1}, bytes=2048, single_machine=True,
    coordinator_running=True, problems=(),
)  # fmt: skip


def row(name: str, *, stored_at: str = "2025-01-31T12:00:00Z", count: int = 1, health: str = "healthy") -> ListedRow:
    """A listed version."""
    return ListedRow(name, "1-abcdef", count, stored_at, health, None, None, "2")


def verdict(health: str, *damaged: tuple[str, str]) -> Verdict:
    """What verify found of one version."""
    return Verdict("run/step-7", "1-abcdef", health, 2, damaged, True, (), "2025-02-01T12:00:00Z")


@dataclass(slots=True)
class StandInCluster:
    """Answers every operation with the value that it holds, or raises `error`, and remembers what it was asked."""

    stored: StoreResult = STORED
    gathered: GatherResult = GATHERED
    listing: Listing = field(default_factory=lambda: Listing((row("run/step-7"),), True, ()))
    shown: Shown = SHOWN
    verdicts: tuple[Verdict, ...] = (verdict("healthy"),)
    removed: RemoveResult = field(
        default_factory=lambda: RemoveResult((("run/step-7", "1-abcdef"),), ("pi-1",), True, False, 7 * 86_400)
    )
    undeleted: UndeleteResult = UNDELETED
    rows: tuple[NodeRow, ...] = (NODE,)
    found: ClusterStatus = STATUS
    scrubbed: ScrubResult = SCRUBBED
    repaired: RepairResult = REPAIRED
    drained: DrainResult = DRAINED
    forgotten: ForgetResult = FORGOTTEN
    error: BaseException | None = None
    moves: Sequence[int] = ()
    asked: list[tuple[object, ...]] = field(default_factory=list)
    closed: bool = False

    async def open(self, home: Home, settings: Settings) -> Self:
        """Stands where `frame.open_cluster` does."""
        return self

    def _answer(self, *asked: object) -> None:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error

    async def _move(self, progress: Progress | None) -> None:
        assert progress is not None
        progress.bytes_total = sum(self.moves)
        for count in self.moves:
            progress.advance(count)
            await asyncio.sleep(0.01)

    async def store(
        self, path: Path, *, name: str | None = None, follow: bool = False, redundancy: str | None = None,
        progress: Progress | None = None,
    ) -> StoreResult:  # fmt: skip
        self._answer("store", path, name, follow, redundancy)
        await self._move(progress)
        return self.stored

    async def gather(
        self, reference: str, *, to: Path | None = None, only: str | None = None, force: bool = False,
        progress: Progress | None = None,
    ) -> GatherResult:  # fmt: skip
        self._answer("gather", reference, to, only, force)
        await self._move(progress)
        return self.gathered

    async def list(
        self, prefix: str = "", *, newest: bool = False, health: bool = False, removed: bool = False,
        progress: Progress | None = None,
    ) -> Listing:  # fmt: skip
        self._answer("list", prefix, newest, health, *(["removed"] if removed else []))
        return self.listing

    async def undelete(
        self, reference: str, *, dry_run: bool = False, progress: Progress | None = None
    ) -> UndeleteResult:  # fmt: skip
        self._answer("undelete", reference, dry_run)
        await self._move(progress or Progress())
        return replace(self.undeleted, dry_run=dry_run)

    async def show(self, reference: str) -> Shown:
        self._answer("show", reference)
        return self.shown

    async def verify(
        self, references: Sequence[str] = (), *, deep: bool = False, progress: Progress | None = None
    ) -> Sequence[Verdict]:
        self._answer("verify", tuple(references), deep)
        return self.verdicts

    async def remove(
        self, reference: str, *, now: bool = False, dry_run: bool = False, progress: Progress | None = None
    ) -> RemoveResult:
        self._answer("remove", reference, now, dry_run)
        return self.removed

    async def scrub(self, node: str | None = None, *, progress: Progress | None = None) -> ScrubResult:
        self._answer("scrub", node)
        return self.scrubbed

    async def repair(self, *, dry_run: bool = False, progress: Progress | None = None) -> RepairResult:
        self._answer("repair", dry_run)
        return self.repaired

    async def drain(
        self, node: str, *, cancel: bool = False, dry_run: bool = False, progress: Progress | None = None
    ) -> DrainResult:
        self._answer("drain", node, cancel, dry_run)
        return self.drained

    async def forget(self, node: str, *, force: bool = False) -> ForgetResult:
        self._answer("forget", node, force)
        return self.forgotten

    async def node_metrics(self, node: str) -> bytes:
        self._answer("node_metrics", node)
        return b"roost_objects 1.0\n"

    @property
    def session(self) -> Any:
        """What the API looks at of a session: the storage nodes."""
        storage = [SimpleNamespace(name=name, node_id=number * 32) for name, number in (("pi-9", "9"), ("pi-1", "1"))]
        return SimpleNamespace(membership=SimpleNamespace(view=SimpleNamespace(storage=storage)))

    async def nodes(self) -> Sequence[NodeRow]:
        self._answer("nodes")
        return self.rows

    async def status(self, *, ask: bool = True, progress: Progress | None = None) -> ClusterStatus:
        self._answer("status")
        return self.found

    async def aclose(self) -> None:
        self.closed = True


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines; fails when any of them is none."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        """The last line, which must be the one result, only progress before it."""
        *before, last = self.lines
        assert last["type"] == "result"
        assert all(line["type"] == "progress" for line in before)
        return last

    @property
    def error(self) -> dict[str, Any]:
        """The last line, which must be the one error."""
        *before, last = self.lines
        assert last["type"] == "error"
        assert all(line["type"] == "progress" for line in before)
        assert set(last) - {"bytes_missing", "checkpoints"} == {"type", "code", "message", "hint"}
        return last


RunCommand = Callable[..., Ran]


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path) -> RunCommand:
    """A function that runs ``roost ARGUMENTS`` with `home` as its home, against `cluster` if that is given."""
    monkeypatch.setenv("ROOST_HOME", str(home))
    monkeypatch.chdir(home.parent)

    def run(*arguments: str, cluster: StandInCluster | None = None) -> Ran:
        if cluster is not None:
            monkeypatch.setattr("roost.apps.cli.frame.open_cluster", cluster.open)
        code = program.run(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
