"""The steward looks after what is stored: asks who has what, remembers the health, and has short objects copied.

It only ever adds copies, and data moves from node to node, so two stewards at once do no harm.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from roost.checkpoints.catalogue import Catalogue, Listed
from roost.checkpoints.delivery import ask_all_have
from roost.checkpoints.health import assess
from roost.checkpoints.peers import Peers, Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.repair import Copy, Need, Observed, Plan, plan
from roost.codec.manifest import Manifest
from roost.core.checkpoint import Redundancy
from roost.core.errors import Failed, NoSpace, RoostError
from roost.core.ids import NodeId, ObjectId

LOOK_EVERY_S = 60.0
AT_ONCE = 4
ROUNDS_MAX = 8
TWO = Redundancy.parse("2")


@dataclass(frozen=True, slots=True)
class Mended:
    """What one look did. `copies` were made, `bytes` moved; `short` objects still have fewer copies than asked, for
    the reasons that `plan` gives."""

    plan: Plan
    copies: int
    bytes: int
    short: int
    notes: tuple[str, ...]


@dataclass(slots=True)
class Steward:
    """One steward. `rate` is in bytes a second (0: none), `grace_s` how long a machine that went down is waited for."""

    peers: Peers
    catalogue: Catalogue
    grace_s: float
    rate: int
    told: Callable[[Mended], None] | None = None
    _down_since: dict[NodeId, float] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Something changed: look soon."""
        self._woken.set()

    async def run(self) -> None:
        """Look every minute and when woken, for ever. A look that fails is made again by the next."""
        while True:
            self._woken.clear()
            try:
                mended = await self.look(Progress())
                if self.told is not None and (mended.copies or mended.plan.stuck):
                    self.told(mended)
            except RoostError:
                pass  # nobody answers, or the home's disk is full: the next look tells
            try:
                async with self.peers.runtime.timeout(LOOK_EVERY_S):
                    await self._woken.wait()
                await self.peers.runtime.sleep(1.0)
            except TimeoutError:
                continue

    async def look(self, progress: Progress, *, dry_run: bool = False, at_once: bool = False) -> Mended:
        """Look at everything once and repair what is due; with `at_once` without grace and rate, and repeatedly until
        nothing more can be done. Raises Unreachable when no node answers."""
        made, moved = 0, 0
        for round_number in range(ROUNDS_MAX if at_once else 1):
            progress.enter("asking the nodes what they have")
            survey = await self.peers.survey(enough=TWO)
            survey.require_any()
            todo = await self._plan(survey, progress, at_once=at_once, first=round_number == 0)
            if dry_run or not todo.copies:
                break
            progress.enter("copying from node to node")
            progress.bytes_total += todo.bytes
            copies, count = await self._mend(survey, todo.copies, progress, unlimited=at_once)
            made, moved = made + copies, moved + count
            if not copies:
                break
        if made:
            todo = await self._plan(await self.peers.survey(enough=TWO), progress, at_once=at_once, first=False)
        short = len({*(c.object_id for c in todo.copies), *(w.object_id for w in todo.waiting)})
        return Mended(todo, made, moved, short, tuple(progress.notes))

    async def _plan(self, survey: Survey, progress: Progress, *, at_once: bool, first: bool) -> Plan:
        now = self.peers.runtime.now()
        self._down_since = {node: self._down_since.get(node, now) for node in survey.problems}
        if first:
            for node, error in sorted(survey.problems.items()):
                progress.note(f"{survey.name(node)} does not answer: {error.message}")
        versions = await self.catalogue.list()
        manifests = [(listed, await self.catalogue.manifest(listed.manifest)) for listed in versions]
        needs = _needs(manifests)
        holders, problems = await ask_all_have(self.peers, sorted(survey.reached), sorted(needs))
        for node in problems:
            self._down_since.setdefault(node, now)
        await self._note_health(survey, manifests, holders, complete=not problems and not survey.problems)
        known = {i: frozenset(nodes) for i, nodes in holders.items()}
        seen = Observed(now, known, dict(self._down_since))
        return plan(needs, seen, survey.view, grace_s=0.0 if at_once else self.grace_s)

    async def _note_health(
        self, survey: Survey, manifests: Sequence[tuple[Listed, Manifest]], holders: dict[ObjectId, set[NodeId]], *,
        complete: bool,
    ) -> None:  # fmt: skip
        at = int(self.peers.runtime.wall())
        known = {i: frozenset(nodes) for i, nodes in holders.items()}
        for listed, manifest in manifests:
            redundancy = Redundancy.parse(manifest.redundancy)
            health, _ = assess(manifest.objects(), known, survey.view, redundancy, complete=complete)
            await self.catalogue.note_health(listed.manifest, health, at=at, verified_at=None)

    async def _mend(
        self, survey: Survey, copies: Sequence[Copy], progress: Progress, *, unlimited: bool
    ) -> tuple[int, int]:
        """Make `copies` in order, a few at once; (made, bytes)."""
        made: list[Copy] = []
        todo = iter(copies)
        failed: set[NodeId] = set()

        async def worker() -> None:
            for copy in todo:
                if copy.target in failed or copy.source in failed:
                    continue
                if self.rate and not unlimited:
                    await self.peers.runtime.sleep(AT_ONCE * copy.bytes / self.rate)
                try:
                    await self._pass_on(survey, copy, progress)
                except NoSpace as error:
                    failed.add(copy.target)
                    progress.note(f"{survey.name(copy.target)} is full: {error.message}")
                except RoostError as error:
                    progress.note(f"{survey.name(copy.source)} could not pass on: {error.message}")
                else:
                    made.append(copy)
                    progress.advance(copy.bytes)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(worker())
        return len(made), sum(copy.bytes for copy in made)

    async def _pass_on(self, survey: Survey, copy: Copy, progress: Progress) -> None:
        """Have one copy made. The target has the manifest already: the survey exchanged the records with it."""
        name = survey.name(copy.target)
        progress.begin_wait(name)
        try:
            problem = await self.peers.pass_on(copy.object_id, holder=copy.source, target=copy.target)
        finally:
            progress.end_wait(name)
        if problem == NoSpace.code:
            raise NoSpace(f"{name} has no room for a chunk of {copy.bytes} bytes")
        if problem:
            raise Failed(f"{name} did not take a chunk ({problem})")


def _needs(manifests: Sequence[tuple[Listed, Manifest]]) -> dict[ObjectId, Need]:
    """Each object of the live versions, with the most copies that any of them asks for."""
    needs: dict[ObjectId, Need] = {}
    for _, manifest in manifests:
        copies = Redundancy.parse(manifest.redundancy).copies
        for object_id, size in manifest.object_bytes().items():
            known = needs.get(object_id)
            if known is None or known.copies < copies:
                needs[object_id] = Need(copies, size)
    return needs
