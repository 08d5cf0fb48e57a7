"""Full nodes: a store that fails says how much is missing, one that is degraded notes it, and what is stored stays."""

import re
from dataclasses import replace

import pytest

from checkpoint_kits import CHUNK_MAX, KIB, UNIT, Kit, member, noise, simulate, text
from roost.checkpoints.buffers import SMALL_AT_ONCE
from roost.checkpoints.room import Shortage
from roost.core.cluster import View
from roost.core.errors import DiskFault, NoSpace, Unreachable
from roost.core.ids import CheckpointName
from roost.wire.messages import GetStatus, Put

OTHER = CheckpointName("other")
BIG = {f"f{n:02d}": noise(2 * UNIT, n) for n in range(20)}
"""20 chunks of 64 KiB that do not compress."""


async def refused(kit: Kit, tree: dict[str, bytes], **more: object) -> NoSpace:
    with pytest.raises(NoSpace) as caught:
        await kit.store(tree, name=OTHER, at="big", **more)  # type: ignore[arg-type]
    assert await kit.catalogue.list(prefix=OTHER) == []
    return caught.value


def test_what_is_missing_is_told_and_is_about_right() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({"a": noise(UNIT, 100)})
        for node in kit.nodes.values():
            node.shrink(5 * CHUNK_MAX + 1000)
        error = await refused(kit, BIG)
        assert error.exit_code == 8
        free = sum(max(0, node.store._disk.space().free - node.store._reserve_bytes) for node in kit.nodes.values())
        put = sum(node.store.bytes_used for node in kit.nodes.values()) - 2 * UNIT
        assert error.bytes_missing is not None
        over = error.bytes_missing - (2 * 20 * CHUNK_MAX - put - free)
        # What was under way may have arrived, and is not known to have.
        assert -2 * CHUNK_MAX <= over <= SMALL_AT_ONCE * CHUNK_MAX
        assert re.search(
            r"the cluster is full: about \d.* [KM]iB more are needed: node-1 and node-2 have", error.message
        )
        assert "roost join" in error.hint
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()
        for node in kit.nodes.values():
            node.shrink(error.bytes_missing // 2 + 4 * CHUNK_MAX)
        receipt = await kit.store(None, name=OTHER, at="big")
        assert (receipt.copies, receipt.degraded) == (2, False), "so much room was indeed enough"

    simulate(scenario, nodes=2)


def test_bytes_that_compress_are_not_refused_because_they_would_be_too_many() -> None:
    async def scenario(kit: Kit) -> None:
        for node in kit.nodes.values():
            node.shrink(4 * CHUNK_MAX)
        receipt = await kit.store({f"f{n}": text(8 * CHUNK_MAX, n) for n in range(4)}, name=OTHER, at="big")
        assert not receipt.degraded

    simulate(scenario, nodes=2)


def test_what_is_still_to_come_is_estimated_by_the_ratio_that_was_measured() -> None:
    async def scenario(kit: Kit) -> None:
        words = {f"f{n:02d}": text(8 * CHUNK_MAX, n) for n in range(40)}
        await kit.store(words)
        _, manifest = await kit.newest()
        stored = sum(manifest.object_bytes().values())
        for node in kit.nodes.values():
            node.shrink(stored // 4)
        other = {f"f{n:02d}": text(8 * CHUNK_MAX, 1000 + n) for n in range(40)}
        error = await refused(kit, other)
        assert error.bytes_missing is not None
        assert stored < error.bytes_missing < 2.5 * stored < 40 * 8 * CHUNK_MAX

    simulate(scenario, nodes=2)


def test_room_that_is_too_small_for_one_chunk_is_missing_room() -> None:
    async def scenario(kit: Kit) -> None:
        for node in kit.nodes.values():
            node.shrink(CHUNK_MAX - 1000)
        error = await refused(kit, {"a": noise(2 * UNIT, 1)})
        assert error.bytes_missing == 1000

    simulate(scenario, nodes=8)


def test_who_does_not_tell_has_nothing_free_and_who_failed_is_named() -> None:
    async def scenario(kit: Kit) -> None:
        for number in (1, 2):
            kit.nodes[number].shrink(1000)
        kit.nodes[1].refuse(GetStatus, DiskFault("it burns"))
        kit.nodes[3].refuse(Put, DiskFault("it burns"))
        error = await refused(kit, {"a": noise(2 * UNIT, 1)})
        assert "node-1 and node-2 have 0.98 KiB free" in error.message
        assert error.bytes_missing == 2 * CHUNK_MAX - 1000
        assert "bring node-3 back" in error.hint

    simulate(scenario, nodes=3)


def test_who_was_down_from_the_beginning_is_named_too() -> None:
    async def scenario(kit: Kit) -> None:
        for number in (1, 2):
            kit.nodes[number].shrink(1000)
        kit.crash(3, 4)
        error = await refused(kit, {"a": noise(2 * UNIT, 1)})
        assert "bring node-3 and node-4 back" in error.hint

    simulate(scenario)


def test_when_all_others_failed_they_and_who_was_down_are_named() -> None:
    async def scenario(kit: Kit) -> None:
        kit.nodes[1].refuse(Put, DiskFault("it burns"))
        kit.crash(2)
        with pytest.raises(Unreachable, match="node-1: it burns; node-2: it was not reached"):
            await kit.store(BIG)

    simulate(scenario, nodes=2)


def test_who_is_being_emptied_is_named_and_not_to_be_brought_back() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.store({"a": noise(2 * UNIT, 1)})
        first, second = kit.view.members
        kit.views.append(View((replace(first, draining=True), second)))
        kit.nodes[2].shrink(1000)
        error = await refused(kit, {"b": noise(2 * UNIT, 2)})
        assert "back" not in error.hint
        kit.crash(2)
        with pytest.raises(Unreachable, match="node-1: it is being emptied; node-2: it was not reached"):
            await kit.store({"a": noise(2 * UNIT, 3)}, name=OTHER, at="c")

    simulate(scenario, nodes=2)


def test_a_degraded_result_tells_what_is_missing_for_the_other_copies() -> None:
    async def scenario(kit: Kit) -> None:
        kit.nodes[2].shrink(3 * CHUNK_MAX + 100)
        receipt = await kit.store(BIG)
        assert (receipt.copies, receipt.degraded) == (1, True)
        [note] = [note for note in receipt.notes if "fewer copies" in note]
        assert re.search(r"about 1\.\d+ MiB more are needed: node-2 has .* free above its reserve", note)
        await kit.gather()
        assert kit.gathered_tree() == kit.stored_tree()

    simulate(scenario, nodes=2)


def test_full_nodes_that_are_not_needed_are_no_shortage() -> None:
    async def scenario(kit: Kit) -> None:
        kit.nodes[2].shrink(100)
        receipt = await kit.store(BIG)
        assert not receipt.degraded
        assert not [note for note in receipt.notes if "fewer copies" in note]

    simulate(scenario, nodes=[member(1), member(2), member(3)])


@pytest.mark.parametrize(
    ("free", "missing", "words"),
    [
        ({"a": 1}, 5, "about 5 B more are needed: a has 1 B free above its reserve"),
        ({"b": 1, "a": 1}, 0, "there was no room: a and b have 2 B free above their reserves"),
        (
            dict.fromkeys("abcdef", KIB), 3 * KIB,
            "about 3.00 KiB more are needed: a, b, c, d and 2 more have 6.00 KiB free above their reserves",
        ),
    ],
)  # fmt: skip
def test_a_shortage_in_words(free: dict[str, int], missing: int, words: str) -> None:
    assert str(Shortage(missing, free)) == words
