"""The routes for Prometheus: the coordinator's metrics, those of each node, and where all of them are to be had."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from roost.node import Inside

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FRESH_S = 2.0


class Scrape:
    """The text that `make` makes, made once for all who scrape at the same time; `now` is in seconds."""

    def __init__(self, make: Callable[[], Awaitable[bytes]], now: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._now = now
        self._turn = asyncio.Lock()
        self._text = b""
        self._made_at = float("-inf")

    async def text(self) -> bytes:
        """Two seconds old at most. Raises what `make` raises."""
        async with self._turn:
            if self._now() - self._made_at > FRESH_S:
                self._text = await self._make()
                self._made_at = self._now()
            return self._text


def measuring(inside: Inside) -> APIRouter:
    """What is scraped. Nodes serve no HTTP: theirs are fetched over the cluster's own connections, and the answer is
    503 for one that does not answer."""
    router = APIRouter()
    own = Scrape(inside.metrics)

    @router.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(await own.text(), media_type=MEDIA_TYPE)

    @router.get("/metrics/nodes/{node}", include_in_schema=False)
    async def of_a_node(node: str) -> Response:
        return Response(await inside.cluster.node_metrics(node), media_type=MEDIA_TYPE)

    @router.get("/sd", include_in_schema=False)
    async def targets(request: Request) -> Response:
        return JSONResponse(_targets(inside, request.headers["host"]))

    return router


def _targets(inside: Inside, host: str) -> list[dict[str, object]]:
    """For Prometheus' ``http_sd_configs``: all at the address that was asked, told apart by the path. Nodes that are
    down stay listed, so that it is seen that they are."""

    def target(name: str, role: str, path: str) -> dict[str, object]:
        return {"targets": [host], "labels": {"__metrics_path__": path, "instance": name, "role": role}}

    members = inside.cluster.session.membership.view.storage
    nodes = [target(m.name, "node", f"/metrics/nodes/{m.node_id}") for m in sorted(members, key=lambda m: m.name)]
    return [target("coordinator", "coordinator", "/metrics"), *nodes]
