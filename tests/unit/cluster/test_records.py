"""The record set on a disk: what is kept, what is refused, and what damage and interrupted writes do to it."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Coroutine

import msgspec
import pytest

from cluster_kits import (
    IDENTITIES,
    STRANGER_AUTHORITY,
    Keeper,
    ids_of,
    keeper,
    member_record,
    tombstone,
)
from record_specimens import broken
from roost.cluster.records import BUCKET_DIGEST_BYTES, BUCKETS, BucketIndex
from roost.codec.records import MemberRecord, Tombstone, encode_record, record_id
from roost.core.errors import Damaged, DiskFault, NoSpace, NotAdmitted, NotFound, RoostError, Unsupported
from roost.core.ids import MachineId, RecordId
from roost.security.identity import Identity, NodeKey
from roost.testing.disk import PowerCut
from roost.testing.loop import run_simulated

STONES = [tombstone(number) for number in range(20)]
MEMBERS = [encode_record(member_record(identity)) for identity in IDENTITIES]


def simulate(scenario: Callable[[], Coroutine[object, object, None]]) -> None:
    run_simulated(scenario(), seconds_max=600)


def test_what_is_added_is_here_and_durable_and_there_after_a_restart() -> None:
    async def scenario() -> None:
        kept = await keeper()
        for data in (*STONES, *MEMBERS):
            assert await kept.records.add(data) is True
            assert await kept.records.add(data) is False
        for disk in (kept.disk.kill(), kept.disk.crash(random.Random(1))):
            again = await kept.again(disk)
            assert again.all() == ids_of(*STONES, *MEMBERS)
            assert again.records.digests() == kept.records.digests()
            assert len(again.records) == len(STONES) + len(MEMBERS)
            for data in (*STONES, *MEMBERS):
                assert await again.records.get(record_id(data)) == data
            assert again.heard == ids_of(*MEMBERS), "of the member records the opener hears"

    simulate(scenario)


def test_who_asks_hears_of_each_record_once() -> None:
    async def scenario() -> None:
        kept = await keeper()
        results = await asyncio.gather(*(kept.records.add(STONES[0]) for _ in range(8)))
        assert sorted(results) == [False] * 7 + [True]
        assert kept.heard == ids_of(STONES[0])
        assert kept.records.ids_of(Tombstone) == ids_of(STONES[0])
        assert kept.records.ids_of(MemberRecord) == []
        assert record_id(STONES[0]) in kept.records
        assert record_id(STONES[1]) not in kept.records
        assert "text" not in kept.records

    simulate(scenario)


def test_records_that_are_none_are_refused_and_change_nothing() -> None:
    async def scenario() -> None:
        kept = await keeper()
        before = kept.disk.contents()
        for name, damage in broken().items():
            with pytest.raises((Damaged, Unsupported)):
                await kept.records.add(damage.data)
            assert name
        assert kept.disk.contents() == before
        assert kept.all() == []

    simulate(scenario)


def test_member_records_of_others_are_refused() -> None:
    stranger = Identity.found(STRANGER_AUTHORITY, NodeKey.create(), machine=MachineId("a" * 32))
    good = member_record(IDENTITIES[0])
    other = member_record(IDENTITIES[1])
    forged = [
        member_record(stranger),
        good.signed(bytes(64)),
        good.signed(other.signature),
        msgspec.structs.replace(good, name="another"),
        msgspec.structs.replace(good, certificate=other.certificate),
        msgspec.structs.replace(other, node_id=good.node_id),
    ]

    async def scenario() -> None:
        kept = await keeper()
        for record in forged:
            with pytest.raises(NotAdmitted):
                await kept.records.add(encode_record(record))
        assert kept.all() == []
        assert kept.membership.view.members == ()

    simulate(scenario)


def test_ids_and_digests_are_by_the_first_byte() -> None:
    async def scenario() -> None:
        kept = await keeper()
        assert kept.records.digests() == bytes(BUCKETS * BUCKET_DIGEST_BYTES)
        for data in STONES:
            await kept.records.add(data)
        ids = ids_of(*STONES)
        assert kept.records.ids([ids[0][0], ids[0][0], 300 % 256]) == [i for i in ids if i[0] in (ids[0][0], 44)]
        digests = kept.records.digests()
        for bucket in range(BUCKETS):
            inside = [i for i in ids if i[0] == bucket]
            wanted = hashlib.sha256(b"".join(inside)).digest()[:8] if inside else bytes(8)
            assert digests[8 * bucket : 8 * bucket + 8] == wanted

    simulate(scenario)


def test_an_index_forgets() -> None:
    index = BucketIndex()
    empty = index.digests()
    record = RecordId(bytes(32))
    index.add(record)
    assert (record in index, len(index)) == (True, 1)
    assert index.digests() != empty
    index.discard(record)
    index.discard(record)
    assert (record in index, len(index)) == (False, 0)
    assert index.digests() == empty


# Damage


def test_a_damaged_record_is_set_aside_and_can_come_again() -> None:
    async def scenario() -> None:
        kept = await keeper()
        data = STONES[3]
        await kept.records.add(data)
        path = kept.path(record_id(data))
        kept.disk.flip(path, 5, 1)
        with pytest.raises(Damaged, match="is damaged here"):
            await kept.records.get(record_id(data))
        assert record_id(data) not in kept.records
        assert kept.records.ids_of(Tombstone) == []
        assert [name for name, _ in kept.disk.list("quarantine")] == [path.split("/")[1]]
        with pytest.raises(NotFound):
            await kept.records.get(record_id(data))
        assert await kept.records.add(data) is True
        assert await kept.records.get(record_id(data)) == data

    simulate(scenario)


@pytest.mark.parametrize("seed", range(20))
def test_readers_at_once_of_a_damaged_record_are_all_told(seed: int) -> None:
    async def scenario() -> None:
        kept = await keeper(seed=seed)
        data = STONES[3]
        await kept.records.add(data)
        kept.disk.flip(kept.path(record_id(data)), 5, 1)
        results = await asyncio.gather(*(kept.records.get(record_id(data)) for _ in range(5)), return_exceptions=True)
        assert {type(result) for result in results} <= {Damaged, NotFound}
        assert Damaged in {type(result) for result in results}
        assert await kept.records.add(data) is True
        assert await kept.records.get(record_id(data)) == data

    simulate(scenario)


def test_a_record_whose_file_vanished_is_not_found_and_forgotten() -> None:
    async def scenario() -> None:
        kept = await keeper()
        await kept.records.add(STONES[0])
        kept.disk.unlink(kept.path(record_id(STONES[0])))
        with pytest.raises(NotFound):
            await kept.records.get(record_id(STONES[0]))
        assert kept.all() == []
        assert await kept.records.add(STONES[0]) is True

    simulate(scenario)


def test_leftovers_are_swept_and_what_is_no_record_is_left_alone() -> None:
    async def scenario() -> None:
        kept = await keeper()
        await kept.records.add(STONES[0])
        newer = f"records/{'ab' * 32}.sealed-authority"
        foreign = ["records/.DS_Store", f"records/{'z' * 64}.member", f"records/{'AB' * 32}.member", "records/x.y"]
        leftover = f"records/{'cd' * 32}.tombstone.tmp-0"
        for path in (newer, leftover, *foreign):
            kept.disk.create(path).close()
        kept.disk.make_directory("records/lost+found")
        again = await kept.again()
        there = {path for path in kept.disk.contents() if path.startswith("records/")}
        assert leftover not in there
        assert {newer, *foreign, "records/lost+found/"} <= there
        assert again.all() == sorted([*ids_of(STONES[0]), bytes.fromhex("ab" * 32)])

    simulate(scenario)


@pytest.mark.parametrize("fault", ["flipped", "cut short", "unreadable"])
def test_a_bad_member_record_does_not_keep_the_set_from_opening(fault: str) -> None:
    async def scenario() -> None:
        kept = await keeper()
        for data in (*MEMBERS, *STONES):
            await kept.records.add(data)
        path = kept.path(record_id(MEMBERS[0]))
        if fault == "flipped":
            kept.disk.flip(path, 50, 0)
        elif fault == "cut short":
            file = kept.disk.open_write(path)
            file.truncate(10)
            file.close()
        else:
            kept.disk.failing.add(path)
        again = await kept.again()
        assert again.heard == [i for i in ids_of(*MEMBERS) if i != record_id(MEMBERS[0])]
        assert again.all() == [i for i in ids_of(*MEMBERS, *STONES) if i != record_id(MEMBERS[0])]
        kept.disk.failing.clear()
        assert await again.records.add(MEMBERS[0]) is True
        assert len(again.membership.view.members) == len(MEMBERS)

    simulate(scenario)


def test_a_member_record_of_a_newer_release_stays_for_it() -> None:
    async def scenario() -> None:
        kept = await keeper()
        newer = broken()["record_format_newer.bin"].data
        name = f"records/{record_id(newer).hex()}.member"
        file = kept.disk.create(name)
        file.pwrite(newer, 0)
        file.close()
        again = await kept.again()
        assert again.all() == [record_id(newer)]
        assert again.heard == []
        assert await again.records.get(record_id(newer)) == newer, "others may know it"

    simulate(scenario)


@pytest.mark.parametrize("fault", ["full", "read only"])
def test_a_disk_that_refuses_keeps_the_set_as_it_was(fault: str) -> None:
    async def scenario() -> None:
        kept = await keeper()
        await kept.records.add(STONES[0])
        if fault == "full":
            kept.disk.bytes_max = len(STONES[0]) + 3
        else:
            kept.disk.read_only = True
        with pytest.raises(RoostError) as caught:
            await kept.records.add(STONES[1])
        assert isinstance(caught.value, NoSpace | DiskFault)
        assert kept.all() == ids_of(STONES[0])
        assert kept.heard == ids_of(STONES[0])
        kept.disk.bytes_max, kept.disk.read_only = None, False
        assert await kept.records.add(STONES[1]) is True

    simulate(scenario)


@pytest.mark.parametrize("seed", range(30))
def test_a_power_cut_at_any_change_loses_no_record_that_was_told(seed: int) -> None:
    async def scenario() -> None:
        kept = await keeper(seed=seed)
        chance = random.Random(seed)
        kept.disk.stop_after = kept.disk.operations + chance.randrange(60)
        told: list[RecordId] = []
        try:
            for data in STONES[:8]:
                await kept.records.add(data)
                told.append(record_id(data))
        except PowerCut:
            pass
        again = await Keeper(kept.runtime, kept.disk.crash(chance)).open()
        assert set(told) <= set(again.all())
        for record in again.all():
            assert record_id(await again.records.get(record)) == record
        assert not [name for name, _ in again.disk.list("records") if "tmp" in name]

    simulate(scenario)
