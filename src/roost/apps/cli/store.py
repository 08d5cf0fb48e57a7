"""`roost store PATH`: store a file or a folder, and say what is now promised of it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, duration, listed, printable, rate, size
from roost.core.checkpoint import Redundancy
from roost.core.errors import NotFound

if TYPE_CHECKING:
    from roost.client import StoreResult

EXIT_DEGRADED = 3


def store(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The file or folder to store.")],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="What to call it. [default: PARENT/FILE or PARENT/FOLDER of PATH]"),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Store what symlinks that leave the folder point at.")
    ] = False,
    redundancy: Annotated[
        str | None, typer.Option("--redundancy", metavar="N", help="Copies to keep. [default: the setting]")
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Store a checkpoint: a file or a folder.

    Only what no earlier version holds is sent. Exit code 3: stored, but in fewer copies than asked.
    """
    frame = Frame.of(home, config, json)
    where = Path(path).expanduser()
    if not os.path.lexists(where):
        raise NotFound(f"there is no {path}", hint="give the path of a checkpoint file or folder")
    return frame.run(_store(frame, where, name, follow=follow, redundancy=redundancy))


async def _store(frame: Frame, path: Path, name: str | None, *, follow: bool, redundancy: str | None) -> int:
    from roost.client import Progress

    progress = Progress()
    wanted = Redundancy.parse(redundancy) if redundancy is not None else frame.settings.redundancy
    async with frame.cluster() as cluster, shown(progress, frame.output):
        result = await cluster.store(path, name=name, follow=follow, redundancy=redundancy, progress=progress)
    seconds = frame.seconds
    frame.output.result(replace(result, seconds=seconds), receipt(result, seconds))
    for note in result.notes:
        frame.output.tell(f"note: {printable(note)}")
    if result.degraded:
        asked = counted(wanted.copies, "copy", "copies")
        frame.output.warn(
            f"DEGRADED: {asked} were asked, {result.copies} could be made. "
            "Store it again when more machines are up (see: roost nodes)."
        )
    return EXIT_DEGRADED if result.degraded else 0


def receipt(result: "StoreResult", seconds: float) -> Iterator[str]:
    """What a person gets in hand."""
    done = "unchanged since" if result.unchanged else "stored as"
    yield f"{printable(result.name)}: {done} version {result.version}"
    speed = f", {rate(result.bytes / seconds)}" if seconds > 0 and not result.unchanged else ""
    yield f"  {size(result.bytes)} in {duration(seconds)}{speed}"
    yield f"  {counted(result.chunks, 'chunk')}, {result.chunks_new:,} new, {size(result.bytes_sent)} sent"
    yield f"  {counted(result.copies, 'copy', 'copies')} of everything, on {listed(sorted(result.nodes))}"
    if result.single_machine:
        yield "  ALL COPIES ARE ON ONE MACHINE: they survive the loss of a node, NOT of that machine."
        yield "  Let another machine join: roost token create"
