"""Where a command's words go: results to standard output, all else to standard error; or JSON lines for scripts.

With JSON, standard output holds any number of ``{"type": "progress", ...}`` lines and then exactly one
``{"type": "result", ...}`` or ``{"type": "error", ...}``, each flushed as it is written.
"""

import json as json_module
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roost.apps.cli.failure import Failure
from roost.apps.cli.words import printable

if TYPE_CHECKING:
    from msgspec import Struct


class ReaderGone(Exception):
    """Whoever read our standard output has closed it; nothing more is to be said."""


@dataclass(frozen=True, slots=True)
class Output:
    """The way out of one command. Every method raises ReaderGone when standard output was closed."""

    json: bool

    def result(self, value: "Struct", people: Iterable[str] = ()) -> None:
        """The command's one result: `value` for scripts, whose type `roost.apps.cli.schema` knows, lines for people."""
        if self.json:
            from msgspec import to_builtins

            self._line({"type": "result", **to_builtins(value)})
        else:
            self.say(*people)

    def progress(self, event: str, fields: Mapping[str, object]) -> None:
        """One progress line for scripts; people are told by other means. `fields` have no ``type`` and no ``event``."""
        if self.json:
            self._line({"type": "progress", "event": event, **fields})

    def say(self, *lines: str) -> None:
        """Lines of the result for people."""
        if not self.json and lines:
            self._write("".join(f"{line}\n" for line in lines))

    def tell(self, *lines: str) -> None:
        """Lines beside the result, for people, on standard error."""
        if not self.json:
            for line in lines:
                print(line, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Something that a person must not overlook."""
        self.tell(f"WARNING: {printable(text)}")

    def failure(self, failure: Failure) -> None:
        """The error that ended the command."""
        if self.json:
            told = {"code": failure.code, "message": failure.message, "hint": failure.hint}
            self._line({"type": "error", **told, **failure.more})
            return
        print(f"error: {printable(failure.message)}", file=sys.stderr)
        if failure.hint:
            print(f"hint: {printable(failure.hint)}", file=sys.stderr, flush=True)

    def _line(self, fields: Mapping[str, object]) -> None:
        self._write(json_module.dumps(fields, default=plain) + "\n")

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ReaderGone from error


def plain(value: Any) -> object:
    """What JSON has for a value in an event that it does not know: hexadecimal digits for bytes, words for others."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
