"""The catalogue of what was removed: listed with its times, found by name and version, told apart from the living."""

import random
from collections.abc import Awaitable, Callable

import pytest

import record_specimens as specimens
from checkpoint_kits import all_pass, not_told
from roost.checkpoints.catalogue import Catalogue
from roost.codec.manifest import Manifest
from roost.codec.records import Record, Tombstone, encode_record, record_id
from roost.core.checkpoint import Health
from roost.core.errors import NotFound, UsageError
from roost.core.ids import CheckpointName
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime

NAME = CheckpointName("run/step-1")
AT = 1_700_000_001


def manifest(seq: int = 1, *, name: str = NAME, content: str = "a") -> Manifest:
    """A version whose content is told apart by the name of its one file."""
    files = [specimens.file(content, 512)]
    return specimens.manifest(files, [specimens.raw("tail", 512)], name=name, seq=seq)


def tombstone(of: Manifest, *, at: int = AT, keep_s: int = 60) -> Tombstone:
    return Tombstone(name=of.name, manifest=record_id(encode_record(of)), seq=of.seq, at=at, keep_s=keep_s)


def run(scenario: Callable[[Catalogue], Awaitable[None]], *records: Record) -> None:
    async def main() -> None:
        catalogue = Catalogue(None, SimRuntime(random.Random(1)), check=all_pass, added=not_told)
        await catalogue.open()
        for record in records:
            await catalogue.add(encode_record(record))
        await scenario(catalogue)
        await catalogue.close()

    run_simulated(main(), seconds_max=600)


ONE, TWO, OTHER = manifest(1, content="a"), manifest(2, content="b"), manifest(1, name="other", content="c")


def version(of: Manifest) -> str:
    return of.version_of(record_id(encode_record(of)))


def test_what_was_removed_is_listed_with_its_times_and_what_lives_is_not() -> None:
    async def scenario(catalogue: Catalogue) -> None:
        assert [v.name for v in await catalogue.list()] == ["other", NAME]
        [found] = await catalogue.list(removed=True)
        assert (found.name, found.version, found.removed_at, found.kept_until) == (NAME, version(ONE), AT, AT + 60)
        assert (found.bytes, found.redundancy, found.source) == (512, ONE.redundancy, ONE.source)
        assert [v.removed_at for v in await catalogue.list()] == [None, None]
        assert await catalogue.list(prefix="oth", removed=True) == []
        assert await catalogue.list(prefix="run", removed=True) == [found]

    run(scenario, OTHER, ONE, TWO, tombstone(ONE))


def test_of_several_tombstones_the_one_that_ends_first_counts_whichever_came_first() -> None:
    stones = [tombstone(ONE, at=AT + 10, keep_s=5), tombstone(ONE), tombstone(ONE, at=AT + 20, keep_s=1000)]

    async def scenario(catalogue: Catalogue) -> None:
        [found] = await catalogue.list(removed=True)
        assert (found.removed_at, found.kept_until) == (AT, AT + 15)

    for order in (stones, stones[::-1]):
        run(scenario, ONE, *order)


def test_a_tombstone_that_came_before_its_manifest_counts() -> None:
    async def scenario(catalogue: Catalogue) -> None:
        assert await catalogue.list(removed=True) == []
        await catalogue.add(encode_record(ONE))
        assert [v.version for v in await catalogue.list(removed=True)] == [version(ONE)]
        assert await catalogue.list() == []

    run(scenario, tombstone(ONE))


def test_what_a_living_version_has_the_content_of_need_not_come_back() -> None:
    again = manifest(3, content="a")
    elsewhere = manifest(1, name="elsewhere", content="b")

    async def scenario(catalogue: Catalogue) -> None:
        assert [v.version for v in await catalogue.list(removed=True)] == [version(TWO)]
        assert (await catalogue.find_removed(NAME, version(ONE))).version == version(ONE), "but it is found"

    run(scenario, ONE, TWO, tombstone(ONE), tombstone(TWO), again, elsewhere)


def test_the_newest_of_each_name() -> None:
    async def scenario(catalogue: Catalogue) -> None:
        listed = await catalogue.list(removed=True, newest=True)
        assert [(v.name, v.version) for v in listed] == [("other", version(OTHER)), (NAME, version(TWO))]

    run(scenario, ONE, TWO, OTHER, tombstone(ONE), tombstone(TWO), tombstone(OTHER))


def test_what_cannot_be_found_says_what_there_is() -> None:
    async def scenario(catalogue: Catalogue) -> None:
        with pytest.raises(UsageError, match="which version") as unsaid:
            await catalogue.find_removed(NAME, None)
        assert f"{NAME}@{version(ONE)}" in unsaid.value.hint
        with pytest.raises(NotFound, match="no version 9-abcdef") as wrong:
            await catalogue.find_removed(NAME, "9-abcdef")
        assert f"{NAME}@{version(ONE)}" in wrong.value.hint
        with pytest.raises(UsageError, match="is not removed"):
            await catalogue.find_removed(NAME, version(TWO))
        with pytest.raises(UsageError, match="not a version"):
            await catalogue.find_removed(NAME, "nonsense")
        for living in (None, "9-abcdef"):
            with pytest.raises(NotFound, match="nothing named other was removed"):
                await catalogue.find_removed(CheckpointName("other"), living)

    run(scenario, ONE, TWO, OTHER, tombstone(ONE))


def test_a_name_of_which_all_is_removed_says_so_when_it_is_looked_for() -> None:
    async def scenario(catalogue: Catalogue) -> None:
        with pytest.raises(NotFound, match="was removed") as caught:
            await catalogue.find(NAME, None)
        assert "roost ls --removed" in caught.value.hint

    run(scenario, ONE, tombstone(ONE))


def test_the_health_of_what_was_removed_is_remembered_too() -> None:
    async def scenario(catalogue: Catalogue) -> None:
        await catalogue.note_health(record_id(encode_record(ONE)), Health.LOST, at=5, verified_at=None)
        [found] = await catalogue.list(removed=True)
        assert (found.health, found.health_at) == (Health.LOST, 5)

    run(scenario, ONE, tombstone(ONE))
