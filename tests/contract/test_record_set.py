"""The contract of the port `RecordSet`, held by a node's files and by the catalogue alike."""

import asyncio
import hashlib
import random
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec
import pytest

from cluster_kits import AUTHORITY, IDENTITIES, ids_of, member_record, tombstone
from record_specimens import MANIFEST, REVOKED, STANDING, broken
from roost.checkpoints.catalogue import Catalogue
from roost.cluster.membership import Membership
from roost.cluster.records import BUCKET_DIGEST_BYTES, BUCKETS, DiskRecords, RecordSet
from roost.codec.records import ABOUT_MEMBERS, Record, decode_record, encode_record, record_id
from roost.core.errors import Damaged, NotAdmitted, NotFound, Unsupported
from roost.core.ids import RecordId
from roost.disk.port import Disk
from roost.disk.posix import PosixDisk
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime

MEMBERS = [encode_record(member_record(identity)) for identity in IDENTITIES]
OTHERS = [encode_record(record) for record in (MANIFEST, STANDING, REVOKED)]
EVERY = [*(tombstone(number) for number in range(12)), *MEMBERS, *OTHERS]
ALL = range(BUCKETS)


class Kit(ABC):
    """One implementation, and how to open it again and to damage what it keeps."""

    def __init__(self, runtime: SimRuntime) -> None:
        self.runtime = runtime
        self.heard: list[RecordId] = []

    def added(self, record: RecordId, decoded: Record) -> None:
        self.heard.append(record)

    @abstractmethod
    async def open(self) -> RecordSet: ...

    @abstractmethod
    def damage(self, record: RecordId) -> None: ...


class Files(Kit):
    """A node's record set, on any disk."""

    def __init__(self, runtime: SimRuntime, disk: Disk) -> None:
        super().__init__(runtime)
        self._disk = disk

    async def open(self) -> RecordSet:
        check = Membership(AUTHORITY.certificate).check
        records = DiskRecords(self._disk, self.runtime, check=check, added=self.added)
        await records.open()
        return records

    def damage(self, record: RecordId) -> None:
        [name] = [name for name, _ in self._disk.list("records") if name.startswith(record.hex())]
        file = self._disk.open_write(f"records/{name}")
        byte = bytearray(1)
        file.pread(memoryview(byte), 20)
        file.pwrite(bytes([byte[0] ^ 1]), 20)
        file.close()


class Rows(Kit):
    """A catalogue in a file."""

    def __init__(self, runtime: SimRuntime, path: Path) -> None:
        super().__init__(runtime)
        self._path = path

    async def open(self) -> RecordSet:
        check = Membership(AUTHORITY.certificate).check
        catalogue = Catalogue(self._path, self.runtime, check=check, added=self.added)
        await catalogue.open()
        return catalogue

    def damage(self, record: RecordId) -> None:
        with sqlite3.connect(self._path) as database:
            [data] = database.execute("SELECT data FROM records WHERE id = ?", (record,)).fetchone()
            worse = data[:20] + bytes([data[20] ^ 1]) + data[21:]
            database.execute("UPDATE records SET data = ? WHERE id = ?", (worse, record))


KITS: dict[str, Callable[[SimRuntime, Path], Kit]] = {
    "files in memory": lambda runtime, _: Files(runtime, MemoryDisk()),
    "files": lambda runtime, path: Files(runtime, PosixDisk(path)),
    "catalogue": lambda runtime, path: Rows(runtime, path / "catalogue.sqlite3"),
}
Run = Callable[[Callable[[Kit], Coroutine[object, object, None]]], None]


@pytest.fixture(params=sorted(KITS))
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    def with_kit(scenario: Callable[[Kit], Coroutine[object, object, None]]) -> None:
        async def with_runtime() -> None:
            await scenario(KITS[request.param](SimRuntime(random.Random(0)), tmp_path))

        run_simulated(with_runtime(), seconds_max=600)

    return with_kit


def test_what_is_added_is_here_by_its_id_and_bucket(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        records = await kit.open()
        assert records.digests() == bytes(BUCKETS * BUCKET_DIGEST_BYTES)
        for data in EVERY:
            assert record_id(data) not in records
            assert await records.add(data) is True
            assert await records.add(data) is False
            assert await records.get(record_id(data)) == data
        ids = ids_of(*EVERY)
        assert records.ids(ALL) == ids
        assert sorted(kit.heard) == ids, "each is told once"
        assert "text" not in records
        some = [ids[0][0], ids[-1][0], ids[0][0]]
        assert records.ids(some) == [i for i in ids if i[0] in some]
        digests = records.digests()
        for bucket in ALL:
            inside = b"".join(i for i in ids if i[0] == bucket)
            wanted = hashlib.sha256(inside).digest()[:BUCKET_DIGEST_BYTES] if inside else bytes(BUCKET_DIGEST_BYTES)
            assert digests[bucket * BUCKET_DIGEST_BYTES : (bucket + 1) * BUCKET_DIGEST_BYTES] == wanted

    run(scenario)


def test_all_is_there_when_it_is_opened_again_and_who_asks_hears_of_members(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        records = await kit.open()
        for data in EVERY:
            await records.add(data)
        kit.heard.clear()
        again = await kit.open()
        assert again.ids(ALL) == ids_of(*EVERY)
        assert again.digests() == records.digests()
        about_members = ids_of(*(data for data in EVERY if isinstance(decode_record(data), ABOUT_MEMBERS)))
        assert sorted(kit.heard) == about_members
        for data in EVERY:
            assert await again.get(record_id(data)) == data

    run(scenario)


def test_of_many_that_add_one_record_at_once_one_is_the_first(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        records = await kit.open()
        news = await asyncio.gather(*(records.add(EVERY[0]) for _ in range(8)))
        assert sorted(news) == [False] * 7 + [True]
        assert kit.heard == ids_of(EVERY[0])

    run(scenario)


def test_what_is_no_record_or_not_signed_changes_nothing(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        records = await kit.open()
        for damage in broken().values():
            with pytest.raises((Damaged, Unsupported)):
                await records.add(damage.data)
        forged = msgspec.structs.replace(member_record(IDENTITIES[0]), name="another")
        with pytest.raises(NotAdmitted):
            await records.add(encode_record(forged))
        assert (records.ids(ALL), kit.heard) == ([], [])
        assert (await kit.open()).ids(ALL) == []

    run(scenario)


def test_a_record_that_is_not_here_is_not_found(run: Run) -> None:
    async def scenario(kit: Kit) -> None:
        records = await kit.open()
        with pytest.raises(NotFound):
            await records.get(record_id(EVERY[0]))

    run(scenario)


@pytest.mark.parametrize("data", [EVERY[0], MEMBERS[0], OTHERS[0]], ids=["tombstone", "member", "manifest"])
def test_a_damaged_record_is_never_given_out_and_can_come_again(run: Run, data: bytes) -> None:
    async def scenario(kit: Kit) -> None:
        records = await kit.open()
        await records.add(data)
        kit.damage(record_id(data))
        with pytest.raises(Damaged):
            await records.get(record_id(data))
        assert record_id(data) not in records
        assert records.ids(ALL) == []
        assert await records.add(data) is True
        assert await records.get(record_id(data)) == data
        kit.damage(record_id(data))
        again = await kit.open()
        if record_id(data) in again:
            with pytest.raises(Damaged):
                await again.get(record_id(data))
        assert await again.add(data) is True

    run(scenario)
