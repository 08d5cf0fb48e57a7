"""The rows of the live view's tables, made of a snapshot. Pure: what is shown is decided here, how by the widgets."""

import datetime
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from roost.apps.cli.words import counted, duration, moment, printable, rate, size, whole_duration
from roost.apps.tui.source import Snapshot
from roost.apps.vitals import Vital
from roost.client import ListedRow, NodeRow
from roost.core.checkpoint import Health, run_of, step_of
from roost.core.cluster import NodeState
from roost.core.ids import CheckpointName
from roost.node.operations import OperationRow

RUN = "run:"
"""How the keys of rows begin that stand for a run."""
MORE = "more:"
CHECKPOINT = "checkpoint:"
SHOWN_MAX = 200
"""Checkpoints of one run that are shown at once."""
OPENED_RUNS = 3
"""When there are no more runs than that, all are open at first."""
WORST_FIRST = (Health.LOST, Health.UNKNOWN, Health.AT_RISK, Health.DEGRADED, Health.HEALTHY)
TONES = {
    Health.HEALTHY: "good", Health.DEGRADED: "fair", Health.AT_RISK: "bad", Health.LOST: "bad", Health.UNKNOWN: "fair",
    NodeState.ALIVE: "good", NodeState.DRAINING: "fair", NodeState.SUSPECT: "fair", NodeState.DOWN: "bad",
    NodeState.LEFT: "", "running": "good", "failed": "bad",
}  # fmt: skip
"""By the word that tells the same; colour is never the only sign."""
LOUD = {str(Health.LOST): "LOST", str(NodeState.DOWN): "DOWN", "failed": "FAILED"}
WARNINGS = frozenset({"warning", "node-down"})


@dataclass(frozen=True, slots=True)
class Cell:
    """Text without control characters, and its tone: good, fair, bad or none."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its key stays the same from one snapshot to the next, so that the cursor stays on it."""

    key: str
    cells: tuple[Cell, ...]

    def has(self, wanted: str) -> bool:
        """Whether one of its cells has `wanted`, which is in small letters."""
        return any(wanted in cell.text.lower() for cell in self.cells)


def _cells(*texts: str | Cell) -> tuple[Cell, ...]:
    return tuple(text if isinstance(text, Cell) else Cell(printable(text)) for text in texts)


def word(text: str) -> Cell:
    """A state or health, in its tone; the bad ones in capitals."""
    return Cell(LOUD.get(text, printable(text)), TONES.get(text, ""))


def _filtered(rows: Iterator[Row], wanted: str) -> list[Row]:
    return [row for row in rows if not wanted or row.has(wanted.lower())]


# -- checkpoints -----------------------------------------------------------------------------------------------------

CHECKPOINTS = ("HEALTH", "SIZE", "STORED", "VERSION", "NAME")


def checkpoint_rows(snapshot: Snapshot, toggled: Collection[str], wanted: str) -> list[Row]:
    """A row for each run, those with the newest checkpoints first, and below those that are open one for each
    checkpoint. A run is open when there are few runs, or closed otherwise, unless it is in `toggled`; those that have
    something `wanted` always are."""
    runs: dict[str, list[ListedRow]] = {}
    for each in snapshot.checkpoints:
        runs.setdefault(str(run_of(CheckpointName(each.name))), []).append(each)
    few = len(runs) <= OPENED_RUNS
    wanted = wanted.lower()
    rows = []
    for run, members in sorted(runs.items(), key=lambda item: max(row.stored_at for row in item[1]), reverse=True):
        members.sort(key=lambda row: (row.stored_at, step_of(CheckpointName(row.name)) or 0, row.name), reverse=True)
        found = [row for row in members if not wanted or wanted in f"{row.name} {row.health}".lower()]
        if not found:
            continue
        opened = bool(wanted) or few != (run in toggled)
        rows.append(_run_row(run, found, opened))
        if not opened:
            continue
        rows += [_checkpoint_row(row, indent=bool(run)) for row in found[:SHOWN_MAX]]
        if len(found) > SHOWN_MAX:
            more = f"    and {len(found) - SHOWN_MAX:,} older ones: / finds them"
            rows.append(Row(MORE + run, _cells("", "", "", "", more)))
    return rows


def _run_row(run: str, members: Sequence[ListedRow], opened: bool) -> Row:
    worst = min((row.health for row in members), key=lambda health: WORST_FIRST.index(Health(health)))
    name = f"{'-' if opened else '+'} {run or 'without a run'} ({counted(len(members), 'checkpoint')})"
    total = size(sum(row.bytes for row in members))
    return Row(RUN + run, _cells(word(worst), total, moment(members[0].stored_at), "", name))


def _checkpoint_row(row: ListedRow, *, indent: bool) -> Row:
    own = row.name.rpartition("/")[2] if indent else row.name
    cells = _cells(word(row.health), size(row.bytes), moment(row.stored_at), row.version, f"    {own}")
    return Row(f"{CHECKPOINT}{row.name}@{row.version}", cells)


# -- nodes -----------------------------------------------------------------------------------------------------------

NODES = ("NODE", "STATE", "KEEPS", "FREE", "IN", "OUT", "")


def node_rows(snapshot: Snapshot, wanted: str) -> list[Row]:
    """A row for each node."""

    def rows() -> Iterator[Row]:
        for node in snapshot.status.nodes:
            vital = snapshot.vitals.get(node.id) or Vital()
            into, out = (rate(one) if one is not None else "?" for one in (vital.rate_in, vital.rate_out))
            warm = f"{vital.temperature_celsius:.0f} °C" if vital.temperature_celsius is not None else ""
            said = ", ".join(part for part in (warm, node.problem or node.scrub) if part)
            yield Row(
                node.id,
                _cells(node.name, word(node.state), _size(node.bytes_used), _size(node.bytes_free), into, out, said),
            )

    return _filtered(rows(), wanted)


def _size(count: int | None) -> str:
    return "?" if count is None else size(count)


def node_facts(node: NodeRow) -> list[tuple[str, str]]:
    """All that is known of a node."""
    facts = [
        ("id", node.id), ("state", node.state), ("address", node.address or "none"), ("keeps", _size(node.bytes_used)),
        ("free", f"{_size(node.bytes_free)} above its reserve"), ("problem", node.problem or "none"),
        ("scrub", node.scrub or "nothing is told"), ("collection", node.collection or "nothing is told"),
    ]  # fmt: skip
    if node.damaged_total or node.quarantined:
        kept = counted(node.quarantined or 0, "file")
        bad = counted(node.damaged_total or 0, "bad copy", "bad copies")
        facts.append(("damage", f"{bad} since it started, {kept} in quarantine"))
    if node.home is not None:
        facts.append(("home", f"{node.home}, process {node.pid}"))
    return facts


# -- what moves, what waits, what happened -------------------------------------------------------------------------

TRANSFERS = ("WHAT", "DONE", "RATE", "LEFT", "NAME", "WAITS FOR", "FROM")


def transfer_rows(snapshot: Snapshot, wanted: str) -> list[Row]:
    """A row for each operation: those that run first, as the coordinator tells them."""

    def rows() -> Iterator[Row]:
        for each in snapshot.operations or ():
            runs = each.state == "running"
            speed = rate(each.rate) if runs and each.rate is not None else ""
            told = each.waits_for if runs else each.message or f"took {duration(each.seconds)}"
            done = _done(each) if runs else word(each.state)
            yield Row(each.id, _cells(each.kind, done, speed, _left(each), each.name, told, each.origin))

    return _filtered(rows(), wanted)


def _done(operation: OperationRow) -> str:
    if not operation.bytes_total:
        return size(operation.bytes_done) if operation.bytes_done else ""
    return f"{min(100, 100 * operation.bytes_done // operation.bytes_total)} % of {size(operation.bytes_total)}"


def _left(operation: OperationRow) -> str:
    if operation.state != "running" or not operation.bytes_total or not operation.rate:
        return ""
    return whole_duration((operation.bytes_total - operation.bytes_done) / operation.rate)


WAITING = ("NAME", "WAITS FOR", "FOLDER")


def waiting_rows(snapshot: Snapshot, wanted: str) -> list[Row]:
    """A row for each thing that the watched folders wait for."""
    rows = (
        Row(f"{folder.path}\0{name}", _cells(name, reason, folder.path))
        for folder in snapshot.status.watching
        for name, reason in folder.pending
    )
    return _filtered(rows, wanted)


EVENTS = ("AT", "WHAT", "")


def event_rows(snapshot: Snapshot, wanted: str) -> list[Row]:
    """A row for each event, the newest first."""
    counts: dict[str, int] = {}

    def rows() -> Iterator[Row]:
        for each in snapshot.events:
            at = datetime.datetime.fromtimestamp(each.at).strftime("%H:%M:%S")
            key = f"{each.at} {each.kind} {each.text}"
            counts[key] = counts.get(key, 0) + 1  # the same may happen twice in a second
            tone = "fair" if each.kind in WARNINGS else ""
            said = [Cell(printable(text), tone) for text in (each.kind, each.text)]
            yield Row(f"{key} {counts[key]}", (Cell(at), *said))

    return _filtered(rows(), wanted)
