"""How a long-running command tells what happens: a line an event for people, a JSON progress line for scripts."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from roost.apps.cli.output import Output, ReaderGone
from roost.apps.cli.words import counted, printable
from roost.settings.paths import Home

if TYPE_CHECKING:
    from roost.node import Event

READY = "ready"
CODE = "recovery_code"
WARNINGS = frozenset({"warning", "node-down", "alert"})


def teller(output: Output, *, when_ready: Callable[[], Iterator[str]] | None = None) -> "Callable[[Event], None]":
    """A function that tells events; after the first ``ready`` a person is told `when_ready` too.

    It raises nothing: a node goes on when nobody reads what it says.
    """
    told: set[str] = set()

    def tell(event: "Event") -> None:
        try:
            _tell(event)
        except (ReaderGone, OSError, ValueError):
            return

    def _tell(event: "Event") -> None:
        output.progress(event.kind, {"text": event.text, **event.data})
        if event.kind in WARNINGS:
            output.warn(event.text)
        else:
            output.say(ready_line(event) if event.kind == READY else printable(event.text))
        for key, lines in SHOWN.items():
            shown = event.data.get(key)
            if isinstance(shown, str):
                output.say(*lines(shown))
        if event.kind == READY and READY not in told and when_ready is not None:
            output.say(*when_ready())
        told.add(event.kind)

    return tell


def code_lines(code: str) -> Iterator[str]:
    """What a person reads once, and must not overlook."""
    yield ""
    yield f"  RECOVERY CODE   {code}"
    yield ""
    yield "  Write it down now and keep it off this machine: it is told only this once, and stored nowhere."
    yield "  If this machine is lost, the code and any one node bring the cluster back: roost recover CODE"
    yield ""


def join_code_lines(code: str) -> Iterator[str]:
    """What is typed on the machine that joins."""
    yield f"  JOIN CODE       {code}     good for 10 minutes, then another is shown; on the other machine: roost join"


def token_lines(token: str) -> Iterator[str]:
    """A token for a camera: the QR code of it, where the terminal has room for one."""
    drawn = _qr(token)
    columns, rows = shutil.get_terminal_size()
    if sys.stdout.isatty() and len(drawn) < rows and 2 * len(drawn) <= columns:  # a line is two rows of squares
        yield ""
        yield from drawn
        yield "  the same for a camera: roost join, and the word in it (good for 10 minutes)"


def _qr(token: str) -> list[str]:
    """The lines of a QR code (ISO/IEC 18004), two rows of it a line. Capitals make it smaller, and a token forgives
    them."""
    import io

    import segno

    drawn = io.StringIO()
    segno.make(token.upper(), error="l", micro=False).terminal(out=drawn, compact=True, border=2)
    return drawn.getvalue().splitlines()


SHOWN: dict[str, Callable[[str], Iterator[str]]] = {
    CODE: code_lines, "join_code": join_code_lines, "token": token_lines,
}  # fmt: skip
"""How what a person is shown, and no log ever is, is shown; by its key in an event's data."""


def ready_line(event: "Event") -> str:
    """``ready: 4 nodes``."""
    nodes = event.data.get("nodes")
    if isinstance(nodes, list | tuple):
        nodes = len(nodes)
    return f"ready: {counted(nodes, 'node')}" if isinstance(nodes, int) else printable(event.text)


def program(home: Home) -> Callable[[str], str]:
    """A function that spells a command as a person here can type it: the program's path when it is not on PATH, and
    ``--home`` when it is not the default."""
    own = os.path.abspath(sys.argv[0])
    found = shutil.which("roost")
    if found is not None or not os.access(own, os.X_OK) or os.path.isdir(own):
        name = "roost" if found is not None else f"{shlex.quote(sys.executable)} -m roost"
    else:
        relative = os.path.relpath(own)
        name = shlex.quote(min(own, relative, key=len))
    usual = Home.find().root == home.root
    suffix = "" if usual else f" --home {shlex.quote(str(home.root))}"
    return lambda command: f"{name} {command}{suffix}"
