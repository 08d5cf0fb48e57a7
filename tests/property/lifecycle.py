"""The life of checkpoints under hypothesis: stored, removed, brought back, collected, while nodes crash, lose their
disks and do not hear of each other; against a model that knows only what was promised. `test_lifecycle.py` lets it run.
"""

import asyncio
import hashlib
import random
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from checkpoint_kits import make_kit, member, memory_catalogue, noise, path_of, start_node
from collection_kits import DAY, HOUR, Estate
from roost.checkpoints.catalogue import Listed
from roost.checkpoints.gather import gather
from roost.checkpoints.peers import Peers
from roost.checkpoints.progress import Progress
from roost.checkpoints.remove import remove
from roost.checkpoints.scan import scan
from roost.checkpoints.steward import Steward
from roost.checkpoints.store import StoreRequest, store
from roost.checkpoints.target import Target
from roost.checkpoints.undelete import undelete
from roost.core.checkpoint import Redundancy
from roost.core.errors import NotFound, RoostError, Unreachable, UsageError
from roost.core.ids import CheckpointName, ObjectId, RecordId
from roost.net.links import REFUSAL_S
from roost.testing.disk import MemoryDisk
from roost.testing.files import PowerCut
from roost.testing.loop import SimulatedLoop

T = TypeVar("T")
Files = frozenset[int]

NODES = 3
REDUNDANCY = Redundancy.parse("2")
CHUNK_BYTES = 4096
KEEP_S = 7 * 86_400
NAMES = (CheckpointName("run/step-1"), CheckpointName("run/step-2"))
CONTENTS: tuple[Files, ...] = tuple(frozenset(files) for files in ((1, 2), (2, 3), (4,), (5, 6), (1, 7)))
"""Which files a checkpoint is made of, one chunk each: any two have something in common, or nothing."""
PAUSES = (60.0, 50 * 60.0, 3 * HOUR, 25 * HOUR, 8 * DAY)
DOWN_MAX = 2

nodes = st.integers(1, NODES)
contents = st.sampled_from(CONTENTS)
names = st.sampled_from(NAMES)
moments = st.none() | st.floats(0.0, 0.3)


@dataclass(slots=True, eq=False)
class Version:
    """What was promised of one version: on `copies` machines when it was acknowledged, of whose disks `losses` were
    lost since. `gone_at` is when it may be gone, for it was removed; None while it lives."""

    name: CheckpointName
    version: str
    record: RecordId
    objects: list[ObjectId]
    files: Files
    copies: int
    losses: int = 0
    gone_at: float | None = None

    @property
    def left(self) -> int:
        """On how many machines it must still be."""
        return max(0, self.copies - self.losses)


@dataclass(slots=True)
class Model:
    """All that was ever acknowledged."""

    versions: dict[RecordId, Version] = field(default_factory=dict)

    def living(self) -> list[Version]:
        return [v for v in self.versions.values() if v.gone_at is None]

    def may_be_back(self, now: float) -> list[Version]:
        """Removed, and the time in which it can be brought back is not over."""
        return [v for v in self.versions.values() if v.gone_at is not None and now < v.gone_at]


class Lifecycle(RuleBasedStateMachine):
    """Three nodes on machines of their own, and one person at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.chance = random.Random(7)
        self.down: set[int] = set()
        self.made = 0
        self.bugs: list[str] = []
        self.runner = asyncio.Runner(loop_factory=lambda: SimulatedLoop(seconds_max=1e9))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        async def main() -> Estate:
            estate = Estate(await make_kit([member(number + 1) for number in range(NODES)]))
            for number in estate.kit.nodes:
                await estate.attach(number)
            for files in CONTENTS:
                disk = estate.kit.source
                disk.make_directory(where(files))
                for number in files:
                    file = disk.create(f"{where(files)}/{number}")
                    file.pwrite(noise(CHUNK_BYTES, number), 0)
                    file.close()
            return estate

        self.runner.get_loop().set_exception_handler(self._unhandled)
        self.estate = self.run(main())
        self.kit = self.estate.kit
        for name in NAMES:
            self.run(self._store(name, CONTENTS[0]))

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A task ended with a bug; what a dead node's tasks still do is none."""
        error = context.get("exception")
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, PowerCut):
            self.bugs.append(f"{context.get('message')}: {error!r}")

    @property
    def now(self) -> float:
        return self.kit.runtime.now()

    def up(self) -> list[int]:
        return sorted(set(self.kit.nodes) - self.down)

    # -- people ----------------------------------------------------------------------------------------------------

    async def _meanwhile(self, crash: int | None, at: float | None, *, collecting: bool) -> None:
        """What happens while people do something."""
        if at is not None and crash is not None:
            await asyncio.sleep(at)
            if crash not in self.down and len(self.down) < DOWN_MAX:
                await self._crash(crash)
        if collecting:
            await self._collect(self.up())

    async def _with(self, work: Coroutine[Any, Any, T], meanwhile: Coroutine[Any, Any, None]) -> T | RoostError:
        """The result of `work`, or its error."""
        beside = asyncio.create_task(meanwhile)
        try:
            return await work
        except RoostError as error:
            return error
        finally:
            await beside

    @rule(name=names, files=contents, crash=nodes, at=moments, collecting=st.booleans())
    def stores(self, name: CheckpointName, files: Files, crash: int, at: float | None, collecting: bool) -> None:
        self.run(self._store(name, files, crash=crash, at=at, collecting=collecting))

    async def _store(
        self, name: CheckpointName, files: Files, *, crash: int = 1, at: float | None = None, collecting: bool = False
    ) -> None:
        kit = self.kit
        request = StoreRequest(name, "here:/out", REDUNDANCY, CHUNK_BYTES)
        found = scan(kit.source, where(files))
        newest = await self._newest(name)
        whole = newest is not None and newest.files == files and newest.left == REDUNDANCY.copies and not self.down
        receipt = await self._with(
            store(kit.peers, kit.catalogue, kit.source, found, request, Progress()),
            self._meanwhile(crash, at, collecting=collecting),
        )
        assert not isinstance(receipt, RoostError), f"{len(self.up())} nodes are up, and yet: {receipt!r}"
        assert receipt.degraded == (receipt.copies < REDUNDANCY.copies)
        if not self.down:
            assert not receipt.degraded
        if newest is not None and whole:
            assert (receipt.unchanged, receipt.version) == (True, newest.version)
        await self._acknowledge(name, receipt.version, files, receipt.copies)

    async def _newest(self, name: CheckpointName) -> Version | None:
        """The newest version of the name that this person knows, if it lives."""
        listed = [v for v in await self.kit.catalogue.list(prefix=name) if v.name == name]
        version = self.model.versions.get(listed[-1].manifest) if listed else None
        return version if version is not None and version.gone_at is None else None

    async def _acknowledge(self, name: CheckpointName, version: str, files: Files, copies: int) -> None:
        listed = await self.kit.catalogue.find(name, version)
        manifest = await self.kit.catalogue.manifest(listed.manifest)
        assert len(manifest.objects()) == len(files)
        self.model.versions[listed.manifest] = Version(
            name, version, listed.manifest, manifest.objects(), files, copies
        )

    async def _listed(self) -> list[Listed]:
        await self.kit.survey()
        return await self.kit.catalogue.list()

    @rule(data=st.data(), now=st.booleans())
    def removes(self, data: st.DataObject, now: bool) -> None:
        listed = self.run(self._listed())
        if not listed:
            return
        one = data.draw(st.sampled_from(listed))
        keep_s = 0 if now else KEEP_S

        async def main() -> None:
            survey = await self.kit.survey()
            manifest = await self.kit.catalogue.manifest(one.manifest)
            await remove(self.kit.peers, self.kit.catalogue, survey, [(one, manifest)], keep_s=keep_s)
            gone = self.model.versions[one.manifest]
            gone.gone_at = min(self.now + keep_s, gone.gone_at if gone.gone_at is not None else self.now + keep_s)
            assert one.manifest not in {v.manifest for v in await self._listed()}

        self.run(main())

    @precondition(lambda self: any(v.gone_at is not None for v in self.model.versions.values()))
    @rule(
        data=st.data(), after=st.sampled_from((0.0, 3 * HOUR, 8 * DAY)), crash=nodes, at=moments,
        collecting=st.booleans(),
    )  # fmt: skip
    def undeletes(
        self, data: st.DataObject, after: float, crash: int, at: float | None, collecting: bool
    ) -> None:  # fmt: skip
        """At once, or when time has passed and the nodes have collected."""
        removed = [v for v in self.model.versions.values() if v.gone_at is not None]
        old = data.draw(st.sampled_from(sorted(removed, key=lambda v: (v.gone_at or 0.0, v.record))))

        async def main() -> None:
            kit = self.kit
            if after:
                await asyncio.sleep(after)
                await self._collect(self.up())
            survey = await kit.survey()
            listed = await self._find_removed(old)
            if listed is None:
                return
            manifest = await kit.catalogue.manifest(listed.manifest)
            promised = old in self.model.may_be_back(self.now + 60)
            done = await self._with(
                undelete(kit.peers, kit.catalogue, survey, listed, manifest, Progress()),
                self._meanwhile(crash, at, collecting=collecting),
            )
            if isinstance(done, RoostError):
                assert not (promised and old.left > len(self.down)), f"it was promised, and yet: {done!r}"
                assert isinstance(done, NotFound | Unreachable)
                if isinstance(done, NotFound):
                    assert not all(self._holders(i) for i in old.objects), f"all of it is there, and yet: {done!r}"
                return
            if not done.unchanged:
                assert done.version != old.version
            assert done.degraded == (done.copies < REDUNDANCY.copies)
            await self._acknowledge(old.name, done.version, old.files, done.copies)

        self.run(main())

    async def _find_removed(self, old: Version) -> Listed | None:
        """None when this person does not know of the version, or not of its removal."""
        try:
            return await self.kit.catalogue.find_removed(old.name, old.version)
        except (NotFound, UsageError):
            if self._somebody_knows(old):
                raise
            return None

    def _somebody_knows(self, version: Version) -> bool:
        """Whether a node that is up knows both the version and that it was removed."""
        return any(version.record in self.kit.nodes[n].records and self._knows_removal(n, version) for n in self.up())

    def _knows_removal(self, number: int, version: Version) -> bool:
        references = self.estate.collectors[number]._references
        return not references.is_live(version.record) and version.record in self.kit.nodes[number].records

    @rule(newcomer=st.booleans())
    def looks(self, newcomer: bool) -> None:
        """What lives is listed and comes back byte for byte, as long as enough of it is left; also to a newcomer, who
        knows nothing but the nodes."""

        async def main() -> None:
            kit = self.kit
            if newcomer:
                kit.catalogue = await memory_catalogue(kit.runtime)
                kit.peers = Peers(kit.runtime, kit.links, lambda: kit.view, kit.catalogue)
            await self._look()

        self.run(main())

    async def _look(self) -> None:
        kit = self.kit
        listed = {v.manifest for v in await self._listed()}
        assert listed <= set(self.model.versions), "something is listed that was never acknowledged"
        survey = await kit.survey()
        for version in self.model.versions.values():
            if version.gone_at is not None:
                if version.record in listed:
                    assert not self._somebody_knows(version), f"{version.version} was removed, and is listed"
                continue
            if version.left <= len(self.down):
                continue  # whoever knows of it, or has it, may be away
            assert version.record in listed, f"{version.name}@{version.version} lives, and is not listed"
            self.made += 1
            manifest = await kit.catalogue.manifest(version.record)
            target = Target(kit.place, f"back-{self.made}", manifest, version.record)
            await gather(kit.peers, survey, manifest, target, Progress())
            for number in version.files:
                file = kit.place.open_read(f"back-{self.made}/{number}")
                data = bytearray(CHUNK_BYTES)
                assert file.pread(memoryview(data), 0) == CHUNK_BYTES
                file.close()
                assert bytes(data) == noise(CHUNK_BYTES, number)

    # -- nodes -----------------------------------------------------------------------------------------------------

    @rule(pause=st.sampled_from(PAUSES), some=st.just(set(range(1, NODES + 1))) | st.sets(nodes))
    def time_passes_and_nodes_collect(self, pause: float, some: set[int]) -> None:
        async def main() -> None:
            await self._collect(some)
            await asyncio.sleep(pause)
            await self._collect(some)

        self.run(main())

    async def _collect(self, some: Iterable[int]) -> None:
        for number in sorted(some):
            if number not in self.down:
                await self.estate.collectors[number].collect()

    @rule(number=nodes, empty=st.booleans())
    def the_power_is_switched(self, number: int, empty: bool) -> None:
        """A node that is up loses its power. One that is down comes back; with an empty disk, unless something living
        was on that one alone."""
        if number not in self.down:
            if len(self.down) < DOWN_MAX:
                self.run(self._crash(number))
        elif empty and all(version.left >= 2 for version in self.model.living()):
            self.run(self._restart(number, MemoryDisk()))
            for version in self.model.versions.values():
                version.losses += 1
        else:
            self.run(self._restart(number))

    async def _crash(self, number: int) -> None:
        """Its machine loses its power."""
        node = self.kit.nodes[number]
        self.down.add(number)
        self.kit.world.crash(node.host, silent=False)
        node.disk = node.disk.crash(self.chance)
        await node.links.close()

    async def _restart(self, number: int, disk: MemoryDisk | None = None) -> None:
        node = self.kit.nodes[number]
        self.kit.nodes[number] = await start_node(
            self.kit.world, self.kit.runtime, number, disk if disk is not None else node.disk
        )
        await self.estate.attach(number)
        self.down.discard(number)
        await asyncio.sleep(2 * REFUSAL_S)  # so that everybody dials it again

    @rule(repair=st.booleans())
    def nodes_hear_of_each_other(self, repair: bool) -> None:
        """All that are up exchange records; with `repair`, short copies are made again."""

        async def main() -> None:
            await self.estate.exchange()
            if not repair:
                return
            steward = Steward(self.kit.peers, self.kit.catalogue, grace_s=0.0, rate=0)
            await steward.look(Progress(), at_once=True)
            for version in self.model.living():
                if not self.down and version.left:
                    version.copies, version.losses = REDUNDANCY.copies, 0
                    assert all(version.record in self.kit.nodes[number].records for number in self.up())

        self.run(main())

    # -- what holds at any time ------------------------------------------------------------------------------------

    def _holders(self, object_id: ObjectId) -> list[int]:
        """On whose disks the object lies whole, also of those that are down."""
        return [number for number, node in self.kit.nodes.items() if _digest_at(node.disk, object_id) == object_id]

    @invariant()
    def nothing_promised_is_gone(self) -> None:
        assert not self.bugs
        now = self.now
        for version in [*self.model.living(), *self.model.may_be_back(now)]:
            for object_id in version.objects:
                holders = self._holders(object_id)
                assert len(holders) >= version.left, (
                    f"{version.name}@{version.version}: {version.left} copies were promised, {len(holders)} are there"
                )

    def teardown(self) -> None:
        """All come back, everybody hears of everything, time passes: what lives is there, and nothing else."""
        try:
            if hasattr(self, "kit"):
                self.run(self._end())
        finally:
            self.runner.close()

    async def _end(self) -> None:
        for number in sorted(self.down):
            await self._restart(number)
        await self.estate.exchange()
        await self._look()
        for _ in range(3):
            await asyncio.sleep(8 * DAY)
            for number in self.up():
                outcome = await self.estate.collectors[number].collect()
                assert not outcome.plan.blocked
        needed: set[str] = set()
        for listed in await self._listed():
            manifest = await self.kit.catalogue.manifest(listed.manifest)
            needed |= {object_id.hex() for object_id in manifest.objects()}
        for node in self.kit.nodes.values():
            assert node.objects() <= needed, f"{node.name} keeps what nothing needs: {node.store.objects}"
        self.nothing_promised_is_gone()
        await self._look()
        await self.kit.links.close()
        for node in self.kit.nodes.values():
            await node.links.close()


def where(files: Files) -> str:
    """The folder that a content lies in."""
    return "-".join(map(str, sorted(files)))


def _digest_at(disk: MemoryDisk, object_id: ObjectId) -> bytes:
    """The SHA-256 of what lies under the object's name: the empty string when nothing does."""
    try:
        file = disk.open_read(path_of(object_id))
    except NotFound:
        return b""
    try:
        data = bytearray(file.info().size)
        file.pread(memoryview(data), 0)
    finally:
        file.close()
    return hashlib.sha256(data).digest()
