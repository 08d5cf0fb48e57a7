"""Gather: every byte written was checked, whoever sent it; who fails is passed over; what is lost is named."""

import asyncio

import msgspec
import pytest

from checkpoint_kits import (
    NAME,
    UNIT,
    Kit,
    Tree,
    attributes,
    noise,
    path_of,
    safetensors,
    simulate,
    subtree,
    text,
    write_tree,
)
from roost.checkpoints.fetching import MEND_LIMIT_S
from roost.checkpoints.gather import gather
from roost.checkpoints.progress import Progress
from roost.checkpoints.target import Target
from roost.codec.manifest import CODEC_PLANES
from roost.core.errors import Busy, DiskFault, Failed, Lost, NoSpace, RoostError, Unreachable
from roost.core.ids import ObjectId
from roost.net.body import Body
from roost.net.server import Call, Handler, Reply
from roost.wire.messages import Get, Have, Holding, PassOn, Sending

TREE: Tree = {
    "config.json": text(700), "model.safetensors": safetensors({"w": noise(4 * UNIT, 1), "v": text(2 * UNIT, 2)}),
    "sub": None, "sub/rng.pth": noise(500, 4), "last": "sub/rng.pth",
}  # fmt: skip


async def lose(kit: Kit, object_id: ObjectId) -> None:
    """Damage every copy."""
    for number in kit.holders(object_id):
        kit.nodes[number].flip(object_id)


def nothing_at(kit: Kit, dest: str = "back") -> bool:
    return subtree(kit.place, dest) == {}


def test_what_was_stored_comes_back_from_all_nodes_at_once() -> None:
    async def scenario(kit: Kit) -> None:
        receipt = await kit.store({f"f{n}": noise(2 * UNIT, n) for n in range(24)})
        assert receipt.copies == 2
        asked: list[int] = []
        for number, node in kit.nodes.items():
            inner = node.handlers[Get]

            async def watched(call: Call, number: int = number, inner: Handler = inner) -> Reply:
                asked.append(number)
                return await inner(call)

            node.handlers[Get] = watched
        progress = Progress()
        done = await kit.gather(progress=progress)
        assert kit.gathered_tree() == kit.stored_tree()
        assert attributes(kit.place, "back") == attributes(kit.source, "out")
        assert set(asked) == {1, 2, 3, 4}
        assert (done.failovers, done.already_there, done.bytes) == (0, False, receipt.bytes)
        assert progress.bytes_done == progress.bytes_total == receipt.bytes
        assert progress.bytes_moved == done.bytes_received
        assert not progress.waits
        again = await kit.gather()
        assert (again.already_there, again.bytes_received) == (True, 0)

    simulate(scenario)


def test_equal_chunks_are_fetched_once() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({f"f{n}": noise(2 * UNIT) for n in range(8)})
        done = await kit.gather()
        assert done.bytes_received == 2 * UNIT
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def test_only_fetches_what_it_needs_and_counts_just_that() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({"a.json": b"1", **{f"w{n}.bin": noise(2 * UNIT, n) for n in range(6)}, "z.json": b"2"})
        progress = Progress()
        done = await kit.gather(only="*.json", progress=progress)
        assert kit.gathered_tree() == {"a.json": b"1", "z.json": b"2"}
        assert done.bytes_received < 2 * UNIT
        assert progress.bytes_done == progress.bytes_total == done.bytes == 2

    simulate(scenario)


# Nodes that fail


@pytest.mark.parametrize("down", [1, 2, 3, 4])
def test_with_one_machine_down_all_is_there(down: int) -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        kit.crash(down)
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


@pytest.mark.parametrize("how", ["crash", "freeze", "disk", "cut"])
def test_a_node_that_fails_on_the_way_is_passed_over(how: str) -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({f"f{n:02}": noise(2 * UNIT, n) for n in range(16)})
        node, seen = kit.nodes[2], []
        inner = node.handlers[Get]

        async def fail(call: Call) -> Reply:
            seen.append(1)
            if how == "crash":
                kit.crash(2)
            elif how == "freeze":
                kit.world.freeze(node.host)
            elif how == "disk":
                node.disk.failing.add("chunks")
            else:
                kit.world.cut(kit.client, node.host)
            return await inner(call)

        node.handlers[Get] = fail
        begun = kit.runtime.now()
        done = await kit.gather()
        assert seen
        assert done.failovers >= 1
        assert any("node-2" in note for note in done.notes)
        assert kit.gathered_tree() == kit.stored_tree()
        assert kit.runtime.now() - begun < 15

    simulate(scenario)


def test_a_damaged_copy_falls_over_to_the_next_holder() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        _, manifest = await kit.newest()
        for object_id in manifest.objects():
            kit.nodes[min(kit.holders(object_id))].flip(object_id)
        done = await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()
        assert done.failovers >= 1
        assert any("no good copy" in note for note in done.notes)

    simulate(scenario)


def test_wrong_bytes_from_a_lying_node_are_never_written() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)

        async def liar(call: Call) -> Reply:
            assert isinstance(call.request, Get)
            data = noise(3 * UNIT, 99)
            return Reply(Sending(len(data)), Body.of(data))

        async def boaster(call: Call) -> Reply:
            assert isinstance(call.request, Have)
            return Reply(Holding(b"\xff" * ((len(call.request.ids) // 32 + 7) // 8)))

        for number in (1, 3):
            kit.nodes[number].handlers[Get] = liar
            kit.nodes[number].handlers[Have] = boaster
        with pytest.raises(RoostError):
            await kit.gather()
        assert nothing_at(kit)
        written = [content for content in kit.place.contents().values() if isinstance(content, bytes)]
        lie = noise(3 * UNIT, 99)
        assert written
        assert not any(lie[:64] in content for content in written)

    simulate(scenario)


MANY = {f"{number}.bin": noise(2 * UNIT, seed=number) for number in range(12)}


def test_damaged_and_vanished_copies_are_made_again_from_the_good_ones() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(MANY)
        _, manifest = await kit.newest()
        ids = manifest.objects()
        for number, object_id in enumerate(ids):
            for node in kit.holders(object_id):  # whichever is asked first finds it out
                if node == min(kit.holders(object_id)):
                    continue
                if number % 2:
                    kit.nodes[node].flip(object_id)
                else:
                    kit.nodes[node].disk.unlink(path_of(object_id))
        done = await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()
        assert done.repaired == done.failovers > 0
        for each in kit.nodes.values():
            for object_id in ids:
                await each.store.verify([object_id])
        whole = [i for i in ids if len(kit.holders(i)) == 2]
        assert len(whole) == done.repaired

    simulate(scenario)


def test_a_node_that_lies_about_a_good_copy_is_not_counted_as_mended() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(MANY)

        async def liar(call: Call) -> Reply:
            data = noise(UNIT, 99)
            return Reply(Sending(len(data)), Body.of(data))

        kit.nodes[3].handlers[Get] = liar
        done = await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()
        assert (done.failovers > 0, done.repaired) == (True, 0)

    simulate(scenario)


def test_what_cannot_be_mended_soon_fails_and_holds_up_nothing() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(MANY)
        _, manifest = await kit.newest()
        for object_id in manifest.objects():
            kit.nodes[max(kit.holders(object_id))].flip(object_id)

        async def never(call: Call) -> Reply:
            call.progress += 1
            while True:
                await asyncio.sleep(1)
                call.progress += 1

        for node in kit.nodes.values():
            node.handlers[PassOn] = never
        begun = kit.runtime.now()
        done = await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()
        assert done.failovers > 0
        assert done.repaired == 0
        assert kit.runtime.now() - begun < MEND_LIMIT_S + 2

    simulate(scenario)


def test_a_gather_that_fails_mends_what_it_can_all_the_same() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(MANY)
        _, manifest = await kit.newest()
        *first, last = manifest.objects()
        for object_id in first:
            kit.nodes[max(kit.holders(object_id))].flip(object_id)
        for number in kit.holders(last):
            kit.nodes[number].flip(last)
        with pytest.raises(Lost):
            await kit.gather()
        for node in kit.nodes.values():
            await node.store.verify(first)
        assert any(len(kit.holders(object_id)) == 2 for object_id in first)

    simulate(scenario)


def test_an_object_that_is_what_its_id_says_and_not_what_was_stored_is_never_written() -> None:
    """A manifest whose plain hash fits nothing: id right, bytes decoded, and yet refused."""

    async def scenario(kit: Kit) -> None:
        await kit.store({"t.txt": text(3 * UNIT, 5)})
        record, manifest = await kit.newest()
        assert CODEC_PLANES in manifest.chunks.codecs
        chunks = msgspec.structs.replace(manifest.chunks, plain=bytes(len(manifest.chunks.plain)))
        manifest = msgspec.structs.replace(manifest, chunks=chunks)
        target = Target(kit.place, "back", manifest, record)
        with pytest.raises(Lost):
            await gather(kit.peers, await kit.survey(), manifest, target, Progress())
        assert nothing_at(kit)
        assert all(not content.strip(b"\0") for content in kit.place.contents().values() if isinstance(content, bytes))

    simulate(scenario)


# What is lost


def test_when_all_copies_are_damaged_the_file_and_the_tensor_are_named() -> None:
    async def scenario(kit: Kit) -> None:
        tensors = {"first.w": noise(2 * UNIT, 1), "second.w": noise(2 * UNIT, 2)}
        await kit.store({"model.safetensors": safetensors(tensors)})
        _, manifest = await kit.newest()
        await lose(kit, manifest.objects()[2])
        with pytest.raises(Lost, match=r"model\.safetensors") as caught:
            await kit.gather()
        assert caught.value.exit_code == 5
        assert "tensor second.w" in caught.value.message
        assert "first.w" not in caught.value.message
        assert nothing_at(kit)

    simulate(scenario)


def test_a_holder_that_cannot_be_reached_may_hold_it_so_that_is_unreachable() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        _, manifest = await kit.newest()
        one, two = sorted(kit.holders(manifest.objects()[0]))
        kit.nodes[one].flip(manifest.objects()[0])
        kit.crash(two)
        with pytest.raises(Unreachable, match=f"node-{two}") as caught:
            await kit.gather()
        assert caught.value.exit_code == 6
        assert nothing_at(kit)

    simulate(scenario)


def test_a_node_that_fails_later_and_said_that_it_has_no_copy_does_not_make_it_unreachable() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({f"f{n:02}": noise(2 * UNIT, n) for n in range(16)})
        _, manifest = await kit.newest()
        victim = manifest.objects()[-1]
        for number in set(kit.nodes) - kit.holders(victim):
            kit.nodes[number].refuse(Get, DiskFault("it burns"))
            break
        await lose(kit, victim)
        progress = Progress()
        with pytest.raises(Lost):
            await kit.gather(progress=progress)
        assert any("it burns" in note for note in progress.notes)

    simulate(scenario)


def test_no_node_at_all_is_unreachable() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        kit.crash(1, 2, 3, 4)
        with pytest.raises(Unreachable):
            await kit.gather()
        assert nothing_at(kit)

    simulate(scenario)


# Interrupted and in the way


def test_an_interrupted_gather_keeps_good_chunks_and_fetches_bad_ones_again() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({f"f{n:02}": noise(2 * UNIT, n) for n in range(10)})
        _, manifest = await kit.newest()
        last = manifest.objects()[9]
        kept = {n: kit.nodes[n].handlers[Get] for n in kit.nodes}
        for number in kit.holders(last):
            inner = kept[number]

            async def refuse(call: Call, inner: Handler = inner) -> Reply:
                assert isinstance(call.request, Get)
                if call.request.object_id == last:
                    raise DiskFault("it burns")
                return await inner(call)

            kit.nodes[number].handlers[Get] = refuse
        with pytest.raises(Unreachable):
            await kit.gather()
        assert nothing_at(kit)
        for number, handler in kept.items():
            kit.nodes[number].handlers[Get] = handler
        partial = Target(kit.place, "back", manifest, (await kit.newest())[0]).partial
        kit.place.flip(f"{partial}/f00", 77, 1)
        progress = Progress()
        done = await kit.gather(progress=progress)
        assert done.bytes_received <= 8 * UNIT, "the last one, the flipped one, and what was on its way"
        assert done.bytes_received >= 4 * UNIT
        assert kit.gathered_tree() == kit.stored_tree()
        assert progress.bytes_done == progress.bytes_total

    simulate(scenario)


def test_ctrl_c_keeps_what_is_there_and_lets_go_of_the_place() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({f"f{n:02}": noise(2 * UNIT, n) for n in range(10)})
        there = asyncio.Event()
        inner = kit.nodes[1].handlers[Get]

        async def hang(call: Call) -> Reply:
            there.set()
            await asyncio.Event().wait()
            raise AssertionError("never")

        kit.nodes[1].handlers[Get] = hang
        gathering = asyncio.create_task(kit.gather())
        await there.wait()
        await asyncio.sleep(0.5)
        gathering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        assert nothing_at(kit)
        assert not [path for path in kit.place.contents() if path.endswith(".lock")]
        kit.nodes[1].handlers[Get] = inner
        done = await kit.gather()
        assert done.bytes_received < 20 * UNIT, "what was there by then is kept"
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def test_two_gathers_to_one_place_at_once_one_is_busy_and_the_other_done() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        results = await asyncio.gather(kit.gather(), kit.gather(), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Busy", "Gathered"]
        assert [result for result in results if isinstance(result, Busy)]
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def test_a_full_disk_here_is_no_space_and_blames_no_node() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        kit.place.bytes_max = 3 * UNIT
        with pytest.raises(NoSpace):
            await kit.gather()
        assert nothing_at(kit)
        kit.place.bytes_max = None
        done = await kit.gather()
        assert done.failovers == 0
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario)


def test_something_else_there_is_refused_before_a_byte_is_fetched() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store(TREE)
        write_tree(kit.place, "back", {"mine": b"1"})
        for node in kit.nodes.values():
            node.refuse(Get, AssertionError("asked"))
        with pytest.raises(Failed, match="exists"):
            await kit.gather()
        assert kit.gathered_tree() == {"mine": b"1"}

    simulate(scenario)


def test_an_older_version_comes_back_too() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({"x": noise(UNIT, 1)})
        first = (await kit.catalogue.find(NAME, None)).manifest
        await kit.store({"x": noise(UNIT, 2)})
        manifest = await kit.catalogue.manifest(first)
        await gather(kit.peers, await kit.survey(), manifest, Target(kit.place, "old", manifest, first), Progress())
        assert subtree(kit.place, "old") == {"x": noise(UNIT, 1)}

    simulate(scenario)
