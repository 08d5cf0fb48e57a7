"""The options that every command takes."""

from typing import Annotated

import typer

HomeOption = Annotated[
    str | None,
    typer.Option("--home", metavar="DIR", help="Identity, chunks and catalogue are here. [default: $ROOST_HOME]"),
]
ConfigOption = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="The settings file. [default: ./roost.yaml, then DIR/roost.yaml]"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines, for scripts.")]
