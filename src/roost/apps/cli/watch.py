"""`roost watch PATH...`: store what is finished in folders, by itself, until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.telling import teller
from roost.core.errors import NotFound
from roost.core.ids import parse_checkpoint_name
from roost.settings.schema import WatchFolder

LOG_NAME = "watch"


def watch(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Folders that checkpoints are written into.")],
    name: Annotated[
        str, typer.Option("--name", metavar="PREFIX", help="Put before the stored names. [default: none]")
    ] = "",
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Store every checkpoint that is finished in the folders, until Ctrl-C.

    Nothing in them is ever changed. The coordinator does the same for the folders of the setting `watch`.
    """
    frame = Frame.of(home, config, json)
    prefix = parse_checkpoint_name(name) if name else ""
    folders = []
    for path in paths:
        where = Path(path).expanduser().absolute()
        if not where.is_dir():
            raise NotFound(f"there is no folder {path}", hint="give the folder that checkpoints are written into")
        folders.append(WatchFolder(path=str(where), name=prefix))
    return frame.run(_watch(frame, folders))


async def _watch(frame: Frame, folders: list[WatchFolder]) -> int:
    from roost.apps.cli.results import Stopped
    from roost.node import watch_alone

    frame.log_to(LOG_NAME)
    await watch_alone(frame.home, frame.settings, folders, teller(frame.output))
    frame.output.result(Stopped())
    return 0
