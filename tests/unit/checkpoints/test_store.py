"""Store: what the receipt says is on the disks of the nodes, whatever they do meanwhile; and nothing else is listed."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from checkpoint_kits import (
    CLIENT,
    KIB,
    MIB,
    NAME,
    THREE,
    UNIT,
    Kit,
    Tree,
    links_of,
    member,
    memory_catalogue,
    node_id,
    noise,
    safetensors,
    simulate,
    text,
    write_file,
    write_tree,
)
from roost.checkpoints import buffers
from roost.checkpoints.holding import Changed
from roost.checkpoints.peers import Peers
from roost.checkpoints.placement import line
from roost.checkpoints.progress import Progress
from roost.checkpoints.scan import scan
from roost.checkpoints.store import Receipt, StoreRequest, _Storing, store
from roost.codec.manifest import CODEC_RAW, Manifest
from roost.codec.records import Tombstone, encode_record
from roost.core.checkpoint import Redundancy
from roost.core.errors import DiskFault, NoSpace, RoostError, Unreachable, UsageError
from roost.core.ids import CheckpointName, ObjectId
from roost.net.server import Call, Handler, Reply
from roost.wire.messages import Commit, PassedOn, PassOn, Put

TREE: Tree = {
    "config.json": text(700), "model.safetensors": safetensors({"w": noise(3 * UNIT, 1), "v": noise(2 * UNIT, 2)}),
    "optimizer.pt": text(3 * UNIT, 3), "sub": None, "sub/rng.pth": noise(5 * KIB, 4), "last": "sub/rng.pth",
}  # fmt: skip


async def check_stored(kit: Kit, receipt: Receipt, copies: int, name: CheckpointName = NAME) -> Manifest:
    """What the receipt promises: on so many machines lie every object and the manifest, and it is gathered back."""
    record, manifest = await kit.newest(name)
    told = {int(node, 16) for node in receipt.nodes}
    committed = {n for n in told if record.hex() in kit.nodes[n].records_of("manifest")}
    assert committed == told
    domains = [kit.view.domain_of(kit.nodes[n].node_id) for n in told]
    assert len(set(domains)) >= copies
    for object_id in manifest.objects():
        assert len({kit.view.domain_of(kit.nodes[n].node_id) for n in kit.holders(object_id) & told}) >= copies
    assert receipt.copies == copies
    return manifest


def counting(kit: Kit, request: type) -> list[int]:
    """The numbers of the nodes that are asked so, from now on."""
    asked: list[int] = []

    def watched(number: int, handler: Handler) -> Handler:
        async def handle(call: Call) -> Reply:
            asked.append(number)
            return await handler(call)

        return handle

    for number, node in kit.nodes.items():
        node.handlers[request] = watched(number, node.handlers[request])
    return asked


def no_task_is_left() -> bool:
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return not [
        name for name in names if name.startswith(("_Storing.", "Delivery.", "store", "ask_", "_keep_renewing"))
    ]


async def nothing_is_listed(kit: Kit) -> bool:
    return not await kit.catalogue.list() and not any(node.records_of("manifest") for node in kit.nodes.values())


# What is stored


@pytest.mark.parametrize("redundancy", ["2", "3"])
def test_every_object_is_on_as_many_machines_as_asked_where_placement_says(redundancy: str) -> None:
    async def scenario(kit: Kit) -> None:
        progress = Progress()
        wanted = Redundancy.parse(redundancy)
        receipt = await kit.store(TREE, redundancy=wanted, progress=progress)
        manifest = await check_stored(kit, receipt, wanted.copies)
        for object_id in manifest.objects():
            homes = line(object_id, kit.view)[: wanted.copies]
            assert {kit.nodes[n].node_id for n in kit.holders(object_id)} == set(homes)
        sizes = manifest.object_bytes()
        assert receipt.bytes_sent == sum(sizes.values()), "the sender's link carries one copy"
        assert (receipt.chunks, receipt.chunks_new) == (len(manifest.chunks), len(sizes))
        assert (receipt.unchanged, receipt.degraded, receipt.single_machine) == (False, False, False)
        assert receipt.version == f"1-{(await kit.newest())[0].hex()[:6]}"
        assert progress.bytes_done == progress.bytes_total == receipt.bytes == manifest.bytes_total
        assert not progress.waits
        assert no_task_is_left()
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario, nodes=5)


@pytest.mark.parametrize("tree", [b"", b"x", {}, {"a": b""}, {"a": None, "a/b": None}, {"l": "nowhere"}])
def test_next_to_nothing_is_stored_too(tree: Tree | bytes) -> None:
    async def scenario(kit: Kit) -> None:
        receipt = await kit.store(tree)
        await check_stored(kit, receipt, 2)
        assert not receipt.degraded
        await kit.gather()
        expected = {"out": tree} if isinstance(tree, bytes) else kit.stored_tree()
        assert kit.gathered_tree() == expected
        assert (await kit.store()).unchanged

    simulate(scenario)


def test_equal_chunks_are_one_object_and_sent_once() -> None:
    async def scenario(kit: Kit) -> None:
        data = noise(2 * UNIT, 7)
        puts = counting(kit, Put)
        receipt = await kit.store({f"copy{n}.safetensors": safetensors({"w": data}) for n in range(6)})
        manifest = await check_stored(kit, receipt, 2)
        assert receipt.chunks == 12
        assert len(manifest.objects()) == receipt.chunks_new == 2
        assert len(puts) == 4, "each object once by us, once passed on"
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def test_without_compression_objects_are_the_chunks() -> None:
    async def scenario(kit: Kit) -> None:
        manifest = await check_stored(kit, await kit.store(TREE, compress=False), 2)
        assert set(manifest.chunks.codecs) == {CODEC_RAW}
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def test_small_chunks_of_a_large_checkpoint_take_no_more_buffers() -> None:
    async def scenario(kit: Kit) -> None:
        receipt = await kit.store({"a": noise(9 * MIB), "b": text(40 * KIB)})
        assert receipt.chunks >= 144
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


# Storing again


def test_the_same_content_is_unchanged_and_nothing_moves() -> None:
    async def scenario(kit: Kit) -> None:
        first = await kit.store(TREE)
        before = {n: node.objects() for n, node in kit.nodes.items()}
        puts = counting(kit, Put)
        again = await kit.store()
        assert (again.unchanged, again.version, again.bytes_sent, again.chunks_new) == (True, first.version, 0, 0)
        assert not puts
        assert {n: node.objects() for n, node in kit.nodes.items()} == before
        assert len(await kit.catalogue.list()) == 1
        kit.source.set_times("out/config.json", 5)
        assert (await kit.store()).unchanged
        kit.source.set_mode("out/config.json", 0o600)
        assert not (await kit.store()).unchanged

    simulate(scenario)


def test_unchanged_tops_up_copies_that_are_missing() -> None:
    async def scenario(kit: Kit) -> None:
        first = await kit.store(TREE)
        _, manifest = await kit.newest()
        objects = manifest.objects()
        for object_id in objects[:3]:  # one copy of each is gone, the only ones of a fourth are
            number = min(kit.holders(object_id))
            kit.nodes[number].disk.unlink(f"chunks/{object_id.hex()[:2]}/{object_id.hex()}")
            await kit.nodes[number].store.verify([object_id])
        for number in kit.holders(objects[3]):
            kit.nodes[number].disk.unlink(f"chunks/{objects[3].hex()[:2]}/{objects[3].hex()}")
            await kit.nodes[number].store.verify([objects[3]])
        again = await kit.store()
        assert (again.unchanged, again.version, again.degraded) == (True, first.version, False)
        await check_stored(kit, again, 2)
        assert again.bytes_sent == manifest.object_bytes()[objects[3]]

    simulate(scenario)


def test_unchanged_finds_out_at_the_commit_what_a_node_has_lost_behind_its_back() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        _, manifest = await kit.newest()
        lost = manifest.objects()[1]
        for number in kit.holders(lost):
            kit.nodes[number].disk.unlink(f"chunks/{lost.hex()[:2]}/{lost.hex()}")
        again = await kit.store()
        assert again.unchanged
        await check_stored(kit, again, 2)

    simulate(scenario)


def test_another_redundancy_is_a_new_version_made_by_the_nodes_alone() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        again = await kit.store(redundancy=THREE)
        assert (again.unchanged, again.bytes_sent, again.version[:2]) == (False, 0, "2-")
        await check_stored(kit, again, 3)

    simulate(scenario)


def test_only_what_is_new_moves_in_a_version_and_in_a_run() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({"m.safetensors": safetensors({"a": noise(2 * UNIT, 1), "b": noise(2 * UNIT, 2)})})
        changed = safetensors({"a": noise(2 * UNIT, 1), "b": noise(2 * UNIT, 3)})
        again = await kit.store({"m.safetensors": changed})
        assert (again.version[:2], again.chunks, again.chunks_new) == ("2-", 3, 1)
        assert 2 * UNIT * 0.9 < again.bytes_sent < 2 * UNIT * 1.1
        next_step = CheckpointName("run/step-2")
        beside = await kit.store({"m.safetensors": changed}, name=next_step)
        assert (beside.version[:2], beside.chunks_new, beside.bytes_sent) == ("1-", 0, 0)
        await check_stored(kit, beside, 2, next_step)

    simulate(scenario)


def test_an_object_known_from_elsewhere_is_found_by_its_id_and_not_sent() -> None:
    async def scenario(kit: Kit) -> None:
        tree = {"m.safetensors": safetensors({"a": noise(2 * UNIT, 1)})}
        await kit.store(tree, name=CheckpointName("other"))
        receipt = await kit.store(tree, name=CheckpointName("unrelated"))
        assert receipt.bytes_sent == 0
        await check_stored(kit, receipt, 2, CheckpointName("unrelated"))

    simulate(scenario)


def test_a_removed_version_is_not_what_unchanged_means() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        record, manifest = await kit.newest()
        await kit.catalogue.add(
            encode_record(Tombstone(name=NAME, manifest=record, seq=manifest.seq, at=1_700_000_000, keep_s=0))
        )
        again = await kit.store()
        assert (again.unchanged, again.version[:2]) == (False, "2-")
        await check_stored(kit, again, 2)

    simulate(scenario)


def test_a_defaulted_name_of_another_place_is_refused_before_anything_moves() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE, source="here:/a/out", defaulted=True)
        puts = counting(kit, Put)
        with pytest.raises(UsageError, match="here:/a/out") as caught:
            await kit.store({**TREE, "more": noise(10)}, source="here:/b/out", defaulted=True)
        assert f"--name {NAME}" in caught.value.hint
        assert not puts
        assert (await kit.store(source="here:/a/out", defaulted=True)).version[:2] == "2-"
        assert (await kit.store({**TREE, "most": b"1"}, source="here:/b/out")).version[:2] == "3-"

    simulate(scenario)


# Nodes that fail


def test_a_node_that_is_down_is_passed_over_and_told() -> None:
    async def scenario(kit: Kit) -> None:
        kit.crash(2)
        progress = Progress()
        receipt = await kit.store(TREE, progress=progress)
        await check_stored(kit, receipt, 2)
        assert not receipt.degraded
        assert kit.nodes[2].node_id not in receipt.nodes
        assert [note for note in receipt.notes if "node" in note]

    simulate(scenario)


def test_copies_that_went_with_a_node_are_made_again_before_all_is_read() -> None:
    async def scenario(kit: Kit) -> None:
        living = [1, 3, 4]
        short: list[int] = []

        def look(progress: Progress) -> None:
            if progress.phase == "waiting for the nodes to confirm" and not short:
                held = [ObjectId(digest) for number in living for digest in kit.nodes[number].store.ids()]
                short.append(sum(1 for count in Counter(held).values() if count < 2))

        progress = Progress(changed=look)
        tree = {f"{number:02}.bin": noise(UNIT, number) for number in range(40)}
        storing = asyncio.create_task(kit.store(tree, progress=progress))
        while progress.bytes_moved < 20 * UNIT:
            await kit.runtime.sleep(0.001)
        kit.crash(2)
        receipt = await storing
        assert (receipt.copies, receipt.degraded) == (2, False)
        assert short[0] <= 1, "what was on its way when the last bytes were read may be short, and no more"

    simulate(scenario)


Fault = Callable[[Kit, Call], Awaitable[None]]


async def crashes(kit: Kit, call: Call) -> None:
    kit.crash(2)


async def freezes(kit: Kit, call: Call) -> None:
    kit.world.freeze(kit.nodes[2].host)


async def fills_up(kit: Kit, call: Call) -> None:
    kit.nodes[2].shrink(1000)


async def turns_read_only(kit: Kit, call: Call) -> None:
    kit.nodes[2].disk.read_only = True


@pytest.mark.parametrize("fault", [crashes, freezes, fills_up, turns_read_only])
@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("late", [False, True], ids=["when it is asked", "before it answers"])
@pytest.mark.parametrize("request_type", [Put, Commit])
def test_a_node_that_fails_on_the_way_is_passed_over_and_its_part_goes_elsewhere(
    fault: Fault, at: int, request_type: type, *, late: bool
) -> None:
    async def scenario(kit: Kit) -> None:
        node = kit.nodes[2]
        inner = node.handlers[request_type]
        seen = 0

        async def handle(call: Call) -> Reply:
            nonlocal seen
            seen += 1
            now = seen == at
            if now and not late:
                await fault(kit, call)
            reply = await inner(call)
            if now and late:
                await fault(kit, call)
            return reply

        node.handlers[request_type] = handle
        begun = kit.runtime.now()
        receipt = await kit.store({f"f{n}": noise(2 * UNIT, n) for n in range(8)})
        assert seen >= 1
        await check_stored(kit, receipt, 2)
        assert not receipt.degraded
        if seen >= at and fault is not fills_up and not (late and fault is turns_read_only):
            assert node.node_id not in receipt.nodes
            assert any("node" in note for note in receipt.notes)
        assert kit.runtime.now() - begun < 20
        assert no_task_is_left()
        kit.world.thaw(node.host)
        if fault is not crashes:
            node.disk.bytes_max, node.disk.read_only = None, False
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def test_what_waits_for_a_disk_holds_up_no_other_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "SMALL_AT_ONCE", 0)
    sync_s, chunks = 5.0, 40

    async def scenario(kit: Kit) -> None:
        for node in kit.nodes.values():

            async def slowly(call: Call, inner: Handler = node.handlers[Put]) -> Reply:
                reply = await inner(call)
                await kit.runtime.sleep(sync_s)
                return reply

            node.handlers[Put] = slowly
        begun = kit.runtime.now()
        receipt = await kit.store({f"{number:02}.bin": noise(2 * UNIT, number) for number in range(chunks)})
        assert receipt.chunks_new == chunks
        assert kit.runtime.now() - begun < chunks / buffers.ENCODERS * sync_s / 2
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def test_an_object_that_was_sent_in_vain_is_made_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    remade: list[ObjectId] = []
    inner = _Storing._make_again

    def make_again(self: _Storing, made: Any, offset: int, scratch: Any, object_id: ObjectId) -> Any:
        remade.append(object_id)
        return inner(self, made, offset, scratch, object_id)

    monkeypatch.setattr(_Storing, "_make_again", make_again)

    async def scenario(kit: Kit) -> None:
        remade.clear()
        node, (put,) = kit.nodes[2], (kit.nodes[2].handlers[Put],)

        async def handle(call: Call) -> Reply:
            await put(call)
            kit.crash(2)
            raise Unreachable("nobody hears it")

        node.handlers[Put] = handle
        receipt = await kit.store({f"f{n}": noise(2 * UNIT, n) for n in range(8)})
        await check_stored(kit, receipt, 2)
        assert remade
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def test_fewer_machines_than_copies_is_a_degraded_receipt() -> None:
    async def scenario(kit: Kit) -> None:
        kit.crash(1)
        receipt = await kit.store(TREE)
        assert receipt.degraded
        await check_stored(kit, receipt, 1)

    simulate(scenario, nodes=2)


def test_a_degraded_version_is_topped_up_by_the_next_store() -> None:
    async def scenario(kit: Kit) -> None:
        before = {**kit.nodes[1].handlers}
        for request in (Put, Commit):
            kit.nodes[1].refuse(request, DiskFault("it burns"))
        assert (await kit.store(TREE)).degraded
        kit.nodes[1].handlers |= before
        again = await kit.store()
        assert (again.unchanged, again.degraded, again.bytes_sent) == (True, False, 0)
        await check_stored(kit, again, 2)

    simulate(scenario, nodes=2)


@pytest.mark.parametrize("nodes", [0, 3])
def test_without_any_node_it_is_unreachable_and_nothing_is_listed(nodes: int) -> None:
    async def scenario(kit: Kit) -> None:
        kit.crash(*kit.nodes)
        with pytest.raises(Unreachable):
            await kit.store(TREE)
        assert await nothing_is_listed(kit)
        assert no_task_is_left()

    simulate(scenario, nodes=nodes)


def test_when_all_nodes_fail_on_the_way_it_is_unreachable_and_nothing_is_listed() -> None:
    async def scenario(kit: Kit) -> None:
        for node in kit.nodes.values():
            node.refuse(Put, DiskFault("it burns"))
        with pytest.raises(Unreachable, match="it burns"):
            await kit.store(TREE)
        assert await nothing_is_listed(kit)
        assert no_task_is_left()

    simulate(scenario)


def test_when_all_nodes_are_full_it_is_no_space_and_nothing_is_listed() -> None:
    async def scenario(kit: Kit) -> None:
        for node in kit.nodes.values():
            node.shrink(2 * UNIT)
        with pytest.raises(NoSpace, match="node-1"):
            await kit.store(TREE)
        assert await nothing_is_listed(kit)
        await asyncio.sleep(10)  # what was on its way there ends
        assert all(not node.disk.list("chunks/tmp") for node in kit.nodes.values())
        assert no_task_is_left()

    simulate(scenario)


def test_when_no_node_has_room_for_the_manifest_it_is_no_space() -> None:
    async def scenario(kit: Kit) -> None:
        for node in kit.nodes.values():
            node.refuse(Commit, NoSpace("no room for a record"))
        with pytest.raises(NoSpace):
            await kit.store(TREE)
        assert await nothing_is_listed(kit)

    simulate(scenario)


def test_a_full_node_still_counts_for_what_it_holds() -> None:
    async def scenario(kit: Kit) -> None:
        first = await kit.store(TREE)
        for node in kit.nodes.values():
            node.shrink(100 * KIB)
        again = await kit.store({**TREE, "tiny": b"1"})
        assert again.version != first.version
        await check_stored(kit, again, 2)

    simulate(scenario)


# Passing on


def test_when_nodes_do_not_reach_each_other_the_sender_sends_each_copy() -> None:
    async def scenario(kit: Kit) -> None:
        hosts = [node.host for node in kit.nodes.values()]
        kit.world.part(*([host] for host in hosts))
        receipt = await kit.store({"x": noise(UNIT, 1), "y": noise(UNIT, 2)})
        manifest = await check_stored(kit, receipt, 2)
        assert not receipt.degraded
        assert receipt.bytes_sent == 2 * sum(manifest.object_bytes().values())

    simulate(scenario, nodes=2)


def test_a_holder_that_lost_its_copy_before_it_passed_it_on_is_no_holder() -> None:
    async def scenario(kit: Kit) -> None:
        async def lost(call: Call) -> Reply:
            return Reply(PassedOn(["not-found"]))

        for node in kit.nodes.values():
            node.handlers[PassOn] = lost
        receipt = await kit.store({"x": noise(UNIT, 1)})
        await check_stored(kit, receipt, 2)

    simulate(scenario)


def test_a_holder_whose_copy_is_damaged_before_it_passed_it_on_is_replaced() -> None:
    async def scenario(kit: Kit) -> None:
        for node in kit.nodes.values():
            inner = node.handlers[PassOn]

            async def flip(call: Call, node: object = node, inner: Handler = inner) -> Reply:
                assert isinstance(call.request, PassOn)
                if not flipped:
                    flipped.append(True)
                    kit.nodes[min(kit.holders(_first(call.request.ids)))].flip(_first(call.request.ids))
                return await inner(call)

            node.handlers[PassOn] = flip
        flipped: list[bool] = []
        receipt = await kit.store({"x": noise(3 * UNIT, 1)})
        assert flipped
        await check_stored(kit, receipt, 2)
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def _first(ids: bytes) -> ObjectId:
    return ObjectId(ids[:32])


@pytest.mark.parametrize("problems", [[], ["", ""], ["what is this"]])
def test_a_nonsense_answer_to_pass_on_costs_nobody_a_copy(problems: list[str]) -> None:
    async def scenario(kit: Kit) -> None:
        async def nonsense(call: Call) -> Reply:
            return Reply(PassedOn(problems))

        kit.nodes[1].handlers[PassOn] = nonsense
        receipt = await kit.store(TREE)
        await check_stored(kit, receipt, 2)

    simulate(scenario)


def test_a_node_that_says_yes_to_pass_on_and_did_nothing_is_found_out_by_the_commit() -> None:
    async def scenario(kit: Kit) -> None:
        async def liar(call: Call) -> Reply:
            return Reply(PassedOn([""]))

        for node in kit.nodes.values():
            node.handlers[PassOn] = liar
        receipt = await kit.store(TREE)
        await check_stored(kit, receipt, 2)
        assert not receipt.degraded

    simulate(scenario)


# Machines


def test_two_nodes_on_one_machine_are_one_copy() -> None:
    async def scenario(kit: Kit) -> None:
        receipt = await kit.store(TREE)
        await check_stored(kit, receipt, 2)
        assert not receipt.single_machine
        kit.crash(3)
        alone = await kit.store({**TREE, "more": noise(UNIT, 9)})
        assert (alone.copies, alone.degraded) == (1, True)

    simulate(scenario, nodes=[member(1, machine=91), member(2, machine=91), member(3, machine=92)])


def test_on_a_single_machine_nodes_count_and_the_receipt_says_so() -> None:
    async def scenario(kit: Kit) -> None:
        receipt = await kit.store(TREE)
        assert (receipt.copies, receipt.degraded, receipt.single_machine) == (2, False, True)
        await check_stored(kit, receipt, 2)

    simulate(scenario, nodes=[member(n, machine=91) for n in (1, 2, 3)])


# The sender's own troubles


def test_a_file_that_changes_on_the_way_is_changed_and_nothing_is_listed() -> None:
    async def scenario(kit: Kit) -> None:
        tensors = {f"t{n}": noise(2 * UNIT, n) for n in range(30)}
        write_tree(kit.source, "out", {"x": safetensors(tensors)})
        inner = kit.nodes[1].handlers[Put]

        async def handle(call: Call) -> Reply:
            kit.source.open_write("out/x").pwrite(b"changed", 58 * UNIT)
            return await inner(call)

        for node in kit.nodes.values():
            node.handlers[Put] = handle
        with pytest.raises(Changed):
            await kit.store()
        assert await nothing_is_listed(kit)
        assert no_task_is_left()

    simulate(scenario)


@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_file_that_is_needed_again_and_is_another_by_then_is_an_error_of_ours(how: str) -> None:
    async def scenario(kit: Kit) -> None:
        inner = kit.nodes[2].handlers[Commit]

        async def commit(call: Call) -> Reply:
            if how == "changed":
                write_file(kit.source, "out/x", noise(3 * UNIT, 8))
            else:
                kit.source.unlink("out/x")
            kit.nodes[1].disk.failing.add("chunks")
            kit.nodes[2].disk.failing.add("chunks")
            return await inner(call)

        kit.nodes[1].handlers[Commit] = kit.nodes[2].handlers[Commit] = commit
        with pytest.raises(RoostError):
            await kit.store({"x": noise(3 * UNIT, 1)})
        assert await nothing_is_listed(kit)
        assert no_task_is_left()

    simulate(scenario, nodes=2)


def test_a_copy_lost_before_the_commit_is_made_again_from_the_files() -> None:
    async def scenario(kit: Kit) -> None:
        inner = kit.nodes[1].handlers[Commit]
        done: list[int] = []

        async def lose_all(call: Call) -> Reply:
            if not done:
                done.append(1)
                for number, node in kit.nodes.items():
                    for name in node.objects():
                        kit.nodes[number].disk.unlink(f"chunks/{name[:2]}/{name}")
            return await inner(call)

        kit.nodes[1].handlers[Commit] = lose_all
        receipt = await kit.store(TREE)
        await check_stored(kit, receipt, 2)
        assert not receipt.degraded

    simulate(scenario)


@pytest.mark.parametrize("request_type", [Put, PassOn, Commit])
def test_ctrl_c_ends_it_at_once_and_leaves_no_task_and_no_version(request_type: type) -> None:
    async def scenario(kit: Kit) -> None:
        here = asyncio.Event()

        async def hang(call: Call) -> Reply:
            here.set()
            await asyncio.Event().wait()
            raise AssertionError("never")

        for node in kit.nodes.values():
            node.handlers[request_type] = hang
        storing = asyncio.create_task(kit.store({f"f{n}": noise(2 * UNIT, n) for n in range(9)}))
        await here.wait()
        storing.cancel()
        begun = kit.runtime.now()
        with pytest.raises(asyncio.CancelledError):
            await storing
        assert kit.runtime.now() - begun < 1
        assert no_task_is_left()
        assert await nothing_is_listed(kit)

    simulate(scenario)


def test_a_catalogue_that_cannot_be_written_does_not_take_back_what_is_durable() -> None:
    async def scenario(kit: Kit) -> None:
        async def broken(data: bytes) -> bool:
            raise DiskFault("the home is full")

        kit.catalogue.add = broken  # type: ignore[method-assign]
        receipt = await kit.store(TREE)
        assert (receipt.copies, receipt.degraded) == (2, False)
        assert any("the home is full" in note for note in receipt.notes)

    simulate(scenario)


def test_two_clients_that_store_the_same_at_once_both_succeed() -> None:
    async def scenario(kit: Kit) -> None:
        write_tree(kit.source, "out", TREE)
        host = kit.world.host("another", node_id(CLIENT + 1), b"d" * 32, "10.0.0.201")
        links = links_of(kit.runtime, host)
        catalogue = await memory_catalogue(kit.runtime)
        other = Peers(kit.runtime, links, lambda: kit.view, catalogue)
        request = StoreRequest(NAME, "there:/out", Redundancy.parse("2"))
        found = scan(kit.source, "out")
        one, two = await asyncio.gather(kit.store(), store(other, catalogue, kit.source, found, request, Progress()))
        assert not one.degraded
        assert not two.degraded
        await kit.survey()
        assert {v.version for v in await kit.catalogue.list()} == {one.version, two.version}
        await links.close()
        record, _ = await kit.newest()
        assert sum(record.hex() in node.records_of("manifest") for node in kit.nodes.values()) >= 2

    simulate(scenario)
