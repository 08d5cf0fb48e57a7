"""What the simulator found, each told as short as it can be, so that it stays found whatever the seeds become."""

from collections.abc import Sequence

import pytest

from checkpoint_kits import Kit, noise, path_of, simulate
from roost.checkpoints.delivery import Delivery, Remake
from roost.chunks.read import ObjectReader
from roost.core.errors import DiskFault, RoostError
from roost.core.ids import ObjectId
from roost.net.server import Call, Reply
from roost.wire.fields import pack_bits, split_ids
from roost.wire.messages import Have, Holding, PassedOn, PassOn

CONTENT = noise(20_000, 1)


async def _stored(kit: Kit) -> tuple[ObjectId, list[int]]:
    """Store one chunk; its object, and who has it."""
    await kit.store(CONTENT)
    _, manifest = await kit.newest()
    [wanted] = manifest.objects()
    return wanted, sorted(kit.holders(wanted))


@pytest.mark.parametrize("when", ["it is opened", "it is read"])
def test_a_copy_that_cannot_be_read_is_not_blamed_on_who_was_to_get_it(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: ObjectReader, into: memoryview) -> int:
        raise DiskFault("the cable is loose")

    async def scenario(kit: Kit) -> None:
        wanted, (holder, _) = await _stored(kit)
        target = next(node for number, node in kit.nodes.items() if number not in kit.holders(wanted))
        if when == "it is opened":
            kit.nodes[holder].disk.failing.add(path_of(wanted))
        else:
            monkeypatch.setattr(ObjectReader, "read", fails)
        answer = await kit.links.call(kit.nodes[holder].node_id, PassOn(wanted, target.node_id))
        assert isinstance(answer, PassedOn)
        assert list(answer.problems) == ["integrity"]

    simulate(scenario)


def test_a_disk_that_failed_for_a_moment_serves_on() -> None:
    async def scenario(kit: Kit) -> None:
        wanted, (holder, _) = await _stored(kit)
        node = kit.nodes[holder]
        sound = node.store._look
        node.store._look = lambda ids: [-1 for _ in ids]  # type: ignore[method-assign]
        into = memoryview(bytearray(len(CONTENT) + 1))
        count = await kit.peers.store(node.node_id).get(wanted, into)
        node.store._look = sound  # type: ignore[method-assign]
        assert count > 0

    simulate(scenario)


def test_no_node_lists_a_version_of_which_an_object_has_no_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody_is_left(self: Delivery, object_ids: Sequence[ObjectId], remake: Remake) -> list[ObjectId]:
        self.holders[object_ids[0]].clear()
        return [object_ids[0]]

    async def scenario(kit: Kit) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Delivery, "top_up", nobody_is_left)
            with pytest.raises(RoostError):
                await kit.store({"a": noise(30_000, 1), "b": noise(30_000, 2)})
        assert not any(node.records_of("manifest") for node in kit.nodes.values())

    simulate(scenario)


def test_the_last_good_copy_is_had_also_from_a_node_that_doubts_it() -> None:
    async def scenario(kit: Kit) -> None:
        await _stored(kit)
        for node in kit.nodes.values():

            async def denies(call: Call) -> Reply:
                assert isinstance(call.request, Have)
                return Reply(Holding(pack_bits([False] * len(split_ids(call.request.ids)))))

            node.handlers[Have] = denies
        gathered = await kit.gather()
        assert gathered.bytes == len(CONTENT)

    simulate(scenario)
