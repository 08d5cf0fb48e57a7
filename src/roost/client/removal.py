"""Removing from the front door: versions go off every list, and with `now` their space is freed at once."""

from collections.abc import Sequence

from roost.checkpoints.catalogue import Catalogue, Listed
from roost.checkpoints.peers import Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.remove import collect_everywhere, named_by_no_other, remove
from roost.client.results import FreedRow, RemoveResult
from roost.client.session import Session
from roost.core.checkpoint import Redundancy
from roost.core.errors import NotFound
from roost.core.ids import CheckpointName, NodeId, split_reference

TWO = Redundancy.parse("2")


async def remove_versions(
    session: Session, reference: str, *, undelete_s: int, now: bool, dry_run: bool, progress: Progress
) -> RemoveResult:
    """Take ``NAME@VERSION`` (all versions without one) off every list; for `undelete_s` seconds of the nodes' running
    time it can be brought back. With `now` it cannot, also what was removed before, and the nodes free what nothing
    needs at once. NotFound when there is no such version; Unreachable when no node takes it."""
    survey = await session.peers.survey(enough=TWO)
    survey.require_any()
    catalogue = session.catalogue
    chosen = await _chosen(catalogue, *split_reference(reference), now=now)
    told = tuple((str(listed.name), listed.version) for listed in chosen)
    keep_s = 0 if now else undelete_s
    if dry_run:
        alone = await named_by_no_other(catalogue, chosen, wall=session.runtime.wall())
        return RemoveResult(told, (), False, True, keep_s, len(alone), sum(alone.values()))
    todo = [listed for listed in chosen if not _is_gone_for_good(listed)]
    nodes, everywhere = frozenset(survey.reached), len(survey.reached) == len(survey.view.storage)
    if todo:
        versions = [(listed, await catalogue.manifest(listed.manifest)) for listed in todo]
        progress.enter("telling the nodes")
        removed = await remove(session.peers, catalogue, survey, versions, keep_s=keep_s)
        nodes, everywhere = frozenset(removed.nodes), removed.everywhere
    names = tuple(survey.name(node) for node in sorted(nodes))
    freed = await _freed(session, survey, progress) if now else ()
    return RemoveResult(told, names, everywhere, False, keep_s, freed=freed)


async def _chosen(catalogue: Catalogue, name: CheckpointName, version: str | None, *, now: bool) -> Sequence[Listed]:
    if version is None:
        removed = await catalogue.removed_versions(name) if now else []
        live = [listed for listed in await catalogue.list(prefix=name) if listed.name == name]
        return [*removed, *live] or [await catalogue.find(name, None)]
    try:
        return [await catalogue.find(name, version)]
    except NotFound:
        if now:
            for listed in await catalogue.removed_versions(name):
                if listed.version == version:
                    return [listed]
        raise


def _is_gone_for_good(listed: Listed) -> bool:
    """Whether a tombstone says already that it is not kept."""
    return listed.removed_at is not None and listed.kept_until == listed.removed_at


async def _freed(session: Session, survey: Survey, progress: Progress) -> tuple[FreedRow, ...]:
    progress.enter("the nodes free what nothing needs")
    answers = await collect_everywhere(session.peers, survey, progress)
    rows: list[FreedRow] = []
    for node, answer in answers.items():
        name = survey.name(NodeId(node))
        if isinstance(answer, Exception):
            rows.append(FreedRow(name, 0, 0, (), answer.message))
        else:
            rows.append(FreedRow(name, answer.objects, answer.bytes, tuple(answer.waiting), answer.blocked))
    return tuple(sorted(rows, key=lambda row: row.name))
