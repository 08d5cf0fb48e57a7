"""`AsyncCluster`: every operation on a cluster, for programs with an event loop, the command line and the coordinator.

Data moves straight between this process and the nodes; no coordinator need run. Each operation loads its own modules:
a command waits for those that it runs and for no others.
"""

import asyncio
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from roost.checkpoints.catalogue import Listed
from roost.checkpoints.peers import Survey
from roost.checkpoints.progress import Progress
from roost.client.reporting import Reporting, Send, to_coordinators
from roost.client.results import (
    ChunkRow,
    ClusterStatus,
    DrainResult,
    FileRow,
    ForgetResult,
    GatherResult,
    Listing,
    NodeRow,
    RemoveResult,
    RepairResult,
    ScrubResult,
    Shown,
    StoreResult,
    UndeleteResult,
    Verdict,
    moment_of,
    rfc3339,
    row_of,
)
from roost.client.session import Session, member_network, open_session
from roost.codec.manifest import Manifest
from roost.core.checkpoint import Redundancy
from roost.core.cluster import Address
from roost.core.errors import RoostError, UsageError
from roost.core.ids import NodeId, split_reference
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.security.identity import Identity
from roost.settings.paths import Home
from roost.settings.schema import Settings

if TYPE_CHECKING:
    from roost.checkpoints.health import Findings
    from roost.client.opened import AsyncOpened
    from roost.client.storing import Held
    from roost.cluster.discovery.finder import Finder

TWO = Redundancy.parse("2")


class AsyncCluster:
    """The cluster as this machine's identity sees it. Open it with `AsyncCluster.open`, use it as a context manager.

    Errors are those of `roost.core.errors`; each says what to do next.
    """

    def __init__(
        self, session: Session, settings: Settings, *, home: Home | None = None, send: Send | None = None
    ) -> None:
        self.session = session
        self._reporting = Reporting(session.runtime, send or to_coordinators(session))
        self._settings = settings
        self._home = home

    @classmethod
    async def open(cls, home: Home, settings: Settings) -> "AsyncCluster":
        """This machine's cluster. NotAdmitted in a home without an identity."""
        runtime = SystemRuntime()
        disk = PosixDisk(home.root)
        identity = await runtime.in_thread(Identity.load, disk)
        finder: Finder | None = None

        def sighted(node: NodeId) -> Sequence[Address]:
            return finder.addresses(node) if finder is not None else ()

        async def look_for(nodes: Collection[NodeId]) -> None:
            from roost.client.discovering import finder_of, seek

            nonlocal finder
            finder = finder or finder_of(runtime, settings, cluster=identity.cluster_hash)
            await asyncio.gather(session.meet_static(settings.discovery.peers), seek(runtime, finder, nodes))

        session = await open_session(
            runtime, member_network(runtime, identity), disk, identity, home.catalogue, sighted=sighted, seek=look_for
        )
        if not session.membership.view.storage:
            await session.meet_static(settings.discovery.peers)
        return cls(session, settings, home=home)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections. Idempotent."""
        await self._reporting.aclose()
        await self.session.close()

    # -- store and gather ----------------------------------------------------------------------------------------

    async def store(
        self, path: Path, *, name: str | None = None, follow: bool = False, redundancy: str | None = None,
        progress: Progress | None = None,
    ) -> StoreResult:  # fmt: skip
        """Store a file or folder; what the result says is durable. See `roost.checkpoints.store.store_held` for errors;
        NotFound when there is no such path."""
        from roost.client.storing import hold

        progress = progress or Progress()
        progress.enter("looking at the files")
        held = await self.session.runtime.in_thread(lambda: hold(path, name=name, follow=follow))
        try:
            return await self.store_held(held, redundancy=redundancy, progress=progress)
        finally:
            held.close()

    async def store_held(
        self, held: "Held", *, redundancy: str | None = None, progress: Progress | None = None
    ) -> StoreResult:
        """Store what `roost.client.storing.hold` has opened, whatever became of its names; it stays open."""
        from roost.client.storing import store_held

        told = progress or Progress()
        return await self._reporting.follow(
            "store", held.name, told, lambda: store_held(self.session, self._settings, held, redundancy, told)
        )

    def backup_failed(self, name: str, error: RoostError) -> None:
        """Let the coordinator count that something was to be stored and is not. Returns at once."""
        self._reporting.backup_failed(name, error)

    async def gather(
        self, reference: str, *, to: Path | None = None, only: str | None = None, force: bool = False,
        progress: Progress | None = None,
    ) -> GatherResult:  # fmt: skip
        """Bring ``NAME`` or ``NAME@VERSION`` back into the folder `to` (default: the name under the working
        directory). See `roost.checkpoints.gather.gather` for errors."""
        told = progress or Progress()
        return await self._reporting.follow(
            "gather", reference, told, lambda: self._gather(reference, to, only, told, force=force)
        )

    async def _gather(
        self, reference: str, to: Path | None, only: str | None, progress: Progress, *, force: bool
    ) -> GatherResult:
        from roost.checkpoints.gather import gather
        from roost.checkpoints.target import Target

        runtime = self.session.runtime
        begun = runtime.now()
        survey, listed, manifest = await self._find(reference)
        dest = await runtime.in_thread(_destination, to if to is not None else Path(listed.name))
        target = Target(PosixDisk(dest.parent), dest.name, manifest, listed.manifest, force=force, only=only)
        done = await gather(self.session.peers, survey, manifest, target, progress)
        return GatherResult(
            name=listed.name, version=listed.version, path=str(dest.parent / target.final), bytes=done.bytes,
            seconds=runtime.now() - begun, failovers=done.failovers, complete=self._complete(survey, manifest),
            already_there=done.already_there, notes=done.notes, repaired=done.repaired,
        )  # fmt: skip

    async def read(self, reference: str, *, cache_bytes: int | None = None) -> "AsyncOpened":
        """Open ``NAME`` or ``NAME@VERSION`` to read some of it; up to `cache_bytes` of what was fetched stay in memory
        (None: 128 MiB). NotFound when there is none; Unreachable when nobody answers."""
        from roost.checkpoints.reading import CACHE_BYTES, Reading
        from roost.client.opened import AsyncOpened

        survey, listed, manifest = await self._find(reference)
        reading = Reading(self.session.peers, manifest, cache_bytes=CACHE_BYTES if cache_bytes is None else cache_bytes)
        complete = self._complete(survey, manifest)
        return AsyncOpened(reading, manifest, name=listed.name, version=listed.version, complete=complete)

    async def _find(self, reference: str) -> tuple[Survey, Listed, Manifest]:
        name, version = split_reference(reference)
        survey = await self.session.peers.survey(enough=TWO)
        survey.require_any()
        listed = await self.session.catalogue.find(name, version)
        return survey, listed, await self.session.catalogue.manifest(listed.manifest)

    @staticmethod
    def _complete(survey: Survey, manifest: Manifest) -> bool:
        return survey.complete(Redundancy.parse(manifest.redundancy).losses)

    # -- what is there -------------------------------------------------------------------------------------------

    async def list(
        self, prefix: str = "", *, newest: bool = False, health: bool = False, removed: bool = False,
        progress: Progress | None = None,
    ) -> Listing:  # fmt: skip
        """What is stored, or with `removed` what was and may be brought back; with `health` the nodes are asked now,
        else what was last known is told with its time."""
        survey = await self.session.peers.survey(enough=TWO)
        survey.require_any()
        listed = await self.session.catalogue.list(prefix=prefix, newest=newest, removed=removed)
        if health:
            told = progress or Progress()
            for number, found in enumerate(listed, 1):
                told.enter(f"asking who has {found.name} ({number:,} of {len(listed):,})")
                await self._examine(survey, found, told)
            listed = await self.session.catalogue.list(prefix=prefix, newest=newest, removed=removed)
        unreachable = tuple(survey.name(node) for node in sorted(survey.problems))
        return Listing(tuple(row_of(found) for found in listed), survey.complete(TWO.losses), unreachable)

    async def show(self, reference: str) -> Shown:
        """One version: its files, its chunks and who has them now."""
        from roost.client.saving import saving_of

        survey, listed, manifest = await self._find(reference)
        findings = await self._examine(survey, listed, Progress(), times=True)
        relatives = await self.session.catalogue.relatives(listed.name)
        saving = await self.session.runtime.in_thread(saving_of, manifest, relatives)
        row = row_of(listed)
        sizes = manifest.object_bytes()
        return Shown(
            name=listed.name, version=listed.version, bytes=listed.bytes, stored_at=row.stored_at,
            redundancy=listed.redundancy, source=listed.source,
            files=tuple(FileRow(f.path, f.kind, f.size, f.sha256.hex()) for f in manifest.files),
            chunks=tuple(
                ChunkRow(
                    i.hex(), sizes[i], tuple(sorted(survey.name(node) for node in findings.holders[i])),
                    {survey.name(node): rfc3339(at) for node, at in sorted(findings.verified[i].items())},
                )
                for i in manifest.objects()
            ),
            health=findings.health, copies=findings.copies, verified_at=moment_of(findings.verified_at),
            complete=self._complete(survey, manifest), bytes_distinct=saving.distinct, bytes_encoded=saving.encoded,
            bytes_shared=saving.shared,
        )  # fmt: skip

    async def verify(
        self, references: Sequence[str] = (), *, deep: bool = False, progress: Progress | None = None
    ) -> Sequence[Verdict]:
        """Ask for every copy of the named versions (all newest versions without names); with `deep` the nodes read
        each back and hash it."""
        survey = await self.session.peers.survey(enough=TWO)
        survey.require_any()
        catalogue = self.session.catalogue
        if references:
            chosen = [await catalogue.find(*split_reference(reference)) for reference in references]
        else:
            chosen = await catalogue.list(newest=True)
        told = progress or Progress()
        async with self._reporting.following("verify", " ".join(references) or "everything", told):
            verdicts = []
            for number, listed in enumerate(chosen, 1):
                told.enter(f"asking who has {listed.name} ({number:,} of {len(chosen):,})")
                verdicts.append(await self._verify(survey, listed, told, deep=deep))
            return verdicts

    async def _verify(self, survey: Survey, listed: Listed, progress: Progress, *, deep: bool) -> Verdict:
        progress.notes.clear()
        findings = await self._examine(survey, listed, progress, deep=deep, times=True)
        damaged = tuple((i.hex(), survey.name(node)) for i, node in findings.damaged)
        return Verdict(
            listed.name, listed.version, findings.health, findings.copies, damaged, deep, tuple(progress.notes),
            moment_of(findings.verified_at),
        )  # fmt: skip

    async def _examine(
        self, survey: Survey, listed: Listed, progress: Progress, *, deep: bool = False, times: bool = False
    ) -> "Findings":
        from roost.checkpoints.health import examine

        catalogue = self.session.catalogue
        manifest = await catalogue.manifest(listed.manifest)
        findings = await examine(self.session.peers, survey, manifest, progress, deep=deep, times=times)
        now = int(self.session.runtime.wall())
        await catalogue.note_health(listed.manifest, findings.health, at=now, verified_at=findings.verified_at)
        return findings

    async def remove(
        self, reference: str, *, now: bool = False, dry_run: bool = False, progress: Progress | None = None
    ) -> RemoveResult:
        """Take a version (all versions without one) off every list; it can be brought back for `retention.undelete`.
        With `now` it cannot, and the nodes free at once what nothing needs. See
        `roost.client.removal.remove_versions` for errors."""
        from roost.client.removal import remove_versions

        keep_s = self._settings.retention.undelete_s
        return await remove_versions(
            self.session, reference, undelete_s=keep_s, now=now, dry_run=dry_run, progress=progress or Progress()
        )

    async def undelete(
        self, reference: str, *, dry_run: bool = False, progress: Progress | None = None
    ) -> UndeleteResult:  # fmt: skip
        """Bring the removed version ``NAME@VERSION`` back, as a new version of the same content; see
        `roost.client.undeleting.undelete_version` for errors."""
        from roost.client.undeleting import undelete_version

        told = progress or Progress()
        if dry_run:
            return await undelete_version(self.session, reference, told, dry_run=True)
        return await self._reporting.follow(
            "undelete", reference, told, lambda: undelete_version(self.session, reference, told, dry_run=False)
        )

    async def repair(self, *, dry_run: bool = False, progress: Progress | None = None) -> RepairResult:
        """Bring everything up to the copies asked, now, without grace and rate, and wait until it is done; with
        `dry_run` only tell what would be copied, and why."""
        from roost.checkpoints.steward import Steward
        from roost.client.overview import repair_result

        steward = Steward(self.session.peers, self.session.catalogue, grace_s=0.0, rate=0)
        told = progress or Progress()
        if dry_run:
            mended = await steward.look(told, dry_run=True, at_once=True)
        else:
            async with self._reporting.following("repair", "everything", told) as outcome:
                mended = await steward.look(told, at_once=True)
                outcome.degraded = mended.short > 0
        return repair_result(mended, self.session.membership.view, dry_run=dry_run)

    async def scrub(self, node: str | None = None, *, progress: Progress | None = None) -> ScrubResult:
        """Let every node, or `node` alone, read back all it holds, now and without a rate; then make again at once what
        was damaged. See `roost.client.scrubbing.scrub` for errors."""
        from roost.client.scrubbing import scrub

        told = progress or Progress()
        async with self._reporting.following("scrub", node or "every node", told):
            return await scrub(self.session, node, told, lambda: self.repair(progress=told))

    async def nodes(self) -> Sequence[NodeRow]:
        """Every storage node, each asked now."""
        from roost.client.overview import node_rows

        await self.session.peers.survey(enough=TWO)
        return await node_rows(self.session)

    async def node_metrics(self, node: str) -> bytes:
        """What the storage node with this id tells of itself, in the text format of Prometheus. NotFound when it is no
        member, Unreachable when it does not answer."""
        from roost.client.overview import node_metrics

        return await node_metrics(self.session, NodeId(node))

    async def drain(
        self, node: str, *, cancel: bool = False, dry_run: bool = False, progress: Progress | None = None
    ) -> DrainResult:
        """Empty a node (its name, its id or the start of it) and let it leave; see `roost.client.members.drain`."""
        from roost.client.members import drain

        told = progress or Progress()
        async with self._reporting.following("drain", node, told):
            return await drain(self.session, node, cancel=cancel, dry_run=dry_run, progress=told)

    async def forget(self, node: str, *, force: bool = False) -> ForgetResult:
        """Strike a dead node off; see `roost.client.members.forget`."""
        from roost.client.members import forget

        return await forget(self.session, node, force=force)

    async def status(self, *, ask: bool = True, progress: Progress | None = None) -> ClusterStatus:
        """Everything at one look; the health of each newest version is asked now, or, without `ask`, what was last
        known."""
        status, _ = await self.overview(ask=ask, progress=progress)
        return status

    async def overview(self, *, ask: bool = True, progress: Progress | None = None) -> tuple[ClusterStatus, Listing]:
        """As `status`, and the newest versions that it counts."""
        from roost.client.overview import node_rows, status_of
        from roost.client.run_state import serving

        listing = await self.list(newest=True, health=ask, progress=progress)
        rows = await node_rows(self.session)
        coordinator = await self.session.runtime.in_thread(serving, self._home) if self._home is not None else None
        return status_of(self._settings, self.session, rows, listing, coordinator), listing


def _destination(to: Path) -> Path:
    """The absolute destination (what it leads to when it is a link); the folders above it are made."""
    dest = Path(os.path.abspath(to))
    if dest.is_symlink():
        dest = Path(os.path.realpath(dest))
    if not dest.name:
        raise UsageError("cannot gather over the root of the file system", hint="name a folder with --to")
    dest.parent.mkdir(parents=True, exist_ok=True)
    return dest
