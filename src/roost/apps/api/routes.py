"""The routes of ``/api/v1`` that only look: what is stored, who is here, what happens."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from roost.apps.api.answers import answer
from roost.apps.cli.selection import Selection, SortKey, parse_time
from roost.apps.cli.status import verdict
from roost.core.checkpoint import run_of
from roost.core.ids import CheckpointName
from roost.node import Inside, Numbered

KEEP_ALIVE_S = 15.0


def looking(inside: Inside) -> APIRouter:
    """What may be looked at. Nothing here asks the nodes for their chunks: health is that of the coordinator's last
    look, a minute old at most."""
    router = APIRouter(prefix="/api/v1")
    cluster = inside.cluster

    @router.get("/status", summary="Everything at one look")
    async def status() -> Response:
        found = await cluster.status(ask=False)
        return answer(found, verdict=verdict(found))

    @router.get("/nodes", summary="Who is in the cluster")
    async def nodes() -> Response:
        return answer({"nodes": await cluster.nodes()})

    @router.get("/checkpoints", summary="What is stored")
    async def checkpoints(
        prefix: str = "", run: str | None = None, newest: bool = False, removed: bool = False,
        since: str | None = None, until: str | None = None, step_min: int | None = None, step_max: int | None = None,
        limit: Annotated[int | None, Query(ge=1)] = None, sort: SortKey = SortKey.NAME,
    ) -> Response:  # fmt: skip
        selection = Selection(
            since=parse_time(since) if since is not None else None,
            until=parse_time(until) if until is not None else None,
            step_min=step_min, step_max=step_max, limit=limit, sort=sort,
        )  # fmt: skip
        listing = await cluster.list(run if run is not None else prefix, newest=newest, removed=removed)
        rows = [row for row in listing.checkpoints if run is None or run_of(CheckpointName(row.name)) == run]
        return answer(listing, checkpoints=selection.of(rows))

    @router.get("/checkpoints/{reference:path}", summary="One version: its files, and where each copy is")
    async def show(reference: str) -> Response:
        return answer(await cluster.show(reference))

    @router.get("/watching", summary="What the watched folders wait for")
    async def watching() -> Response:
        rows = [
            {"path": path, "pending": [{"name": name, "waits_for": why} for name, why in waits]}
            for path, waits in inside.pending()
        ]
        return answer({"watching": rows})

    @router.get("/operations", summary="What runs on any machine, and what ended lately")
    async def operations() -> Response:
        return answer({"operations": inside.operations.rows()})

    @router.get("/events", summary="What happens, as server-sent events")
    async def events(request: Request) -> StreamingResponse:
        seen = request.headers.get("last-event-id", "")
        number = int(seen) if seen.isdecimal() else 0
        return StreamingResponse(_events(inside, number), media_type="text/event-stream")

    return router


async def _events(inside: Inside, number: int) -> AsyncIterator[bytes]:
    """The events after `number`, and operations as they move; those that run already come at the next report."""
    history, operations = inside.history, inside.operations
    change = operations.number
    while not history.closed:
        for told in history.after(number):
            number = told.number
            yield _event(told)
        moved, change = operations.after(change), operations.number
        for row in moved:
            yield b"event: operation\ndata: " + msgspec.json.encode(row) + b"\n\n"
        waits = [asyncio.ensure_future(one) for one in (history.wait(number), operations.wait(change))]
        try:
            done, _ = await asyncio.wait(waits, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not done:
            yield b": nothing new\n\n"


def _event(told: Numbered) -> bytes:
    data = msgspec.json.encode({"at": told.at, "text": told.event.text, **told.event.data})
    return f"id: {told.number}\nevent: {told.event.kind}\ndata: ".encode() + data + b"\n\n"
