"""`roost recover`: with the recovery code, become able to admit machines; a new machine comes back to the cluster."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.telling import code_lines, program
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, printable
from roost.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from roost.node import Recovered

STDIN = "-"
LINE_CHARACTERS_MAX = 200


def recover(
    code: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CODE", help="What the first `roost start` printed, however it is grouped; - reads it from a line."
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="HOST:PORT", help="Any one node of the cluster; needed on a new machine."),
    ] = None,
    new_code: Annotated[
        bool, typer.Option("--new-code", help="Print another code, where the authority's key is. Older ones stay good.")
    ] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """With the recovery code, become able to admit machines.

    On a machine of the cluster the code alone is enough. A new one comes back with it and the address of any node.
    """
    frame = Frame.of(home, config, json)
    if new_code:
        if code or at:
            raise UsageError("--new-code takes no code and no address", hint="roost recover --new-code")
        return frame.run(_new_code(frame))
    if not code:
        raise UsageError("no recovery code was given", hint="roost recover CODE    or, for another: --new-code")
    text = sys.stdin.readline(LINE_CHARACTERS_MAX) if code == [STDIN] else "".join(code)
    return frame.run(_recover(frame, text, at))


async def _recover(frame: Frame, code: str, at: str | None) -> int:
    from roost.apps.cli import results
    from roost.client import Progress
    from roost.node import recover

    async with shown(Progress("asking the nodes"), frame.output):
        done = await recover(frame.home, frame.settings, code=code, at=at)
    told = results.Recovered(done.cluster, done.node, done.new, done.keeps, done.nodes, done.checkpoints)
    frame.output.result(told, lines(frame, done))
    return 0


async def _new_code(frame: Frame) -> int:
    from roost.apps.cli.results import NewCode
    from roost.node import new_code

    code, nodes = await new_code(frame.home, frame.settings)
    frame.output.result(NewCode(code, nodes), code_lines(code))
    if not nodes:
        frame.output.warn("no node answers: the code opens nothing elsewhere until roost start has met one")
    return 0


def lines(frame: Frame, done: "Recovered") -> "Iterator[str]":
    """What was brought back, and what to do with it."""
    spelled = program(frame.home)
    cluster = printable(done.cluster)
    if done.new:
        yield f"back in the cluster {cluster}, with {counted(done.checkpoints, 'version')} of checkpoints listed"
    yield f"this machine can admit others to {cluster} again; {counted(done.nodes, 'node')} answered"
    yield f"  look   {spelled('ls')}"
    beside = "while the node runs" if done.keeps else f"beside {spelled('start')}"
    yield f"  admit  {spelled('token create')}   {beside}"
