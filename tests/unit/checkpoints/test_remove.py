"""Remove: a tombstone on every node that answers takes a version off every list; what is stored stays where it is."""

import pytest

from checkpoint_kits import NAME, UNIT, Kit, noise, simulate
from roost.checkpoints.remove import Removed, remove
from roost.core.errors import DiskFault, NoSpace, NotFound, RoostError, Unreachable
from roost.wire.messages import PutRecord


async def remove_all(kit: Kit) -> Removed:
    survey = await kit.survey()
    listed = await kit.catalogue.list(prefix=NAME)
    return await remove(
        kit.peers, kit.catalogue, survey, [(v, await kit.catalogue.manifest(v.manifest)) for v in listed], keep_s=60
    )


async def stored(kit: Kit) -> None:
    for seed in (1, 2):
        await kit.store({"x": noise(2 * UNIT, seed)})


def test_the_versions_are_off_every_list_and_their_objects_stay() -> None:
    async def scenario(kit: Kit) -> None:
        await stored(kit)
        before = {n: node.objects() for n, node in kit.nodes.items()}
        removed = await remove_all(kit)
        assert [v.version[:2] for v in removed.versions] == ["1-", "2-"]
        assert removed.everywhere
        assert set(removed.nodes) == {node.node_id for node in kit.nodes.values()}
        assert await kit.catalogue.list() == []
        with pytest.raises(NotFound):
            await kit.catalogue.find(NAME, None)
        assert all(len(node.records_of("tombstone")) == 2 for node in kit.nodes.values())
        assert {n: node.objects() for n, node in kit.nodes.items()} == before
        assert (await kit.store()).version[:2] == "3-"

    simulate(scenario)


@pytest.mark.parametrize("how", ["down", "refuses"])
def test_a_node_that_did_not_take_it_is_not_named(how: str) -> None:
    async def scenario(kit: Kit) -> None:
        await stored(kit)
        if how == "down":
            kit.crash(2)
        else:
            kit.nodes[2].refuse(PutRecord, DiskFault("it burns"))
        removed = await remove_all(kit)
        assert not removed.everywhere
        assert set(removed.nodes) == {kit.nodes[n].node_id for n in (1, 3, 4)}
        assert kit.nodes[2].records_of("tombstone") == set()

    simulate(scenario)


def test_when_no_node_takes_it_that_is_said_and_the_next_exchange_tells_it() -> None:
    async def scenario(kit: Kit) -> None:
        await stored(kit)
        handlers = {n: node.handlers[PutRecord] for n, node in kit.nodes.items()}
        for node in kit.nodes.values():
            node.refuse(PutRecord, DiskFault("it burns"))
        with pytest.raises(Unreachable, match="yet") as caught:
            await remove_all(kit)
        assert "kept on this machine" in caught.value.hint
        assert await kit.catalogue.list() == []
        for number, handler in handlers.items():
            kit.nodes[number].handlers[PutRecord] = handler
        await kit.survey()
        assert all(len(node.records_of("tombstone")) == 2 for node in kit.nodes.values())

    simulate(scenario)


@pytest.mark.parametrize("others", [NoSpace("it is full"), DiskFault("it burns")])
def test_when_every_node_is_full_that_is_said_with_the_cure(others: RoostError) -> None:
    async def scenario(kit: Kit) -> None:
        await stored(kit)
        for number, node in kit.nodes.items():
            node.refuse(PutRecord, NoSpace("it is full") if number == 1 else others)
        with pytest.raises(NoSpace if isinstance(others, NoSpace) else Unreachable) as caught:
            await remove_all(kit)
        if isinstance(others, NoSpace):
            assert "the disks of all 4 that answered are full" in caught.value.message
            assert "by hand" in caught.value.hint
        assert await kit.catalogue.list() == [], "it is kept on this machine"

    simulate(scenario)


def test_without_any_node_nothing_is_removed() -> None:
    async def scenario(kit: Kit) -> None:
        await stored(kit)
        kit.crash(1, 2, 3, 4)
        with pytest.raises(Unreachable):
            await remove_all(kit)
        assert len(await kit.catalogue.list()) == 2

    simulate(scenario)
