"""The subjects of `test_kill.py` that look after what is stored: repair, quarantine, collection, draining."""

from typing import Any

from crash.crash_driver import Driver, manifest_of, pair, place, specimen
from crash.crash_processes import CLIENT, Fuse, Tell, World
from roost.checkpoints.drain import set_standing
from roost.checkpoints.progress import Progress
from roost.checkpoints.steward import Steward
from roost.chunks.store import CopyState
from roost.client.members import drain
from roost.cluster.records import DiskRecords
from roost.codec.records import Standing, Tombstone, encode_record, record_id
from roost.core.checkpoint import Redundancy
from roost.core.errors import RoostError
from roost.core.ids import object_id
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.net.body import Body
from roost.wire.messages import Collect, Collected, PutRecord

TWO = Redundancy.parse("2")


# -- repair --------------------------------------------------------------------------------------------------------


class Mending:
    """Checkpoints with a copy of each object too few, on node 0 of two, and their repair."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    async def shorten(self, number: int) -> None:
        """Make a checkpoint that is short, and known here, whoever dies next."""
        assert await place(self.driver, 0, number, *pair(number))
        await self.driver.session.catalogue.add(manifest_of(number, *pair(number))[1])

    async def mend(self, number: int) -> bool:
        """Repair all that is short; whether that was acknowledged."""
        steward = Steward(self.driver.peers, self.driver.session.catalogue, grace_s=0.0, rate=0)
        try:
            mended = await steward.look(Progress(), at_once=True)
        except RoostError:
            return False
        return await self.check(number, [mended.short])

    async def check(self, number: int, told: list[Any]) -> bool:
        """Hear how many objects a steward said are still short: none, and it is promised."""
        if told != [0]:
            return False
        made, data = manifest_of(number, *pair(number))
        self.driver.homes.promise_version(record_id(data), made.objects(), [0, 1], copies=2)
        return True


async def repair_target(driver: Driver) -> None:
    """The node dies that repair gives copies to."""
    mending = Mending(driver)
    await driver.lab.start("serve", 0)
    for kind in (Fuse.DISK, Fuse.FRAME):
        await driver.kill_a_node(1, kind, "repair: the target", mending.mend, mending.mend, prepare=mending.shorten)


async def repair_source(driver: Driver) -> None:
    """The node dies that passes its copies on for repair."""
    mending = Mending(driver)
    await driver.lab.start("serve", 1)
    await driver.kill_a_node(0, Fuse.FRAME, "repair: the source", mending.mend, mending.mend, prepare=mending.shorten)


async def repair_steward(driver: Driver) -> None:
    """The process dies that has the copies made."""
    mending = Mending(driver)
    for node in driver.world.nodes:
        await driver.lab.start("serve", node)
    await driver.kill_a_client("mend", Fuse.SEND, "repair: the steward", mending.check, prepare=mending.shorten)


async def mend_once(world: World, tell: Tell, fused: bool, number: int) -> None:
    session = await world.session(CLIENT, fused=fused)
    steward = Steward(session.peers, session.catalogue, grace_s=0.0, rate=0)
    tell((await steward.look(Progress(), at_once=True)).short)


# -- quarantine ----------------------------------------------------------------------------------------------------


async def quarantine(driver: Driver) -> None:
    """A node dies while it puts a damaged object away: that never counts again, and nothing else goes."""
    store = driver.peers.store(driver.node(0))

    async def harm(number: int) -> None:
        assert await place(driver, 0, number, *pair(number))
        name = object_id(pair(number)[0])
        driver.homes.bad.add(f"{name.hex()}-0")
        driver.homes.release(0, [name])
        with (driver.world.home(0) / f"chunks/{name.hex()[:2]}/{name.hex()}").open("r+b") as file:
            file.write(b"harm")

    async def verify(number: int) -> bool:
        names = [object_id(data) for data in pair(number)]
        try:
            bad, good = await store.verify(names)
            here = await store.have(names)
        except RoostError:
            return False
        return bad is not CopyState.GOOD and good is CopyState.GOOD and here == [False, True]

    for kind in (Fuse.DISK, Fuse.FRAME):
        await driver.kill_a_node(0, kind, "quarantine", verify, verify, prepare=harm)


# -- collection ----------------------------------------------------------------------------------------------------


async def collection(driver: Driver) -> None:
    """A node dies while it frees what nothing needs any more; what shares objects with that stays."""

    async def remove(number: int) -> None:
        kept, shared, alone = 3 * number, 3 * number + 1, 3 * number + 2
        assert await place(driver, 0, 2 * number, specimen(kept), specimen(shared))
        assert await place(driver, 0, 2 * number + 1, specimen(shared), specimen(alone), specimen(-alone))
        _, data = manifest_of(2 * number + 1, specimen(shared), specimen(alone), specimen(-alone))
        name = f"run/step-{2 * number + 1}"
        driver.homes.release(0, _doomed(number))
        buried = encode_record(Tombstone(name=name, manifest=record_id(data), seq=1, at=1, keep_s=0))
        await driver.session.links.call(driver.node(0), PutRecord(len(buried)), body=Body.of(buried), bulk=True)
        driver.homes.promise_record(0, record_id(buried))

    async def collect(number: int) -> bool:
        try:
            answer = await driver.session.links.call(driver.node(0), Collect())
            still = await driver.peers.store(driver.node(0)).have(_doomed(number))
        except RoostError:
            return False
        assert isinstance(answer, Collected)
        return not answer.blocked and not any(still)

    for kind in (Fuse.DISK, Fuse.FRAME):
        await driver.kill_a_node(0, kind, "collection", collect, collect, prepare=remove)


def _doomed(number: int) -> list[Any]:
    """The objects that only the removed checkpoint names."""
    return [object_id(specimen(3 * number + 2)), object_id(specimen(-3 * number - 2))]


# -- draining ------------------------------------------------------------------------------------------------------


class Draining:
    """Node 0 of three is drained, what is on it and node 1 going to node 2, and comes back to be drained again."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.process = 0

    async def come_back(self, number: int) -> None:
        """Let node 0 be a member again, as joining with a token does."""
        session, node = self.driver.session, self.driver.node(0)
        await session.peers.survey(enough=TWO)
        if session.membership.standing(node) is not None:
            await set_standing(session.catalogue, node, "staying", at=1)
            records = DiskRecords(
                PosixDisk(self.driver.world.home(0)), SystemRuntime(), check=lambda record: None,
                added=lambda name, record: None,
            )  # fmt: skip
            await records.open()
            for data in await session.catalogue.of_kind(Standing):
                await records.add(data)
            await session.peers.survey(enough=TWO)

    async def come_back_and_start(self, number: int) -> None:
        await self.come_back(number)
        self.process = await self.driver.lab.start("serve", 0)
        await self.fill(number)

    async def fill(self, number: int) -> None:
        """Make a checkpoint of which one copy of each object is on node 0."""
        for node in (0, 1):
            assert await place(self.driver, node, number, *pair(number))
        await self.driver.session.catalogue.add(manifest_of(number, *pair(number))[1])

    async def drain(self, number: int) -> bool:
        try:
            result = await drain(self.driver.session, "node-0", cancel=False, dry_run=False, progress=Progress())
        except RoostError:
            return False
        return self.emptied(number, result.state)

    def emptied(self, number: int, state: str) -> bool:
        """Hear how node 0 stands: when it has left, everything is promised by the others."""
        if state != "left":
            return False
        made, data = manifest_of(number, *pair(number))
        self.driver.homes.promise_version(record_id(data), made.objects(), [1, 2], copies=2)
        return True


async def drain_node(driver: Driver) -> None:
    """The node dies that is being drained."""
    draining = Draining(driver)
    for other in (1, 2):
        await driver.lab.start("serve", other)
    for kind in (Fuse.DISK, Fuse.SEND):
        await driver.kill_a_node(
            0, kind, "drain: the node", draining.drain, draining.drain, prepare=draining.fill,
            revive=draining.come_back,
        )  # fmt: skip


async def drain_client(driver: Driver) -> None:
    """The process dies that drains a node."""
    draining = Draining(driver)
    for other in (1, 2):
        await driver.lab.start("serve", other)

    async def check(number: int, told: list[Any]) -> bool:
        return bool(told) and draining.emptied(number, told[0])

    async def ended(number: int) -> None:
        if draining.process:
            _, told = await driver.lab.ended(draining.process)
            assert told[-1] == "not admitted", "a node that has left ends by itself"
        await draining.come_back_and_start(number)

    await driver.kill_a_client("drain", Fuse.SEND, "drain: who asks for it", check, prepare=ended)


async def drain_once(world: World, tell: Tell, fused: bool, number: int) -> None:
    session = await world.session(CLIENT, fused=fused)
    tell((await drain(session, "node-0", cancel=False, dry_run=False, progress=Progress())).state)
