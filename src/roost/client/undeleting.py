"""Undeleting from the front door: a removed version is brought back, and how it is kept is remembered."""

from roost.checkpoints.progress import Progress
from roost.checkpoints.undelete import undelete
from roost.client.results import UndeleteResult
from roost.client.session import Session
from roost.client.storing import note_copies
from roost.core.checkpoint import Redundancy
from roost.core.ids import split_reference

TWO = Redundancy.parse("2")


async def undelete_version(session: Session, reference: str, progress: Progress, *, dry_run: bool) -> UndeleteResult:
    """Bring the removed version ``NAME@VERSION`` back, as a new version of the same content; see
    `roost.checkpoints.undelete.undelete` for errors."""
    begun = session.runtime.now()
    name, version = split_reference(reference)
    peers, catalogue = session.peers, session.catalogue
    survey = await peers.survey(enough=TWO)
    survey.require_any()
    listed = await catalogue.find_removed(name, version)
    manifest = await catalogue.manifest(listed.manifest)
    done = await undelete(peers, catalogue, survey, listed, manifest, progress, dry_run=dry_run)
    if not dry_run:
        await note_copies(session, done.name, done.version, done.copies)
    return UndeleteResult(
        name=done.name, removed=done.removed, version=done.version, unchanged=done.unchanged, bytes=done.bytes,
        copies=done.copies, degraded=done.degraded, nodes=tuple(survey.name(node) for node in done.nodes),
        seconds=session.runtime.now() - begun, single_machine=done.single_machine, dry_run=dry_run,
        notes=done.notes,
    )  # fmt: skip
