"""The application: routes, page, metrics, and what refuses strangers, made for one coordinator."""

from collections.abc import Awaitable, Callable
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from roost import __version__
from roost.apps.api.answers import error_answer, roost_error_answer
from roost.apps.api.guard import Guard
from roost.apps.api.operations import deciding, moving
from roost.apps.api.routes import looking
from roost.apps.api.scrape import measuring
from roost.apps.cli.failure import explain
from roost.core.errors import RoostError
from roost.node import Inside
from roost.observe.log import get_logger

PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/docs": ("docs.html", "text/html"),
    "/docs.js": ("docs.js", "text/javascript"),
}
POLICY = "default-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
"""Nothing is loaded from anywhere else, and no other site may frame the page."""


def make_app(inside: Inside, *, token: str | None) -> Guard:
    """The ASGI application of a coordinator; `token` is what everybody must show, None on loopback."""
    app = FastAPI(
        title="Roost",
        version=__version__,
        description="What `roost --json` says, over HTTP.",
        redoc_url=None,
        docs_url=None,  # FastAPI's own page loads its scripts from elsewhere
    )
    for routes in (looking, moving, deciding, measuring):
        app.include_router(routes(inside))

    @app.exception_handler(RoostError)
    async def ours(_: Request, error: RoostError) -> Response:
        return roost_error_answer(error)

    @app.exception_handler(Exception)
    async def bugs(request: Request, error: Exception) -> Response:
        get_logger(__name__).error("a request failed unexpectedly", path=request.url.path, traceback=True)
        told = explain(error)
        return error_answer(500, told.code, told.message, told.hint)

    @app.exception_handler(HTTPException)
    async def others(_: Request, error: HTTPException) -> Response:
        code = {404: "not-found", 405: "usage"}.get(error.status_code, "failed")
        return error_answer(error.status_code, code, str(error.detail), "see /docs")

    @app.exception_handler(RequestValidationError)
    async def wrong(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return error_answer(400, "usage", f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}", "see /docs")

    for path, (name, kind) in PAGE.items():
        app.add_api_route(path, _static(name, kind), include_in_schema=False, response_class=Response)
    return Guard(app, token=token)


def _static(name: str, kind: str) -> Callable[[], Awaitable[Response]]:
    """A route that answers with a file of the page, which may load nothing from anywhere else."""
    data = files("roost.apps.api").joinpath("web", name).read_bytes()

    async def page() -> Response:
        return Response(data, media_type=kind, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})

    return page
