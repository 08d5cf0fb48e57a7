"""A node knows which records it ought to have and has not, and which it cannot read: while there are any, who decides
from all records waits."""

import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from cluster_kits import IDENTITIES, Keeper, keeper, member_record, tombstone
from roost.cluster import records as module
from roost.codec.records import encode_record, record_id
from roost.core.errors import Damaged, DiskFault, NotFound, Unsupported
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime
from unit.cluster.test_exchange import Two, meet

DATA = tombstone(1)
RECORD = record_id(DATA)
PIN = msgspec.msgpack.encode({"kind": "pin", "format": 1, "name": "x"})
NEWER = msgspec.msgpack.encode({"kind": "member", "format": 2, "node_id": "x"})


def with_records(scenario: Callable[[Keeper], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario(await keeper())

    run_simulated(main(), seconds_max=60)


def plant(disk: MemoryDisk, kind: str, data: bytes) -> None:
    """Put a record's file on a disk, as another release has done."""
    disk.make_directory("records", exist_ok=True)
    file = disk.create(f"records/{record_id(data).hex()}.{kind}")
    file.pwrite(data, 0)
    file.close()


def test_a_damaged_record_is_wanted_until_it_is_back_over_restarts_too() -> None:
    async def scenario(keeping: Keeper) -> None:
        await keeping.records.add(DATA)
        keeping.disk.flip(keeping.path(RECORD), 9, 1)
        assert keeping.records.wanted == frozenset()
        with pytest.raises(Damaged):
            await keeping.records.get(RECORD)
        assert keeping.records.wanted == {RECORD}
        again = await keeping.again()
        assert again.records.wanted == {RECORD}
        await again.records.add(DATA)
        assert again.records.wanted == frozenset()
        assert (await again.again()).records.wanted == frozenset()

    with_records(scenario)


@pytest.mark.parametrize("how", ["vanished", "given up"])
def test_a_record_that_cannot_be_had_any_more_is_wanted(how: str) -> None:
    async def scenario(keeping: Keeper) -> None:
        await keeping.records.add(DATA)
        if how == "vanished":
            keeping.disk.unlink(keeping.path(RECORD))
            with pytest.raises(NotFound):
                await keeping.records.get(RECORD)
        else:
            keeping.disk.failing.add(keeping.path(RECORD))
            with pytest.raises(DiskFault):
                await keeping.records.get(RECORD)
            assert keeping.records.wanted == frozenset()
            keeping.records.give_up(RECORD)
            keeping.disk.failing.clear()
        assert keeping.records.wanted == {RECORD}
        await keeping.records.add(DATA)
        assert keeping.records.wanted == frozenset()

    with_records(scenario)


def test_a_member_record_that_a_start_cannot_read_is_wanted() -> None:
    async def scenario(keeping: Keeper) -> None:
        data = encode_record(member_record(IDENTITIES[0]))
        await keeping.records.add(data)
        keeping.disk.failing.add(keeping.path(record_id(data)))
        assert (await keeping.again()).records.wanted == {record_id(data)}

    with_records(scenario)


def test_objects_in_quarantine_are_no_records() -> None:
    async def scenario(keeping: Keeper) -> None:
        keeping.disk.make_directory("quarantine", exist_ok=True)
        for name in (f"{'a' * 64}-0", "notes"):
            keeping.disk.create(f"quarantine/{name}").close()
        assert (await keeping.again()).records.wanted == frozenset()

    with_records(scenario)


@pytest.mark.parametrize("data", [PIN, NEWER])
def test_a_record_of_a_newer_release_is_wanted_when_it_is_offered(data: bytes) -> None:
    async def scenario(keeping: Keeper) -> None:
        with pytest.raises(Unsupported):
            await keeping.records.add(data)
        assert keeping.records.wanted == {record_id(data)}
        with pytest.raises(Damaged):
            await keeping.records.add(DATA[:-1])
        assert keeping.records.wanted == {record_id(data)}, "rubbish is wanted by nobody"

    with_records(scenario)


@pytest.mark.parametrize(("kind", "data"), [("pin", PIN), ("member", NEWER)])
def test_a_record_of_a_newer_release_that_is_here_is_unknown(kind: str, data: bytes) -> None:
    async def scenario(keeping: Keeper) -> None:
        assert keeping.records.unknown == frozenset()
        plant(keeping.disk, kind, data)
        again = await keeping.again()
        assert again.records.unknown == {record_id(data)}
        assert again.records.wanted == frozenset()
        assert record_id(data) in again.records

    with_records(scenario)


def test_there_is_a_bound_to_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WANTED_MAX", 2)

    async def scenario(keeping: Keeper) -> None:
        for name in "abc":
            with pytest.raises(Unsupported):
                await keeping.records.add(msgspec.msgpack.encode({"kind": "pin", "format": 1, "name": name}))
        assert len(keeping.records.wanted) == 2

    with_records(scenario)


def test_an_exchange_tells_how_many_records_the_other_one_has_and_we_do_not() -> None:
    async def scenario(two: Two) -> None:
        await two.theirs.records.add(DATA)
        assert (await two.exchange()).lacking == 0
        plant(two.theirs.disk, "pin", PIN)
        two.theirs.records._remember(record_id(PIN), "pin")
        met = await two.exchange()
        assert (met.lacking, met.refused) == (1, 1)
        two.theirs.disk.unlink(f"records/{record_id(PIN).hex()}.pin")
        assert (await two.exchange()).lacking == 1, "it has just told of it"
        assert (await two.exchange()).lacking == 0

    meet(scenario)


def test_what_only_we_have_is_not_lacking() -> None:
    async def scenario(two: Two) -> None:
        await two.mine.records.add(DATA)
        met = await two.exchange()
        assert met.sent > 0
        assert met.lacking == 0

    meet(scenario)


def test_a_record_set_of_former_times_opens() -> None:
    """Without a quarantine, as before anything was ever damaged."""

    async def main() -> None:
        keeping = Keeper(SimRuntime(random.Random(0)))
        await keeping.open()
        assert not keeping.disk.exists("quarantine")
        assert keeping.records.wanted == frozenset()

    run_simulated(main(), seconds_max=60)
