"""`roost verify`: whether every copy is there and, with --deep, whether it is good."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, moment, printable, table
from roost.core.checkpoint import Health
from roost.core.errors import Damaged

if TYPE_CHECKING:
    from roost.apps.cli.results import Verified
    from roost.client import Verdict

EXIT_SHORT = 3
DAMAGED_SHOWN = 20


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME[@VERSION]]...", help="What to check. [default: the newest of every name]"),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Let the nodes read every copy back and hash it.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Check that every copy is there.

    Exit code 0: all healthy; 3: something has fewer copies than it should, or cannot be told; 5: something is lost, or
    damage was found.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_verify(frame, names or [], deep=deep))


async def _verify(frame: Frame, names: Sequence[str], *, deep: bool) -> int:
    from roost.client import Progress

    progress = Progress()
    async with frame.cluster() as cluster, shown(progress, frame.output):
        verdicts = list(await cluster.verify(names, deep=deep, progress=progress))
    code = exit_code(verdicts)
    frame.output.result(told(verdicts), lines(verdicts))
    for verdict in verdicts:
        for note in verdict.notes:
            frame.output.tell(f"note: {printable(verdict.name)}: {printable(note)}")
    return code


def exit_code(verdicts: "Iterable[Verdict]") -> int:
    """0 when all is healthy, 5 when anything is lost or damaged, else 3."""
    worst = 0
    for verdict in verdicts:
        if verdict.damaged or verdict.health == Health.LOST:
            return Damaged.exit_code
        if verdict.health != Health.HEALTHY:
            worst = EXIT_SHORT
    return worst


def told(verdicts: "Sequence[Verdict]") -> "Verified":
    """The verdicts for scripts."""
    from roost.apps.cli.results import DamagedCopy, Verified, VerifiedRow

    rows = tuple(
        VerifiedRow(
            name=v.name, version=v.version, health=v.health, copies=v.copies, deep=v.deep,
            damaged=tuple(DamagedCopy(chunk, node) for chunk, node in v.damaged), verified_at=v.verified_at,
            notes=v.notes,
        )
        for v in verdicts
    )  # fmt: skip
    return Verified(rows, exit_code(verdicts) == 0)


def lines(verdicts: "Sequence[Verdict]") -> Iterator[str]:
    """The table that a person sees, every damaged copy by name, and the sum of it."""
    if not verdicts:
        yield "nothing is stored yet"
        return
    yield from table(
        ("NAME", "VERSION", "HEALTH", "COPIES", "DAMAGED", "VERIFIED"),
        [(v.name, v.version, v.health, str(v.copies), str(len(v.damaged)), moment(v.verified_at)) for v in verdicts],
        right=(3, 4),
    )
    damaged = [(v.name, chunk, node) for v in verdicts for chunk, node in v.damaged]
    for name, chunk, node in damaged[:DAMAGED_SHOWN]:
        yield f"damaged: chunk {chunk} on {printable(node)}, of {printable(name)}"
    if len(damaged) > DAMAGED_SHOWN:
        yield f"... and {len(damaged) - DAMAGED_SHOWN:,} damaged copies more"
    if damaged:
        yield "what is damaged is made again from good copies, by the coordinator, or at once by: roost repair"
    healthy = sum(1 for v in verdicts if v.health == Health.HEALTHY and not v.damaged)
    how = "read back and hashed" if verdicts[0].deep else "asked for, not read (--deep reads them)"
    yield f"{healthy:,} of {counted(len(verdicts), 'checkpoint')} healthy; copies were {how}"
