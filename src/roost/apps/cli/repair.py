"""`roost repair`: every missing copy made again now, node to node."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, printable, size, table

if TYPE_CHECKING:
    from roost.apps.cli.results import Repaired
    from roost.client import RepairResult, RepairRow

EXIT_SHORT = 3
ROWS_SHOWN = 50


def repair(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be copied, and why.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Bring everything up to the copies asked, now, and to the machines where it belongs, and wait until it is done.

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
    frame.output.result(told(result), lines(result))
    for note in result.notes:
        frame.output.tell(f"note: {printable(note)}")
    return EXIT_SHORT if result.short else 0


def told(result: "RepairResult") -> "Repaired":
    """The result for scripts."""
    from roost.apps.cli.results import Repaired, Stuck

    return Repaired(
        copies=result.copies, bytes=result.bytes, short=result.short, dry_run=result.dry_run, plan=result.plan,
        stuck=tuple(Stuck(chunk, reason) for chunk, reason in result.stuck), notes=result.notes,
        healthy=not result.short,
    )  # fmt: skip


def plan_lines(plan: "Sequence[RepairRow]") -> list[str]:
    """A plan as a person sees it, in its order: the chunks that go one way for one reason in one row."""
    groups: dict[tuple[str, str, str], list[RepairRow]] = {}
    for row in plan:
        groups.setdefault((row.reason, row.source, row.target), []).append(row)
    if not groups:
        return []
    rows = [
        (printable(reason), printable(source), printable(target), f"{len(g):,}", size(sum(row.bytes for row in g)))
        for (reason, source, target), g in list(groups.items())[:ROWS_SHOWN]
    ]
    more = [f"... and {len(groups) - ROWS_SHOWN:,} rows more"] if len(groups) > ROWS_SHOWN else []
    return [*table(("WHY", "FROM", "TO", "CHUNKS", "BYTES"), rows, right=(3, 4)), *more]


def stuck_lines(stuck: "Sequence[tuple[str, str]]") -> Iterator[str]:
    """What cannot be done now, by reason, with one chunk as an example."""
    by_reason: dict[str, list[str]] = {}
    for chunk, reason in stuck:
        by_reason.setdefault(reason, []).append(chunk)
    for reason, chunks in by_reason.items():
        others = f" and {len(chunks) - 1:,} more" if len(chunks) > 1 else ""
        yield f"chunk {chunks[0][:12]}{others} cannot be repaired now: {reason}"


def lines(result: "RepairResult") -> Iterator[str]:
    """What a person sees: what was done or would be, what cannot be, and the sum of it."""
    yield from plan_lines(result.plan)
    yield from stuck_lines(result.stuck)
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
