"""`roost import SOURCE`: store what lies in a folder or at a URL; an export comes back under its own names."""

from typing import Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.results import Imported, ImportedRow
from roost.apps.cli.store import EXIT_DEGRADED
from roost.apps.cli.ticker import shown_beside
from roost.apps.cli.transferring import cluster_of, fsspec_required
from roost.apps.cli.words import counted, duration, printable, size


def import_(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder, a file, or a URL such as s3://bucket/folder.")
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="What to call it, unless it is an export. [default: as store does]"
        ),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Store what lies in a folder or at a URL, verified.

    What roost export wrote comes back under its own names, each file compared with the SHA-256 that the export names.
    Anything else becomes one checkpoint. Exit code 3: stored, but in fewer copies than asked.
    """
    frame = Frame.of(home, config, json)

    def told(name: str) -> None:
        frame.output.progress("imported", {"name": name})

    with frame.watched(), fsspec_required(), cluster_of(frame) as cluster:
        from roost.client import Progress
        from roost.integrations.transfer import import_ as take_in

        progress = Progress()
        with shown_beside(progress, frame.output):
            stored = take_in(cluster, source, name=name, told=told, progress=progress)
    seconds = frame.seconds
    total = sum(each.bytes for each in stored)
    rows = tuple(
        ImportedRow(each.name, each.version, each.bytes, each.copies, each.unchanged, each.degraded) for each in stored
    )
    degraded = any(each.degraded for each in stored)
    frame.output.result(
        Imported(rows, total, degraded, seconds),
        [
            *(
                f"{printable(each.name)}: {'unchanged since' if each.unchanged else 'stored as'} version {each.version}"
                for each in stored
            ),
            f"{counted(len(stored), 'checkpoint')}, {size(total)}, verified, in {duration(seconds)}",
        ],
    )
    if degraded:
        frame.output.warn("DEGRADED: fewer copies than asked could be made. Import again when more machines are up.")
    return EXIT_DEGRADED if degraded else 0
