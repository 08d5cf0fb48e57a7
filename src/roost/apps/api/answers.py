"""How the API answers: the same values as ``--json`` of the commands, errors as they are there, and long operations as
lines of JSON."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.responses import Response, StreamingResponse

from roost.apps.cli.failure import explain
from roost.apps.cli.meter import Meter
from roost.core.errors import RoostError, UsageError

if TYPE_CHECKING:
    from starlette.requests import Request

    from roost.client import Progress

T = TypeVar("T")
BODY_BYTES_MAX = 1_000_000
NDJSON = "application/x-ndjson"
LINE_EVERY_S = 0.4
STATUS = {"usage": 400, "not-admitted": 403, "not-found": 404, "busy": 409, "integrity": 422, "unreachable": 503,
          "no-space": 507}  # fmt: skip
"""By the error's code; of all others 500."""


def answer(value: Any, **more: Any) -> Response:
    """One value, with `more` fields beside its own."""
    fields = {**msgspec.to_builtins(value), **msgspec.to_builtins(more)} if more else value
    return Response(msgspec.json.encode(fields), media_type="application/json")


def error_answer(status: int, code: str, message: str, hint: str) -> Response:
    """An error as ``--json`` prints it."""
    told = {"type": "error", "code": code, "message": message, "hint": hint}
    return Response(msgspec.json.encode(told), status_code=status, media_type="application/json")


def roost_error_answer(error: RoostError) -> Response:
    """An operation that ended badly before it answered."""
    return error_answer(STATUS.get(error.code, 500), error.code, error.message, error.hint)


def lines(operation: "Callable[[Progress], Awaitable[Any]]") -> StreamingResponse:
    """An operation as it runs: progress lines, then one result or error. It is cancelled when nobody listens any
    more."""
    return StreamingResponse(_lines(operation), media_type=NDJSON)


async def _lines(operation: "Callable[[Progress], Awaitable[Any]]") -> AsyncIterator[bytes]:
    from roost.client import Progress

    progress = Progress()
    meter = Meter(progress, time.monotonic)
    task = asyncio.ensure_future(operation(progress))
    try:
        while True:
            done, _ = await asyncio.wait([task], timeout=LINE_EVERY_S)
            if done:
                break
            yield _line("progress", {"event": "progress", **msgspec.to_builtins(meter.read())})
        try:
            yield _line("result", msgspec.to_builtins(task.result()))
        except Exception as error:  # supervised: whatever it was is told as a command would
            told = explain(error)
            yield _line("error", {"code": told.code, "message": told.message, "hint": told.hint, **told.more})
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _line(kind: str, fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": kind, **fields}) + b"\n"


async def read(request: "Request", kind: type[T]) -> T:
    """The request's body as a `kind`. UsageError when it is none, or longer than a megabyte."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES_MAX:
            raise UsageError("the request's body is longer than a megabyte")
    try:
        return msgspec.json.decode(bytes(body) or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise UsageError(f"the request's body is not right: {error}", hint="see /docs") from None
