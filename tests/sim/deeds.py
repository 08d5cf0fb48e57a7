"""What people do to a cluster: store, gather, remove, bring back, repair, collect, add and drain machines; and what may
come of each, given what befell the cluster."""

import asyncio
import contextlib
from collections.abc import Mapping

from roost.checkpoints.delivery import ask_all_have
from roost.checkpoints.drain import set_standing
from roost.checkpoints.gather import gather
from roost.checkpoints.progress import Progress
from roost.checkpoints.remove import remove
from roost.checkpoints.scan import scan
from roost.checkpoints.steward import Mended, Steward
from roost.checkpoints.store import Receipt, StoreRequest, store
from roost.checkpoints.target import Target
from roost.checkpoints.undelete import Undeleted, undelete
from roost.client.session import Session
from roost.codec.manifest import Manifest
from roost.core.checkpoint import Redundancy
from roost.core.errors import Lost, NoSpace, NotFound, RoostError, Unreachable
from roost.core.ids import CheckpointName, NodeId
from roost.disk.port import FileKind
from roost.testing.cluster import BLOCK_BYTES, SimNode
from roost.testing.disk import MemoryDisk
from roost.testing.process import SimProcess
from roost.wire.messages import Collect, Collected
from sim.checkpoints import Entry, Facts, Tree, difference, is_of, read_tree, write_tree
from sim.disks import Oldest
from sim.ledger import Claim, Violation
from sim.people import Office, Person
from sim.world import World

TWO = Redundancy.parse("2")
CHUNK_BYTES_MAX = 64 * 1024
LOSES_ANSWERS = frozenset((
    "power", "power in a write", "power at a step", "kill", "kill at a step", "death", "partition", "one way", "maze",
    "freeze", "slow line", "slow disk", "late", "twice",
))  # fmt: skip
"""Faults after which a store may fail although its commit was done: what it stored is whole or absent then."""
AWARE_S = 1.0


class Deeds:
    """All that people do; each is checked when it is done."""

    def __init__(self, world: World, office: Office) -> None:
        self._world = world
        self._ledger = world.ledger
        self._office = office
        self._chance = world.chance("deeds")

    # -- store ---------------------------------------------------------------------------------------------------

    async def store(
        self, person: Person, name: str, tree: Tree, redundancy: Redundancy, *, dies_after_s: float | None = None
    ) -> None:
        """Store a tree; the receipt is held against the disks the moment it is given."""
        attempt = self._ledger.begin(name, tree, redundancy)
        what = f"{person.name} stores {name} #{attempt.number} x{redundancy}"
        self._world.tell(f"{what} begins")
        disk = MemoryDisk(block_bytes=BLOCK_BYTES)
        inside = next(iter(tree.entries)) if tree.single else "source"
        if not tree.single:
            disk.make_directory(inside)
        write_tree(disk, "" if tree.single else inside, tree)
        request = StoreRequest(
            CheckpointName(name), f"{person.name}:/{attempt.number}", redundancy, chunk_max=CHUNK_BYTES_MAX,
            compress=attempt.number % 4 != 3,
        )  # fmt: skip

        async def work(session: Session, process: SimProcess) -> Receipt:
            found = await process.runtime.in_thread(scan, disk, inside)
            receipt = await store(session.peers, session.catalogue, disk, found, request, Progress())
            if not process.dead:
                self._ledger.acknowledge(attempt, _claim(receipt))
            return receipt

        result = await self._office.operate(person, what, work, dies_after_s=dies_after_s)
        if isinstance(result, RoostError):
            self._allow(what, "store", result, NoSpace, Unreachable)
            if any(manifest.source == request.source for manifest in self._ledger.listed.values()):
                self._world.covered.add("failed, and yet listed")
                if not self._world.happened & LOSES_ANSWERS:
                    raise Violation(f"{what}: {result!r}, and yet it is listed")
        elif result is not None:
            short = ", degraded" if result.degraded else ""
            self._world.tell(f"#{attempt.number} is {result.version}, {result.copies} copies{short} {result.notes}")
            self._world.covered.add("degraded" if result.degraded else "acknowledged")
            self._world.covered |= {"unchanged"} if result.unchanged else set()
            if result.degraded and not self._troubled:
                raise Violation(f"{what}: degraded, and nothing was wrong: {result.notes}")

    @property
    def _troubled(self) -> bool:
        """Whether anything happened that may make an operation fail."""
        return bool(self._world.happened)

    def _allow(self, what: str, deed: str, error: RoostError, *kinds: type[RoostError]) -> None:
        """Violation unless it failed as it may."""
        self._world.covered.add(f"{deed}: {type(error).__name__}")
        if isinstance(error, NoSpace):
            allowed = NoSpace in kinds and "full" in self._world.happened
        else:
            allowed = isinstance(error, kinds) and self._troubled
        if not allowed:
            raise Violation(f"{what}: {error!r} after {sorted(self._world.happened)}")

    # -- gather --------------------------------------------------------------------------------------------------

    async def gather(self, person: Person, name: str) -> None:
        """Gather the newest version, over what is there or beside it."""
        dest = "kept" if self._chance.random() < 0.5 else person.fresh("out")
        before = read_tree(person.files, dest)
        dies_after_s = 10 ** self._chance.uniform(-2, 0.5) if self._chance.random() < 0.15 else None
        known = [a for a in self._ledger.attempts if a.acknowledged and a.name == name]
        what = f"{person.name} gathers {name} to {dest}"

        async def work(session: Session, process: SimProcess) -> Manifest:
            survey = await session.peers.survey(enough=TWO)
            survey.require_any()
            versions = {listed.version for listed in await session.catalogue.list(prefix=name)}
            for attempt in known:
                assert attempt.claim is not None
                expected = survey.complete(attempt.redundancy.losses) and self._ledger.must_survive(attempt)
                if expected and attempt.claim.version not in versions:
                    raise Violation(f"{what}: {attempt.claim.version} is not listed, and nothing is said of it")
            listed = await session.catalogue.find(CheckpointName(name), None)
            manifest = await session.catalogue.manifest(listed.manifest)
            target = Target(person.files, dest, manifest, listed.manifest, force=True)
            try:
                done = await gather(session.peers, survey, manifest, target, Progress())
            except Lost:
                if listed.manifest not in self._ledger.removed and not self._ledger.really_lost(manifest):
                    raise Violation(f"{what}: called lost, but every object is on some disk") from None
                raise
            if not process.dead:
                self.check_gathered(what, person.files, dest, manifest, already_there=done.already_there)
            return manifest

        result = await self._office.operate(person, what, work, dies_after_s=dies_after_s)
        if isinstance(result, NotFound) and not any(self._ledger.stands(attempt) for attempt in known):
            self._world.covered.add("gather: NotFound")
        elif isinstance(result, RoostError):
            self._allow(what, "gather", result, NotFound, Unreachable, Lost)
        if not isinstance(result, Manifest):
            self._check_untouched(what, person.files, dest, name, before)

    def check_gathered(
        self, what: str, disk: MemoryDisk, dest: str, manifest: Manifest, *, already_there: bool = False
    ) -> None:
        """What was just gathered is what was stored as this version, and survives a power cut."""
        self._world.covered.add("gathered")
        attempts = [a for a in self._ledger.attempts if a.name == manifest.name]
        wanted = [a for a in attempts if a.manifest == manifest] or attempts
        now, then = (Facts.NONE, Facts.NONE) if already_there else (Facts.ALL, Facts.OF_FILES)
        for state, facts, when in ((disk, now, ""), (disk.remains(Oldest()), then, " after a power cut")):
            found = read_tree(state, dest)
            problems = [difference(attempt.tree.entries, found, facts) for attempt in wanted]
            if all(problems):
                raise Violation(f"{what}: not what was stored{when}: {problems[-1]}")

    def _check_untouched(
        self, what: str, disk: MemoryDisk, dest: str, name: str, before: Mapping[str, Entry]
    ) -> None:  # fmt: skip
        """Every file that was at the target is there as it was, or, moved over it, as it was stored."""
        now = read_tree(disk, dest)
        for path, entry in before.items():
            allowed = [entry, *(tree.entries[path] for tree in self._ledger.trees_of(name) if path in tree.entries)]
            there = now.get(path)
            if there is None or not any(_alike(one, there) for one in allowed):
                raise Violation(f"{what} failed, and {path} at the target is {'gone' if there is None else 'another'}")

    # -- remove and bring back -----------------------------------------------------------------------------------

    async def remove(self, person: Person, name: str, *, keep_s: int) -> None:
        """Remove the newest version of a name."""
        what = f"{person.name} removes {name}, kept {keep_s} s"

        async def work(session: Session, process: SimProcess) -> str:
            survey = await session.peers.survey(enough=TWO)
            survey.require_any()
            listed = await session.catalogue.find(CheckpointName(name), None)
            manifest = await session.catalogue.manifest(listed.manifest)
            self._ledger.begin_removal([listed.manifest], self._world.loop.time())
            await remove(session.peers, session.catalogue, survey, [(listed, manifest)], keep_s=keep_s)
            return listed.version

        result = await self._office.operate(person, what, work)
        if isinstance(result, NotFound):
            self._world.covered.add("remove: NotFound")
        elif isinstance(result, RoostError):
            self._allow(what, "remove", result, Unreachable)
        elif result is not None:
            self._world.tell(f"{name}@{result} is removed")
            self._world.covered.add("removed")

    async def undelete(self, person: Person, name: str) -> None:
        """Bring the version of a name back that was removed last. While it is kept it is to be had, unless we lost
        it."""
        what = f"{person.name} undeletes {name}"
        kept: list[str] = []

        async def work(session: Session, process: SimProcess) -> Undeleted:
            survey = await session.peers.survey(enough=TWO)
            survey.require_any()
            removed = [one for one in await session.catalogue.list(prefix=name, removed=True) if one.name == name]
            if not removed:
                raise NotFound(f"nothing of {name} was removed")
            listed = max(removed, key=lambda one: self._ledger.removed.get(one.manifest, 0.0))
            manifest = await session.catalogue.manifest(listed.manifest)
            kept_s = (listed.kept_until or 0) - (listed.removed_at or 0)
            began = self._ledger.removed.get(listed.manifest, 0.0)
            if not survey.problems and self._world.loop.time() + AWARE_S < began + kept_s:
                kept.append(listed.version)
            done = await undelete(session.peers, session.catalogue, survey, listed, manifest, Progress())
            if not process.dead:
                tree = next(tree for tree in self._ledger.trees_of(name) if is_of(tree, manifest))
                attempt = self._ledger.begin(name, tree, Redundancy.parse(manifest.redundancy))
                claim = Claim(done.name, done.version, done.copies, done.degraded, done.nodes)
                self._ledger.acknowledge(attempt, claim)
            return done

        result = await self._office.operate(person, what, work)
        if isinstance(result, NotFound):
            self._world.covered.add("undelete: NotFound")
            if kept and not self._troubled:
                raise Violation(f"{what}: {result!r}, but {kept[0]} is kept")
        elif isinstance(result, RoostError):
            self._allow(what, "undelete", result, NoSpace, Unreachable)
        elif result is not None:
            self._world.tell(f"{name}@{result.removed} is back as {result.version}, {result.copies} copies")
            self._world.covered.add("undeleted")

    # -- upkeep --------------------------------------------------------------------------------------------------

    async def collect(self, person: Person) -> None:
        """Let every node free what nothing needs, now: one after the other, or all at once."""
        what = f"{person.name} collects"
        at_once = self._chance.random() < 0.6

        async def work(session: Session, process: SimProcess) -> int:
            return await collect_everywhere(session, at_once=at_once)

        result = await self._office.operate(person, what, work)
        if isinstance(result, int):
            self._world.covered |= {"collected"} if result else set()
            self._world.tell(f"{result} objects were collected")
        elif result is not None:
            self._allow(what, "collect", result, RoostError)

    async def repair(self, person: Person) -> None:
        """Bring everything up to the copies asked, now."""

        async def work(session: Session, process: SimProcess) -> Mended:
            return await Steward(session.peers, session.catalogue, grace_s=0.0, rate=0).look(Progress(), at_once=True)

        result = await self._office.operate(person, f"{person.name} repairs", work)
        if isinstance(result, Mended):
            self._world.tell(f"{result.copies} copies were made, {result.short} objects are short")
            self._world.covered |= {"repaired"} if result.copies else set()
        elif result is not None:
            self._allow("repair", "repair", result, Unreachable)

    async def scatter(self, person: Person, name: str) -> None:
        """Have copies of the newest version made that nobody asked for, as two stewards with different views would."""
        what = f"{person.name} scatters {name}"

        async def work(session: Session, process: SimProcess) -> int:
            survey = await session.peers.survey(enough=TWO)
            survey.require_any()
            listed = await session.catalogue.find(CheckpointName(name), None)
            manifest = await session.catalogue.manifest(listed.manifest)
            holders, _ = await ask_all_have(session.peers, sorted(survey.reached), manifest.objects())
            made = 0
            for object_id, nodes in holders.items():
                for target in sorted(survey.reached - nodes) if nodes else ():
                    with contextlib.suppress(RoostError):
                        problem = await session.peers.pass_on(object_id, holder=min(nodes), target=target)
                        made += not problem
            return made

        result = await self._office.operate(person, what, work)
        if isinstance(result, int):
            self._world.tell(f"{result} copies more were made")
            self._world.covered |= {"scattered"} if result else set()
        elif isinstance(result, RoostError) and not isinstance(result, NotFound):
            self._allow(what, "scatter", result, Unreachable)

    async def drain(self, person: Person, node: SimNode) -> None:
        """Ask for a node to be emptied; the stewards do it."""
        what = f"{person.name} drains {node.name}"

        async def work(session: Session, process: SimProcess) -> None:
            survey = await session.peers.survey(enough=TWO)
            survey.require_any()
            self._world.draining.add(node.number)
            await set_standing(session.catalogue, node.node_id, "draining", at=0)
            await session.peers.survey(enough=TWO)

        result = await self._office.operate(person, what, work)
        self._world.covered.add("drained")
        if isinstance(result, RoostError):
            self._allow(what, "drain", result, Unreachable)


async def collect_everywhere(session: Session, *, at_once: bool) -> int:
    """Let every node that answers free what nothing needs; how many objects went."""
    survey = await session.peers.survey(enough=TWO)
    survey.require_any()
    freed = 0

    async def one(node: NodeId) -> None:
        nonlocal freed
        answer = await session.links.call(node, Collect())
        assert isinstance(answer, Collected)
        freed += answer.objects

    tasks = []
    for node in sorted(survey.reached):
        tasks.append(asyncio.create_task(one(node)))
        if not at_once:
            await asyncio.wait(tasks)
    if tasks:
        await asyncio.wait(tasks)
    errors = [error for task in tasks if (error := task.exception()) is not None]
    if errors:
        raise errors[0]
    return freed


def _claim(receipt: Receipt) -> Claim:
    return Claim(receipt.name, receipt.version, receipt.copies, receipt.degraded, receipt.nodes)


def _alike(expected: Entry, found: Entry) -> bool:
    """Whether it is the same entry, after a power cut too: see `difference`."""
    if expected.kind is not FileKind.FILE:
        return (expected.kind, expected.data) == (found.kind, found.data)
    return expected == found
