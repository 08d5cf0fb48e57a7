"""The routes of ``/api/v1`` that do something. Each takes a JSON object, whose fields are those of its struct here."""

from pathlib import Path

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from roost.apps.api.answers import answer, lines, read
from roost.apps.api.described import gives, runs, takes
from roost.apps.cli.nodes import drain_told
from roost.apps.cli.repair import told as repair_told
from roost.apps.cli.results import Removed
from roost.apps.cli.rm import told as removal_told
from roost.apps.cli.verify import told as verify_told
from roost.client import Progress, UndeleteResult
from roost.node import Inside


class StoreBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`path` is one of the coordinator's machine."""

    path: str
    name: str | None = None
    redundancy: str | None = None


class GatherBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`to` is a folder of the coordinator's machine."""

    reference: str
    to: str
    only: str | None = None
    force: bool = False


class VerifyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Without references all newest versions."""

    references: tuple[str, ...] = ()
    deep: bool = False


class ReferenceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One checkpoint, ``NAME`` or ``NAME@VERSION``."""

    reference: str
    dry_run: bool = False


class DrainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node by its name, its id or the start of it."""

    node: str
    cancel: bool = False
    dry_run: bool = False


class RepairBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With `dry_run` only what would be copied."""

    dry_run: bool = False


def moving(inside: Inside) -> APIRouter:
    """Operations that move bytes: they answer with lines of JSON as they run."""
    router = APIRouter(prefix="/api/v1", default_response_class=Response)
    cluster = inside.cluster

    @router.post("/store", summary="Store a file or folder of this machine", openapi_extra=runs(StoreBody, "store"))
    async def store(request: Request) -> Response:
        body = await read(request, StoreBody)

        async def work(progress: Progress) -> object:
            return await cluster.store(Path(body.path), name=body.name, redundancy=body.redundancy, progress=progress)

        return lines(work)

    @router.post(
        "/gather", summary="Bring a checkpoint back to a folder here", openapi_extra=runs(GatherBody, "gather")
    )
    async def gather(request: Request) -> Response:
        body = await read(request, GatherBody)

        async def work(progress: Progress) -> object:
            return await cluster.gather(
                body.reference, to=Path(body.to), only=body.only, force=body.force, progress=progress
            )

        return lines(work)

    @router.post("/verify", summary="Check that every copy is there", openapi_extra=runs(VerifyBody, "verify"))
    async def verify(request: Request) -> Response:
        body = await read(request, VerifyBody)

        async def work(progress: Progress) -> object:
            return verify_told(await cluster.verify(body.references, deep=body.deep, progress=progress))

        return lines(work)

    @router.post("/repair", summary="Make missing copies again, now", openapi_extra=runs(RepairBody, "repair"))
    async def repair(request: Request) -> Response:
        body = await read(request, RepairBody)

        async def work(progress: Progress) -> object:
            return repair_told(await cluster.repair(dry_run=body.dry_run, progress=progress))

        return lines(work)

    @router.post(
        "/drain",
        summary="Copy what a node keeps to others, and let it leave",
        openapi_extra=runs(DrainBody, "nodes drain"),
    )
    async def drain(request: Request) -> Response:
        body = await read(request, DrainBody)

        async def work(progress: Progress) -> object:
            found = await cluster.drain(body.node, cancel=body.cancel, dry_run=body.dry_run, progress=progress)
            return drain_told(found)

        return lines(work)

    return router


def deciding(inside: Inside) -> APIRouter:
    """Operations that are a moment's work."""
    router = APIRouter(prefix="/api/v1", default_response_class=Response)
    cluster = inside.cluster

    @router.post("/remove", summary="Forget a checkpoint, for now", openapi_extra=takes(ReferenceBody) | gives(Removed))
    async def remove(request: Request) -> Response:
        body = await read(request, ReferenceBody)
        return answer(removal_told(await cluster.remove(body.reference, dry_run=body.dry_run)))

    @router.post(
        "/undelete", summary="Bring a removed version back", openapi_extra=takes(ReferenceBody) | gives(UndeleteResult)
    )
    async def undelete(request: Request) -> Response:
        body = await read(request, ReferenceBody)
        return answer(await cluster.undelete(body.reference, dry_run=body.dry_run))

    return router
