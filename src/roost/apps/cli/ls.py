"""`roost ls`: what is stored, newest knowledge of its health included."""

from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.selection import Selection, SortKey, parse_time
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import listed, moment, size, table

if TYPE_CHECKING:
    from roost.client import ListedRow


def ls(
    prefix: Annotated[str, typer.Argument(metavar="[PREFIX]", help="Only names that begin so.")] = "",
    newest: Annotated[bool, typer.Option("--newest", help="Only the newest version of each name.")] = False,
    health: Annotated[
        bool, typer.Option("--health", help="Ask the nodes now instead of telling what is known.")
    ] = False,
    removed: Annotated[
        bool, typer.Option("--removed", help="What was removed instead, and until when undelete can bring it back.")
    ] = False,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Stored at or after: 2025-01-31, or 7d for ago.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Stored at or before.")] = None,
    step_min: Annotated[
        int | None, typer.Option("--step-min", metavar="N", help="Only steps (the last number of a name) from N on.")
    ] = None,
    step_max: Annotated[int | None, typer.Option("--step-max", metavar="N", help="Only steps up to N.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most N: the last N of the order.")
    ] = None,
    sort: Annotated[SortKey, typer.Option("--sort", help="The order; the greatest comes last.")] = SortKey.NAME,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """What is stored."""
    frame = Frame.of(home, config, json)
    selection = Selection(
        since=parse_time(since) if since is not None else None,
        until=parse_time(until) if until is not None else None,
        step_min=step_min,
        step_max=step_max,
        limit=limit,
        sort=sort,
    )
    return frame.run(_ls(frame, prefix, selection, newest=newest, health=health, removed=removed))


async def _ls(frame: Frame, prefix: str, selection: Selection, *, newest: bool, health: bool, removed: bool) -> int:
    from roost.client import Progress

    progress = Progress()
    async with frame.cluster() as cluster, shown(progress, frame.output):
        listing = await cluster.list(prefix, newest=newest, health=health, removed=removed, progress=progress)
    rows = selection.of(listing.checkpoints)
    people = removed_lines(rows, health=health) if removed else lines(rows)
    frame.output.result(replace(listing, checkpoints=tuple(rows)), people)
    if not rows:
        fits = " that fits" if listing.checkpoints or prefix else ""
        frame.output.tell(f"nothing{fits} was removed" if removed else f"nothing is stored{fits or ' yet'}")
    if listing.unreachable:
        frame.output.tell(f"not reached: {listed(listing.unreachable)}")
    if not listing.complete:
        what = "more may have been removed" if removed else "more may be stored"
        frame.output.warn(f"TOO FEW NODES ANSWERED: {what} than is listed here.")
    return 0


def lines(rows: "list[ListedRow]") -> list[str]:
    """The table that a person sees; nothing when there are no rows."""
    if not rows:
        return []
    return table(
        ("NAME", "VERSION", "SIZE", "STORED", "COPIES", "HEALTH", "VERIFIED"),
        [
            (r.name, r.version, size(r.bytes), moment(r.stored_at), r.redundancy, r.health, moment(r.verified_at))
            for r in rows
        ],
        right=(2, 4),
    )


def removed_lines(rows: "list[ListedRow]", *, health: bool) -> list[str]:
    """As `lines`, of removed versions; their health only when it was asked for now."""
    if not rows:
        return []
    return table(
        ("NAME", "VERSION", "SIZE", "STORED", "REMOVED", "KEPT UNTIL", *(("HEALTH",) if health else ())),
        [
            (
                r.name, r.version, size(r.bytes), moment(r.stored_at), moment(r.removed_at), moment(r.kept_until),
                *((r.health,) if health else ()),
            )
            for r in rows
        ],
        right=(2,),
    )  # fmt: skip
