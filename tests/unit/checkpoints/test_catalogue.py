"""The catalogue: the record set in SQLite, in memory and in a file, a cache that comes back from anything."""

import asyncio
import contextlib
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

import record_specimens as specimens
from checkpoint_kits import all_pass, not_told
from roost.checkpoints.catalogue import Catalogue
from roost.codec.manifest import Manifest
from roost.codec.records import Record, Tombstone, encode_record, record_id
from roost.core.checkpoint import Health
from roost.core.errors import Damaged, DiskFault, NotAdmitted, NotFound, UsageError
from roost.core.ids import CheckpointName, RecordId
from roost.core.runtime import Runtime, SystemRuntime
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime

NAME = CheckpointName("run/step-1")
KINDS = ["memory", "file"]


def manifest(name: str = NAME, seq: int = 1, *, stored_at: int = 1_700_000_000) -> Manifest:
    return specimens.manifest(name=name, seq=seq, stored_at=stored_at)


def tombstone(of: Manifest) -> Tombstone:
    return Tombstone(name=of.name, manifest=record_id(encode_record(of)), seq=of.seq, at=1_700_000_001, keep_s=0)


def id_of(record: Record) -> RecordId:
    return record_id(encode_record(record))


@contextlib.asynccontextmanager
async def opened(path: Path | None, runtime: Runtime | None = None) -> AsyncIterator[Catalogue]:
    catalogue = Catalogue(path, runtime or SimRuntime(random.Random(1)), check=all_pass, added=not_told)
    await catalogue.open()
    try:
        yield catalogue
    finally:
        await catalogue.close()


def run(kind: str, root: Path, scenario: Callable[[Catalogue], Awaitable[None]]) -> None:
    async def main() -> None:
        async with opened(root / "home" / "catalogue.sqlite3" if kind == "file" else None) as catalogue:
            await scenario(catalogue)

    run_simulated(main(), seconds_max=600)


async def fill(catalogue: Catalogue, *records: Record) -> None:
    for record in records:
        await catalogue.add(encode_record(record))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_record_set(kind: str, tmp_path: Path) -> None:
    async def scenario(catalogue: Catalogue) -> None:
        empty = catalogue.digests()
        data = encode_record(manifest())
        assert await catalogue.add(data) is True
        assert await catalogue.add(data) is False
        await fill(catalogue, specimens.TOMBSTONE, specimens.MEMBER)
        wanted = {record_id(data), id_of(specimens.TOMBSTONE), id_of(specimens.MEMBER)}
        assert set(catalogue.ids(range(256))) == wanted
        assert catalogue.ids([record_id(data)[0]]) == [record_id(data)]
        assert len(catalogue) == 3
        assert all(i in catalogue for i in wanted)
        assert await catalogue.get(record_id(data)) == data
        assert catalogue.digests() != empty
        with pytest.raises(NotFound):
            await catalogue.get(RecordId(b"x" * 32))
        with pytest.raises(Damaged):
            await catalogue.add(data[:-1])
        assert len(catalogue) == 3

    run(kind, tmp_path, scenario)


def test_a_record_that_the_check_refuses_is_not_kept() -> None:
    async def main() -> None:
        def refuse(record: Record) -> None:
            raise NotAdmitted("a stranger's")

        heard: list[bytes] = []
        catalogue = Catalogue(
            None, SimRuntime(random.Random(1)), check=refuse, added=lambda record, _: heard.append(record)
        )
        await catalogue.open()
        with pytest.raises(NotAdmitted):
            await fill(catalogue, specimens.MEMBER)
        assert len(catalogue) == 0
        assert not heard

    run_simulated(main(), seconds_max=60)


@pytest.mark.parametrize("kind", KINDS)
def test_versions_are_numbered_listed_and_found_by_name(kind: str, tmp_path: Path) -> None:
    async def scenario(catalogue: Catalogue) -> None:
        assert await catalogue.next_seq(NAME) == 1
        assert await catalogue.newest(NAME) is None
        first, second, other = manifest(), manifest(seq=2), manifest("run/step-10")
        await fill(catalogue, second, other, first)
        assert await catalogue.next_seq(NAME) == 3
        assert await catalogue.newest(NAME) == second
        assert [(v.name, v.version[:2]) for v in await catalogue.list()] == [
            (NAME, "1-"), (NAME, "2-"), ("run/step-10", "1-"),
        ]  # fmt: skip
        assert [v.version[:2] for v in await catalogue.list(newest=True)] == ["2-", "1-"]
        found = await catalogue.find(NAME, None)
        assert found.manifest == id_of(second)
        assert (found.bytes, found.stored_at, found.redundancy) == (second.bytes_total, second.stored_at, "2")
        assert await catalogue.manifest(found.manifest) == second
        assert (await catalogue.find(NAME, first.version_of(id_of(first)))).manifest == id_of(first)
        with pytest.raises(NotFound, match="no version") as caught:
            await catalogue.find(NAME, "7-abcdef")
        assert first.version_of(id_of(first)) in caught.value.hint
        with pytest.raises(NotFound) as caught:
            await catalogue.find(CheckpointName("run/step-2"), None)
        assert "run/step-1" in caught.value.hint
        with pytest.raises(NotFound):
            await catalogue.find(CheckpointName("run"), None)
        with pytest.raises(UsageError):
            await catalogue.find(NAME, "latest")

    run(kind, tmp_path, scenario)


def test_of_two_versions_with_one_seq_the_higher_id_is_the_newest(tmp_path: Path) -> None:
    async def scenario(catalogue: Catalogue) -> None:
        both = sorted((manifest(stored_at=n) for n in (1, 2, 3)), key=id_of)
        await fill(catalogue, both[1], both[2], both[0])
        assert await catalogue.newest(NAME) == both[2]
        assert (await catalogue.find(NAME, None)).manifest == id_of(both[2])
        assert await catalogue.next_seq(NAME) == 2

    run("memory", tmp_path, scenario)


@pytest.mark.parametrize("first", ["tombstone", "manifest"])
def test_a_tombstone_takes_a_version_off_every_list_whichever_came_first(first: str, tmp_path: Path) -> None:
    async def scenario(catalogue: Catalogue) -> None:
        gone, stays = manifest(seq=2), manifest(seq=1)
        records: list[Record] = [gone, tombstone(gone)]
        await fill(catalogue, stays, *(records if first == "manifest" else records[::-1]))
        assert [v.manifest for v in await catalogue.list()] == [id_of(stays)]
        assert await catalogue.newest(NAME) == stays
        assert [m.seq for m in await catalogue.relatives(NAME)] == [1]
        assert await catalogue.next_seq(NAME) == 3
        with pytest.raises(NotFound):
            await catalogue.find(NAME, gone.version_of(id_of(gone)))

    run("memory", tmp_path, scenario)


def test_a_seq_is_not_used_again_when_only_the_tombstone_of_its_version_is_known(tmp_path: Path) -> None:
    async def scenario(catalogue: Catalogue) -> None:
        await fill(catalogue, tombstone(manifest(seq=7)))
        assert await catalogue.next_seq(NAME) == 8

    run("memory", tmp_path, scenario)


def test_relatives_are_the_newest_of_the_name_then_of_its_run(tmp_path: Path) -> None:
    async def scenario(catalogue: Catalogue) -> None:
        await fill(catalogue, *(manifest(seq=n) for n in range(1, 6)))
        await fill(catalogue, *(manifest(f"run/step-{n}", stored_at=1000 + n) for n in range(2, 8)))
        await fill(catalogue, manifest("run2/step-1"), manifest("run"), manifest("run/deeper/step-1"))
        assert [(m.name, m.seq) for m in await catalogue.relatives(NAME)] == [
            (NAME, 5), (NAME, 4), (NAME, 3), ("run/step-7", 1), ("run/step-6", 1), ("run/step-5", 1),
        ]  # fmt: skip
        await fill(catalogue, manifest("loose"), manifest("other"))
        assert [m.name for m in await catalogue.relatives(CheckpointName("loose"))] == ["loose"]

    run("memory", tmp_path, scenario)


def test_a_prefix_is_taken_as_it_is(tmp_path: Path) -> None:
    async def scenario(catalogue: Catalogue) -> None:
        names = ["a_b/x", "aXb/x", "a%/x", "Größe/x", "𝄞/x", "a_b"]
        await fill(catalogue, *(manifest(name) for name in names))

        async def listed(prefix: str) -> list[str]:
            return [v.name for v in await catalogue.list(prefix=prefix)]

        assert await listed("a_") == ["a_b", "a_b/x"]
        assert await listed("a%") == ["a%/x"]
        assert await listed("A") == []
        assert await listed("Gro\u0308\u00df") == ["Größe/x"]
        assert await listed("𝄞") == ["𝄞/x"]
        assert await listed("'; DROP TABLE records; --") == []
        assert len(await listed("")) == len(names)
        for bad in ("a\0b", "\udcff"):
            with pytest.raises(UsageError):
                await catalogue.list(prefix=bad)

    run("memory", tmp_path, scenario)


@pytest.mark.parametrize("kind", KINDS)
def test_health_is_remembered_with_its_time(kind: str, tmp_path: Path) -> None:
    async def scenario(catalogue: Catalogue) -> None:
        await fill(catalogue, manifest())
        listed = await catalogue.find(NAME, None)
        assert (listed.health, listed.health_at, listed.verified_at) == (Health.UNKNOWN, None, None)
        await catalogue.note_health(listed.manifest, Health.HEALTHY, at=10, verified_at=10)
        await catalogue.note_health(listed.manifest, Health.AT_RISK, at=20, verified_at=None)
        listed = await catalogue.find(NAME, None)
        assert (listed.health, listed.health_at, listed.verified_at) == (Health.AT_RISK, 20, 10)

    run(kind, tmp_path, scenario)


def test_what_was_added_is_there_when_it_is_opened_again_and_members_are_told(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "catalogue.sqlite3"
        async with opened(path) as catalogue:
            await fill(catalogue, manifest(), specimens.MEMBER)
            digests = catalogue.digests()
        heard: list[Record] = []
        again = Catalogue(
            path, SimRuntime(random.Random(1)), check=all_pass, added=lambda _, record: heard.append(record)
        )
        await again.open()
        assert heard == [specimens.MEMBER]
        assert again.digests() == digests
        assert await again.newest(NAME) == manifest()
        await again.close()
        await again.close()

    run_simulated(main(), seconds_max=60)


def damage_header(data: bytes) -> bytes:
    return b"\xff" * 100 + data[100:]


def damage_schema(data: bytes) -> bytes:
    return data[:100] + b"\xff" * 400 + data[500:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"no database, but some text of a person" * 40,
        damage_header,
        damage_schema,
        lambda data: data[:5000],
    ],
)
def test_a_file_that_is_no_catalogue_any_more_is_made_anew(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "catalogue.sqlite3"
        async with opened(path) as catalogue:
            await fill(catalogue, manifest())
        path.write_bytes(damage(path.read_bytes()))
        async with opened(path) as catalogue:
            assert len(catalogue) == 0
            await fill(catalogue, manifest())
        async with opened(path) as catalogue:
            assert await catalogue.newest(NAME) == manifest()

    run_simulated(main(), seconds_max=60)


@pytest.mark.parametrize("statement", ["PRAGMA user_version=99", "DROP TABLE health", "CREATE TABLE mine (x)"])
def test_tables_of_another_release_are_made_anew(statement: str, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "catalogue.sqlite3"
        async with opened(path) as catalogue:
            await fill(catalogue, manifest())
        database = sqlite3.connect(path)
        database.execute(statement)
        database.close()
        async with opened(path) as catalogue:
            assert len(catalogue) == (1 if "mine" in statement else 0)
            await fill(catalogue, manifest())
            assert await catalogue.newest(NAME) == manifest()

    run_simulated(main(), seconds_max=60)


def test_a_deleted_file_is_made_anew(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "home" / "catalogue.sqlite3"
        async with opened(path) as catalogue:
            await fill(catalogue, manifest())
        path.unlink()
        async with opened(path) as catalogue:
            assert await catalogue.list() == []

    run_simulated(main(), seconds_max=60)


def corrupt(path: Path, record: RecordId) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE records SET data = ? WHERE id = ?", (b"something else", record))
    database.commit()
    database.close()


def test_a_damaged_record_is_let_go_of_and_can_be_added_again(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "catalogue.sqlite3"
        async with opened(path) as catalogue:
            await fill(catalogue, manifest())
        corrupt(path, id_of(manifest()))
        async with opened(path) as catalogue:
            with pytest.raises(Damaged):
                await catalogue.newest(NAME)
            assert id_of(manifest()) not in catalogue
            assert await catalogue.add(encode_record(manifest())) is True
            assert await catalogue.newest(NAME) == manifest()

    run_simulated(main(), seconds_max=60)


def test_a_damaged_member_record_does_not_keep_it_from_opening(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "catalogue.sqlite3"
        other = msgspec.structs.replace(specimens.MEMBER, seq=9)
        async with opened(path) as catalogue:
            await fill(catalogue, specimens.MEMBER, other)
        corrupt(path, id_of(specimens.MEMBER))
        heard: list[Record] = []
        again = Catalogue(
            path, SimRuntime(random.Random(1)), check=all_pass, added=lambda _, record: heard.append(record)
        )
        await again.open()
        assert heard == [other]
        assert again.ids(range(256)) == [id_of(other)]
        await again.close()

    run_simulated(main(), seconds_max=60)


def test_damage_that_shows_later_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "catalogue.sqlite3"
        async with opened(path) as catalogue:
            await fill(catalogue, *(manifest(seq=n) for n in range(1, 40)))
        async with opened(path) as catalogue:
            data = path.read_bytes()
            path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
            with pytest.raises(DiskFault) as caught:
                for seq in range(40, 80):
                    await fill(catalogue, manifest(seq=seq))
                    await catalogue.list()
            assert "delete it" in caught.value.hint

    run_simulated(main(), seconds_max=60)


def test_a_file_that_may_not_be_opened_is_an_error_and_stays(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "catalogue.sqlite3"
        path.mkdir()
        with pytest.raises(DiskFault):
            async with opened(path):
                raise AssertionError("a folder is no file")
        assert path.is_dir()
        (tmp_path / "plain").write_bytes(b"x")
        with pytest.raises(DiskFault):
            async with opened(tmp_path / "plain" / "catalogue.sqlite3"):
                raise AssertionError("there is no such folder")

    run_simulated(main(), seconds_max=60)


def test_two_processes_see_what_the_other_one_adds(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "catalogue.sqlite3"
        async with opened(path) as one, opened(path) as two:
            await fill(one, manifest())
            assert await two.newest(NAME) == manifest()
            assert await two.next_seq(NAME) == 2
            assert await two.add(encode_record(manifest())) is True, "new to this process, and no harm"
            await fill(two, tombstone(manifest()))
            assert await one.list() == []
            await asyncio.gather(
                *(fill(one, manifest(seq=n)) for n in range(2, 9)), *(fill(two, manifest(seq=n)) for n in range(9, 16))
            )
            assert len(await one.list()) == len(await two.list()) == 14

    run_simulated(main(), seconds_max=60)


OPEN_AND_FILL = """
import asyncio, sys
from pathlib import Path
from roost.checkpoints.catalogue import Catalogue
from roost.core.runtime import SystemRuntime
import record_specimens as specimens
from roost.codec.records import encode_record

async def main():
    catalogue = Catalogue(Path(sys.argv[1]), SystemRuntime(), check=lambda r: None, added=lambda i, r: None)
    print("ready", flush=True)
    sys.stdin.readline()
    await catalogue.open()
    for seq in range(1, 20):
        await catalogue.add(encode_record(specimens.manifest(name=sys.argv[2], seq=seq)))
    await catalogue.close()

asyncio.run(main())
"""


def test_processes_that_make_one_file_at_once_all_succeed(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite3"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_FILL, str(path), f"run/step-{n}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        for n in range(3)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], errors

    async def main() -> None:
        async with opened(path, SystemRuntime()) as catalogue:
            assert len(await catalogue.list()) == 57

    asyncio.run(main())
