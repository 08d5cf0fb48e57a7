"""The reference pages of the documents, written from the code: commands, settings, errors, JSON, Python, HTTP.

    python -m scripts.reference            write docs/reference/*.md
    python -m scripts.reference --check    exit 1, and say which, when one of them is not what the code says

`tests/test_reference.py` does the second, so a page cannot stay behind.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from scripts import reference_http, reference_json, reference_python, reference_settings

from roost.apps.cli.commands import COMMANDS, Command
from roost.apps.cli.failure import EXIT_INTERRUPTED, explain
from roost.core import errors

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
MADE = "<!-- Made by scripts/reference.py from the code: change that, then run: python -m scripts.reference -->"

COMMANDS_HEAD = """\
# Commands

What `roost COMMAND --help` says, of every command. `--home DIR`, `--config FILE` and `--json` may stand before or after
any of them; [Errors and exit codes](errors.md) says how they end. Results go to standard output, progress to standard
error; `NO_COLOR` is heeded.

| | |
|---|---|"""

ERRORS_HEAD = """\
# Errors and exit codes

An error says what happened, why, and what to do next. With `--json` it is the last line of standard output:
`{"type": "error", "code": ..., "message": ..., "hint": ...}`; in Python it is an exception of `roost.core.errors` with
the same `code`, `message` and `hint`. *Again* tells whether the very same call may succeed later by itself.

| exit | code | again | means |
|---|---|---|---|
| 0 | | | Done. |"""

ERRORS_TAIL = """
**Exit 3 is no error.** The command did its work and printed a result, and something is short: `store` made fewer copies
than were asked, `verify` and `repair` found something with too few, a node cannot leave yet (`nodes drain`), or
`doctor` found something to mend.

`start`, `join` and `watch` end with 0 on Ctrl-C and SIGTERM, for that is how they are stopped."""

INDEX = """\
# Reference

These pages are made from the code, and a test compares them with it.

| | |
|---|---|
| [Commands](commands.md) | every command with its arguments and options |
| [Settings](settings.md) | every key of `roost.yaml`: default, what it may be, what it does |
| [Errors and exit codes](errors.md) | how a command ends, and what to make of it |
| [JSON](json.md) | what each command prints with `--json` |
| [Python](python.md) | what programs call, and what they get |
| [HTTP](http.md) | what the coordinator answers |

What lies on a disk is in [format](../format.md), what goes over the wire in [protocol](../protocol.md)."""

ERRORS_ORDER = ("failed", "usage", "not-found", "integrity", "unreachable", "not-admitted", "no-space", "busy")


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` compare them; the exit code."""
    check = "--check" in arguments
    behind = [path for path, text in pages() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check:
        print("\n".join(f"{path.name} is not what the code says" for path in behind))
        return 1 if behind else 0
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
    print(f"{len(behind)} pages were written anew")
    return 0


def pages() -> Iterator[tuple[Path, str]]:
    """Every page that is made from the code: where it is, and what it must say."""
    for name, made in PAGES.items():
        title, _, rest = made().partition("\n")
        yield FOLDER / name, f"{title}\n\n{MADE}\n{rest.rstrip()}\n"


# -- commands --------------------------------------------------------------------------------------------------------


def commands() -> str:
    """Each command with its arguments and options, as its own ``--help`` says them."""
    found = list(_commands())
    parts = [COMMANDS_HEAD, *(f"| [`{line}`](#{_anchor(line)}) | {entry.summary} |" for line, entry, _ in found)]
    for line, _, command in found:
        parts += ["", f"## {line}", "", f"    {_usage(line, command)}", "", _prose(command.help or "")]
        rows = [row for parameter in command.params if (row := _parameter(parameter))]
        if rows:
            parts += ["", "| | |", "|---|---|", *rows]
    return "\n".join(parts)


def _commands() -> Iterator[tuple[str, Command, Any]]:
    """Every command line without its arguments, its entry in the table, and what Typer makes of it."""
    for name, entry in COMMANDS.items():
        if isinstance(entry, Command):
            yield f"roost {name}", entry, entry.load(name)
            continue
        if entry.alone is not None:
            yield f"roost {name}", entry.alone, entry.load(name)
        for member, below in entry.members.items():
            yield f"roost {name} {member}", below, below.load(member)


def _usage(line: str, command: Any) -> str:
    words = [line]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            word = (parameter.metavar or parameter.name.upper()) + ("..." if parameter.nargs == -1 else "")
            words.append(word if parameter.required or word.startswith("[") else f"[{word}]")
    return " ".join([*words, "[OPTIONS]"])


def _parameter(parameter: Any) -> str:
    """A row of the table; empty for what every command takes."""
    if parameter.name in ("home", "config", "json", "help", "context"):
        return ""
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar or parameter.name.upper()}`"
    else:
        value = "" if parameter.is_flag else f" {parameter.metavar or parameter.type.name.upper()}"
        names = ", ".join(f"`{name}{value}`" for name in (*parameter.opts, *parameter.secondary_opts))
    told = getattr(parameter, "help", None) or ""
    default = parameter.default
    plain = isinstance(default, int | float | str) and not isinstance(default, bool) and default not in ("", 0)
    if plain and "[default" not in told:
        told += f" [default: {default}]"
    return f"| {names} | {_cell(told)} |"


# -- errors ----------------------------------------------------------------------------------------------------------


def failures() -> str:
    """Each code that an error may have, with its exit code."""
    kinds = sorted(set(_error_kinds()), key=lambda kind: (kind.exit_code, _place(kind.code), kind.code))
    rows = [
        f"| {kind.exit_code} | `{kind.code}` | {'yes ' if kind.retry else ''}| {_cell(_first(kind))} |"
        for kind in kinds
    ]
    bug = explain(AssertionError())
    interrupted = explain(KeyboardInterrupt())
    ones = sum(kind.exit_code == 1 for kind in kinds)
    rows.insert(
        ones, f"| {bug.exit_code} | `{bug.code}` | | Nobody expected this; the traceback is in the home's log. |"
    )
    rows.append(f"| {EXIT_INTERRUPTED} | `{interrupted.code}` | yes | Ctrl-C; what was done so far is kept. |")
    return "\n".join([ERRORS_HEAD, *rows, ERRORS_TAIL])


def _error_kinds() -> Iterator[type[errors.RoostError]]:
    """One class for each code: the first that is defined with it."""
    seen: set[str] = set()
    for kind in vars(errors).values():
        if not (isinstance(kind, type) and issubclass(kind, errors.RoostError)):
            continue
        if kind is not errors.RoostError and kind.code not in seen:
            seen.add(kind.code)
            yield kind


def _place(code: str) -> int:
    return ERRORS_ORDER.index(code) if code in ERRORS_ORDER else len(ERRORS_ORDER)


# -- the index -------------------------------------------------------------------------------------------------------


def index() -> str:
    """The page before the others."""
    return INDEX


def _first(kind: type) -> str:
    return _prose(kind.__doc__ or "").partition("\n\n")[0]


def _prose(text: str) -> str:
    """A docstring's paragraphs, each on one line."""
    paragraphs = [" ".join(line.strip() for line in part.splitlines()).strip() for part in text.split("\n\n")]
    return "\n\n".join(part for part in paragraphs if part).replace("``", "`")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _anchor(line: str) -> str:
    return line.replace(" ", "-")


PAGES: Mapping[str, Callable[[], str]] = {
    "README.md": index,
    "commands.md": commands,
    "settings.md": reference_settings.page,
    "errors.md": failures,
    "json.md": reference_json.page,
    "python.md": reference_python.page,
    "http.md": reference_http.page,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
