"""The application: routes, page, metrics, and what refuses strangers, made for one coordinator."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from roost import __version__
from roost.apps.api.answers import error_answer, roost_error_answer
from roost.apps.api.guard import Guard
from roost.apps.api.operations import deciding, moving
from roost.apps.api.pages import add_pages
from roost.apps.api.routes import following, looking
from roost.apps.api.scrape import measuring
from roost.apps.api.series import Series
from roost.apps.cli.failure import explain
from roost.apps.vitals import Vitals
from roost.core.errors import RoostError
from roost.node import Inside
from roost.observe.log import get_logger


def make_app(inside: Inside, series: Series, vitals: Vitals, *, token: str | None, grace_s: float) -> Guard:
    """The ASGI application of a coordinator, with the samples of its `series` and the `vitals` of its nodes; `token` is
    what everybody must show, None on loopback; `grace_s` is how long repair waits for a machine that went."""
    app = FastAPI(
        title="Roost",
        version=__version__,
        description="What `roost --json` says, over HTTP.",
        redoc_url=None,
        docs_url=None,  # FastAPI's own page loads its scripts from elsewhere
    )
    app.include_router(looking(inside, vitals, grace_s=grace_s))
    app.include_router(following(inside, series))
    for routes in (moving, deciding, measuring):
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

    add_pages(app)
    return Guard(app, token=token)
