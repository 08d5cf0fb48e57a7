"""`roost undelete NAME@VERSION`: bring a removed version back, as a new version of the same content."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.store import EXIT_DEGRADED
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, listed, printable, size

if TYPE_CHECKING:
    from roost.client import UndeleteResult


def undelete(
    reference: Annotated[
        str, typer.Argument(metavar="NAME@VERSION", help="The removed version; see: roost ls --removed")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come back.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Bring a removed version back.

    It becomes a new version, of the same content, as long as no node has collected anything of it. Exit code 3: it is
    back, but in fewer copies than asked.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_undelete(frame, reference, dry_run=dry_run))


async def _undelete(frame: Frame, reference: str, *, dry_run: bool) -> int:
    from roost.client import Progress

    progress = Progress()
    async with frame.cluster() as cluster, shown(progress, frame.output):
        result = await cluster.undelete(reference, dry_run=dry_run, progress=progress)
    frame.output.result(replace(result, seconds=frame.seconds), lines(result))
    for note in result.notes:
        frame.output.tell(f"note: {printable(note)}")
    if not result.degraded or dry_run:
        return 0
    frame.output.warn(
        f"DEGRADED: only {counted(result.copies, 'copy', 'copies')} of everything could be made; the other copies are "
        "made when more machines are up (see: roost nodes)."
    )
    return EXIT_DEGRADED


def lines(result: "UndeleteResult") -> Iterator[str]:
    """What a person is told."""
    name, old, new = printable(result.name), result.removed, result.version
    if result.unchanged:
        yield f"{name}: version {new} is the same as {old}: there is nothing to bring back"
    elif result.dry_run:
        yield f"{name}: would bring version {old} back as version {new}"
    else:
        yield f"{name}: version {old} is back as version {new}"
    there = "there" if result.dry_run else f"of everything, on {listed(sorted(result.nodes))}"
    yield f"  {size(result.bytes)}, {counted(result.copies, 'copy', 'copies')} {there}"
    if result.single_machine and not result.dry_run:
        yield "  ALL COPIES ARE ON ONE MACHINE: they survive the loss of a node, NOT of that machine."
