"""One run of the simulator: a cluster, what its people do, what befalls it, and at the end what must be true.

Everything is drawn from one seed. The trace of two runs of one seed is the same, to the last step of the loop.
"""

import asyncio
import gc
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from roost.checkpoints.gather import gather
from roost.checkpoints.health import examine
from roost.checkpoints.peers import Survey
from roost.checkpoints.progress import Progress
from roost.checkpoints.scan import scan
from roost.checkpoints.store import Receipt, StoreRequest, store
from roost.checkpoints.target import Target
from roost.client.session import Session
from roost.codec.manifest import Manifest
from roost.core.checkpoint import Redundancy
from roost.core.errors import Lost, NoSpace, NotFound, RoostError, Unreachable
from roost.core.ids import CheckpointName, RecordId
from roost.disk.port import FileKind
from roost.node.node import Node
from roost.security.identity import Identity
from roost.testing.cluster import BLOCK_BYTES, SimCluster, SimNode
from roost.testing.disk import MemoryDisk
from roost.testing.loop import SimulatedLoop, run_simulated
from roost.testing.network import Line
from roost.testing.process import SimProcess
from sim.checkpoints import Entry, Facts, Maker, Tree, difference, read_tree, write_tree
from sim.identities import member
from sim.ledger import Ledger, Oldest, Violation, has_good
from sim.weather import Weather, draw_climate

T = TypeVar("T")

CHUNK_BYTES_MAX = 64 * 1024
OPERATION_LIMIT_S = 60.0
"""No operation on so little data takes longer, whatever happens meanwhile."""
QUICK_LIMIT_S = 40.0
"""Nor longer than this where nodes are frozen, cut off or dead, but none is slow."""
CONVERGE_LIMIT_S = 180.0
"""All nodes that live know the same records after two rounds of their agents."""
RUN_LIMIT_S = 4000.0
STEPS_MAX = 400_000
CLIENTS = 2
NAMES = ("run/step-1", "run/step-2", "other")
LOSES_ANSWERS = frozenset(
    ("power", "power in a write", "kill", "death", "partition", "one way", "freeze", "slow line", "slow disk")
)
"""Faults after which a store may fail although its commit was done: what it stored is whole or absent then."""
LINES = (Line(), Line(), Line(delay_s=(0.001, 0.02), bytes_per_s=6_000_000))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: the digest of its trace, its trace, and what it covered."""

    digest: str
    trace: tuple[str, ...]
    covered: frozenset[str]
    longest_s: float
    nothing_listed: bool


class Failure(AssertionError):
    """A run in which a promise was broken; says how to see it again."""


def run(seed: int) -> Outcome:
    """Run the story of `seed`; Failure when a promise is broken in it."""
    state = random.getstate()
    gc.disable()  # thousands of small objects that all die at the end: collected once, after the run
    random.seed(f"{seed} backoff")  # stamina draws the jitter of its retries from here
    story: list[Story] = []

    async def main() -> Outcome:
        story.append(Story(seed))
        return await story[0].run()

    try:
        return run_simulated(main(), seconds_max=RUN_LIMIT_S, steps_max=STEPS_MAX)
    except BaseException as error:  # supervised: every way to fail is told with the line that replays it
        trace = story[0].trace if story else []
        tail = "\n".join(trace[-25:])
        first = _first(error)
        again = f"again: .venv/bin/pytest tests/sim --seed {seed}"
        raise Failure(f"{type(first).__name__}: {first}\n{tail}\n{again}") from first
    finally:
        random.setstate(state)
        gc.enable()


def _first(error: BaseException) -> BaseException:
    """The error itself, or the first that a group holds."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


class _Client:
    """A person with a machine: a home and a disk for sources and targets, over all the processes that run there."""

    def __init__(self, number: int) -> None:
        self.name = f"client-{number}"
        self.identity: Identity = member(15 - number, machine=100 + number)
        self.address = f"10.0.2.{1 + number}"
        self.home = MemoryDisk(block_bytes=BLOCK_BYTES)
        self.files = MemoryDisk(block_bytes=BLOCK_BYTES)
        self.running: tuple[SimProcess, Session] | None = None
        self.made = 0

    def fresh(self, word: str) -> str:
        """A name that is not on its disk yet."""
        self.made += 1
        return f"{word}-{self.made}"


class Story:
    """One run."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._chance = random.Random(f"{seed} story")
        self._loop = asyncio.get_running_loop()
        self.trace: list[str] = []
        self._covered: set[str] = set()
        self._longest_s = 0.0
        self._bugs: list[str] = []
        identities = self._draw_identities()
        self._redundancies = self._draw_redundancies(len({i.machine for i in identities}), len(identities))
        self._cluster = SimCluster(
            str(seed), identities, line=self._chance.choice(LINES), tell=self._tell, crashes=self._bugs.append,
            watch=self._watch,
        )  # fmt: skip
        self._ledger = Ledger(self._cluster)
        climate = draw_climate(self._chance, self._cluster, losses=min(r.losses for r in self._redundancies))
        self._climate = climate
        weather_chance = random.Random(f"{seed} weather")
        self._weather = Weather(weather_chance, self._cluster, self._ledger, climate, self._tell)
        self._maker = Maker(random.Random(f"{seed} checkpoints"))
        self._clients = [_Client(number) for number in range(CLIENTS)]
        self._tell(f"{len(identities)} nodes, redundancy {[str(r) for r in self._redundancies]}, {climate}")

    def _draw_identities(self) -> list[Identity]:
        count = self._chance.choice((3, 3, 4, 4, 5, 6))
        shared = self._chance.random()
        machines = list(range(count))
        if shared < 0.2:
            machines[-1] = machines[0]
        elif shared < 0.25:
            machines = [0] * count
        return [member(number, machine=machine) for number, machine in enumerate(machines)]

    def _draw_redundancies(self, machines: int, nodes: int) -> list[Redundancy]:
        places = nodes if machines == 1 else machines
        return (
            [Redundancy.parse("2")]
            if places < 4 or self._chance.random() < 0.6
            else [Redundancy.parse(text) for text in self._chance.choice((("3",), ("2", "3")))]
        )

    def _tell(self, what: str) -> None:
        self.trace.append(f"{self._loop.time():.6f} {what}")

    def _watch(self, place: SimNode, node: Node) -> None:
        """Hear of every version that a node comes to list."""
        learn = node.records._added

        def added(record: RecordId, decoded: Any) -> None:
            learn(record, decoded)
            if isinstance(decoded, Manifest):
                self._ledger.hear(place, record, decoded)

        node.records._added = added

    async def run(self) -> Outcome:
        self._loop.set_exception_handler(self._unhandled)
        await self._begin()
        for _ in range(self._chance.choice((2, 3, 4))):
            await self._round()
        await self._weather.clear()
        await self._end()
        self._check()
        return self._outcome()

    async def _begin(self) -> None:
        """The cluster forms: all know one node, and learn of the others from it."""
        for node in self._cluster.nodes:
            self._cluster.introduce(node.disk, self._cluster.nodes[:1] if node.number else [])
            self._cluster.start(node)
        formed = await self._cluster.until(lambda: all(self._sees_all(n) for n in self._cluster.nodes), within_s=90)
        if not formed:
            raise Violation("the cluster did not form")
        for client in self._clients:
            known = self._chance.sample(self._cluster.nodes, self._chance.randrange(1, len(self._cluster.nodes) + 1))
            self._cluster.introduce(client.home, known)

    def _sees_all(self, node: SimNode) -> bool:
        return node.node is not None and len(node.node.membership.view.storage) == len(self._cluster.nodes)

    async def _round(self) -> None:
        """One or two things that people do at once, and what befalls the cluster meanwhile."""
        self._weather.brew()
        clients = self._clients if self._chance.random() < 0.4 else self._clients[:1]
        same = self._maker.tree()
        async with asyncio.TaskGroup() as group:
            for client in clients:
                tree = same if self._chance.random() < 0.3 else None
                group.create_task(self._turn(client, tree))
        self._check()
        await asyncio.sleep(self._chance.choice((0.0, 0.5, 5.0, 70.0)))

    async def _turn(self, client: _Client, tree: Tree | None) -> None:
        name = self._chance.choice(NAMES)
        past = list(self._ledger.trees_of(name))
        if past and self._chance.random() < 0.4:
            await self._gather(client, name)
            return
        if tree is None:
            tree = self._maker.next_step(past[-1]) if past and self._chance.random() < 0.6 else self._maker.tree()
            tree = past[-1] if past and self._chance.random() < 0.2 else tree
        redundancy = self._chance.choice(self._redundancies)
        if self._chance.random() < 0.2:
            await self._store(client, name, tree, redundancy, dies_after_s=10 ** self._chance.uniform(-3, 1))
            if self._chance.random() < 0.7:
                self._covered.add("stored again after a crash")
                await self._store(client, name, tree, redundancy)
        else:
            await self._store(client, name, tree, redundancy)
        if self._chance.random() < 0.5:
            await self._gather(client, name)

    async def _operate(
        self,
        client: _Client,
        what: str,
        work: Callable[[Session, SimProcess], Awaitable[T]],
        dies_after_s: float | None,
    ) -> T | RoostError | None:
        """Run `work` in a process of `client`; its result, its error, or None when the process died first."""
        began = self._loop.time()
        process, session = await self._process_of(client)
        task = process.spawn(_as_task(work(session, process)), name=what)
        limit = OPERATION_LIMIT_S if dies_after_s is None else dies_after_s
        await asyncio.wait([task], timeout=limit)
        took = self._loop.time() - began
        if not task.done():
            process.die()
            client.home, client.files = client.home.crash(self._chance), client.files.crash(self._chance)
            await asyncio.wait([task], timeout=1.0)
            if dies_after_s is None:
                raise Violation(f"{what} is not done after {limit:.0f} s")
            self._tell(f"{client.name} dies during {what}")
            self._covered.add("client died")
            return None
        self._longest_s = max(self._longest_s, took)
        if took > QUICK_LIMIT_S and not self._weather.happened & {"slow disk", "slow line"}:
            raise Violation(f"{what} took {took:.0f} s, and nothing was slow")
        error = task.exception()
        if isinstance(error, RoostError):
            self._tell(f"{what}: {error!r} after {took:.2f} s")
            return error
        result = task.result()
        self._tell(f"{what}: done after {took:.2f} s")
        return result

    async def _process_of(self, client: _Client) -> tuple[SimProcess, Session]:
        """The client's process, which goes on from one thing to the next, or a new one, which knows nothing but what
        its home remembers."""
        if client.running is not None and (client.running[0].dead or self._chance.random() < 0.25):
            process, session = client.running
            if not process.dead:
                await process.spawn(session.close(), name=f"{client.name} ends")
                process.die(silent=False)
                client.home = client.home.kill()
            client.running = None
        if client.running is None:
            client.running = await self._cluster.client(client.name, client.identity, client.address, client.home)
        return client.running

    # -- store and gather --------------------------------------------------------------------------------------------

    async def _store(
        self, client: _Client, name: str, tree: Tree, redundancy: Redundancy, *, dies_after_s: float | None = None
    ) -> None:
        attempt = self._ledger.begin(name, tree, redundancy)
        what = f"{client.name} stores {name} #{attempt.number} x{redundancy}"
        self._tell(f"{what} begins")
        disk = MemoryDisk(block_bytes=BLOCK_BYTES)
        inside = next(iter(tree.entries)) if tree.single else "source"
        if not tree.single:
            disk.make_directory(inside)
        write_tree(disk, "" if tree.single else inside, tree)
        request = StoreRequest(
            CheckpointName(name), f"{client.name}:/{attempt.number}", redundancy, chunk_max=CHUNK_BYTES_MAX,
            compress=attempt.number % 4 != 3,
        )  # fmt: skip

        async def work(session: Session, process: SimProcess) -> Receipt:
            found = await process.runtime.in_thread(scan, disk, inside)
            receipt = await store(session.peers, session.catalogue, disk, found, request, Progress())
            if not process.dead:
                self._ledger.acknowledge(attempt, receipt)
            return receipt

        result = await self._operate(client, what, work, dies_after_s)
        if isinstance(result, RoostError):
            self._allow_store_error(what, result)
            if any(manifest.source == request.source for manifest in self._ledger.listed.values()):
                self._covered.add("failed, and yet listed")
                if not self._weather.happened & LOSES_ANSWERS:
                    raise Violation(f"{what}: {result!r}, and yet it is listed")
        elif result is not None:
            short = ", degraded" if result.degraded else ""
            self._tell(f"#{attempt.number} is {result.version}, {result.copies} copies{short} {result.notes}")
            self._covered.add("degraded" if result.degraded else "acknowledged")
            self._covered |= {"unchanged"} if result.unchanged else set()
            if result.degraded and not self._weather.happened:
                raise Violation(f"{what}: degraded, and nothing was wrong: {result.notes}")

    def _allow_store_error(self, what: str, error: RoostError) -> None:
        self._covered.add(f"store: {type(error).__name__}")
        happened = self._weather.happened
        if isinstance(error, NoSpace):
            allowed = "full" in happened
        else:
            allowed = isinstance(error, Unreachable) and bool(happened)
        if not allowed:
            raise Violation(f"{what}: {error!r} after {sorted(happened)}")

    async def _gather(self, client: _Client, name: str) -> None:
        dest = "kept" if self._chance.random() < 0.5 else client.fresh("out")
        before = read_tree(client.files, dest)
        dies_after_s = 10 ** self._chance.uniform(-2, 0.5) if self._chance.random() < 0.15 else None
        acknowledged = [a for a in self._ledger.attempts if a.acknowledged and a.name == name]
        what = f"{client.name} gathers {name} to {dest}"

        async def work(session: Session, process: SimProcess) -> Manifest:
            survey = await session.peers.survey(enough=Redundancy.parse("2"))
            survey.require_any()
            versions = {listed.version for listed in await session.catalogue.list(prefix=name)}
            for attempt in acknowledged:
                assert attempt.receipt is not None
                known = survey.complete(attempt.redundancy.losses) and self._ledger.must_survive(attempt)
                if known and attempt.receipt.version not in versions:
                    raise Violation(f"{what}: {attempt.receipt.version} is not listed, and nothing is said of it")
            listed = await session.catalogue.find(CheckpointName(name), None)
            manifest = await session.catalogue.manifest(listed.manifest)
            target = Target(client.files, dest, manifest, listed.manifest, force=True)
            try:
                done = await gather(session.peers, survey, manifest, target, Progress())
            except Lost:
                if not self._ledger.really_lost(manifest):
                    raise Violation(f"{what}: called lost, but every object is on some disk") from None
                raise
            if not process.dead:
                self._check_gathered(what, client.files, dest, manifest, already_there=done.already_there)
            return manifest

        result = await self._operate(client, what, work, dies_after_s)
        if isinstance(result, RoostError):
            self._allow_gather_error(what, result, bool(acknowledged))
        if not isinstance(result, Manifest):
            self._check_untouched(what, client.files, dest, name, before)

    def _allow_gather_error(self, what: str, error: RoostError, known: bool) -> None:
        self._covered.add(f"gather: {type(error).__name__}")
        happened = self._weather.happened
        if isinstance(error, NotFound):
            allowed = not known or bool(happened)
        else:
            allowed = isinstance(error, Unreachable | Lost) and bool(happened)
        if not allowed:
            raise Violation(f"{what}: {error!r} after {sorted(happened)}")

    def _check_gathered(
        self, what: str, disk: MemoryDisk, dest: str, manifest: Manifest, *, already_there: bool = False
    ) -> None:
        """What was just gathered is what was stored as this version, and survives a power cut."""
        self._covered.add("gathered")
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

    # -- the end -----------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """The survivors are healed: what was promised is there, what is listed can be had, and what is lost is said
        to be."""
        alive = [node for node in self._cluster.nodes if not node.gone]
        if not await self._cluster.until(lambda: self._agree(alive), within_s=CONVERGE_LIMIT_S):
            raise Violation("the nodes that live do not come to know the same records")
        reader = _Client(CLIENTS)
        self._cluster.introduce(reader.home, [self._chance.choice(alive)] if alive else [])
        await self._operate(reader, "the last look", lambda session, _: self._look(reader, session), None)

    def _agree(self, alive: list[SimNode]) -> bool:
        known = {node.node.records.digests() for node in alive if node.node is not None and node.ready}
        return all(node.up and node.ready for node in alive) and len(known) <= 1

    async def _look(self, reader: _Client, session: Session) -> None:
        survey = await session.peers.survey(enough=Redundancy.parse("2"))
        if not survey.reached:
            if any(not node.gone for node in self._cluster.nodes):
                raise Violation(f"the last look: nobody is reached: {survey.problems}")
            self._covered.add("at the end: nobody")
            return
        listed = await session.catalogue.list()
        versions = {(one.name, one.version) for one in listed}
        for attempt in self._ledger.attempts:
            if self._ledger.must_survive(attempt):
                assert attempt.receipt is not None
                if (attempt.name, attempt.receipt.version) not in versions:
                    raise Violation(f"{attempt.name} {attempt.receipt.version} was acknowledged and is not listed")
        examined = self._chance.choice(listed).manifest if listed else None
        for one in listed:
            manifest = await session.catalogue.manifest(one.manifest)
            dest = reader.fresh("last")
            what = f"the last gather of {one.name}@{one.version}"
            target = Target(reader.files, dest, manifest, one.manifest)
            try:
                await gather(session.peers, survey, manifest, target, Progress())
            except (Lost, Unreachable) as error:
                self._check_lost(what, manifest, error)
            else:
                self._check_gathered(what, reader.files, dest, manifest)
                self._covered.add("gathered at the end")
            if one.manifest == examined:
                await self._check_health(what, session, survey, manifest)

    def _check_lost(self, what: str, manifest: Manifest, error: RoostError) -> None:
        self._covered.add(f"at the end: {type(error).__name__}")
        self._tell(f"{what}: {error!r}")
        promised = [a for a in self._ledger.attempts if a.manifest == manifest and self._ledger.must_survive(a)]
        if promised:
            raise Violation(f"{what}: lost within its redundancy: {error!r}")
        alive = [node for node in self._cluster.nodes if not node.gone]
        if all(any(has_good(node.disk, i) for node in alive) for i in manifest.objects()):
            raise Violation(f"{what}: every object is on a node that answers, and yet: {error!r}")

    async def _check_health(self, what: str, session: Session, survey: Survey, manifest: Manifest) -> None:
        """A deep look finds just the good copies that there are."""
        findings = await examine(session.peers, survey, manifest, Progress(), deep=True)
        for wanted, holders in findings.holders.items():
            good = {n.node_id for n in self._cluster.nodes if not n.gone and has_good(n.disk, wanted)}
            doubtful = "disk error" in self._weather.happened  # what could not be read once is not vouched for
            if not holders <= good or (holders != good and not doubtful):
                raise Violation(
                    f"{what}: a deep look finds {len(holders)} copies of {wanted.hex()[:12]}, not {len(good)}"
                )

    def _check(self) -> None:
        if self._ledger.errors or self._bugs:
            raise Violation("; ".join([*self._ledger.errors, *self._bugs]))

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._bugs.append(f"{context.get('message')}: {context.get('exception')!r} {context.get('task')}")

    def _outcome(self) -> Outcome:
        assert isinstance(self._loop, SimulatedLoop)
        digest = hashlib.sha256("\n".join([*self.trace, str(self._loop.steps)]).encode())
        for node in self._cluster.nodes:
            for path, data in sorted(node.disk.contents().items()):
                digest.update(f"{path}\0".encode() + (data if isinstance(data, bytes) else data.encode()))
        covered = frozenset(self._covered | self._weather.happened)
        return Outcome(digest.hexdigest(), tuple(self.trace), covered, self._longest_s, not self._ledger.listed)


async def _as_task(work: Awaitable[T]) -> T:
    return await work


def _alike(expected: Entry, found: Entry) -> bool:
    """Whether it is the same entry, after a power cut too: see `difference`."""
    if expected.kind is not FileKind.FILE:
        return (expected.kind, expected.data) == (found.kind, found.data)
    return expected == found
