"""The log: one JSON line an event in a file below home/logs, and a plain line for people on standard error.

Code asks `get_logger` for a logger and gives it an event (a fixed sentence) with fields. Until `configure` is called,
events go nowhere and structlog is not even loaded: a program that uses Roost as a library hears nothing from it, and
`roost --help` stays fast. `bound` adds fields, such as the node's name and the operation's id, to every event of the
task it runs in and of the tasks started there.

A log line is bounded, and a disk that does not take it never disturbs the work that it tells of.
"""

import contextlib
import contextvars
import logging
import logging.handlers
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger, Processor

Level = Literal["debug", "info", "warning", "error"]

FILE_BYTES_MAX = 8 * 1024 * 1024
"""A log file is set aside when it reaches this size."""
FILES_KEPT = 4
"""How many files that were set aside are kept, so that the whole log stays under 40 MiB."""
FIELD_CHARACTERS_MAX = 2000
TRACEBACK_CHARACTERS_MAX = 16_000

_ROOT = "roost"
_HEARD_TOO = "asyncio"
"""Of others' loggers only the event loop's is kept: it tells of tasks whose errors nobody saw."""
_LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_bound: contextvars.ContextVar[Mapping[str, object]] = contextvars.ContextVar(
    "roost_log_fields", default=MappingProxyType({})
)


@dataclass(slots=True)
class _Output:
    """What `configure` made: the handlers, the least level that any of them takes, and the loggers wrapped so far."""

    handlers: list[logging.Handler]
    level: int
    loggers: "dict[str, FilteringBoundLogger]" = field(default_factory=dict)


_output: _Output | None = None


class Logger:
    """Says what happens in one part of Roost. Cheap to make at import time. What cannot be written is dropped."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **fields: object) -> None:
        """What only someone looking for a fault wants to know."""
        self._say("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """A step in normal work."""
        self._say("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something went wrong and was dealt with."""
        self._say("warning", event, fields)

    def error(self, event: str, *, traceback: bool = False, **fields: object) -> None:
        """Something went wrong for good; with `traceback`, of the exception being handled, because it is our bug."""
        if traceback:
            fields["exc_info"] = True
        self._say("error", event, fields)

    def _say(self, level: Level, event: str, fields: dict[str, object]) -> None:
        if _output is not None and _LEVELS[level] >= _output.level:
            wrapped = _output.loggers.get(self._name) or _wrap(self._name, _output)
            getattr(wrapped, level)(event, **{**_bound.get(), **fields})


def get_logger(name: str) -> Logger:
    """The logger for the module `name` (its ``__name__``)."""
    return Logger(name)


@contextlib.contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Add `fields` (``node="pi-3"``, ``operation="9f2c"``) to every event within, also of tasks started within."""
    token = _bound.set(MappingProxyType({**_bound.get(), **fields}))
    try:
        yield
    finally:
        _bound.reset(token)


def configure(
    *,
    directory: Path | None = None,
    name: str = "roost",
    level: Level = "info",
    people: TextIO | None = sys.stderr,
    people_level: Level = "warning",
    file_bytes_max: int = FILE_BYTES_MAX,
    more: Sequence[logging.Handler] = (),
) -> None:
    """Send events from now on to `directory`/`name`.jsonl from `level` up, and to `people` from `people_level` up.

    `directory` (None: no file) is made if absent; both it and the file are for this user only. One process alone may
    write to one `name`. At `file_bytes_max` bytes the file becomes `name`.jsonl.1 and a new one is begun. What an
    earlier call set up is closed first. The handlers `more` get the same lines as the file. Raises OSError when the
    file cannot be opened.
    """
    from structlog.processors import JSONRenderer

    global _output
    handlers: list[logging.Handler] = []
    if directory is not None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = _File(directory / f"{name}.jsonl", bytes_max=file_bytes_max)
        handlers.append(_rendering(file, _LEVELS[level], JSONRenderer(default=repr, ensure_ascii=False)))
    handlers += [_rendering(one, _LEVELS[level], JSONRenderer(default=repr, ensure_ascii=False)) for one in more]
    if people is not None:
        handlers.append(_rendering(_Quiet(people), _LEVELS[people_level], _plain))
    shutdown()
    _output = _Output(handlers, min((handler.level for handler in handlers), default=logging.CRITICAL))
    for heard in (_ROOT, _HEARD_TOO):
        logger = logging.getLogger(heard)
        for handler in handlers:
            logger.addHandler(handler)
    ours = logging.getLogger(_ROOT)
    ours.setLevel(_output.level)
    ours.propagate = False


def shutdown() -> None:
    """Close what `configure` opened; events go nowhere again. Harmless when nothing is open."""
    global _output
    if _output is None:
        return
    for handler in _output.handlers:
        for heard in (_ROOT, _HEARD_TOO):
            logging.getLogger(heard).removeHandler(handler)
        with contextlib.suppress(OSError):  # what a full disk still owes is dropped, as every line that it did not take
            handler.close()
    _output = None


class _Quiet(logging.StreamHandler[TextIO]):
    """Standard error; when it is closed or its reader is gone, lines are dropped."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging names it so
        """Say nothing: there is nobody to say it to."""


class _File(logging.handlers.RotatingFileHandler):
    """A log file of bounded size that only this user may read; lines that the disk does not take are dropped."""

    def __init__(self, path: Path, *, bytes_max: int) -> None:
        super().__init__(path, maxBytes=bytes_max, backupCount=FILES_KEPT, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=_open_private)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging names it so
        """Say nothing: a full disk is told of by those whose work it stops, not by the log."""


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)


def _wrap(name: str, output: _Output) -> "FilteringBoundLogger":
    """A structlog logger that hands its events to our handlers, whatever the program around us does with structlog."""
    import structlog

    qualified = name if name == _ROOT or name.startswith(f"{_ROOT}.") else f"{_ROOT}.{name}"
    wrapped: FilteringBoundLogger = structlog.wrap_logger(
        logging.getLogger(qualified),
        processors=[*_described(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    output.loggers[name] = wrapped
    return wrapped


def _described() -> "list[Processor]":
    """The steps that every event goes through, ours or another's: when, how grave, from where, and in plain values."""
    import structlog

    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.format_exc_info,
        _simple,
    ]


def _rendering(handler: logging.Handler, level: int, renderer: "Processor") -> logging.Handler:
    """`handler`, taking events from `level` up and writing them with `renderer`."""
    import structlog

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_described(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler.setLevel(level)
    handler.setFormatter(formatter)
    return handler


def _simple(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Bring every field to a plain value of bounded size; ids, which are bytes, become hexadecimal digits."""
    for key, value in event.items():
        if value is None or isinstance(value, bool | int | float) or key.startswith("_"):
            continue
        if isinstance(value, bytes):
            text = value[: FIELD_CHARACTERS_MAX // 2].hex()
        elif key == "exception":
            text = str(value)[-TRACEBACK_CHARACTERS_MAX:]
        else:
            text = _cut(str(value))
        event[key] = text
    return event


def _cut(text: str) -> str:
    return text if len(text) <= FIELD_CHARACTERS_MAX else f"{text[:FIELD_CHARACTERS_MAX]}..."


def _plain(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """``12:00:01 warning: a node is passed over (node=pi-3, reason=no space)``, and a traceback below it.

    Control characters are escaped, so that no peer can write to a terminal through the log.
    """
    time = str(event.pop("at", ""))[11:19]
    level = event.pop("level", "info")
    event.pop("logger", None)
    message = _printable(str(event.pop("event", "")))
    traceback = event.pop("exception", None)
    fields = ", ".join(f"{key}={_printable(str(value))}" for key, value in event.items())
    line = f"{time} {level}: {message}" + (f" ({fields})" if fields else "")
    if traceback is not None:
        line += "".join(f"\n    {_printable(part)}" for part in str(traceback).splitlines())
    return line


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def silence(name: str) -> None:
    """Let what a library's logger says reach nobody."""
    logger = logging.getLogger(name)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
