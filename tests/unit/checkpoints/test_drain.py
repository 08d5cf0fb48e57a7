"""Draining: a node leaves when everything on it is kept by enough others, asked now, and not a moment before."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from checkpoint_kits import (
    NAME,
    THREE,
    TWO,
    UNIT,
    Kit,
    member,
    node_id,
    noise,
    path_of,
    simulate,
    start_node,
    write_file,
)
from record_specimens import broken, manifest
from record_specimens import file as file_entry
from roost.checkpoints import steward as steward_module
from roost.checkpoints.catalogue import Listed
from roost.checkpoints.commit import commit_handler
from roost.checkpoints.drain import LACKING, SILENT, STAYS, TOO_FEW, UNREADABLE, set_standing, try_to_leave
from roost.checkpoints.inventory import Inventory
from roost.checkpoints.mending import LOOK_EVERY_S
from roost.checkpoints.progress import Progress
from roost.checkpoints.remove import remove
from roost.checkpoints.repair import FULL, NO_ROOM, Ground, Observed, Work
from roost.checkpoints.steward import Mended, Steward
from roost.checkpoints.undelete import undelete
from roost.codec.manifest import Chunk, Manifest
from roost.codec.records import Standing, decode_record, encode_record, record_id
from roost.core.cluster import View
from roost.core.errors import DiskFault, NotFound
from roost.core.ids import CheckpointName, ObjectId
from roost.core.ids import object_id as object_id_of
from roost.net.body import Body
from roost.net.server import Call, Reply
from roost.wire.messages import Ages, Commit, GetAges, GetRecord, PutRecord

CHUNK = 2 * UNIT
TREE = {f"{number}.bin": noise(CHUNK, seed=number) for number in range(12)}


def drain(kit: Kit, *numbers: int) -> None:
    """These nodes, and no others, are draining from now on."""
    ids = {node_id(number) for number in numbers}
    kit.views.append(View(tuple(replace(m, draining=m.node_id in ids) for m in kit.view.members)))


async def look(kit: Kit, *, at_once: bool = True, dry_run: bool = False) -> Mended:
    steward = Steward(kit.peers, kit.catalogue, grace_s=600.0, rate=0)
    return await steward.look(Progress(), at_once=at_once, dry_run=dry_run)


async def objects(kit: Kit) -> list[ObjectId]:
    _, manifest = await kit.newest()
    return manifest.objects()


def copies(kit: Kit, ids: Iterable[ObjectId], *, without: int) -> int:
    return min(len(kit.holders(object_id) - {without}) for object_id in ids)


async def standings(kit: Kit) -> list[Standing]:
    records = [decode_record(data) for data in await kit.catalogue.of_kind(Standing)]
    return sorted((r for r in records if isinstance(r, Standing)), key=lambda r: r.seq)


async def leaves(kit: Kit, number: int) -> str:
    """Try to let it leave, as the view now is; why not."""
    survey = await kit.survey()
    ground = Ground(kit.view, Observed(0.0, {}, dict.fromkeys(survey.problems, 0.0)))
    return await try_to_leave(
        kit.peers, kit.catalogue, Inventory(kit.catalogue, kit.runtime), node_id(number), reached=survey.reached,
        ground=ground,
    )  # fmt: skip


def test_what_is_on_it_is_copied_to_others_and_then_it_has_left_and_all_know() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        ids, before = await objects(kit), kit.nodes[3].objects()
        assert before
        drain(kit, 3)
        mended = await look(kit)
        assert mended.left == (node_id(3),)
        assert mended.copies == len(before)
        assert copies(kit, ids, without=3) == 2
        assert kit.nodes[3].objects() == before, "nothing is taken away"
        assert [(r.node_id, r.state) for r in await standings(kit)] == [(node_id(3), "left")]
        assert all(len(node.records_of("standing")) == 1 for node in kit.nodes.values())

    simulate(scenario)


def test_while_it_is_drained_everything_can_be_had_and_is_redundant() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        ids = await objects(kit)
        drain(kit, 3)
        task = asyncio.create_task(look(kit))
        while not task.done():
            assert all(len(kit.holders(i)) >= 2 for i in ids)
            if not await standings(kit):
                assert len(kit.nodes[3].objects()) > 0
            else:
                assert copies(kit, ids, without=3) == 2
            await asyncio.sleep(0.001)
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def test_a_store_while_a_node_is_drained_counts_nothing_that_is_on_it() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        drain(kit, 3)
        receipt = await kit.store(TREE, name=CheckpointName("run/step-2"), at="other")
        assert receipt.copies == 2
        assert receipt.chunks_new == 0, "it knows who has what"
        _, manifest = await kit.newest(CheckpointName("run/step-2"))
        assert copies(kit, manifest.objects(), without=3) == 2

    simulate(scenario)


def test_of_a_dry_run_only_the_plan_is_told() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        drain(kit, 3)
        mended = await look(kit, dry_run=True)
        assert len(mended.plan.copies) == len(kit.nodes[3].objects())
        assert {copy.work for copy in mended.plan.copies} == {Work.LEAVING}
        assert not mended.left
        assert not await standings(kit)

    simulate(scenario)


@pytest.mark.parametrize("how", ["too few machines", "full"])
def test_with_nowhere_to_copy_to_it_stays_and_says_why(how: str) -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        drain(kit, 3)
        if how == "full":
            for number in (1, 2):
                kit.nodes[number].shrink(CHUNK // 2)
        mended = await look(kit)
        [emptying] = mended.emptying
        assert emptying.why == (FULL if how == "full" else NO_ROOM)
        assert emptying.left > 0
        assert emptying.bytes_left >= emptying.left * CHUNK // 2
        assert not mended.left
        assert not await standings(kit)
        await kit.gather()

    simulate(scenario, nodes=3 if how == "full" else [member(1), member(3)])


def test_one_that_does_not_answer_cannot_leave() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        drain(kit, 3)
        kit.crash(3)
        mended = await look(kit)
        assert [(e.node, e.why) for e in mended.emptying] == [(node_id(3), SILENT)]
        assert await leaves(kit, 3) == SILENT
        assert copies(kit, await objects(kit), without=3) == 2, "its copies are made again from the others"

    simulate(scenario)


def test_one_that_holds_what_nobody_else_does_cannot_leave() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        drain(kit, 3)
        assert await leaves(kit, 3) == LACKING
        await look(kit, dry_run=True)
        ids = [i for i in await objects(kit) if 3 in kit.holders(i)]
        steward = Steward(kit.peers, kit.catalogue, grace_s=0.0, rate=0)
        real = try_to_leave

        async def late(*arguments: object, **more: object) -> str:
            """A copy is lost between the census and the last question."""
            number = next(iter(kit.holders(ids[0]) - {3}))
            kit.nodes[number].disk.unlink(path_of(ids[0]))
            await kit.nodes[number].store.verify([ids[0]])
            return await real(*arguments, **more)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(steward_module, "try_to_leave", late)
            mended = await steward.look(Progress(), at_once=True)
        assert [e.why for e in mended.emptying] == [LACKING]
        assert not await standings(kit)
        assert (await look(kit)).left == (node_id(3),)

    simulate(scenario)


async def emptied(kit: Kit, number: int) -> None:
    """Everything on it is kept by others, and it has not left."""
    drain(kit, number)

    async def not_now(*arguments: object, **more: object) -> str:
        return "not now"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steward_module, "try_to_leave", not_now)
        mended = await look(kit)
    assert [(e.left, e.why) for e in mended.emptying] == [(0, "not now")]


def test_who_does_not_take_all_records_does_not_count() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        await emptied(kit, 3)
        takes = {number: kit.nodes[number].handlers[PutRecord] for number in (1, 2, 4)}
        for number in takes:
            kit.nodes[number].refuse(PutRecord, DiskFault("read-only"))
        await set_standing(kit.catalogue, node_id(9), "staying", at=1)
        assert await leaves(kit, 3) == TOO_FEW
        for number, take in takes.items():
            kit.nodes[number].handlers[PutRecord] = take
        assert await leaves(kit, 3) == ""

    simulate(scenario)


def test_while_a_manifest_cannot_be_read_nobody_leaves() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        await emptied(kit, 3)
        record, _ = await kit.newest()
        await kit.catalogue._run(lambda db: db.execute("UPDATE records SET data = x'00' WHERE id = ?", (record,)))
        assert await leaves(kit, 3) == UNREADABLE
        assert not await standings(kit)
        assert await leaves(kit, 3) == "", "the record came back from the others"

    simulate(scenario)


def gone(kit: Kit, *numbers: int) -> None:
    """These nodes have left, and ended."""
    ids = {node_id(number) for number in numbers}
    here = tuple(m for m in kit.view.members if m.node_id not in ids)
    left = tuple(m for m in kit.view.members if m.node_id in ids)
    kit.views.append(View(here, (*kit.view.left, *left)))
    kit.crash(*numbers)


async def remove_newest(kit: Kit, *, keep_s: int = 1000) -> tuple[Listed, Manifest]:
    listed, (_, manifest) = await kit.catalogue.find(NAME, None), await kit.newest()
    await remove(kit.peers, kit.catalogue, await kit.survey(), [(listed, manifest)], keep_s=keep_s)
    return await kit.catalogue.find_removed(NAME, listed.version), manifest


def ages(kit: Kit, seconds: int) -> None:
    """The nodes have known every tombstone for so long; the first says so, the second nonsense, the others nothing."""

    async def tell(call: Call) -> Reply:
        assert isinstance(call.request, GetAges)
        return Reply(Ages([seconds] * (len(call.request.ids) // 32)))

    async def nonsense(call: Call) -> Reply:
        return Reply(Ages([10**6] * 3))

    kit.nodes[1].handlers[GetAges], kit.nodes[2].handlers[GetAges] = tell, nonsense


@pytest.mark.parametrize("together", [True, False])
def test_what_was_removed_can_be_brought_back_though_all_that_held_it_are_drained(*, together: bool) -> None:
    async def scenario(kit: Kit) -> None:
        kit.crash(3, 4)
        await kit.store(TREE)
        for number in (3, 4):
            kit.nodes[number] = await start_node(kit.world, kit.runtime, number, kit.nodes[number].disk)
        await asyncio.sleep(120)  # until they are dialled again
        listed, manifest = await remove_newest(kit)
        await kit.store({"new": noise(UNIT, seed=90)}, name=CheckpointName("other"), at="new")
        assert all(kit.holders(object_id) == {1, 2} for object_id in manifest.objects())
        ages(kit, 999)
        for numbers in ((1, 2),) if together else ((1,), (2,)):
            drain(kit, *numbers)
            mended = await look(kit)
            assert set(mended.left) == {node_id(number) for number in numbers}
            gone(kit, *numbers)
        done = await undelete(kit.peers, kit.catalogue, await kit.survey(), listed, manifest, Progress())
        assert (done.copies, done.degraded, set(done.nodes)) == (2, False, {node_id(3), node_id(4)})
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario, seconds_max=5000)


@pytest.mark.parametrize(("age_s", "keep_s"), [(1000, 1000), (0, 0)])
def test_what_cannot_be_brought_back_is_left_behind_and_nobody_claims_that_it_was_collected(
    age_s: int, keep_s: int
) -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        listed, manifest = await remove_newest(kit, keep_s=keep_s)
        ages(kit, age_s)
        drain(kit, 3, 4)
        mended = await look(kit)
        assert (set(mended.left), mended.copies) == ({node_id(3), node_id(4)}, 0)
        gone(kit, 3, 4)
        with pytest.raises(NotFound, match=r"or that nodes left with them \(node-3, node-4 left\)") as caught:
            await undelete(kit.peers, kit.catalogue, await kit.survey(), listed, manifest, Progress())
        assert "roost join" in caught.value.hint

    simulate(scenario)


def test_what_was_removed_comes_last_and_only_off_the_nodes_that_are_emptied() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        _, removed = await remove_newest(kit)
        await kit.store({str(n): noise(CHUNK, seed=n) for n in range(50, 62)}, name=CheckpointName("b"), at="b")
        steward = Steward(kit.peers, kit.catalogue, grace_s=600.0, rate=0)
        assert not (await steward.look(Progress(), at_once=True, dry_run=True)).plan.copies
        drain(kit, 3)
        plan = (await steward.look(Progress(), at_once=True, dry_run=True)).plan
        assert {copy.object_id.hex() for copy in plan.copies} == kit.nodes[3].objects()
        late = [copy.object_id in removed.objects() for copy in plan.copies]
        assert late == sorted(late)
        assert {late[0], late[-1]} == {False, True}
        assert all(("removed, but" in copy.reason) == is_late for copy, is_late in zip(plan.copies, late, strict=True))

    simulate(scenario)


def test_what_was_removed_keeps_no_node_though_fewer_machines_than_its_copies_are_left() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE, redundancy=THREE)
        _, manifest = await remove_newest(kit)
        for number in (3, 2):
            drain(kit, number)
            assert (await look(kit)).left == (node_id(number),)
            gone(kit, number)
        assert all(1 in kit.holders(object_id) for object_id in manifest.objects())
        drain(kit, 1)
        mended = await look(kit)
        assert ([emptying.why for emptying in mended.emptying], mended.left) == ([NO_ROOM], ())

    simulate(scenario, nodes=3)


async def plant(kit: Kit, number: int, data: bytes) -> None:
    """Node `number` is the only one with this object, and with the manifest of a version that needs it."""
    await kit.nodes[number].store.put(object_id_of(data), Body.of(data))
    chunk = Chunk(object_id_of(data), object_id_of(data), len(data), len(data), 0)
    await kit.nodes[number].records.add(encode_record(manifest([file_entry("x", len(data))], [chunk])))


@pytest.mark.parametrize("where", [3, 1])
def test_while_a_record_of_another_cannot_be_had_nobody_leaves(where: int) -> None:
    """What it tells of may need what is on the node that wants to leave."""

    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        await emptied(kit, 3)
        await plant(kit, where, noise(UNIT, seed=50))
        gives = kit.nodes[where].handlers[GetRecord]
        kit.nodes[where].refuse(GetRecord, DiskFault("it burns"))
        assert await leaves(kit, 3) == UNREADABLE
        assert not await standings(kit)
        kit.nodes[where].handlers[GetRecord] = gives
        assert await leaves(kit, 3) == (LACKING if where == 3 else "")

    simulate(scenario)


def test_a_record_that_only_a_newer_release_can_read_keeps_nobody() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        await emptied(kit, 3)
        newer = broken()["record_format_newer.bin"].data
        for number in (1, 3):
            write_file(kit.nodes[number].disk, f"records/{record_id(newer).hex()}.member", newer)
            kit.nodes[number].records._remember(record_id(newer), "member")
        assert await leaves(kit, 3) == ""

    simulate(scenario)


def test_what_it_committed_to_until_it_heard_that_it_is_drained_is_known_before_it_leaves() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        await emptied(kit, 3)
        await set_standing(kit.catalogue, node_id(3), "draining", at=1)
        hears = kit.nodes[3].handlers[PutRecord]

        async def late(call: Call) -> Reply:
            await plant(kit, 3, noise(UNIT, seed=50))
            return await hears(call)

        kit.nodes[3].handlers[PutRecord] = late
        assert await leaves(kit, 3) == LACKING

    simulate(scenario)


@pytest.mark.parametrize("undeleted", [False, True])
def test_a_sender_that_does_not_know_yet_hears_it_and_counts_on_others(*, undeleted: bool) -> None:
    async def scenario(kit: Kit) -> None:
        node = kit.nodes[3]
        await kit.store(TREE)
        listed, held = await kit.catalogue.find(NAME, None), len(node.objects())
        assert held
        survey, manifest = await kit.survey(), (await kit.newest())[1]
        if undeleted:
            await remove(kit.peers, kit.catalogue, survey, [(listed, manifest)], keep_s=1000)
            await asyncio.sleep(3601)  # until nothing is reserved
            for object_id in manifest.objects():
                for number in kit.holders(object_id) - {3} if 3 in kit.holders(object_id) else ():
                    async with kit.nodes[number].store.guard():
                        await kit.nodes[number].store.remove([object_id])
        node.handlers[Commit] = commit_handler(
            kit.runtime, node.store, node.records, changed=lambda: None, leaving=lambda: True
        )
        if undeleted:
            done = await undelete(kit.peers, kit.catalogue, survey, listed, manifest, Progress())
            assert (done.copies, done.degraded) == (2, False)
            nodes, notes = done.nodes, done.notes
        else:
            receipt = await kit.store(TREE, name=CheckpointName("run/step-2"), at="other")
            assert (receipt.copies, receipt.degraded) == (2, False)
            nodes, notes = receipt.nodes, receipt.notes
        assert node_id(3) not in nodes
        assert "node-3 is being emptied: nothing is counted on it" in notes
        assert copies(kit, manifest.objects(), without=3) == 2

    simulate(scenario, seconds_max=5000)


def test_the_last_nodes_cannot_leave_what_is_stored_behind() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({"empty": b""})
        drain(kit, 1)
        assert await leaves(kit, 1) == TOO_FEW, "the record of an empty checkpoint needs machines too"

    simulate(scenario, nodes=2)


def test_one_that_is_not_drained_any_more_stays() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        await emptied(kit, 3)
        drain(kit)
        mended = await look(kit)
        assert not mended.left
        assert not mended.emptying
        assert await leaves(kit, 3) == STAYS
        assert not await standings(kit)

    simulate(scenario)


def test_the_coordinators_steward_lets_it_leave_by_itself_within_the_rate() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE, redundancy=TWO, compress=False)
        drain(kit, 3)
        told: list[Mended] = []
        rate = CHUNK
        steward = Steward(kit.peers, kit.catalogue, grace_s=600.0, rate=rate, told=told.append)
        task = asyncio.create_task(steward.run())
        begun = kit.runtime.now()
        while not any(mended.left for mended in told):
            await asyncio.sleep(1)
        assert kit.runtime.now() - begun >= len(kit.nodes[3].objects()) - 1
        assert kit.runtime.now() - begun <= 2 * LOOK_EVERY_S
        task.cancel()

    simulate(scenario)


def test_two_at_once_may_leave() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE, redundancy=THREE)
        drain(kit, 2, 5)
        mended = await look(kit)
        assert set(mended.left) == {node_id(2), node_id(5)}
        assert min(len(kit.holders(i) - {2, 5}) for i in await objects(kit)) == 3

    simulate(scenario, nodes=5)


def test_each_standing_has_the_next_seq() -> None:
    async def scenario(kit: Kit) -> None:
        for number, state in ((1, "draining"), (1, "staying"), (2, "draining"), (1, "draining")):
            await set_standing(kit.catalogue, node_id(number), state, at=7)
        assert [(r.node_id, r.seq, r.state) for r in await standings(kit) if r.node_id == node_id(1)] == [
            (node_id(1), 1, "draining"), (node_id(1), 2, "staying"), (node_id(1), 3, "draining"),
        ]  # fmt: skip

    simulate(scenario)
