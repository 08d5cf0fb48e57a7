"""`roost rm NAME`: take a checkpoint, or one version of it, off every list; with ``--now`` free its space at once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, duration, listed, printable, size

if TYPE_CHECKING:
    from roost.apps.cli.results import Removed
    from roost.client import RemoveResult


def rm(
    reference: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="The checkpoint; without VERSION all its versions.")
    ],
    now: Annotated[
        bool, typer.Option("--now", help="Free the space at once, also of versions removed before: no undelete.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Forget a checkpoint.

    It can be brought back with roost undelete for the time that retention.undelete says (7 days); then the nodes free
    what no other version needs.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_rm(frame, reference, now=now, dry_run=dry_run))


async def _rm(frame: Frame, reference: str, *, now: bool, dry_run: bool) -> int:
    from roost.client import Progress

    progress = Progress()
    async with frame.cluster() as cluster, shown(progress, frame.output):
        result = await cluster.remove(reference, now=now, dry_run=dry_run, progress=progress)
    frame.output.result(told(result), lines(result))
    if not result.everywhere and not result.dry_run:
        frame.output.tell(f"told to {listed(sorted(result.nodes))}; the other nodes learn of it when they are back")
    return 0


def told(result: "RemoveResult") -> "Removed":
    """The result for scripts."""
    from roost.apps.cli.results import Freed, NodeReason, Reference, Removed

    return Removed(
        removed=tuple(Reference(name, version) for name, version in result.removed),
        nodes=result.nodes, everywhere=result.everywhere, dry_run=result.dry_run, keep_s=result.keep_s,
        chunks=result.chunks, chunk_bytes=result.chunk_bytes,
        freed=Freed(sum(row.objects for row in result.freed), sum(row.bytes for row in result.freed)),
        waiting=tuple(NodeReason(row.name, text) for row in result.freed for text in row.waiting),
        problems=tuple(NodeReason(row.name, row.problem) for row in result.freed if row.problem),
    )  # fmt: skip


def lines(result: "RemoveResult") -> Iterator[str]:
    """One line a version, then what becomes of the space."""
    done = "would remove" if result.dry_run else "removed"
    for name, version in result.removed:
        yield f"{done} {printable(name)} version {version}"
    if result.dry_run:
        alone = f"{counted(result.chunks, 'chunk')} ({size(result.chunk_bytes)} a copy)"
        verb = "is" if result.chunks == 1 else "are"
        when = f"freed after {duration(result.keep_s)}" if result.keep_s else "freed at once, if nothing uses them"
        yield f"{alone} {verb} needed by nothing else, and would be {when}"
        return
    if not result.freed:
        if result.keep_s:
            yield f"it can be brought back for {duration(result.keep_s)} (roost undelete), then its space is freed"
        return
    objects, freed = sum(row.objects for row in result.freed), sum(row.bytes for row in result.freed)
    yield f"freed {counted(objects, 'chunk')} ({size(freed)}) on {counted(len(result.freed), 'node')}"
    for row in result.freed:
        yield from (f"  {printable(row.name)}: {printable(text)}" for text in row.waiting)
        if row.problem:
            yield f"  {printable(row.name)} freed nothing: {printable(row.problem)}"
