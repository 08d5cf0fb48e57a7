"""`roost config show`: the settings in force, and where each comes from."""

from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.results_here import Configured, Value
from roost.apps.cli.words import table

if TYPE_CHECKING:
    from roost.settings.load import Loaded


def show(
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Print the settings in force."""
    frame = Frame.of(home, config, json)
    loaded = frame.loaded
    values = tuple(Value(value.path, value.text, value.origin) for value in loaded.effective)
    file = str(loaded.file) if loaded.file is not None else None
    frame.output.result(Configured(file, str(frame.home.root), values), lines(loaded, origin=origin))
    frame.output.tell(f"home: {frame.home.root}", f"file: {file or 'none (only defaults)'}")
    return 0


def lines(loaded: "Loaded", *, origin: bool) -> list[str]:
    """One line a key."""
    if origin:
        return table(("KEY", "VALUE", "FROM"), [(value.path, value.text, value.origin) for value in loaded.effective])
    return table(("KEY", "VALUE"), [(value.path, value.text) for value in loaded.effective])
