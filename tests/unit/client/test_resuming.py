"""Resuming: which checkpoint of a run it is, and that an answer which may be stale is refused."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from checkpoint_kits import Kit, make_kit, member, noise
from roost.client.cluster import AsyncCluster
from roost.client.results import ListedRow, Listing
from roost.client.resuming import newest_healthy, resume_from
from roost.client.session import Session
from roost.cluster.membership import Membership
from roost.cluster.remembered import Remembered
from roost.core.errors import Lost, Unreachable, UsageError
from roost.core.ids import MachineId
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.settings.schema import default_settings
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated


def row(name: str, version: str = "1-aaaaaa", health: str = "healthy") -> ListedRow:
    return ListedRow(name, version, 1, "2026-01-01T00:00:00Z", health, None, None, "2")


def chosen(*rows: ListedRow, run: str = "gpt2") -> tuple[str | None, tuple[str, ...]]:
    choice = newest_healthy(Listing(rows, True, ()), run)
    return (f"{choice.row.name}@{choice.row.version}" if choice.row is not None else None), choice.skipped


def test_the_highest_step_counts_and_not_the_order_of_the_names() -> None:
    rows = [row(f"gpt2/checkpoint-{step}") for step in (900, 1000, 50)]
    assert chosen(*rows) == ("gpt2/checkpoint-1000@1-aaaaaa", ())


def test_of_one_step_the_newest_version_counts() -> None:
    rows = [row("gpt2/step-5", version) for version in ("9-ffffff", "10-000000", "10-00000a")]
    assert chosen(*rows) == ("gpt2/step-5@10-00000a", ())


def test_what_has_no_step_comes_last() -> None:
    assert chosen(row("gpt2/final", "7-aaaaaa"), row("gpt2/step-0")) == ("gpt2/step-0@1-aaaaaa", ())
    assert chosen(row("gpt2/final")) == ("gpt2/final@1-aaaaaa", ())


def test_what_is_lost_is_skipped_and_told() -> None:
    rows = [
        row("gpt2/step-3", "1-aaaaaa", "lost"), row("gpt2/step-2", "2-bbbbbb", "lost"), row("gpt2/step-2"),
        row("gpt2/step-1"),
    ]  # fmt: skip
    assert chosen(*rows) == ("gpt2/step-2@1-aaaaaa", ("gpt2/step-3@1-aaaaaa", "gpt2/step-2@2-bbbbbb"))
    assert chosen(*rows[:1]) == (None, ("gpt2/step-3@1-aaaaaa",))


def test_what_is_short_or_unknown_is_not_skipped() -> None:
    for health in ("degraded", "at-risk", "unknown"):
        assert chosen(row("gpt2/step-2", health=health), row("gpt2/step-1"))[0] == "gpt2/step-2@1-aaaaaa"


def test_other_runs_do_not_count() -> None:
    rows = [row("gpt2-large/step-9"), row("gpt2/eval/step-8"), row("gpt2"), row("a/gpt2/step-7")]
    assert chosen(*rows) == (None, ())
    assert chosen(*rows, run="a/gpt2") == ("a/gpt2/step-7@1-aaaaaa", ())


Scenario = Callable[[Kit, AsyncCluster], Awaitable[None]]


def with_run(scenario: Scenario, folder: Path) -> None:
    """A cluster of three nodes that has steps 9 and 10 of the run ``gpt2``."""

    async def main() -> None:
        kit = await make_kit([member(n + 1) for n in range(3)])
        identity = Identity.found(Authority.create("home"), NodeKey.create(), machine=MachineId("f" * 32))
        membership = Membership(identity.authority)
        membership.view = kit.view
        session = Session(
            kit.runtime, kit.client, identity, membership, kit.catalogue, Remembered(MemoryDisk()), kit.links, kit.peers
        )
        async with AsyncCluster(session, default_settings()) as cluster:
            for step in (9, 10):
                (folder / f"step-{step}").mkdir()
                (folder / f"step-{step}" / "model.pt").write_bytes(noise(5000 + step))
                await cluster.store(folder / f"step-{step}", name=f"gpt2/step-{step}")
            await scenario(kit, cluster)
        for node in kit.nodes.values():
            await node.links.close()

    run_simulated(main(), seconds_max=600)


def test_it_comes_back_below_the_folder(tmp_path: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        found = await resume_from(cluster, "gpt2", to=tmp_path / "fresh")
        assert found is not None
        assert (found.name, found.step, found.skipped) == ("gpt2/step-10", 10, ())
        assert found.path == str(tmp_path / "fresh" / "step-10")
        assert (Path(found.path) / "model.pt").read_bytes() == noise(5010)
        assert await resume_from(cluster, "gpt3", to=tmp_path / "fresh") is None
        with pytest.raises(UsageError):
            await resume_from(cluster, "../gpt2", to=tmp_path / "fresh")

    with_run(scenario, tmp_path)


def test_an_answer_that_may_be_stale_is_refused_unless_it_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        kit.crash(1)
        assert await resume_from(cluster, "gpt2", to=tmp_path / "one-down") is not None
        kit.crash(2)
        for run in ("gpt2", "gpt3"):
            with pytest.raises(Unreachable, match="2 of 3 nodes did not answer") as caught:
                await resume_from(cluster, run, to=tmp_path / "two-down")
            assert f"a newer checkpoint of {run} may exist" in caught.value.message
            assert "stale_ok" in caught.value.hint
        assert not (tmp_path / "two-down").exists()
        assert await resume_from(cluster, "gpt3", to=tmp_path / "two-down", stale_ok=True) is None
        assert "2 of 3 nodes did not answer" in caplog.text

    with_run(scenario, tmp_path)


def test_what_is_lost_now_is_skipped_whatever_was_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="roost")

    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        def lose(name: str, chunks: list[str]) -> None:
            for node in kit.nodes.values():
                for chunk in chunks:
                    path = f"chunks/{chunk[:2]}/{chunk}"
                    if node.disk.exists(path):
                        node.disk.flip(path, 3, 2)

        chunks = {step: [c.id for c in (await cluster.show(f"gpt2/step-{step}")).chunks] for step in (9, 10)}
        assert not set(chunks[9]) & set(chunks[10])
        lose("gpt2/step-10", chunks[10])
        await cluster.scrub()
        found = await resume_from(cluster, "gpt2", to=tmp_path / "fresh")
        assert found is not None
        assert found.name == "gpt2/step-9"
        assert [name.partition("@")[0] for name in found.skipped] == ["gpt2/step-10"]
        assert "newer ones have lost parts: gpt2/step-10@" in caplog.text
        lose("gpt2/step-9", chunks[9])
        await cluster.scrub()
        with pytest.raises(Lost, match=r"gpt2/step-10@.*gpt2/step-9@"):
            await resume_from(cluster, "gpt2", to=tmp_path / "nothing")

    with_run(scenario, tmp_path)
