"""What is killed at every step, each a small program over a real cluster: see `SUBJECTS`.

Run as ``python crash_subjects.py ROOT SUBJECT``: prints one JSON line for each step at which somebody was killed, and
one for the run in which nobody was.
"""

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from crash import crash_upkeep as upkeep
from crash.crash_driver import Driver, place, specimen, tombstone
from crash.crash_processes import CLIENT, DRIVER, Fuse, Lab, Tell, Work, World, run
from crash.homes import Homes
from e2e import trees
from roost.checkpoints.collect import Periods
from roost.checkpoints.gather import gather
from roost.checkpoints.progress import Progress
from roost.checkpoints.target import Target
from roost.client.cluster import AsyncCluster
from roost.cluster.exchange import exchange
from roost.cluster.records import DiskRecords
from roost.codec.records import record_id
from roost.core.checkpoint import Redundancy
from roost.core.errors import RoostError
from roost.core.ids import CheckpointName, RecordId, object_id
from roost.core.runtime import SystemRuntime
from roost.net.body import Body
from roost.net.stream import SLICE_BYTES
from roost.settings.schema import default_settings
from roost.wire.messages import PutRecord

SETTINGS = msgspec.structs.replace(default_settings(), chunk_size=1024 * 1024)
TWO = Redundancy.parse("2")


async def put(driver: Driver) -> None:
    """A node dies while an object of two slices is put on it, and a manifest of it committed."""

    async def act(number: int) -> bool:
        return await place(driver, 0, number, specimen(number, size=SLICE_BYTES + 1000))

    async def again(number: int) -> bool:
        data = specimen(number, size=SLICE_BYTES + 1000)
        into = memoryview(bytearray(len(data)))
        return await act(number) and await driver.peers.store(driver.node(0)).get(object_id(data), into) == len(data)

    for kind in (Fuse.DISK, Fuse.FRAME):
        await driver.kill_a_node(0, kind, "put and commit", act, again)


def checkpoint(folder: Path, number: int) -> Path:
    """A file of four chunks, made if it is not there."""
    path = folder / f"step-{number}.safetensors"
    if not path.exists():
        tensors = {f"{number}.{i}": ("U8", specimen(3 * number + i, size=1024) * 1024) for i in range(3)}
        trees.write(path, trees.safetensors(tensors))
    return path


async def store(driver: Driver) -> None:
    """A node dies while a client stores a checkpoint on it and two others, which pass on to each other."""
    cluster = AsyncCluster(driver.session, SETTINGS)
    for other in (1, 2):
        await driver.lab.start("serve", other)

    async def act(number: int) -> bool:
        path = checkpoint(driver.world.root, number)
        try:
            result = await cluster.store(path, name=f"run/step-{number}")
        except RoostError:
            return False
        listed = await driver.session.catalogue.find(CheckpointName(f"run/step-{number}"), result.version)
        made = await driver.session.catalogue.manifest(listed.manifest)
        nodes = [int(name.removeprefix("node-")) for name in result.nodes]
        driver.homes.promise_version(listed.manifest, made.objects(), nodes, copies=result.copies)
        return result.copies >= 2

    for kind in (Fuse.DISK, Fuse.FRAME):
        await driver.kill_a_node(0, kind, "a node of a store", act, act)


async def storing(driver: Driver) -> None:
    """A client dies while it stores: what is listed then is whole, and the next store completes it."""
    for node in driver.world.nodes:
        await driver.lab.start("serve", node)
    cluster = AsyncCluster(driver.session, SETTINGS)

    async def check(number: int, told: list[Any]) -> bool:
        listing = await cluster.list(f"run/step-{number}")
        assert len(listing.checkpoints) <= 1, "a second store of the same made a second version"
        if not listing.checkpoints:
            assert not told, "stored, and not listed"
            return False
        to = driver.world.root / f"back-{number}-{len(told)}"
        await cluster.gather(f"run/step-{number}", to=to)
        path = checkpoint(driver.world.root, number)
        assert (to / path.name).read_bytes() == path.read_bytes()
        return bool(told) and told[0] == 2

    await driver.kill_a_client("store", Fuse.SEND, "a client that stores", check)


async def store_once(world: World, tell: Tell, fused: bool, number: int) -> None:
    session = await world.session(CLIENT, fused=fused)
    cluster = AsyncCluster(session, SETTINGS)
    result = await cluster.store(checkpoint(world.root, number), name=f"run/step-{number}")
    tell(result.copies)


async def gathering(driver: Driver) -> None:
    """A client dies while it gathers over a file that is there: that is the old one or the new one, and whole."""
    for node in driver.world.nodes:
        await driver.lab.start("serve", node)
    cluster = AsyncCluster(driver.session, SETTINGS)
    path = checkpoint(driver.world.root, 0)
    await cluster.store(path, name="run/step-0")

    async def prepare(number: int) -> None:
        trees.write(driver.world.root / f"to-{number}" / path.name, b"the last good copy")

    async def check(number: int, told: list[Any]) -> bool:
        folder = driver.world.root / f"to-{number}"
        there = (folder / path.name).read_bytes()
        assert there in (b"the last good copy", path.read_bytes()), "neither the old file nor the new one"
        if told:
            assert there == path.read_bytes()
            names = [found.name for found in folder.iterdir()]
            assert names == [path.name], f"partial work is left {names}"
        return bool(told)

    for kind in (Fuse.DISK, Fuse.FRAME):
        await driver.kill_a_client("gather", kind, "a client that gathers", check, prepare=prepare)


async def gather_once(world: World, tell: Tell, fused: bool, number: int) -> None:
    session = await world.session(CLIENT, fused=fused)
    survey = await session.peers.survey(enough=TWO)
    listed = await session.catalogue.find(CheckpointName("run/step-0"), None)
    made = await session.catalogue.manifest(listed.manifest)
    disk = world.disk_at(world.root, fused=fused)
    target = Target(disk, f"to-{number}", made, listed.manifest, force=True)
    done = await gather(session.peers, survey, made, target, Progress())
    tell(done.bytes)


async def give(driver: Driver, number: int) -> None:
    """Put one record on node 0, which is promised then."""
    data = tombstone(2 * number)
    await driver.session.links.call(driver.node(0), PutRecord(len(data)), body=Body.of(data), bulk=True)
    driver.homes.promise_record(0, record_id(data))


def own(number: int) -> list[bytes]:
    """The records that only who asks in an exchange has."""
    return [tombstone(2 * number + 1), tombstone(-number - 1)]


async def exchange_asked(driver: Driver) -> None:
    """The node dies that is asked for an exchange of records."""
    catalogue, links = driver.session.catalogue, driver.session.links

    async def act(number: int) -> bool:
        try:
            await give(driver, number)
            for data in own(number):
                await catalogue.add(data)
            moved = await exchange(links, driver.node(0), catalogue)
        except RoostError:
            return False
        if moved.refused:
            return False
        for record in catalogue.ids(range(256)):
            driver.homes.promise_record(0, record)
        return True

    for kind in (Fuse.DISK, Fuse.FRAME):
        await driver.kill_a_node(0, kind, "exchange: who is asked", act, act)


async def exchange_asking(driver: Driver) -> None:
    """The process dies that asks for an exchange of records."""

    async def check(number: int, told: list[Any]) -> bool:
        for record in told:
            driver.homes.promise_record(CLIENT, RecordId(bytes.fromhex(record)))
        return len(told) > len(own(number))

    async def prepare(number: int) -> None:
        await give(driver, number)

    await driver.lab.start("serve", 0)
    for kind in (Fuse.DISK, Fuse.FRAME):
        await driver.kill_a_client("exchange", kind, "exchange: who asks", check, prepare=prepare)


async def exchange_once(world: World, tell: Tell, fused: bool, number: int) -> None:
    session = await world.session(CLIENT, fused=fused)
    disk = world.disk(CLIENT, fused=fused)
    records = DiskRecords(disk, SystemRuntime(), check=session.membership.check, added=lambda name, record: None)
    await records.open()
    for data in own(number):
        await records.add(data)
        tell(record_id(data).hex())
    moved = await exchange(session.links, world.identities[0].node_id, records)
    assert not moved.refused
    for record in records.ids(range(256)):
        tell(record.hex())


@dataclass(frozen=True, slots=True)
class Subject:
    """A program, how many nodes it needs, and how long their collection waits for what."""

    drive: Callable[[Driver], Awaitable[None]]
    nodes: int
    periods: Periods = field(default_factory=Periods)


AT_ONCE = Periods(uptime_s=0.0, promise_s=0.0, untouched_s=0.0)
WORKS: dict[str, Work] = {
    "store": store_once, "gather": gather_once, "exchange": exchange_once, "mend": upkeep.mend_once,
    "drain": upkeep.drain_once,
}  # fmt: skip
SUBJECTS: dict[str, Subject] = {
    "put": Subject(put, 1),
    "store": Subject(store, 3),
    "storing": Subject(storing, 2),
    "gathering": Subject(gathering, 2),
    "exchange-asked": Subject(exchange_asked, 1),
    "exchange-asking": Subject(exchange_asking, 1),
    "repair-target": Subject(upkeep.repair_target, 2),
    "repair-source": Subject(upkeep.repair_source, 2),
    "repair-steward": Subject(upkeep.repair_steward, 2),
    "quarantine": Subject(upkeep.quarantine, 1),
    "collection": Subject(upkeep.collection, 1, AT_ONCE),
    "drain-node": Subject(upkeep.drain_node, 3),
    "drain-client": Subject(upkeep.drain_client, 3),
}


def main(root: Path, name: str) -> int:
    """Run one subject; the exit status."""
    subject = SUBJECTS[name]

    async def drive(lab: Lab, tell: Tell) -> None:
        session = await lab.world.session(DRIVER)
        homes = Homes({number: lab.world.home(number) for number in (*lab.world.nodes, CLIENT)})
        await subject.drive(Driver(lab, session, tell, homes))
        await session.close()

    return run(root, nodes=subject.nodes, periods=subject.periods, works=WORKS, drive=drive)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
