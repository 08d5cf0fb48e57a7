"""The inventory and the census: every object of every live version once, where it belongs, in slices; what is well is
let go of."""

import random
from collections.abc import Iterable

import pytest

from checkpoint_kits import UNIT, Kit, member, node_id, noise, simulate, start_node
from roost.checkpoints import census as census_module
from roost.checkpoints import inventory as inventory_module
from roost.checkpoints.census import take_census
from roost.checkpoints.inventory import Inventory, Wanted
from roost.checkpoints.placement import line
from roost.checkpoints.repair import Ground, Need, Observed, Work
from roost.core.checkpoint import Redundancy
from roost.core.cluster import View
from roost.core.errors import DiskFault
from roost.core.ids import CheckpointName, ObjectId
from roost.net.server import Call, Reply
from roost.wire.messages import Have

CHUNK = 2 * UNIT


async def comes_back(kit: Kit, number: int) -> None:
    kit.nodes[number] = await start_node(kit.world, kit.runtime, number, kit.nodes[number].disk)


def all_of(inventory: Inventory) -> dict[ObjectId, Wanted]:
    found: dict[ObjectId, Wanted] = {}
    for part in inventory.slices():
        wanted = inventory.wanted(part)
        assert not wanted.keys() & found.keys()
        found |= wanted
    return found


async def stored(kit: Kit, seeds: Iterable[int], *, name: str, copies: str = "2") -> dict[ObjectId, int]:
    tree = {f"{seed}.bin": noise(CHUNK, seed=seed) for seed in seeds}
    checkpoint = CheckpointName(name)
    await kit.store(tree, name=checkpoint, at=name, redundancy=Redundancy.parse(copies))
    return (await kit.newest(checkpoint))[1].object_bytes()


@pytest.mark.parametrize("slice_ids", [1, 3, 16_384])
def test_every_object_of_every_version_is_in_one_slice_with_the_most_copies_asked(
    slice_ids: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_module, "SLICE_IDS", slice_ids)

    async def scenario(kit: Kit) -> None:
        first = await stored(kit, range(8), name="a")
        second = await stored(kit, range(6, 12), name="b", copies="3")
        inventory = Inventory(kit.catalogue, kit.runtime)
        await inventory.refresh(kit.view)
        wanted = all_of(inventory)
        sizes = first | second
        assert {i: w.need for i, w in wanted.items()} == {
            i: Need(3 if i in second else 2, size) for i, size in sizes.items()
        }
        for object_id, want in wanted.items():
            assert list(want.home) == line(object_id, kit.view)[: want.need.copies]

    simulate(scenario, nodes=5)


def test_what_is_removed_goes_what_is_new_comes_and_homes_follow_the_view() -> None:
    async def scenario(kit: Kit) -> None:
        inventory = Inventory(kit.catalogue, kit.runtime)
        await stored(kit, range(4), name="a")
        await inventory.refresh(kit.view)
        kept = {version.listed.name: version for version in inventory.versions}
        await stored(kit, range(4, 8), name="b")
        kit.views.append(View((*kit.view.members, member(9))))
        await inventory.refresh(kit.view)
        assert {v.listed.name for v in inventory.versions} == {"a", "b"}
        assert next(v for v in inventory.versions if v.listed.name == "a") is kept[CheckpointName("a")]
        for object_id, want in all_of(inventory).items():
            assert list(want.home) == line(object_id, kit.view)[:2]
        assert any(node_id(9) in want.home for want in all_of(inventory).values())

    simulate(scenario)


def test_homes_are_as_many_as_there_are_nodes() -> None:
    async def scenario(kit: Kit) -> None:
        await stored(kit, range(4), name="a", copies="3")
        inventory = Inventory(kit.catalogue, kit.runtime)
        await inventory.refresh(kit.view)
        assert all(len(want.home) == 2 for want in all_of(inventory).values())

    simulate(scenario, nodes=2)


def test_a_census_keeps_what_is_not_well_and_of_that_the_most_urgent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory_module, "SLICE_IDS", 2)

    async def scenario(kit: Kit) -> None:
        sizes = await stored(kit, range(12), name="a")
        inventory = Inventory(kit.catalogue, kit.runtime)
        await inventory.refresh(kit.view)
        ground = Ground(kit.view, Observed(0.0, {}, {}))
        nodes = [m.node_id for m in kit.view.storage]
        census = await take_census(kit.peers, inventory, nodes, ground)
        assert (census.needs, census.holders, census.problems) == ({}, {}, {})
        assert list(census.copies.values()) == [2]

        victim = kit.nodes[3]
        lost = {ObjectId(bytes.fromhex(name)) for name in victim.objects()}
        kit.crash(3)
        asked = 0

        async def mute(call: Call) -> Reply:
            nonlocal asked
            asked += 1
            raise DiskFault("ill")

        await comes_back(kit, 3)
        kit.nodes[3].handlers[Have] = mute
        census = await take_census(kit.peers, inventory, nodes, ground, emptying=[node_id(3), node_id(4)])
        assert asked == 1, "one that does not answer is not asked again"
        assert census.needs.keys() == lost
        assert set(census.problems) == {node_id(3)}
        assert list(census.copies.values()) == [1]
        assert set(census.held) == {node_id(4)}
        on_four = {i for i in sizes if 4 in kit.holders(i)}
        assert census.held[node_id(4)].objects == len(on_four)
        assert census.held[node_id(4)].left == len(on_four & lost)

        monkeypatch.setattr(census_module, "KEPT_MAX", 2)
        census = await take_census(kit.peers, inventory, nodes, ground)
        assert len(census.needs) == len(census.holders) == 2
        assert census.left_out[Work.SHORT] == len(lost) - 2

    simulate(scenario)


def test_of_many_the_most_endangered_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census_module, "KEPT_MAX", 4)
    view = View(tuple(member(number) for number in range(1, 6)))
    ground = Ground(view, Observed(0.0, {}, {}))
    chance = random.Random(1)
    ids = [ObjectId(chance.randbytes(32)) for _ in range(40)]
    census = census_module.Census()
    for begin in range(0, 40, 8):
        some = ids[begin : begin + 8]
        holders = {i: {node_id(n) for n in range(1, 1 + number % 4)} for number, i in enumerate(some)}
        wanted = {i: Wanted(Need(3, 1), tuple(line(i, view)[:3])) for i in some}
        census.count(wanted, holders, ground)
    assert all(not nodes for nodes in census.holders.values()), "those that nobody has come first"
    assert len(census.needs) == 4
