"""The files of the page, served with the coordinator; they may load nothing from anywhere else."""

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from importlib.resources import files

from fastapi import FastAPI, Request
from starlette.responses import Response

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
NAMES = {"/page.html": "/", "/docs.html": "/docs"}
"""Under which path a file is asked for, when it is not its own name."""
VENDORED = "vendored"
POLICY = "default-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
"""Nothing is loaded from anywhere else, and no other site may frame the page."""


def add_pages(app: FastAPI) -> None:
    """Give `app` a route for each file of the page."""
    for path, kind, data in _found():
        app.add_api_route(path, _static(data, kind), include_in_schema=False, response_class=Response)


def _found() -> Iterator[tuple[str, str, bytes]]:
    folder = files("roost.apps.api").joinpath("web")
    for prefix, place in (("/", folder), (f"/{VENDORED}/", folder.joinpath(VENDORED))):
        for file in place.iterdir():
            kind = KINDS.get(f".{file.name.rpartition('.')[2]}")
            if kind is not None and file.is_file():
                path = f"{prefix}{file.name}"
                yield NAMES.get(path, path), kind, file.read_bytes()


def _static(data: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    """A route that answers with `data`, or that a browser has it already."""
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", "ETag": tag}

    async def page(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=kind, headers=headers)

    return page
