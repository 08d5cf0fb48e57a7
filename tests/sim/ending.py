"""The end of a run: the survivors are healed and looked after, and then everything that was promised must be there,
nothing that should be gone may be left, and nothing may have grown."""

import asyncio
from collections.abc import Callable
from functools import partial

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
from sim.deeds import TWO, Deeds, collect_everywhere
from sim.disks import has_good, objects_on, records_on
from sim.ledger import Violation
from sim.people import Office, Person, Work
from sim.world import World

CONVERGE_LIMIT_S = 180.0
"""All nodes that live know the same records after two rounds of their agents."""
LEAVE_LIMIT_S = 400.0
"""A node that is drained has left after its stewards looked a few times."""
COLLECT_LIMIT_S = 240.0
ASK_EVERY_S = 15.0
REPAIRS_MAX = 3
"""A node that came back a moment ago is not dialled by everybody at once."""
LONG_S = 600
"""What is kept so long after a removal is not collected in a run."""
UPKEEP_LIMIT_S = 200.0
READER = 2


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
        self._world.cluster.introduce(self._reader.home, [self._chance.choice(alive)])
        await self._operate("the deep look", self._look_deep)
        await self._operate("the scrub", self._scrub)
        await self._repaired()
        await self._emptied()
        await self._operate("the collection", lambda session, _: collect_everywhere(session, at_once=True))
        await self._collected()
        await self._operate("the last look", self._look)
        await self._office.leave(self._reader)
        await require_bounded(self._world)

    async def _operate(self, what: str, work: Work[object]) -> None:
        result = await self._office.operate(self._reader, what, work, limit_s=UPKEEP_LIMIT_S)
        if isinstance(result, RoostError):
            raise Violation(f"{what}: {result!r}, although all is well again")
        self._world.check()

    async def _until(self, holds: Callable[[], bool], within_s: float, otherwise: str) -> None:
        if not await self._world.cluster.until(holds, within_s=within_s):
            raise Violation(otherwise)

    def _agree(self) -> bool:
        alive = self._world.surviving()
        known = {node.node.records.digests() for node in alive if node.node is not None and node.ready}
        return all(node.up and node.ready for node in alive) and len(known) <= 1

    # -- upkeep --------------------------------------------------------------------------------------------------

    async def _look_deep(self, session: Session, process: SimProcess) -> None:
        """A deep look finds just the good copies that there are."""
        survey = await self._survey(session)
        listed = await session.catalogue.list()
        if not listed:
            return
        chosen = self._chance.choice(listed)
        manifest = await session.catalogue.manifest(chosen.manifest)
        before = {wanted: self._holders(wanted) for wanted in manifest.objects()}
        findings = await examine(session.peers, survey, manifest, Progress(), deep=True)
        doubtful = self._world.happened & {"disk error", "lies"}  # what could not be read once is not vouched for
        for wanted, found in findings.holders.items():
            now = self._holders(wanted)  # copies come and go meanwhile, by repair and collection
            if not found <= now | before[wanted] or (not found >= now & before[wanted] and not doubtful):
                raise Violation(
                    f"a deep look at {chosen.name}@{chosen.version} finds {len(found)} copies of "
                    f"{wanted.hex()[:12]}, not {len(now)}"
                )

    def _holders(self, wanted: ObjectId) -> set[NodeId]:
        """Who has a good copy, whether or not it could tell."""
        return {node.node_id for node in self._world.surviving() if has_good(node.disk, wanted)}

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
            for again in (False, True):
                after, damaged = b"", 0
                while True:
                    answer = await session.links.call(node, Scrub(after, 30.0))
                    assert isinstance(answer, Scrubbed)
                    damaged += len(answer.damaged)
                    after = answer.reached
                    if not after:
                        break
                if again and damaged:
                    raise Violation(f"{survey.name(node)} finds damage in every scrub: {damaged // 32} copies")

    async def _repair(self, session: Session, process: SimProcess) -> Mended:
        steward = Steward(session.peers, session.catalogue, grace_s=0.0, rate=0)
        await self._until(self._agree, CONVERGE_LIMIT_S, "records that were damaged do not come back")
        mended = await steward.look(Progress(), at_once=True)
        self._world.tell(f"repaired: {mended.copies} copies, {mended.short} short, {mended.notes} {mended.plan.stuck}")
        return mended

    async def _repaired(self) -> None:
        """Everything that is live and not lost comes to have all its copies, as far as there are machines."""
        for _ in range(REPAIRS_MAX):
            await self._operate("the repair", self._repair)
            if not (short := self._short()):
                return
            await asyncio.sleep(ASK_EVERY_S)
        raise Violation(f"after the repair {short}")

    def _short(self) -> str:
        """Which object has too few copies, if any."""
        alive = self._world.surviving()
        keepers = [node for node in alive if node.number not in self._world.draining]
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
            others = [n for n in self._world.surviving() if n.number not in self._world.draining]
            if not self._world.setting.coordinators or self._ledger.machines(others) < most or node.gone:
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
        survey = await self._survey(session)
        listed = await session.catalogue.list()
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

    def _check_lost(self, what: str, manifest: Manifest, error: RoostError) -> None:
        self._world.covered.add(f"at the end: {type(error).__name__}")
        self._world.tell(f"{what}: {error!r}")
        promised = [a for a in self._ledger.attempts if a.manifest == manifest and self._ledger.must_survive(a)]
        if promised:
            raise Violation(f"{what}: lost within its redundancy: {error!r}")
        if all(any(has_good(node.disk, i) for node in self._world.surviving()) for i in manifest.objects()):
            raise Violation(f"{what}: every object is on a node that answers, and yet: {error!r}")
