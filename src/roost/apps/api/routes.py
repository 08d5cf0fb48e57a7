"""The routes of ``/api/v1`` that only look: what is stored, who is here, what happens."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from roost.apps.api.answers import answer
from roost.apps.api.described import EVENTS, gives
from roost.apps.api.doing import doing
from roost.apps.api.series import Series, SeriesAnswer
from roost.apps.api.where import CopyMap, copy_map
from roost.apps.cli.nodes import told as node_told
from roost.apps.cli.results import Nodes, Status
from roost.apps.cli.selection import Selection, SortKey, parse_time
from roost.apps.cli.status import told as status_told
from roost.apps.vitals import Vital, Vitals
from roost.client import Listing, Shown
from roost.core.checkpoint import run_of
from roost.core.ids import CheckpointName
from roost.node import Inside, Numbered
from roost.node.operations import OperationRow

KEEP_ALIVE_S = 15.0


class WaitingName(msgspec.Struct, frozen=True):
    """What in a watched folder is not stored yet, and why."""

    name: str
    waits_for: str


class WaitingFolder(msgspec.Struct, frozen=True):
    """A watched folder, and what in it waits."""

    path: str
    pending: tuple[WaitingName, ...]


class Waiting(msgspec.Struct, frozen=True):
    """Every watched folder."""

    watching: tuple[WaitingFolder, ...]


class Running(msgspec.Struct, frozen=True):
    """What runs, and what ended lately."""

    operations: tuple[OperationRow, ...]


class Look(Status, frozen=True):
    """The status; `doing` is what is done about what is wrong, `vitals` are those of the nodes, by their ids."""

    doing: str
    vitals: dict[str, Vital]


class ShownMap(Shown, frozen=True):
    """One version; when a `map` was asked for, it stands in the place of files and chunks."""

    map: CopyMap | None = None


def looking(inside: Inside, vitals: Vitals, *, grace_s: float) -> APIRouter:
    """What may be looked at. Nothing here asks the nodes for their chunks: health is that of the coordinator's last
    look, a minute old at most."""
    router = APIRouter(prefix="/api/v1", default_response_class=Response)
    cluster = inside.cluster

    @router.get("/status", summary="Everything at one look", openapi_extra=gives(Look))
    async def status() -> Response:
        found = await cluster.status(ask=False)
        what = doing(found, inside.operations.running(), grace_s=grace_s)
        return answer(status_told(found), doing=what, vitals={row.id: vitals.of(row.id) for row in found.nodes})

    @router.get("/nodes", summary="Who is in the cluster", openapi_extra=gives(Nodes))
    async def nodes() -> Response:
        return answer(Nodes(tuple(node_told(row) for row in await cluster.nodes())))

    @router.get("/checkpoints", summary="What is stored", openapi_extra=gives(Listing))
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

    @router.get(
        "/checkpoints/{reference:path}",
        summary="One version: its files, and where each copy is",
        openapi_extra=gives(ShownMap),
    )
    async def show(
        reference: str, map: Annotated[bool, Query(description="a small map in place of files and chunks")] = False
    ) -> Response:  # fmt: skip
        shown = await cluster.show(reference)
        if not map:
            return answer(shown, map=None)
        drawn = await asyncio.to_thread(copy_map, shown)
        return answer(msgspec.structs.replace(shown, files=(), chunks=()), map=drawn)

    return router


def following(inside: Inside, series: Series) -> APIRouter:
    """What changes all the time: what waits, what runs, what happens, and how it went."""
    router = APIRouter(prefix="/api/v1", default_response_class=Response)

    @router.get("/watching", summary="What the watched folders wait for", openapi_extra=gives(Waiting))
    async def watching() -> Response:
        folders = (
            WaitingFolder(path, tuple(WaitingName(name, why) for name, why in waits))
            for path, waits in inside.pending()
        )
        return answer(Waiting(tuple(folders)))

    @router.get("/operations", summary="What runs on any machine, and what ended lately", openapi_extra=gives(Running))
    async def operations() -> Response:
        return answer(Running(tuple(inside.operations.rows())))

    @router.get(
        "/series", summary="How space, throughput and failures went, by column", openapi_extra=gives(SeriesAnswer)
    )
    async def samples(since: float = 0.0) -> Response:
        return answer(series.since(since))

    @router.get("/events", summary="What happens, as server-sent events", openapi_extra=EVENTS)
    async def events(request: Request) -> StreamingResponse:
        seen = request.headers.get("last-event-id", "")
        number = int(seen) if seen.isdecimal() else 0
        return StreamingResponse(_events(inside, number), media_type="text/event-stream")

    return router


async def _events(inside: Inside, number: int) -> AsyncIterator[bytes]:
    """The events after `number`, and operations as they move; those that run already come at the next report."""
    history, operations = inside.history, inside.operations
    if number > history.number:  # of a coordinator before this one
        number = 0
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
