"""`roost join`: pair this machine with a cluster once, then run it as a node."""

import os
import sys
from typing import Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.telling import teller
from roost.core.errors import NotAdmitted
from roost.settings.paths import Home

LOG_NAME = "node"
CERTIFICATE = "certificate.der"
TOKEN_VARIABLE = "ROOST_TOKEN"  # noqa: S105  # its name, not its value
"""Only looked at to pair, so that one left in the environment disturbs no node that runs again."""


def join(
    word: Annotated[
        str | None,
        typer.Argument(
            metavar="[CODE]",
            help="The join code that `roost start` shows, or what `roost token create` printed. [default, to pair: "
            "$ROOST_TOKEN, else a question]",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="HOST:PORT", help="Where the coordinator is, if it cannot be found."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster", metavar="NAME", help="Which cluster is meant, by name or id, if several are in sight."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="This node's name. [default: the host's name]")
    ] = None,
    client: Annotated[
        bool, typer.Option("--client", help="Pair only, to store and gather from here; keep nothing.")
    ] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Make this machine a node of a cluster, and run it until Ctrl-C.

    It pairs once; after that `roost join` alone runs the node again.
    """
    frame = Frame.of(home, config, json)
    if not word and not paired(frame.home):
        word = os.environ.get(TOKEN_VARIABLE)
    if not word and not paired(frame.home):
        from roost.apps.cli.picking import ask_code, pick_cluster, somebody_answers

        if json or not somebody_answers():
            raise NotAdmitted(
                "this machine belongs to no cluster yet, and neither a join code nor a token was given",
                hint="where roost start runs a code is shown: roost join CODE; or roost token create there, and here: "
                "roost join TOKEN, or ROOST_TOKEN=TOKEN",
            )
        with frame.watched():
            cluster = cluster if at else pick_cluster(frame, cluster)
            word = ask_code(frame.output)
    return frame.run(_join(frame, word or None, at=at, cluster=cluster, name=name, client=client))


def paired(home: Home) -> bool:
    """Whether a cluster has admitted this home."""
    return (home.identity / CERTIFICATE).exists()


async def _join(
    frame: Frame, word: str | None, *, at: str | None, cluster: str | None, name: str | None, client: bool
) -> int:
    # structlog loads rich when it finds it; a node never draws, and may run in little memory.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from roost.apps.cli.results import Paired, Stopped
    from roost.node import Invitation, run_node

    frame.log_to(LOG_NAME)
    say = teller(frame.output)
    invitation = Invitation(word, at, cluster) if word else None
    await run_node(frame.home, frame.settings, invitation=invitation, name=name, client_only=client, say=say)
    frame.output.result(Paired() if client else Stopped())
    return 0
