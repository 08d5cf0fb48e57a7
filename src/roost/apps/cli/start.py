"""`roost start`: run the coordinator here, with local nodes and watched folders, until Ctrl-C."""

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.telling import program, teller
from roost.apps.cli.words import printable
from roost.settings.paths import LOCAL_NODES_MAX

LOG_NAME = "coordinator"


def start(
    ready_at: Annotated[
        int | None, typer.Option("-n", metavar="N", min=1, help="Say `ready` when N nodes are in.")
    ] = None,
    local: Annotated[
        int | None,
        typer.Option(
            "--local",
            metavar="N",
            min=0,
            max=LOCAL_NODES_MAX,
            help="Run N nodes on this machine too. [default: the setting local_nodes]",
        ),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Run the coordinator here, and nodes with it, until Ctrl-C.

    The first start makes the cluster.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_start(frame, ready_at, local))


async def _start(frame: Frame, ready_at: int | None, local: int | None) -> int:
    from roost.apps.api.serve import serving
    from roost.apps.cli.results import Stopped
    from roost.node import run_coordinator

    frame.log_to(LOG_NAME)
    say = teller(frame.output, when_ready=lambda: hints(frame))
    # A code in a log that nobody watches would only be there for others to find.
    invite = frame.output.json or sys.stdout.isatty()
    await run_coordinator(
        frame.home, frame.settings, ready_at=ready_at, local=local, invite=invite, say=say,
        beside=serving(frame.home, frame.settings),
    )  # fmt: skip
    frame.output.result(Stopped())
    return 0


def hints(frame: Frame) -> Iterator[str]:
    """What a person can do next, each as it can be typed."""
    spelled = program(frame.home)
    yield ""
    for folder in frame.settings.watch:
        yield f"  keep    a checkpoint that is finished in {printable(folder.path)} is stored by itself"
    yield f"  store   {spelled('store PATH')}"
    yield f"  look    {spelled('ls')}   {spelled('status')}"
    yield f"  gather  {spelled('gather NAME --to FOLDER')}"
    yield f"  grow    on another machine: roost join, and the code shown here   (or: {spelled('token create')})"
    yield "  stop    Ctrl-C"
