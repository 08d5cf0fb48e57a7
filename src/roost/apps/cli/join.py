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
    token: Annotated[
        str | None,
        typer.Argument(metavar="[TOKEN]", help="What `roost token create` printed. [default: $ROOST_TOKEN, to pair]"),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="HOST:PORT", help="Where the coordinator is, if the token does not know."),
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

    It pairs once, with a token; after that `roost join` alone runs the node again.
    """
    frame = Frame.of(home, config, json)
    if not token and not paired(frame.home):
        token = os.environ.get(TOKEN_VARIABLE)
    if not token and not paired(frame.home):
        raise NotAdmitted(
            "this machine belongs to no cluster yet, and no token was given",
            hint="on the coordinator: roost token create; then here: roost join TOKEN, or ROOST_TOKEN=TOKEN",
        )
    return frame.run(_join(frame, token or None, at=at, name=name, client=client))


def paired(home: Home) -> bool:
    """Whether a cluster has admitted this home."""
    return (home.identity / CERTIFICATE).exists()


async def _join(frame: Frame, token: str | None, *, at: str | None, name: str | None, client: bool) -> int:
    # structlog loads rich when it finds it; a node never draws, and may run in little memory.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    from roost.node import run_node

    frame.log_to(LOG_NAME)
    say = teller(frame.output)
    await run_node(frame.home, frame.settings, token=token, at=at, name=name, client_only=client, say=say)
    frame.output.result({"paired": True} if client else {"stopped": True})
    return 0
