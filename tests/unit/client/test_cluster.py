"""The front door, on a simulated cluster and real files: names, destinations, listings, and what it says of itself."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import checkpoint_kits
from checkpoint_kits import KIB, Kit, make_kit, member, noise
from roost.checkpoints.progress import Progress
from roost.client.cluster import AsyncCluster
from roost.client.session import Session
from roost.client.storing import default_name
from roost.cluster.membership import Membership
from roost.cluster.remembered import Remembered
from roost.core.errors import DiskFault, Failed, NotFound, UsageError
from roost.core.ids import MachineId
from roost.net.server import Call, Reply
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.settings.schema import default_settings
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.wire.messages import Scrub, Scrubbed

Scenario = Callable[[Kit, AsyncCluster], Awaitable[None]]


def with_cluster(scenario: Scenario, *, nodes: int = 3, seconds_max: float = 600) -> None:
    async def main() -> None:
        kit = await make_kit([member(n + 1) for n in range(nodes)])
        authority = Authority.create("home")
        identity = Identity.found(authority, NodeKey.create(), machine=MachineId("f" * 32))
        membership = Membership(identity.authority)
        membership.view = kit.view
        session = Session(
            kit.runtime, kit.client, identity, membership, kit.catalogue, Remembered(MemoryDisk()), kit.links, kit.peers
        )
        async with AsyncCluster(session, default_settings()) as cluster:
            await scenario(kit, cluster)
        for node in kit.nodes.values():
            await node.links.close()

    run_simulated(main(), seconds_max=seconds_max)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of two files in ``gpt2/step-1000``."""
    found = tmp_path / "gpt2" / "step-1000"
    (found / "sub").mkdir(parents=True)
    (found / "model.safetensors").write_bytes(noise(5 * KIB))
    (found / "sub" / "config.json").write_bytes(b"{}")
    (found / "sub").chmod(0o750)
    return found


def test_a_default_name_is_the_parent_and_the_file_without_its_ending_or_the_folder(folder: Path) -> None:
    assert default_name(folder) == "gpt2/step-1000"
    assert default_name(folder / "model.safetensors") == "step-1000/model"
    assert default_name(folder / "sub" / "config.json") == "sub/config.json"
    (folder / "odd.safetensors").mkdir()
    assert default_name(folder / "odd.safetensors") == "step-1000/odd.safetensors"
    assert default_name(Path("/loose.pt")) == "loose.pt"
    for bad in (Path("/"), folder / ".safetensors", folder / "new\nline"):
        with pytest.raises(UsageError):
            default_name(bad)


def test_a_folder_is_stored_under_its_default_name_and_gathered_below_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        stored = await cluster.store(Path("..") / "gpt2" / "step-1000")
        assert (stored.name, stored.copies, stored.degraded) == ("gpt2/step-1000", 2, False)
        assert set(stored.nodes) <= {node.name for node in kit.nodes.values()}
        result = await cluster.gather("gpt2/step-1000")
        assert result.path == str(tmp_path / "work" / "gpt2" / "step-1000")
        assert (result.name, result.version, result.complete) == (stored.name, stored.version, True)
        back = Path(result.path)
        assert (back / "model.safetensors").read_bytes() == noise(5 * KIB)
        assert (back / "sub").stat().st_mode & 0o7777 == 0o750
        assert back.stat().st_mtime_ns == folder.stat().st_mtime_ns
        assert (await cluster.gather(f"gpt2/step-1000@{stored.version}")).already_there
        assert (await cluster.store(folder)).unchanged

    with_cluster(scenario)


def test_a_file_comes_back_below_dest_under_its_own_name(folder: Path, tmp_path: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder / "model.safetensors")
        result = await cluster.gather("step-1000/model", to=tmp_path / "a" / "b")
        assert result.path == str(tmp_path / "a" / "b" / "model.safetensors")
        assert Path(result.path).read_bytes() == noise(5 * KIB)
        (tmp_path / "a" / "b" / "model.safetensors").write_bytes(b"mine")
        with pytest.raises(Failed, match="exists") as caught:
            await cluster.gather("step-1000/model", to=tmp_path / "a" / "b")
        assert caught.value.exit_code == 1
        assert Path(result.path).read_bytes() == b"mine"
        await cluster.gather("step-1000/model", to=tmp_path / "a" / "b", force=True)
        assert Path(result.path).read_bytes() == noise(5 * KIB)

    with_cluster(scenario)


def test_dest_may_be_a_link_to_a_folder_elsewhere_and_never_the_root(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "large-disk").mkdir()
    (tmp_path / "here").symlink_to("large-disk/restored")

    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        result = await cluster.gather("gpt2/step-1000", to=tmp_path / "here")
        assert result.path == str(tmp_path / "large-disk" / "restored")
        assert (tmp_path / "here").is_symlink()
        assert (tmp_path / "here" / "model.safetensors").is_file()
        with pytest.raises(UsageError):
            await cluster.gather("gpt2/step-1000", to=Path("/"))

    with_cluster(scenario)


def test_a_defaulted_name_from_another_place_is_refused_and_a_given_one_is_not(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "gpt2" / "step-1000"
    other.mkdir(parents=True)
    (other / "x").write_bytes(b"1")

    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        with pytest.raises(UsageError, match="another place") as caught:
            await cluster.store(other)
        assert str(folder) in caught.value.message
        assert (await cluster.store(other, name="gpt2/step-1000")).version[:2] == "2-"
        with pytest.raises(UsageError):
            await cluster.store(folder)
        assert (await cluster.store(other)).unchanged

    with_cluster(scenario)


def test_what_is_not_there_is_not_found(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nothing")

    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        for path in (tmp_path / "absent", tmp_path / "dangling"):
            with pytest.raises(NotFound):
                await cluster.store(path)
        for call in (cluster.gather, cluster.show, cluster.remove):
            with pytest.raises(NotFound):
                await call("nothing/here")
        stored = await cluster.store(folder)
        with pytest.raises(NotFound):
            await cluster.gather("gpt2/step-1000@9-abcdef")
        with pytest.raises(UsageError):
            await cluster.store(folder, name="../up")
        with pytest.raises(UsageError):
            await cluster.store(folder, redundancy="2+1")
        assert [row.version for row in (await cluster.list()).checkpoints] == [stored.version]

    with_cluster(scenario)


def test_a_path_that_is_no_utf_8_is_stored_under_a_given_name(tmp_path: Path) -> None:
    where = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    try:
        where.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (where / "model.pt").write_bytes(b"1")

    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        assert (await cluster.store(where / "model.pt", name="odd")).copies == 2
        assert "\\udcff" in (await cluster.show("odd")).source

    with_cluster(scenario)


def test_the_receipt_makes_the_health_that_ls_shows_and_health_asks_again(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        stored = await cluster.store(folder)
        [row] = (await cluster.list()).checkpoints
        assert (row.name, row.health, row.health_at is not None) == (stored.name, "healthy", True)
        kit.crash(*[int(node.removeprefix("node-")) for node in stored.nodes[:1]])
        assert (await cluster.list()).checkpoints[0].health == "healthy", "as it was last seen"
        listing = await cluster.list(health=True)
        assert listing.checkpoints[0].health == "at-risk"
        assert len(listing.unreachable) == 1
        assert listing.complete
        assert (await cluster.show(stored.name)).health == "at-risk"

    with_cluster(scenario)


def test_too_few_members_make_a_listing_incomplete(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        kit.crash(1, 2)
        listing = await cluster.list()
        assert not listing.complete
        assert len(listing.checkpoints) == 1
        assert not (await cluster.show("gpt2/step-1000")).complete

    with_cluster(scenario)


def test_show_names_files_chunks_and_who_has_them(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        shown = await cluster.show("gpt2/step-1000")
        assert [(f.path, f.kind, f.bytes) for f in shown.files] == [
            ("model.safetensors", "f", 5 * KIB), ("sub", "d", 0), ("sub/config.json", "f", 2),
        ]  # fmt: skip
        assert all(len(chunk.nodes) == 2 for chunk in shown.chunks)
        assert all(set(chunk.verified_at) == set(chunk.nodes) for chunk in shown.chunks)
        assert shown.verified_at == min(at for chunk in shown.chunks for at in chunk.verified_at.values())
        await asyncio.sleep(100)
        [verdict] = await cluster.verify()
        assert (verdict.damaged, verdict.verified_at) == ((), shown.verified_at)
        [verdict] = await cluster.verify(deep=True)
        assert (verdict.health, verdict.copies, verdict.damaged) == ("healthy", 2, ())
        assert verdict.verified_at is not None
        assert shown.verified_at is not None
        assert verdict.verified_at > shown.verified_at
        assert (await cluster.show("gpt2/step-1000")).verified_at == verdict.verified_at
        [listed] = (await cluster.list()).checkpoints
        assert listed.verified_at == verdict.verified_at

    with_cluster(scenario)


def path_of(chunk: str) -> str:
    return f"chunks/{chunk[:2]}/{chunk}"


def test_scrub_finds_damage_that_nobody_read_and_has_it_made_again(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        chunk = (await cluster.show("gpt2/step-1000")).chunks[0]
        [bad, *_] = [node for node in kit.nodes.values() if node.name in chunk.nodes]
        bad.disk.flip(path_of(chunk.id), 3, 2)
        assert (await cluster.show("gpt2/step-1000")).copies == 2, "nobody knows"
        progress = Progress()
        result = await cluster.scrub(progress=progress)
        assert {row.name: row.damaged for row in result.nodes} == {
            node.name: (chunk.id,) if node is bad else () for node in kit.nodes.values()
        }
        assert (result.copies, result.short, result.lost) == (1, 0, ())
        assert sum(row.objects for row in result.nodes) == 2 * len((await cluster.show("gpt2/step-1000")).chunks)
        assert (await cluster.show("gpt2/step-1000")).copies == 2
        assert bad.store.quarantined == 1
        assert progress.bytes_total > 0
        again = await cluster.scrub()
        assert (again.copies, [row.damaged for row in again.nodes]) == (0, [()] * 3)

    with_cluster(scenario)


def test_scrub_of_one_node_by_its_name_or_the_start_of_its_id(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        for text in ("node-2", kit.nodes[2].node_id):
            assert [row.name for row in (await cluster.scrub(text)).nodes] == ["node-2"]
        with pytest.raises(NotFound):
            await cluster.scrub("node-9")
        with pytest.raises(UsageError, match="several"):
            await cluster.scrub("0000")

    with_cluster(scenario)


def test_a_node_that_dies_in_a_scrub_is_named_and_the_others_go_on(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)

        async def dies(call: Call) -> Reply:
            kit.crash(2)
            raise NotFound("nobody hears this")

        kit.nodes[2].handlers[Scrub] = dies
        result = await cluster.scrub()
        assert [(row.name, bool(row.problem)) for row in result.nodes] == [
            ("node-1", False), ("node-2", True), ("node-3", False),
        ]  # fmt: skip
        assert result.short == 0, "what it had was copied elsewhere"
        assert [row.problem for row in (await cluster.scrub("node-2")).nodes] != [""], "also when it is down already"

    with_cluster(scenario)


def test_what_no_good_copy_is_left_of_is_called_lost(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        stored = await cluster.store(folder)
        chunk = (await cluster.show("gpt2/step-1000")).chunks[0]
        for node in kit.nodes.values():
            if node.name in chunk.nodes:
                node.disk.flip(path_of(chunk.id), 3, 2)
        result = await cluster.scrub()
        assert result.lost == (("gpt2/step-1000", stored.version),)
        assert result.short == 1

    with_cluster(scenario)


@pytest.mark.parametrize("reached", [b"", b"\x01" * 32])
def test_a_scrub_that_a_node_answers_with_nonsense_ends(folder: Path, reached: bytes) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        async def nonsense(call: Call) -> Reply:
            return Reply(Scrubbed(reached, b"odd" if not reached else b"", 1, 1))

        kit.nodes[2].handlers[Scrub] = nonsense
        result = await cluster.scrub("node-2")
        assert "nonsense" in result.nodes[0].problem

    with_cluster(scenario)


def test_what_was_removed_is_listed_and_comes_back(folder: Path, tmp_path: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        first = await cluster.store(folder)
        await cluster.remove("gpt2/step-1000")
        assert (await cluster.list()).checkpoints == ()
        [removed] = (await cluster.list(removed=True, health=True)).checkpoints
        assert (removed.version, removed.health) == (first.version, "healthy")
        assert removed.removed_at is not None
        assert removed.kept_until is not None
        reference = f"gpt2/step-1000@{first.version}"
        would = await cluster.undelete(reference, dry_run=True)
        assert (would.dry_run, would.version[:2], (await cluster.list()).checkpoints) == (True, "2-", ())
        back = await cluster.undelete(reference)
        assert (back.removed, back.version, back.copies, back.degraded) == (first.version, would.version, 2, False)
        assert len(back.nodes) >= 2
        assert set(back.nodes) <= {node.name for node in kit.nodes.values()}
        [row] = (await cluster.list()).checkpoints
        assert (row.version, row.health, row.removed_at) == (back.version, "healthy", None)
        result = await cluster.gather("gpt2/step-1000", to=tmp_path / "back")
        assert (Path(result.path) / "model.safetensors").read_bytes() == noise(5 * KIB)
        assert (await cluster.undelete(reference)).unchanged

    with_cluster(scenario)


def test_remove_takes_one_version_or_all_and_a_dry_run_none(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        first = await cluster.store(folder)
        (folder / "more").write_bytes(b"1")
        second = await cluster.store(folder)
        told = (("gpt2/step-1000", first.version), ("gpt2/step-1000", second.version))
        assert (await cluster.remove("gpt2/step-1000", dry_run=True)).removed == told
        assert len((await cluster.list()).checkpoints) == 2
        removed = await cluster.remove(f"gpt2/step-1000@{second.version}")
        assert (removed.removed, removed.everywhere) == (told[1:], True)
        assert [row.version for row in (await cluster.list()).checkpoints] == [first.version]
        await cluster.remove("gpt2/step-1000")
        assert (await cluster.list()).checkpoints == ()
        (folder / "more").unlink()
        assert (await cluster.store(folder)).version[:2] == "3-"

    with_cluster(scenario)


def test_a_catalogue_that_fails_after_the_commit_does_not_fail_the_store(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        async def broken(data: bytes) -> bool:
            raise DiskFault("the home is full")

        kit.catalogue.add = broken  # type: ignore[method-assign]
        stored = await cluster.store(folder)
        assert stored.copies == 2
        assert any("the home is full" in note for note in stored.notes)

    with_cluster(scenario)


def test_nodes_and_status_tell_who_is_down_and_why(folder: Path) -> None:
    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder)
        kit.crash(2)
        rows = await cluster.nodes()
        assert [(row.name, row.state) for row in rows] == [("node-1", "alive"), ("node-2", "down"), ("node-3", "alive")]
        assert rows[1].problem
        assert rows[0].address == str(checkpoint_kits.member(1).addresses[0])
        status = await cluster.status()
        assert status.checkpoints == 1
        assert not status.coordinator_running
        assert any("node-2 is down" in problem for problem in status.problems)
        assert status.cluster == "home"

    with_cluster(scenario)
