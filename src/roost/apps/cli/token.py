"""`roost token create` and `roost token revoke`: the words that let machines join without anybody at the keyboard."""

import sys
from typing import Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.words import counted, moment
from roost.settings.units import parse_duration


def create(
    ttl: Annotated[
        str, typer.Option("--ttl", metavar="TIME", help="How long it is good for, like 90s, 1h or 7d.")
    ] = "1h",
    uses: Annotated[
        int | None, typer.Option("--uses", metavar="N", help="How many machines it lets in. [default: any number]")
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Print a word that lets machines join.

    Whoever has it can join while it is good: pass it on as you would a password.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_create(frame, parse_duration(ttl), uses))


async def _create(frame: Frame, ttl_s: int, uses: int | None) -> int:
    from roost.apps.cli.results import TokenCreated
    from roost.node import create_token

    token, expires_at = await create_token(frame.home, frame.settings, ttl_s=ttl_s, uses=uses)
    frame.output.result(TokenCreated(token, expires_at, uses), [token])
    if sys.stdout.isatty():
        often = "any number of machines" if uses is None else counted(uses, "machine")
        frame.output.tell(
            f"good for {often} until {moment(expires_at)}; on the other machine: roost join, and this word"
        )
    return 0


def revoke(home: HomeOption = None, config: ConfigOption = None, json: JsonOption = False) -> int:
    """End all tokens. Machines that have joined stay."""
    frame = Frame.of(home, config, json)
    with frame.watched():
        from roost.apps.cli.results import TokensRevoked
        from roost.node import revoke_tokens

        count = revoke_tokens(frame.home)
    frame.output.result(TokensRevoked(count), [f"ended {counted(count, 'token')}"])
    return 0
