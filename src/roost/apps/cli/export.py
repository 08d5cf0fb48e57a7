"""`roost export NAME DEST`: checkpoints as plain files in a folder or at a URL, verified, for where no roost is."""

from typing import Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.results import Exported, ExportedRow
from roost.apps.cli.ticker import shown_beside
from roost.apps.cli.transferring import cluster_of, fsspec_required
from roost.apps.cli.words import counted, duration, printable, size


def export(
    reference: Annotated[
        str,
        typer.Argument(metavar="NAME[@VERSION]", help="A checkpoint, or all whose names lie below this."),
    ],
    dest: Annotated[str, typer.Argument(metavar="DEST", help="A folder, or a URL such as s3://bucket/folder.")],
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Write checkpoints out as plain files, verified.

    Each lies at DEST/NAME; DEST/roost-export.json says what is there, and roost import takes it in again. Nothing in
    DEST is removed. URLs are those of fsspec: what a service needs is installed beside it (such as s3fs).
    """
    frame = Frame.of(home, config, json)

    def told(name: str) -> None:
        frame.output.progress("exported", {"name": name})

    with frame.watched(), fsspec_required(), cluster_of(frame) as cluster:
        from roost.client import Progress
        from roost.integrations.transfer import export as write_out

        progress = Progress()
        with shown_beside(progress, frame.output):
            done = write_out(cluster, reference, dest, told=told, progress=progress)
    seconds = frame.seconds
    total = sum(each.bytes for each in done)
    rows = tuple(ExportedRow(each.name, each.version, each.bytes) for each in done)
    frame.output.result(
        Exported(rows, dest, total, seconds),
        [
            *(f"{printable(each.name)} version {each.version}" for each in done),
            f"{counted(len(done), 'checkpoint')}, {size(total)}, verified, in {duration(seconds)}: {printable(dest)}",
        ],
    )
    return 0
