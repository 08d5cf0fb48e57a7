"""`roost repair`: every missing copy made again now, node to node."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, printable, size, table

if TYPE_CHECKING:
    from roost.client import RepairResult

EXIT_SHORT = 3
ROWS_SHOWN = 50


def repair(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be copied, and why.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Bring everything up to the copies asked, now, and wait until it is done.

    The coordinator does the same by itself, after the grace time and within the rate of the settings. Exit code 3: some
    chunks still lack copies.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_repair(frame, dry_run=dry_run))


async def _repair(frame: Frame, *, dry_run: bool) -> int:
    from roost.client import Progress

    progress = Progress()
    async with frame.cluster() as cluster, shown(progress, frame.output):
        result = await cluster.repair(dry_run=dry_run, progress=progress)
    frame.output.result(fields(result), lines(result), healthy=not result.short)
    for note in result.notes:
        frame.output.tell(f"note: {printable(note)}")
    return EXIT_SHORT if result.short else 0


def fields(result: "RepairResult") -> dict[str, object]:
    """The result for scripts."""
    return {
        "copies": result.copies,
        "bytes": result.bytes,
        "short": result.short,
        "dry_run": result.dry_run,
        "plan": [
            {"id": row.id, "bytes": row.bytes, "source": row.source, "target": row.target, "reason": row.reason}
            for row in result.plan
        ],
        "stuck": [{"id": chunk, "reason": reason} for chunk, reason in result.stuck],
        "notes": result.notes,
    }


def lines(result: "RepairResult") -> Iterator[str]:
    """What a person sees: what was done or would be, what cannot be, and the sum of it."""
    if result.plan:
        yield from table(
            ("CHUNK", "BYTES", "FROM", "TO", "BECAUSE IT IS"),
            [
                (row.id[:12], size(row.bytes), printable(row.source), printable(row.target), row.reason)
                for row in result.plan[:ROWS_SHOWN]
            ],
            right=(1,),
        )
        if len(result.plan) > ROWS_SHOWN:
            yield f"... and {len(result.plan) - ROWS_SHOWN:,} more"
    for chunk, reason in result.stuck[:ROWS_SHOWN]:
        yield f"chunk {chunk[:12]} cannot be repaired now: {reason}"
    planned, made = (counted(number, "copy", "copies") for number in (len(result.plan), result.copies))
    short = counted(result.short, "chunk")
    if result.dry_run:
        yield f"{planned} would be made; {short} short"
    elif result.short:
        yield f"{made} made; {short} still short"
    elif result.copies:
        yield f"{made} made ({size(result.bytes)}): all is as it should be"
    else:
        yield "nothing to repair: every chunk has its copies"
