"""Undelete: what was removed comes back as a new version while the nodes have all of it, and never half of it."""

import asyncio

import pytest

from checkpoint_kits import NAME, UNIT, Kit, noise, path_of, simulate
from roost.checkpoints.catalogue import Listed
from roost.checkpoints.progress import Progress
from roost.checkpoints.remove import remove
from roost.checkpoints.undelete import Undeleted, undelete
from roost.codec.manifest import Manifest
from roost.core.errors import DiskFault, NoSpace, NotFound, Unreachable
from roost.core.ids import ObjectId
from roost.net.server import Call, Handler, Reply
from roost.wire.messages import Commit, PassOn

ONE = {"x": noise(2 * UNIT, 1), "y": noise(3 * UNIT, 2)}
OTHER = {"x": noise(2 * UNIT, 1), "y": noise(3 * UNIT, 3)}


async def removed(kit: Kit, *, keep_s: int = 7 * 86_400) -> Listed:
    """Store, and remove the newest version."""
    await kit.store(ONE)
    survey = await kit.survey()
    listed = await kit.catalogue.find(NAME, None)
    manifest = await kit.catalogue.manifest(listed.manifest)
    await remove(kit.peers, kit.catalogue, survey, [(listed, manifest)], keep_s=keep_s)
    return await kit.catalogue.find_removed(NAME, listed.version)


async def bring_back(kit: Kit, listed: Listed, *, dry_run: bool = False, progress: Progress | None = None) -> Undeleted:
    survey = await kit.survey()
    manifest = await kit.catalogue.manifest(listed.manifest)
    return await undelete(kit.peers, kit.catalogue, survey, listed, manifest, progress or Progress(), dry_run=dry_run)


async def collect(kit: Kit, object_id: ObjectId, *numbers: int) -> None:
    """What a collection does, on these nodes or on all."""
    for number in numbers or kit.nodes:
        store = kit.nodes[number].store
        async with store.guard():
            await store.remove([object_id])


async def an_hour_passes() -> None:
    await asyncio.sleep(3601)


async def holds_everywhere(kit: Kit, manifest: Manifest, copies: int = 2) -> bool:
    return all(len(kit.holders(object_id)) >= copies for object_id in manifest.objects())


def test_it_comes_back_as_a_new_version_of_the_same_content() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        before = await kit.catalogue.manifest(old.manifest)
        await asyncio.sleep(1000)
        done = await bring_back(kit, old)
        assert (done.removed, done.version[:2], done.unchanged, done.degraded) == (old.version, "2-", False, False)
        assert (done.copies, done.bytes) == (2, before.bytes_total)
        record, manifest = await kit.newest()
        assert [v.version for v in await kit.catalogue.list()] == [done.version]
        for field in ("stored_at", "source", "redundancy", "tree", "files", "chunks", "root_mode", "root_mtime_ns"):
            assert getattr(manifest, field) == getattr(before, field)
        told = {int(node, 16) for node in done.nodes}
        assert told == {n for n, node in kit.nodes.items() if record.hex() in node.records_of("manifest")}
        for object_id in manifest.objects():
            assert len(kit.holders(object_id) & told) >= 2
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario, seconds_max=5000)


def test_what_the_newest_version_has_already_makes_none() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        again = await kit.store(ONE)
        for dry_run in (True, False):
            done = await bring_back(kit, old, dry_run=dry_run)
            assert (done.unchanged, done.version) == (True, again.version)
        assert len(await kit.catalogue.list()) == 1
        assert await kit.catalogue.list(removed=True) == [], "there is nothing to bring back"

    simulate(scenario)


def test_beside_a_newer_version_of_other_content_it_becomes_the_newest() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        await kit.store(OTHER)
        assert (await bring_back(kit, old)).version[:2] == "3-"
        kit.source.unlink("out/y")
        await kit.store(ONE)
        assert len(await kit.catalogue.list()) == 2, "the store finds it unchanged"

    simulate(scenario)


def test_a_dry_run_tells_the_version_and_makes_nothing() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        await an_hour_passes()
        would = await bring_back(kit, old, dry_run=True)
        assert (would.copies, would.nodes, would.unchanged) == (2, (), False)
        assert await kit.catalogue.list() == []
        manifest = await kit.catalogue.manifest(old.manifest)
        for node in kit.nodes.values():
            assert not any(node.store.reserved(i) for i in manifest.objects()), "a dry run holds nothing up"
        assert (await bring_back(kit, old)).version == would.version

    simulate(scenario, seconds_max=5000)


def test_copies_that_are_gone_are_made_again_from_those_that_are_there() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        manifest = await kit.catalogue.manifest(old.manifest)
        await an_hour_passes()
        for object_id in manifest.objects():
            await collect(kit, object_id, min(kit.holders(object_id)))
        assert (await bring_back(kit, old, dry_run=True)).copies == 1
        done = await bring_back(kit, old)
        assert (done.copies, done.degraded) == (2, False)
        assert await holds_everywhere(kit, manifest)
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario, seconds_max=5000)


@pytest.mark.parametrize(("keep_s", "words"), [(86_400, "kept for 1d"), (0, "at once")])
def test_what_collection_has_taken_is_gone_and_nothing_is_listed(keep_s: int, words: str) -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit, keep_s=keep_s)
        manifest = await kit.catalogue.manifest(old.manifest)
        await an_hour_passes()
        await collect(kit, manifest.objects()[1])
        for dry_run in (True, False):
            with pytest.raises(NotFound, match=f"too late .* 1 of its {len(manifest.objects())} chunks") as caught:
                await bring_back(kit, old, dry_run=dry_run)
            assert words in caught.value.message
            assert "here:/out" in caught.value.hint
        assert await kit.catalogue.list() == []
        assert all(len(node.records_of("manifest")) <= 1 for node in kit.nodes.values())

    simulate(scenario, seconds_max=5000)


def test_what_a_member_that_is_away_may_have_is_not_called_gone() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        manifest = await kit.catalogue.manifest(old.manifest)
        await an_hour_passes()
        wanted = manifest.objects()[0]
        first, second = sorted(kit.holders(wanted))
        await collect(kit, wanted, first)
        kit.crash(second)
        with pytest.raises(Unreachable, match="now") as caught:
            await bring_back(kit, old)
        assert f"node-{second}" in caught.value.hint

    simulate(scenario, seconds_max=5000)


def test_a_collection_at_the_same_time_takes_nothing_that_was_asked_for() -> None:
    """Each node collects as soon as it may, from the question of the undelete on."""

    async def scenario(kit: Kit) -> None:
        old = await removed(kit, keep_s=0)
        manifest = await kit.catalogue.manifest(old.manifest)
        await an_hour_passes()

        async def collect_all(number: int) -> None:
            node = kit.nodes[number]
            async with node.store.guard():
                if node.records.ids_of(Manifest) in ([], [old.manifest]):
                    await node.store.remove(manifest.objects())

        def before(number: int, handler: Handler) -> Handler:
            async def handle(call: Call) -> Reply:
                for other in kit.nodes:
                    await collect_all(other)
                return await handler(call)

            return handle

        for request in (Commit, PassOn):
            for number, node in kit.nodes.items():
                node.handlers[request] = before(number, node.handlers[request])
        done = await bring_back(kit, old)
        await an_hour_passes()
        for number in kit.nodes:
            await collect_all(number)  # no reservation is left: what stays is what the new version names
        told = {int(node, 16) for node in done.nodes}
        assert done.copies == 2
        for object_id in manifest.objects():
            assert len(kit.holders(object_id) & told) >= 2
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario, seconds_max=10_000)


def test_objects_that_vanish_before_the_commit_are_told_and_nothing_is_listed() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        manifest = await kit.catalogue.manifest(old.manifest)
        wanted = manifest.objects()[0]

        def after_losing_it(handler: Handler) -> Handler:
            async def handle(call: Call) -> Reply:
                for holder in kit.holders(wanted):
                    kit.nodes[holder].disk.unlink(path_of(wanted))
                return await handler(call)

            return handle

        for node in kit.nodes.values():
            node.handlers[Commit] = after_losing_it(node.handlers[Commit])
        with pytest.raises(Unreachable, match="vanished"):
            await bring_back(kit, old)
        assert await kit.catalogue.list() == []

    simulate(scenario)


def test_fewer_machines_than_copies_is_degraded() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        kit.crash(2)
        done = await bring_back(kit, old)
        assert (done.copies, done.degraded) == (1, True)
        assert any("node-2" in note for note in done.notes)

    simulate(scenario, nodes=2)


def test_full_nodes_make_it_degraded_and_it_is_told_how_much_is_missing() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        manifest = await kit.catalogue.manifest(old.manifest)
        await an_hour_passes()
        for object_id in manifest.objects():
            await collect(kit, object_id, max(kit.holders(object_id)))
        for node in kit.nodes.values():
            node.shrink(3000)
        done = await bring_back(kit, old)
        assert (done.copies, done.degraded) == (1, True)
        assert [note for note in done.notes if "more are needed" in note and "free above" in note]

    simulate(scenario, seconds_max=5000)


def test_no_room_for_the_record_is_no_space() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        for node in kit.nodes.values():
            node.refuse(Commit, NoSpace("no room for a record"))
        with pytest.raises(NoSpace, match="node-1"):
            await bring_back(kit, old)
        assert await kit.catalogue.list() == []

    simulate(scenario)


def test_when_every_node_fails_it_is_unreachable() -> None:
    async def scenario(kit: Kit) -> None:
        old = await removed(kit)
        for node in kit.nodes.values():
            node.refuse(Commit, DiskFault("it burns"))
        with pytest.raises(Unreachable, match=r"the undelete .*it burns"):
            await bring_back(kit, old)
        assert len(await kit.catalogue.list(removed=True)) == 1

    simulate(scenario)
