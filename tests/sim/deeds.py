"""What people do with checkpoints: store, gather, remove and bring back; and what may come of each, given what befell
the cluster."""

from collections.abc import Mapping, Sequence

from roost.checkpoints.catalogue import Listed
from roost.checkpoints.gather import gather
from roost.checkpoints.peers import Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.remove import remove
from roost.checkpoints.scan import scan
from roost.checkpoints.store import Receipt, StoreRequest, store
from roost.checkpoints.target import Target
from roost.checkpoints.undelete import Undeleted, undelete
from roost.client.session import Session
from roost.codec.manifest import Manifest
from roost.core.checkpoint import Redundancy
from roost.core.errors import DiskFault, Lost, NoSpace, NotFound, RoostError, Unreachable
from roost.core.ids import CheckpointName, NodeId, RecordId
from roost.disk.port import FileKind
from roost.testing.cluster import BLOCK_BYTES
from roost.testing.disk import MemoryDisk
from roost.testing.process import SimProcess
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
AILING = 0.15
"""So often the disk for the target of a gather ails; a third as often something of what is stored cannot be read."""
TARGETS = {NoSpace: ("full",), DiskFault: ("disk error",)}
"""What the target's disk suffers from when a gather ends with such an error."""


class Deeds:
    """All that people do; each is checked when it is done."""

    def __init__(self, world: World, office: Office) -> None:
        self._world = world
        self._ledger = world.ledger
        self._office = office
        self._chance = world.chance("deeds")

    # -- store ---------------------------------------------------------------------------------------------------

    async def store(
        self, person: Person, name: str, tree: Tree, redundancy: Redundancy, *, healed: bool = False
    ) -> bool:
        """Store a tree; the receipt is held against the disks the moment it is given. Whether it ended: the process may
        die of it, unless all is `healed`, and then it must succeed in full."""
        attempt = self._ledger.begin(name, tree, redundancy)
        what = f"{person.name} stores {name} #{attempt.number} x{redundancy}"
        self._world.tell(f"{what} begins")
        disk = MemoryDisk(block_bytes=BLOCK_BYTES)
        inside = next(iter(tree.entries)) if tree.single else "source"
        if not tree.single:
            disk.make_directory(inside)
        write_tree(disk, "" if tree.single else inside, tree)
        unreadable = not healed and self._chance.random() < AILING / 3
        if unreadable:
            disk.failing.add(self._chance.choice([path for path, inode in disk.files() if inode.data]))
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

        result = await self._office.operate(person, what, work, mortal=not healed)
        if isinstance(result, Receipt) and unreadable:
            raise Violation(f"{what}: stored, although {disk.failing} cannot be read")
        if isinstance(result, DiskFault) and unreadable:
            self._world.covered.add("store: a source that cannot be read")
            if any(manifest.source == request.source for manifest in self._ledger.listed.values()):
                raise Violation(f"{what}: {result!r}, and yet it is listed")
        elif isinstance(result, RoostError):
            if healed:
                raise Violation(f"{what}: {result!r}, although all is well again")
            self._office.allow(what, "store", result, NoSpace, Unreachable)
            if any(manifest.source == request.source for manifest in self._ledger.listed.values()):
                self._world.covered.add("failed, and yet listed")
                if not self._world.happened & LOSES_ANSWERS:
                    raise Violation(f"{what}: {result!r}, and yet it is listed")
        elif result is not None:
            short = ", degraded" if result.degraded else ""
            self._world.tell(f"#{attempt.number} is {result.version}, {result.copies} copies{short} {result.notes}")
            self._world.covered.add("degraded" if result.degraded else "acknowledged")
            self._world.covered |= {"unchanged"} if result.unchanged else set()
            if result.degraded and (healed or not self._world.troubled):
                raise Violation(f"{what}: degraded, and nothing was wrong: {result.notes}")
        return result is not None

    # -- gather --------------------------------------------------------------------------------------------------

    async def gather(self, person: Person, name: str, *, healed: bool = False) -> None:
        """Gather the newest version, over what is there or beside it, now and then onto a disk that ails; when all is
        `healed`, it must succeed."""
        dest = "kept" if self._chance.random() < 0.5 else person.fresh("out")
        before = read_tree(person.files, dest)
        person.felt.clear()
        if not healed and self._chance.random() < AILING:
            person.ail(self._chance)
        gone = self._ledger.taken_back()
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
            self._check_gone(what, gone, survey, await session.catalogue.list(prefix=name))
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
                person.heal()
                self.check_gathered(what, person.files, dest, manifest, already_there=done.already_there)
            return manifest

        result = await self._office.operate(person, what, work, mortal=not healed)
        person.heal()
        if healed and isinstance(result, RoostError):
            raise Violation(f"{what}: {result!r}, although all is well again")
        if isinstance(result, NoSpace | DiskFault) and person.felt & set(TARGETS[type(result)]):
            self._world.covered.add(f"gather: the target's disk: {type(result).__name__}")
        elif isinstance(result, NotFound) and not any(self._ledger.stands(attempt) for attempt in known):
            self._world.covered.add("gather: NotFound")
        elif isinstance(result, RoostError):
            self._office.allow(what, "gather", result, NotFound, Unreachable, Lost)
        if not isinstance(result, Manifest):
            self._check_untouched(what, person.files, dest, name, before)

    def _check_gone(
        self, what: str, gone: Mapping[RecordId, frozenset[NodeId]], survey: Survey, listed: Sequence[Listed]
    ) -> None:
        """What was taken back before is listed no more, where somebody was asked who still knows of it."""
        for one in listed:
            if gone.get(one.manifest, frozenset()) & survey.reached:
                raise Violation(f"{what}: {one.name}@{one.version} is listed, and was removed")

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
            done = await remove(session.peers, session.catalogue, survey, [(listed, manifest)], keep_s=keep_s)
            if not process.dead:
                self._ledger.acknowledge_removal(what, listed.manifest, done.nodes)
            return listed.version

        result = await self._office.operate(person, what, work)
        if isinstance(result, NotFound):
            self._world.covered.add("remove: NotFound")
        elif isinstance(result, RoostError):
            self._office.allow(what, "remove", result, Unreachable)
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
            if kept and not self._world.troubled:
                raise Violation(f"{what}: {result!r}, but {kept[0]} is kept")
        elif isinstance(result, RoostError):
            self._office.allow(what, "undelete", result, NoSpace, Unreachable)
        elif result is not None:
            self._world.tell(f"{name}@{result.removed} is back as {result.version}, {result.copies} copies")
            self._world.covered.add("undeleted")


def _claim(receipt: Receipt) -> Claim:
    return Claim(receipt.name, receipt.version, receipt.copies, receipt.degraded, receipt.nodes)


def _alike(expected: Entry, found: Entry) -> bool:
    """Whether it is the same entry, after a power cut too: see `difference`."""
    if expected.kind is not FileKind.FILE:
        return (expected.kind, expected.data) == (found.kind, found.data)
    return expected == found
