"""Undelete: a removed version comes back as a new version of the same content, for as long as the nodes still have it.

It is committed as a store commits, so what a receipt promises holds here too; the tombstone of the old version stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from roost.checkpoints.catalogue import Catalogue, Listed
from roost.checkpoints.delivery import Delivery, Nowhere, ask_all_have, from_holders_only
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.placement import Chooser
from roost.checkpoints.progress import Progress
from roost.checkpoints.renewal import renewing
from roost.checkpoints.room import note_shortage, why_nowhere
from roost.checkpoints.rounds import prove, remember
from roost.codec.manifest import Manifest
from roost.codec.records import encode_record, record_id
from roost.core.checkpoint import Redundancy
from roost.core.errors import NotFound, RoostError, Unreachable
from roost.core.ids import CheckpointName, NodeId, ObjectId
from roost.settings.units import format_duration


@dataclass(frozen=True, slots=True)
class Undeleted:
    """The removed version `removed` is back as `version`; with `unchanged` the newest version had the same content
    already. Of a dry run: what would be, `copies` being those that are there, and `nodes` empty."""

    name: CheckpointName
    removed: str
    version: str
    unchanged: bool
    bytes: int
    copies: int
    degraded: bool
    nodes: tuple[NodeId, ...]
    single_machine: bool
    notes: tuple[str, ...]


async def undelete(
    peers: Peers, catalogue: Catalogue, survey: Survey, listed: Listed, manifest: Manifest, progress: Progress, *,
    dry_run: bool = False,
) -> Undeleted:  # fmt: skip
    """Bring the removed version `listed`, whose record is `manifest`, back.

    Its objects are reserved first, so no collection takes any from then on; what is short of copies is made again from
    those that are there. Raises NotFound when every member answered and collection has taken something of it,
    Unreachable when members that did not answer may have what is missing, and what a store raises.
    """
    survey.require_any()
    undeleting = _Undeleting(peers, catalogue, survey, listed, progress)
    try:
        return await undeleting.run(manifest, dry_run=dry_run)
    except Nowhere:
        error = await why_nowhere(undeleting.delivery, "the undelete", undeleting.sizes)
    raise error


class _Undeleting:
    """One undelete under way."""

    def __init__(
        self, peers: Peers, catalogue: Catalogue, survey: Survey, listed: Listed, progress: Progress
    ) -> None:  # fmt: skip
        self._peers = peers
        self._catalogue = catalogue
        self._survey = survey
        self._listed = listed
        self._progress = progress
        self._chooser = Chooser(survey.view, set(survey.reached))
        self._silent: dict[NodeId, RoostError] = dict(survey.problems)
        self.delivery = Delivery(peers, self._chooser, Redundancy.parse(listed.redundancy).copies, progress)
        self.sizes: Mapping[ObjectId, int] = {}

    async def run(self, removed: Manifest, *, dry_run: bool) -> Undeleted:
        newest = await self._catalogue.newest(self._listed.name)
        same = newest if newest is not None and newest.tree == removed.tree else None
        manifest = same
        if manifest is None or await self._missing(manifest, reserve=not dry_run):
            manifest = msgspec.structs.replace(removed, seq=await self._catalogue.next_seq(self._listed.name))
            missing = await self._missing(manifest, reserve=not dry_run)
            if missing:
                raise self._gone(missing)
        data = encode_record(manifest)
        redundancy = Redundancy.parse(manifest.redundancy)
        self.delivery.wanted = redundancy.copies
        nodes: frozenset[NodeId] = frozenset()
        if dry_run:
            copies = min((self.delivery.copies(i) for i in self.sizes), default=redundancy.copies)
            degraded = copies < redundancy.copies
        else:
            self._progress.enter("waiting for the nodes to confirm")
            async with renewing(self.delivery):
                proof = await prove(self.delivery, data, manifest.objects(), redundancy, from_holders_only)
            await remember(self._catalogue, data, self._progress)
            nodes, copies, degraded = proof.nodes, proof.copies, proof.degraded
            if degraded:
                await note_shortage(self.delivery, self.sizes)
        return Undeleted(
            name=self._listed.name,
            removed=self._listed.version,
            version=manifest.version_of(record_id(data)),
            unchanged=manifest is same,
            bytes=manifest.bytes_total,
            copies=copies,
            degraded=degraded,
            nodes=tuple(sorted(nodes)),
            single_machine=self._survey.view.single_machine,
            notes=tuple(self._progress.notes),
        )

    async def _missing(self, manifest: Manifest, *, reserve: bool) -> list[ObjectId]:
        """The objects of `manifest` that nobody who answers has; the others are reserved where they are."""
        self._progress.enter("asking the nodes what they have")
        self.sizes = manifest.object_bytes()
        holders, problems = await ask_all_have(
            self._peers, sorted(self._survey.reached), list(self.sizes), reserve=reserve
        )
        for node, error in problems.items():
            self._silent[node] = error
            self._chooser.fail(node, error.message)
        for node, error in self._silent.items():
            self._progress.note(f"{self._survey.name(node)} is not reached: {error.message}")
        self.delivery.holders.update(holders)
        return [object_id for object_id in self.sizes if not self.delivery.of(object_id)]

    def _gone(self, missing: list[ObjectId]) -> RoostError:
        what = f"{self._listed.name}@{self._listed.version}"
        some = f"{len(missing):,} of its {len(self.sizes):,} chunks"
        if self._silent:
            names = ", ".join(sorted(self._survey.name(node) for node in self._silent))
            return Unreachable(
                f"{what} cannot be brought back now: {some} are on no node that answers",
                hint=f"bring {names} back, and try again",
            )
        hint = f"store it again, if its source is still there: {self._listed.source}"
        if self._survey.view.left:
            names = ", ".join(sorted(member.name for member in self._survey.view.left))
            return NotFound(
                f"{what} cannot be brought back: {some} are on no node any more, be it that they were collected, or "
                f"that nodes left with them ({names} left)",
                hint=f"{hint}; or bring one that left back, on its machine: roost join TOKEN",
            )
        kept_s = (self._listed.kept_until or 0) - (self._listed.removed_at or 0)
        kept = (
            f"it was kept for {format_duration(kept_s)} of the nodes' running time"
            if kept_s
            else "it was removed to free its space at once"
        )
        return NotFound(
            f"{what} is gone, too late to bring it back: {some} were collected ({kept})",
            hint=hint,
        )
