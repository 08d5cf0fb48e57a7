"""The program: from arguments to an exit code, with every way of failing told in words or as JSON."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from roost.apps.cli.commands import COMMANDS, LazyGroup
from roost.apps.cli.failure import EXIT_INTERRUPTED, EXIT_USAGE, explain
from roost.apps.cli.output import Output, ReaderGone
from roost.core.errors import UsageError

EXIT_READER_GONE = 1
_WITH_VALUE = ("--home", "--config")


def run(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` (without the program's name) say; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    output = Output(json=_wants_json(arguments))
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except SystemExit:
        raise
    except (ReaderGone, BrokenPipeError):
        _forget_stdout()
        return EXIT_READER_GONE
    except BaseException as error:  # supervised: the last place that can tell a person or a script what happened
        failure = explain(error)
        try:
            output.failure(failure)
            sys.stdout.flush()
        except (ReaderGone, BrokenPipeError):
            _forget_stdout()
        return failure.exit_code


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments:
        _root().main(args=["--help"], prog_name="roost", standalone_mode=False)
        return EXIT_USAGE
    result = _root().main(args=_arranged(arguments), prog_name="roost", standalone_mode=False)
    if result == EXIT_INTERRUPTED:  # Typer swallowed a Ctrl-C; no command ends so by itself
        raise KeyboardInterrupt
    return result if isinstance(result, int) else 0


def _root() -> Any:
    """The command that everything else is below."""
    app = typer.Typer(cls=LazyGroup, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(context_settings={"help_option_names": ["-h", "--help"]})(_about)
    group = typer.main.get_command(app)
    assert isinstance(group, LazyGroup)
    return group.offering(COMMANDS)


def _print_version(wanted: bool) -> None:
    if wanted:
        from roost import __version__

        typer.echo(f"roost {__version__}")
        raise typer.Exit


def _about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Keep ML checkpoints safe on the machines you already own.

    Every command takes --home DIR, --config FILE and --json.
    """


def _arranged(arguments: Sequence[str]) -> list[str]:
    """`arguments` with those options that every command takes moved from before the command to its end.

    UsageError when there is nothing but such options.
    """
    rest, moved = list(arguments), []
    while rest:
        if rest[0] == "--json" or rest[0].startswith(tuple(f"{option}=" for option in _WITH_VALUE)):
            moved.append(rest.pop(0))
        elif rest[0] in _WITH_VALUE and len(rest) > 1:
            moved += [rest.pop(0), rest.pop(0)]
        else:
            break
    if not rest:
        raise UsageError("no command was given", hint="see: roost --help")
    end = rest.index("--") if "--" in rest else len(rest)
    return [*rest[:end], *moved, *rest[end:]]


def _wants_json(arguments: Sequence[str]) -> bool:
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    return "--json" in arguments[:end]


def _forget_stdout() -> None:
    """Let the interpreter's last flush go nowhere, so that it does not complain that the reader is gone."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
