"""`roost status`: the whole cluster at one look, the verdict first."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.nodes import lines as node_lines
from roost.apps.cli.nodes import told as node_told
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.sections import Section, everything, one_screen
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, listed, printable, size
from roost.core.checkpoint import Health
from roost.core.cluster import NodeState
from roost.core.errors import Unreachable

if TYPE_CHECKING:
    from roost.apps.cli.results import Status
    from roost.client import ClusterStatus, NodeRow

ANSWERING = (NodeState.ALIVE, NodeState.DRAINING)
MORE = "roost status --all"
IDLE = ("idle", "has not looked yet")
"""How the collection of a node stands when there is nothing to tell of it."""


def status(
    every: Annotated[bool, typer.Option("--all", help="Everything, also what does not fit the terminal.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """How the cluster is, at one look.

    On a terminal it is one screen; what does not fit is counted. Elsewhere it is everything.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_status(frame, every=every))


async def _status(frame: Frame, *, every: bool) -> int:
    from roost.client import Progress
    from roost.client.alert_memory import with_untold_alerts
    from roost.client.backup_notes import missed_backups, with_missed_backups

    progress = Progress()
    try:
        async with frame.cluster() as cluster, shown(progress, frame.output):
            asked = await cluster.status(progress=progress)
            found = with_untold_alerts(with_missed_backups(asked, frame.home), frame.home)
    except Unreachable as error:  # the very time at which backups wait
        if missed := missed_backups(frame.home):
            raise Unreachable(f"{error.message}; {'; '.join(missed)}", hint=error.hint) from error
        raise
    every_section = list(sections(found))
    lines = everything(every_section) if every or not sys.stdout.isatty() else one_screen(every_section, MORE)
    frame.output.result(told(found), lines)
    return 0


def told(found: "ClusterStatus") -> "Status":
    """The status for scripts."""
    from roost.apps.cli.results import Pending, Status, Watched

    watching = tuple(
        Watched(row.path, tuple(Pending(name, reason) for name, reason in row.pending)) for row in found.watching
    )
    return Status(
        cluster=found.cluster, verdict=verdict(found), nodes=tuple(node_told(row) for row in found.nodes),
        checkpoints=found.checkpoints, by_health=found.by_health, bytes=found.bytes,
        single_machine=found.single_machine, coordinator_running=found.coordinator_running, problems=found.problems,
        watching=watching, page=found.page, others=found.others,
    )  # fmt: skip


def verdict(found: "ClusterStatus") -> str:
    """One sentence that says how the cluster is, the worst first."""
    alive = sum(1 for row in _members(found) if row.state in ANSWERING)
    every = len(_members(found))
    how = found.by_health
    lost, unknown = how.get(Health.LOST, 0), how.get(Health.UNKNOWN, 0)
    short = how.get(Health.DEGRADED, 0) + how.get(Health.AT_RISK, 0)
    stored = counted(found.checkpoints, "checkpoint")
    if not every:
        return "There are no nodes yet, so nothing can be stored."
    if not alive:
        return f"None of {counted(every, 'node')} answers: nothing can be stored or gathered now."
    if lost:
        return f"{lost:,} of {stored} {_is(lost)} LOST: no good copy of some part is left."
    if unknown:
        return f"{unknown:,} of {stored} cannot be vouched for: {_down(found, alive)}."
    if short:
        risk = how.get(Health.AT_RISK, 0)
        more = f", {risk:,} of them only one loss away from being lost" if risk else ""
        down = f"; {_down(found, alive)}" if alive < every else ""
        return f"{short:,} of {stored} {'has' if short == 1 else 'have'} fewer copies than asked{more}{down}."
    if alive < every:
        return f"{_down(found, alive)[0].upper()}{_down(found, alive)[1:]}; what is stored has all its copies."
    if not found.checkpoints:
        return f"All is ready: {counted(every, 'node')}, and nothing is stored yet."
    return f"All is well: {stored}, each with every copy asked, on {counted(every, 'node')}."


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _down(found: "ClusterStatus", alive: int) -> str:
    members = _members(found)
    names = [row.name for row in members if row.state not in ANSWERING]
    return f"{len(members) - alive:,} of {counted(len(members), 'node')} not in sight ({listed(names)})"


def _members(found: "ClusterStatus") -> "list[NodeRow]":
    return [row for row in found.nodes if row.state != NodeState.LEFT]


def sections(found: "ClusterStatus") -> Iterator[Section]:
    """The verdict, the problems, the counts, the nodes, and what the watcher waits for."""
    yield Section((verdict(found),))
    yield Section((), tuple(f"  ! {printable(problem)}" for problem in found.problems))
    kinds = ", ".join(f"{count:,} {health}" for health, count in found.by_health.items() if count)
    coordinator = "running here" if found.coordinator_running else "not running here"
    counts = f"checkpoints  {found.checkpoints:,}{f' ({kinds})' if kinds else ''}, {size(found.bytes)}"
    page = (f"page         {found.page}",) if found.page else ()
    yield Section(("", f"cluster      {printable(found.cluster)}, coordinator {coordinator}", *page, counts))
    if found.nodes:
        header, *rows = node_lines(sorted(found.nodes, key=lambda row: row.state in ANSWERING and not row.problem))
        yield Section(("", header), tuple(rows))
    if found.others:
        yield Section(("", f"also in the cluster, keeping nothing: {listed([row.name for row in found.others])}"))
    yield from _upkeep("scrub", [(row.name, f"{row.scrub}{_damage(row)}") for row in found.nodes if row.scrub])
    waiting = [row for row in found.nodes if row.collection and not row.collection.startswith(IDLE)]
    yield from _upkeep("collection", [(row.name, row.collection) for row in waiting])
    for row in found.watching:
        how = f"{len(row.pending):,} waiting" if row.pending else "nothing waits"
        pending = tuple(f"  {printable(name)}: {printable(reason)}" for name, reason in row.pending)
        yield Section(("", f"watching {printable(row.path)}: {how}"), pending)


def _upkeep(title: str, rows: list[tuple[str, str]]) -> Iterator[Section]:
    if rows:
        yield Section(("", title), tuple(f"  {printable(name)}: {printable(text)}" for name, text in rows))


def _damage(row: "NodeRow") -> str:
    """What bad copies a node has found, and what it keeps of them."""
    if not row.damaged_total and not row.quarantined:
        return ""
    kept = counted(row.quarantined or 0, "file")
    return f"; {counted(row.damaged_total or 0, 'bad copy', 'bad copies')} since it started, {kept} in quarantine"
