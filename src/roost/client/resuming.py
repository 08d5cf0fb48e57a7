"""Resuming: the newest checkpoint of a run that is not lost, brought back to a machine that has nothing.

A training must never go on from an older step without a word: when so many nodes are away that a newer checkpoint may
exist, that is an error, and what had to be skipped is told.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from roost.checkpoints.progress import Progress
from roost.client.cluster import AsyncCluster
from roost.client.results import ListedRow, Listing
from roost.core.checkpoint import Health, run_of, step_of
from roost.core.errors import Lost, Unreachable
from roost.core.ids import CheckpointName, parse_checkpoint_name, parse_version
from roost.core.runtime import LoopThread
from roost.observe.telling import program_log
from roost.settings.load import load
from roost.settings.paths import Home

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Choice:
    """The checkpoint to go on from, and each newer one that is lost, as ``NAME@VERSION``, the newest first. `row` is
    None when there is none, or all are lost."""

    row: ListedRow | None
    skipped: tuple[str, ...]


class Resumed(msgspec.Struct, frozen=True):
    """What a training goes on from: where it lies now (absolute), which one it is, and what was skipped as lost."""

    path: str
    name: str
    version: str
    step: int | None
    skipped: tuple[str, ...]


def newest_healthy(listing: Listing, run: str) -> Choice:
    """Of the checkpoints of `run` the one of the highest step, and of it the newest version, that is not lost."""
    rows = [row for row in listing.checkpoints if run_of(CheckpointName(row.name)) == run]
    skipped: list[str] = []
    for row in sorted(rows, key=_age, reverse=True):
        if row.health != Health.LOST:
            return Choice(row, tuple(skipped))
        skipped.append(f"{row.name}@{row.version}")
    return Choice(None, tuple(skipped))


def _age(row: ListedRow) -> tuple[int, int, str, str]:
    step = step_of(CheckpointName(row.name))
    number, short = parse_version(row.version)
    return (step if step is not None else -1, number, short, row.name)


async def resume_from(
    cluster: AsyncCluster, run: str, *, to: Path, stale_ok: bool = False, progress: Progress | None = None
) -> Resumed | None:
    """Gather the newest healthy checkpoint of `run` to the last part of its name below the folder `to`; None when
    nothing is stored of the run.

    Unreachable when so many nodes do not answer that a newer one may exist, unless `stale_ok`; Lost when no good copy
    is left of any; else as `AsyncCluster.gather`.
    """
    run = parse_checkpoint_name(run)
    listing = await cluster.list(f"{run}/")
    every = len(cluster.session.membership.view.storage)
    if not listing.complete:
        missing = f"{len(listing.unreachable)} of {every} nodes did not answer ({', '.join(listing.unreachable)})"
        if not stale_ok:
            raise Unreachable(f"{missing}: a newer checkpoint of {run} may exist", hint=STALE)
        program_log().warning("resuming %s although %s: a newer checkpoint may exist", run, missing)
    # What was last known of its health may be old: each candidate is asked for.
    rows = {(row.name, row.version): msgspec.structs.replace(row, health=Health.UNKNOWN) for row in listing.checkpoints}
    while True:
        choice = newest_healthy(Listing(tuple(rows.values()), listing.complete, listing.unreachable), run)
        if choice.row is None:
            break
        found = await cluster.show(f"{choice.row.name}@{choice.row.version}")
        if found.health != Health.LOST:
            return await _gather(cluster, choice.row, choice.skipped, to, progress)
        rows[found.name, found.version] = msgspec.structs.replace(choice.row, health=Health.LOST)
    if choice.skipped:
        raise Lost(f"no checkpoint of {run} has all its parts left: {', '.join(choice.skipped)}", hint=ALL_LOST)
    program_log().warning("nothing is stored of %s: it begins anew", run)
    return None


async def _gather(
    cluster: AsyncCluster, row: ListedRow, skipped: tuple[str, ...], to: Path, progress: Progress | None
) -> Resumed:
    if skipped:
        log = program_log()
        log.warning("resuming from %s: newer ones have lost parts: %s", row.name, ", ".join(skipped))
    dest = to / row.name.rpartition("/")[2]
    result = await cluster.gather(f"{row.name}@{row.version}", to=dest, progress=progress)
    program_log().info("resuming from %s@%s in %s", row.name, row.version, result.path)
    return Resumed(result.path, row.name, row.version, step_of(CheckpointName(row.name)), skipped)


def resume(
    run: str, *, to: AnyPath, home: AnyPath | None = None, config: AnyPath | None = None, stale_ok: bool = False
) -> Resumed | None:
    """Bring back the newest healthy checkpoint of `run` below the folder `to`, by this machine's identity and settings
    as `roost.connect` finds them; None when nothing is stored of it. See `resume_from` for errors."""
    place = Home.find(os.fspath(home) if home is not None else None)
    settings = load(os.fspath(config) if config is not None else None, home=place).settings

    async def work() -> Resumed | None:
        async with await AsyncCluster.open(place, settings) as cluster:
            return await resume_from(cluster, run, to=Path(to), stale_ok=stale_ok)

    loop = LoopThread()
    try:
        return loop.run(work())
    finally:
        loop.close()


STALE = "bring them back; or, to go on from what the others know, ask with stale_ok=True"
ALL_LOST = "see which parts with: roost show NAME; a node that comes back may have them"
