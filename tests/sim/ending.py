"""The end of a run: the survivors are healed and looked after, and then everything that was promised must be there,
nothing that should be gone may be left, and nothing may have grown."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

from roost.checkpoints.gather import gather
from roost.checkpoints.health import examine
from roost.checkpoints.peers import Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.steward import Mended, Steward
from roost.checkpoints.target import Target
from roost.client.session import Session
from roost.codec.manifest import Manifest
from roost.codec.records import Tombstone
from roost.core.checkpoint import Redundancy
from roost.core.errors import Lost, RoostError, Unreachable
from roost.core.ids import NodeId, ObjectId, RecordId
from roost.testing.cluster import SimNode
from roost.testing.process import SimProcess
from roost.wire.messages import Scrub, Scrubbed
from sim.bounds import require_bounded
from sim.checkpoints import Maker
from sim.deeds import TWO, Deeds
from sim.disks import has_good, objects_on, records_on
from sim.ledger import Violation, require
from sim.people import Office, Person, Work
from sim.upkeep import collect_everywhere
from sim.world import World

CONVERGE_LIMIT_S = 180.0
"""All nodes that live know the same records after two rounds of their agents."""
LEAVE_LIMIT_S = 400.0
"""A node that is drained has left after its stewards looked a few times."""
COLLECT_LIMIT_S = 240.0
ASK_EVERY_S = 15.0
LOOKS = 2
REPAIRS_MAX = 3
"""A node that came back a moment ago is not dialled by everybody at once."""
ALONE_LIMIT_S = 700.0
"""Coordinators that nobody asks to have repaired everything by then: a node that was full is given nothing for 300 s,
and everything is looked at every 600 s."""
LOOK_EVERY_S = 5.0
FRESH = "fresh"
HASH_BYTES = 32
LONG_S = 600
"""What is kept so long after a removal is not collected in a run."""
UPKEEP_LIMIT_S = 200.0
READER = 2

T = TypeVar("T")


class Ending:
    """Looks at everything once more."""

    def __init__(self, world: World, office: Office, deeds: Deeds) -> None:
        self._world = world
        self._ledger = world.ledger
        self._office = office
        self._deeds = deeds
        self._chance = world.chance("ending")
        self._reader = Person(READER)

    async def run(self) -> None:
        """Violation when anything is not as it must be."""
        alive = self._world.surviving()
        if not alive:
            self._world.covered.add("at the end: nobody")
            return
        await self._until(self._agree, CONVERGE_LIMIT_S, "the nodes that live do not come to know the same records")
        self._world.draining &= self._known_to_drain(alive[0])
        self._world.cluster.introduce(self._reader.home, [self._chance.choice(alive)])
        await self._operate("the first meeting", self._meet_all)
        await self._operate("the deep look", self._look_deep)
        await self._operate("the scrub", self._scrub)
        await self._repaired_alone()
        await self._repaired()
        await self._settled()
        await self._emptied()
        await self._operate("the collection", lambda session, _: collect_everywhere(session, at_once=True))
        await self._collected()
        await self._operate("the last look", self._look)
        await self._go_on()
        await self._office.leave(self._reader)
        await require_bounded(self._world)

    async def _operate(self, what: str, work: Work[T]) -> T:
        result = await self._office.operate(self._reader, what, work, mortal=False, limit_s=UPKEEP_LIMIT_S)
        if isinstance(result, RoostError):
            raise Violation(f"{what}: {result!r}, although all is well again")
        self._world.check()
        return cast(T, result)

    async def _until(self, holds: Callable[[], bool], within_s: float, otherwise: str) -> None:
        if not await self._world.cluster.until(holds, within_s=within_s):
            raise Violation(otherwise)

    def _agree(self) -> bool:
        alive = self._world.surviving()
        known = {node.node.records.digests() for node in alive if node.node is not None and node.ready}
        return all(node.up and node.ready for node in alive) and len(known) <= 1

    def _known_to_drain(self, node: SimNode) -> set[int]:
        """The nodes of which it is known that they are being emptied, or have left: who wanted that may have died."""
        assert node.node is not None
        view = node.node.membership.view
        members = {other.number: view.member(other.node_id) for other in self._world.cluster.nodes}
        return {number for number, member in members.items() if member is None or member.draining}

    # -- upkeep --------------------------------------------------------------------------------------------------

    async def _look_deep(self, session: Session, process: SimProcess) -> None:
        """A deep look finds just the good copies that there are."""
        survey = await self._survey(session)
        listed = await session.catalogue.list()
        if not listed:
            return
        chosen = self._chance.choice(listed)
        manifest = await session.catalogue.manifest(chosen.manifest)
        problem = ""
        for _ in range(LOOKS):  # what is renamed into its place is known of only a moment later
            problem = await self._misjudged(session, survey, manifest)
            if not problem:
                return
            await asyncio.sleep(1.0)
        raise Violation(f"a deep look at {chosen.name}@{chosen.version} {problem}")

    async def _misjudged(self, session: Session, survey: Survey, manifest: Manifest) -> str:
        """What a deep look says otherwise than it is, if anything."""
        before = {wanted: self._holders(wanted) for wanted in manifest.objects()}
        findings = await examine(session.peers, survey, manifest, Progress(), deep=True)
        doubtful = self._world.happened & {"disk error", "lies"}  # what could not be read once is not vouched for
        for wanted, found in findings.holders.items():
            now = self._holders(wanted)  # copies come and go meanwhile, by repair and collection
            if not found <= now | before[wanted] or (not found >= now & before[wanted] and not doubtful):
                return f"finds {len(found)} copies of {wanted.hex()[:12]}, not {len(now)}"
        return ""

    def _holders(self, wanted: ObjectId) -> set[NodeId]:
        """Who has a good copy, whether or not it could tell."""
        return {node.node_id for node in self._world.surviving() if has_good(node.disk, wanted)}

    async def _meet_all(self, session: Session, process: SimProcess) -> None:
        """Who knows one node comes to know all, if not at once: bits may have turned in what that one knows of the
        others, which it notices now, and learns again."""
        end = self._world.loop.time() + CONVERGE_LIMIT_S
        while self._world.loop.time() < end:
            survey = await session.peers.survey(enough=TWO)
            if not {node.node_id for node in self._world.surviving()} - survey.reached:
                return
            await asyncio.sleep(ASK_EVERY_S)
        await self._survey(session)

    async def _survey(self, session: Session) -> Survey:
        survey = await session.peers.survey(enough=TWO)
        alive = {node.node_id for node in self._world.surviving()}
        if alive - survey.reached:
            raise Violation(f"of those who live, some are not reached: {survey.problems}")
        return survey

    async def _scrub(self, session: Session, process: SimProcess) -> None:
        """Every node reads back all it has, twice: the second time no damage is found any more."""
        survey = await self._survey(session)
        for node in sorted(survey.reached):
            try:
                damaged = [await self._scrubbed(session, node) for _ in range(2)]
            except RoostError:
                if not self._world.cluster.node_of(node).left:
                    raise
            else:
                require(not damaged[1], f"{survey.name(node)} finds damage in every scrub: {damaged[1]} copies")

    async def _scrubbed(self, session: Session, node: NodeId) -> int:
        """Let a node read back all it has; how many damaged copies it found."""
        after, damaged = b"", 0
        while True:
            answer = await session.links.call(node, Scrub(after, 30.0))
            assert isinstance(answer, Scrubbed)
            damaged += len(answer.damaged) // HASH_BYTES
            after = answer.reached
            if not after:
                return damaged

    async def _repair(self, session: Session, process: SimProcess) -> Mended:
        steward = Steward(session.peers, session.catalogue, grace_s=0.0, rate=0)
        await self._until(self._agree, CONVERGE_LIMIT_S, "records that were damaged do not come back")
        mended = await steward.look(Progress(), at_once=True)
        self._world.tell(f"repaired: {mended.copies} copies, {mended.short} short, {mended.notes} {mended.plan.stuck}")
        return mended

    async def _repaired_alone(self) -> None:
        """Where coordinators run, everything comes to have all its copies without a person who asks for it."""
        if not self._world.setting.coordinators:
            return
        began = self._world.loop.time()
        while short := self._short():
            if self._world.loop.time() - began > ALONE_LIMIT_S:
                raise Violation(f"left to the coordinators for {ALONE_LIMIT_S:.0f} s, {short}")
            await asyncio.sleep(LOOK_EVERY_S)
        if (took := self._world.loop.time() - began) > LOOK_EVERY_S:
            self._world.tell(f"the coordinators repaired it all in {took:.0f} s")
            self._world.covered.add("repaired by coordinators")

    async def _repaired(self) -> None:
        """Everything that is live and not lost comes to have all its copies, as far as there are machines."""
        for _ in range(REPAIRS_MAX):
            await self._operate("the repair", self._repair)
            if not (short := self._short()):
                return
            await asyncio.sleep(ASK_EVERY_S)
        raise Violation(f"after the repair {short}")

    async def _settled(self) -> None:
        """Repair comes to an end: once all is repaired, nothing is copied any more."""
        mended = None
        for _ in range(REPAIRS_MAX):
            mended = await self._operate("one more look", self._repair)
            if not mended.copies:
                return
            await asyncio.sleep(ASK_EVERY_S)
        raise Violation(f"repair has no end: one more look makes {mended.copies if mended else 0} copies")

    def _short(self) -> str:
        """Which object has too few copies, if any."""
        alive = self._world.surviving()
        keepers = self._keepers()
        for record, manifest in sorted(self._live(alive[0]).items()):
            wanted = min(Redundancy.parse(manifest.redundancy).copies, self._ledger.machines(keepers))
            for i in manifest.objects():
                holders = [node for node in alive if has_good(node.disk, i)]
                if holders and self._ledger.machines(holders) < wanted:
                    return (
                        f"{i.hex()[:12]} of {manifest.name}@{manifest.version_of(record)} is on "
                        f"{[node.name for node in holders]}, not on {wanted} machines"
                    )
        return ""

    def _keepers(self) -> list[SimNode]:
        """The nodes that live and that nobody empties."""
        return [node for node in self._world.surviving() if node.number not in self._world.draining]

    def _live(self, node: SimNode) -> dict[RecordId, Manifest]:
        """The manifests on a node's disk that no tombstone there takes back."""
        records = records_on(node.disk)
        gone = {record.manifest for record in records.values() if isinstance(record, Tombstone)}
        return {i: r for i, r in records.items() if isinstance(r, Manifest) and i not in gone}

    async def _emptied(self) -> None:
        """Who is drained has left, where enough machines are there to take over and a steward runs."""
        nodes = [self._world.cluster.nodes[number] for number in sorted(self._world.draining)]
        most = max(redundancy.copies for redundancy in self._world.setting.redundancies)
        for node in nodes:
            short = self._ledger.machines(self._keepers()) < most
            if not self._world.setting.coordinators or short or node.gone:
                continue
            alive = self._world.surviving()
            if any(self._ledger.really_lost(manifest) for manifest in self._live(alive[0]).values()):
                continue
            left = partial(getattr, node, "left")
            await self._until(left, LEAVE_LIMIT_S, f"{node.name} is drained and does not leave")
            self._world.covered.add("left")

    async def _collected(self) -> None:
        """What no live version needs, and nobody may bring back, goes from every disk."""
        end = self._world.loop.time() + COLLECT_LIMIT_S
        while self._garbage():
            if self._world.loop.time() > end:
                raise Violation(f"not collected: {self._garbage()}")
            await asyncio.sleep(ASK_EVERY_S)
            await self._operate("the collection", lambda session, _: collect_everywhere(session, at_once=True))

    def _garbage(self) -> str:
        """What a node keeps although nothing needs it, and what it says to that. A record that was lost everywhere
        holds up collection for good: it might name anything."""
        for node in self._world.surviving():
            assert node.node is not None
            records = records_on(node.disk)
            kept_s: dict[RecordId, int] = {}
            for record in records.values():
                if isinstance(record, Tombstone):
                    manifest = RecordId(record.manifest)
                    kept_s[manifest] = min(record.keep_s, kept_s.get(manifest, record.keep_s))
            needed: set[ObjectId] = set()
            for record_id, record in records.items():
                if isinstance(record, Manifest) and kept_s.get(record_id, LONG_S) >= LONG_S:
                    needed.update(record.objects())
            left = set(objects_on(node.disk)) - needed
            if left and not node.node.records.wanted:
                return f"{node.name} keeps {len(left)} objects: {node.node.collector.status}"
        return ""

    # -- the last look -------------------------------------------------------------------------------------------

    async def _look(self, session: Session, process: SimProcess) -> None:
        """What was promised is listed, what is listed can be had, and what is lost is said to be."""
        gone = self._ledger.taken_back()
        survey = await self._survey(session)
        listed = await session.catalogue.list()
        for one in listed:
            if gone.get(one.manifest):
                raise Violation(f"{one.name}@{one.version} is listed, and was removed")
        versions = {(one.name, one.version) for one in listed}
        for attempt in self._ledger.attempts:
            if self._ledger.must_survive(attempt):
                assert attempt.claim is not None
                if (attempt.name, attempt.claim.version) not in versions:
                    raise Violation(f"{attempt.name} {attempt.claim.version} was acknowledged and is not listed")
        if not listed:
            self._world.covered.add("at the end: nothing is listed any more")
        for one in listed:
            manifest = await session.catalogue.manifest(one.manifest)
            dest = self._reader.fresh("last")
            what = f"the last gather of {one.name}@{one.version}"
            target = Target(self._reader.files, dest, manifest, one.manifest)
            try:
                await gather(session.peers, survey, manifest, target, Progress())
            except (Lost, Unreachable) as error:
                self._check_lost(what, manifest, error)
            else:
                self._deeds.check_gathered(what, self._reader.files, dest, manifest)
                self._world.covered.add("gathered at the end")

    async def _go_on(self) -> None:
        """What is stored now is stored in full, and can be had."""
        machines = self._ledger.machines(self._keepers())
        fitting = [r for r in self._world.setting.redundancies if r.copies <= machines]
        if fitting:
            tree = Maker(self._chance).tree()
            await self._deeds.store(self._reader, FRESH, tree, self._chance.choice(fitting), healed=True)
            await self._deeds.gather(self._reader, FRESH, healed=True)
            self._world.covered.add("goes on")

    def _check_lost(self, what: str, manifest: Manifest, error: RoostError) -> None:
        self._world.covered.add(f"at the end: {type(error).__name__}")
        self._world.tell(f"{what}: {error!r}")
        promised = [a for a in self._ledger.attempts if a.manifest == manifest and self._ledger.must_survive(a)]
        if promised:
            raise Violation(f"{what}: lost within its redundancy: {error!r}")
        if all(any(has_good(node.disk, i) for node in self._world.surviving()) for i in manifest.objects()):
            raise Violation(f"{what}: every object is on a node that answers, and yet: {error!r}")
