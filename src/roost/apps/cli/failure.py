"""A failure as the command line tells it: from any exception to a code, a message, a hint and an exit code."""

import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field

from roost.core.errors import Endangers, NoSpace, RoostError, UsageError

EXIT_USAGE = UsageError.exit_code
EXIT_INTERRUPTED = 130
DEBUG = "ROOST_DEBUG"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong and what to do next. `more` are fields for scripts that only this kind of error has."""

    code: str
    message: str
    hint: str
    exit_code: int
    more: Mapping[str, object] = field(default_factory=dict)


def explain(error: BaseException) -> Failure:
    """The failure that `error` is. With ``ROOST_DEBUG`` set the traceback goes to standard error."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error, file=sys.stderr)
    known = roost_error(error)
    if known is not None:
        return Failure(known.code, known.message, known.hint, known.exit_code, _more(known))
    if isinstance(error, KeyboardInterrupt) or _is(error, "Abort"):
        return Failure(
            "interrupted", "interrupted", "run it again: store and gather keep what was moved already", EXIT_INTERRUPTED
        )
    if _is(error, "UsageError"):
        return _usage(error)
    if isinstance(error, OSError):
        return Failure("failed", str(error), f"for more, run it again with {DEBUG}=1", 1)
    what = str(error) or "no message"
    return Failure(
        "bug",
        f"this is a bug in Roost: {type(error).__name__}: {what}",
        f"the traceback is in the log (logs/command.jsonl in the home), or run it again with {DEBUG}=1",
        1,
    )


def _more(error: RoostError) -> Mapping[str, object]:
    if isinstance(error, NoSpace) and error.bytes_missing is not None:
        return {"bytes_missing": error.bytes_missing}
    if isinstance(error, Endangers) and error.checkpoints:
        return {"checkpoints": list(error.checkpoints)}
    return {}


def is_bug(error: BaseException) -> bool:
    """Whether nobody expected `error`, so that its traceback is worth keeping."""
    expected = isinstance(error, KeyboardInterrupt | OSError | SystemExit) or type(error).__name__ == "ReaderGone"
    framework = any(_is(error, name) for name in ("UsageError", "Abort", "Exit"))
    return not expected and not framework and roost_error(error) is None


def roost_error(error: BaseException) -> RoostError | None:
    """`error` if it is one of ours, or the first of ours in a group of errors."""
    if isinstance(error, RoostError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for part in error.exceptions if (found := roost_error(part)) is not None), None)
    return None


def _is(error: BaseException, name: str) -> bool:
    """Whether `error` is of Typer's class `name`. Typer has moved these classes between releases, so the name counts,
    and that they come from Typer or from click, which it is made of."""
    return any(
        kind.__name__ == name and kind.__module__.split(".")[0] in ("typer", "click") for kind in type(error).__mro__
    )


def _usage(error: BaseException) -> Failure:
    format_message = getattr(error, "format_message", None)
    message = str(format_message() if format_message is not None else error).rstrip(".")
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", "roost")
    return Failure("usage", message, f"see: {path} --help", EXIT_USAGE)
