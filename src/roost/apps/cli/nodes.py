"""`roost nodes`: who keeps checkpoints in this cluster, and how each of them is; `drain` and `forget` see one off."""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.repair import EXIT_SHORT, plan_lines
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, listed, printable, size, table
from roost.core.errors import NoSpace, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roost.apps.cli.results import Drained, Node
    from roost.client import DrainResult, ForgetResult, NodeRow

_NODE = typer.Argument(metavar="NODE", help="The node's name, its id, or the start of its id.")


def nodes(
    context: typer.Context, home: HomeOption = None, config: ConfigOption = None, json: JsonOption = False
) -> int:
    """Who is in the cluster."""
    if context.invoked_subcommand is not None:
        if home is not None or config is not None or json:
            raise UsageError("options stand at the end", hint=f"see: roost nodes {context.invoked_subcommand} --help")
        return 0
    frame = Frame.of(home, config, json)
    return frame.run(_nodes(frame))


async def _nodes(frame: Frame) -> int:
    from roost.apps.cli.results import Nodes

    async with frame.cluster() as cluster:
        rows = await cluster.nodes()
    frame.output.result(Nodes(tuple(told(row) for row in rows)), lines(rows))
    if not rows:
        frame.output.tell("no nodes yet: let machines join with: roost token create")
    return 0


def told(row: "NodeRow") -> "Node":
    """A node for scripts; home and pid only of one on this machine."""
    from msgspec import UNSET

    from roost.apps.cli.results import Node

    return Node(
        id=row.id, name=row.name, address=row.address, state=row.state, bytes_used=row.bytes_used,
        bytes_free=row.bytes_free, problem=row.problem, damaged_total=row.damaged_total, quarantined=row.quarantined,
        scrub=row.scrub, collection=row.collection, home=UNSET if row.home is None else row.home,
        pid=UNSET if row.pid is None else row.pid,
    )  # fmt: skip


def lines(rows: "Sequence[NodeRow]") -> list[str]:
    """The table that a person sees; nothing when there are no nodes."""
    if not rows:
        return []
    return table(
        ("NODE", "STATE", "ADDRESS", "USED", "FREE", "ID", ""),
        [(r.name, r.state, r.address, _size(r.bytes_used), _size(r.bytes_free), r.id[:8], r.problem) for r in rows],
        right=(3, 4),
    )


def _size(count: int | None) -> str:
    return "?" if count is None else size(count)


# -- drain -----------------------------------------------------------------------------------------------------------


def drain(
    node: Annotated[str, _NODE],
    cancel: Annotated[bool, typer.Option("--cancel", help="Let it stay after all.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be copied, and where.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Copy what a node keeps to others, wait until everything is safe without it, and let it leave.

    Everything stays readable meanwhile. When this is interrupted, or nothing more can be done now, the node stays
    *draining* and the coordinator goes on. Exit code 3: it cannot leave yet; 8: for lack of space.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_drain(frame, node, cancel=cancel, dry_run=dry_run))


async def _drain(frame: Frame, node: str, *, cancel: bool, dry_run: bool) -> int:
    from roost.client import Progress

    progress = Progress()
    try:
        async with frame.cluster() as cluster, shown(progress, frame.output):
            result = await cluster.drain(node, cancel=cancel, dry_run=dry_run, progress=progress)
    except asyncio.CancelledError:
        if not (cancel or dry_run):
            frame.output.tell(f"the coordinator goes on; to stop that: roost nodes drain {printable(node)} --cancel")
        raise
    frame.output.result(drain_told(result), drain_lines(result))
    for note in result.notes:
        frame.output.tell(f"note: {printable(note)}")
    return exit_code(result)


def exit_code(result: "DrainResult") -> int:
    """0 when it went (or, of a dry run, would go) as asked, 8 when there is no space, else 3."""
    if result.full:
        return NoSpace.exit_code
    return EXIT_SHORT if result.reason else 0


def drain_told(result: "DrainResult") -> "Drained":
    """The result for scripts."""
    from roost.apps.cli.results import Drained

    return Drained(
        id=result.id, name=result.name, state=result.state, copies=result.copies, bytes=result.bytes,
        objects_left=result.objects_left, bytes_left=result.bytes_left, reason=result.reason, dry_run=result.dry_run,
        plan=result.plan, notes=result.notes,
    )  # fmt: skip


def drain_lines(result: "DrainResult") -> Iterator[str]:
    """What a person sees: the plan of a dry run, what was copied, and whether the node has left."""
    name = printable(result.name)
    if result.dry_run:
        yield from plan_lines(result.plan)
        yield f"{counted(len(result.plan), 'copy', 'copies')} would be made before {name} can leave"
    elif result.state == "left":
        copied = f" ({counted(result.copies, 'copy', 'copies')} made, {size(result.bytes)})" if result.copies else ""
        yield f"{name} has left: everything is kept by the others{copied}"
    elif result.state == "staying":
        yield f"{name} stays"
    else:
        left = f"; {counted(result.objects_left, 'chunk')} to go ({size(result.bytes_left)})"
        yield f"{name} is being emptied{left if result.objects_left else ''}"
    if result.reason:
        yield f"it cannot leave yet: {result.reason}"


# -- forget ----------------------------------------------------------------------------------------------------------


def forget(
    node: Annotated[str, _NODE],
    force: Annotated[
        bool, typer.Option("--force", help="Also when checkpoints have fewer copies than asked without it.")
    ] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Strike a dead node off, or a machine that joined with --client: its key is of no use from now on.

    A node that is alive is refused: drain it, or stop it. So are checkpoints that lack copies without it, unless you
    --force it; roost repair makes those copies from what is left.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_forget(frame, node, force=force))


async def _forget(frame: Frame, node: str, *, force: bool) -> int:
    from roost.apps.cli.results import Forgotten

    async with frame.cluster() as cluster:
        result = await cluster.forget(node, force=force)
    endangered = [f"{name}@{version}" for name, version in result.endangered]
    told = Forgotten(result.id, result.name, tuple(endangered), result.nodes)
    frame.output.result(told, forget_lines(result))
    if endangered:
        frame.output.warn(f"fewer copies than asked are left of {listed(endangered)}. See: roost repair --dry-run")
    return 0


def forget_lines(result: "ForgetResult") -> Iterator[str]:
    """What a person sees."""
    yield f"{printable(result.name)} is struck off; known to {listed(result.nodes) if result.nodes else 'nobody yet'}"
