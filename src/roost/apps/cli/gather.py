"""`roost gather NAME`: bring a checkpoint back, every byte verified."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, duration, printable, rate, size

if TYPE_CHECKING:
    from roost.client import GatherResult


def gather(
    reference: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="What to bring back.")],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="DEST", help="The folder to put it in, made if absent. [default: ./NAME]"),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="GLOB", help="Only the files whose paths match.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there and differ.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Bring a checkpoint back, verified.

    A file comes back as DEST/its-own-name, a folder's contents as DEST/... An interrupted gather is resumed.
    """
    frame = Frame.of(home, config, json)
    dest = Path(to).expanduser() if to is not None else None
    return frame.run(_gather(frame, reference, dest, only=only, force=force))


async def _gather(frame: Frame, reference: str, to: Path | None, *, only: str | None, force: bool) -> int:
    from roost.client import Progress

    progress = Progress()
    async with frame.cluster() as cluster, shown(progress, frame.output):
        result = await cluster.gather(reference, to=to, only=only, force=force, progress=progress)
    seconds = frame.seconds
    frame.output.result(replace(result, seconds=seconds), arrival(result, seconds))
    for note in result.notes:
        frame.output.tell(f"note: {printable(note)}")
    if not result.complete:
        frame.output.warn(
            "TOO FEW NODES ANSWERED to be sure that this is the newest version. "
            "See: roost nodes. Gather again when they are back."
        )
    return 0


def arrival(result: "GatherResult", seconds: float) -> Iterator[str]:
    """What a person is told: where it is, how much, how long."""
    yield printable(result.path)
    what = f"  {printable(result.name)} version {result.version}, verified: {size(result.bytes)} in {duration(seconds)}"
    if result.already_there:
        yield f"{what}; it was there already"
        return
    speed = f", {rate(result.bytes / seconds)}" if seconds > 0 else ""
    passed = f"; {counted(result.failovers, 'chunk')} had to come from another node" if result.failovers else ""
    mended = f"; {counted(result.repaired, 'damaged copy', 'damaged copies')} made again" if result.repaired else ""
    yield what + speed + passed + mended
