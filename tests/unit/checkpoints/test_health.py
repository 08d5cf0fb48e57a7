"""Health: what the nodes' answers make of a version, now."""

import asyncio

import pytest

from checkpoint_kits import THREE, TWO, UNIT, Kit, KitNode, member, node_id, noise, simulate
from roost.checkpoints.health import Findings, assess, examine
from roost.checkpoints.progress import Progress
from roost.chunks.store import CopyState
from roost.codec.manifest import WALL_SECONDS_MAX
from roost.core.checkpoint import Health, Redundancy
from roost.core.cluster import View
from roost.core.errors import DiskFault
from roost.core.ids import ObjectId, object_id
from roost.net.server import Call, Reply
from roost.wire.messages import GetVerified, LastVerified, Verify

OBJECTS = [object_id(b"1"), object_id(b"2")]
VIEW = View((member(1, machine=91), member(2, machine=91), member(3), member(4)))


@pytest.mark.parametrize(
    ("holders", "redundancy", "health", "copies"),
    [
        ((3, 4), TWO, Health.HEALTHY, 2),
        ((1, 3, 4), TWO, Health.HEALTHY, 3),
        ((3,), TWO, Health.AT_RISK, 1),
        ((1, 2), TWO, Health.AT_RISK, 1),
        ((), TWO, Health.LOST, 0),
        ((1, 3, 4), THREE, Health.HEALTHY, 3),
        ((1, 2, 3), THREE, Health.DEGRADED, 2),
        ((3,), THREE, Health.AT_RISK, 1),
    ],
)
def test_the_worst_object_decides_and_copies_are_counted_by_machine(
    holders: tuple[int, ...], redundancy: Redundancy, health: Health, copies: int
) -> None:
    found = {OBJECTS[0]: frozenset(map(node_id, (1, 3, 4))), OBJECTS[1]: frozenset(map(node_id, holders))}
    assert assess(OBJECTS, found, VIEW, redundancy, complete=True) == (health, copies)
    found = {OBJECTS[0]: found[OBJECTS[0]]} if not holders else found
    expected = Health.UNKNOWN if health is Health.LOST else health
    assert assess(OBJECTS, found, VIEW, redundancy, complete=False) == (expected, copies)


def test_a_version_without_objects_is_healthy() -> None:
    assert assess([], {}, VIEW, TWO, complete=True) == (Health.HEALTHY, 2)


async def look(kit: Kit, *, deep: bool = False, times: bool = False, progress: Progress | None = None) -> Findings:
    _, manifest = await kit.newest()
    return await examine(kit.peers, await kit.survey(), manifest, progress or Progress(), deep=deep, times=times)


async def stored(kit: Kit) -> tuple[ObjectId, KitNode]:
    """A checkpoint of some objects; one of them, and a node that holds it."""
    await kit.store({f"f{n}": noise(2 * UNIT, n) for n in range(6)})
    first = (await kit.newest())[1].objects()[0]
    return first, kit.nodes[min(kit.holders(first))]


def test_all_nodes_are_asked_and_holders_are_those_who_say_so() -> None:
    async def scenario(kit: Kit) -> None:
        await stored(kit)
        found = await look(kit)
        assert (found.health, found.copies, found.damaged, found.deep) == (Health.HEALTHY, 2, (), False)
        assert {i: {int(n, 16) for n in nodes} for i, nodes in found.holders.items()} == {
            i: kit.holders(i) for i in found.holders
        }

    simulate(scenario)


def test_a_flipped_bit_is_seen_by_a_deep_look_alone() -> None:
    async def scenario(kit: Kit) -> None:
        first, node = await stored(kit)
        node.flip(first)
        assert (await look(kit)).health is Health.HEALTHY
        progress = Progress()
        found = await look(kit, deep=True, progress=progress)
        assert (found.health, found.copies, found.deep) == (Health.AT_RISK, 1, True)
        assert found.damaged == ((first, node.node_id),)
        assert node.node_id not in found.holders[first]
        assert progress.bytes_done == progress.bytes_total == 12 * 2 * UNIT
        assert (await look(kit)).health is Health.AT_RISK, "it is in quarantine"

    simulate(scenario)


def test_a_copy_is_as_old_as_when_it_was_written_or_read_back_and_a_version_as_its_oldest_copy() -> None:
    async def scenario(kit: Kit) -> None:
        begun = int(kit.runtime.wall())
        first, node = await stored(kit)
        written = await look(kit, times=True)
        assert {(i, n) for i, times in written.verified.items() for n in times} == {
            (i, n) for i, nodes in written.holders.items() for n in nodes
        }
        assert written.verified_at is not None
        assert begun <= written.verified_at <= kit.runtime.wall()
        await asyncio.sleep(1000)
        assert await kit.peers.store(node.node_id).verify([first]) == [CopyState.GOOD]
        one = await look(kit, times=True)
        assert one.verified[first][node.node_id] >= written.verified_at + 1000
        assert one.verified_at == written.verified_at, "one copy alone is not the version"
        read = await look(kit, deep=True)
        assert read.verified_at is not None
        assert read.verified_at >= written.verified_at + 1000
        assert (await look(kit)).verified_at is None, "it was not asked"

    simulate(scenario, seconds_max=3000)


def test_a_node_whose_clock_is_beyond_the_calendar_is_told_as_its_end() -> None:
    async def scenario(kit: Kit) -> None:
        await stored(kit)

        async def far(call: Call) -> Reply:
            assert isinstance(call.request, GetVerified)
            return Reply(LastVerified([1 << 62] * (len(call.request.ids) // 32)))

        for node in kit.nodes.values():
            node.handlers[GetVerified] = far
        assert (await look(kit, times=True)).verified_at == WALL_SECONDS_MAX

    simulate(scenario)


def test_copies_that_do_not_count_say_nothing_of_when_a_version_was_verified() -> None:
    async def scenario(kit: Kit) -> None:
        first, node = await stored(kit)
        await asyncio.sleep(1000)
        before = kit.runtime.wall()
        for other in kit.nodes.values():
            if other is not node:
                await other.store.verify(other.store.ids())
        node.refuse(GetVerified, DiskFault("it burns"))
        progress = Progress()
        found = await look(kit, times=True, progress=progress)
        assert found.health is Health.AT_RISK
        assert node.node_id not in found.holders[first]
        assert found.verified_at is not None
        assert found.verified_at >= int(before)
        assert any(node.name in note for note in progress.notes)

    simulate(scenario, seconds_max=3000)


def test_lost_is_said_only_when_every_member_answered() -> None:
    async def scenario(kit: Kit) -> None:
        first, _ = await stored(kit)
        for number in kit.holders(first):
            kit.nodes[number].flip(first)
        holders = kit.holders(first)
        assert (await look(kit, deep=True)).health is Health.LOST
        kit.crash(min(set(kit.nodes) - holders))
        assert (await look(kit)).health is Health.UNKNOWN

    simulate(scenario)


@pytest.mark.parametrize("answer", [DiskFault("it burns"), None])
def test_a_node_that_fails_while_it_reads_back_counts_for_nothing(answer: Exception | None) -> None:
    async def scenario(kit: Kit) -> None:
        first, node = await stored(kit)
        if answer is None:
            kit.world.freeze(node.host)
        else:
            node.refuse(Verify, answer)
        progress = Progress()
        found = await look(kit, deep=True, progress=progress)
        assert found.health is Health.AT_RISK
        assert node.node_id not in found.holders[first]
        assert not found.damaged
        assert answer is None or any(node.name in note for note in progress.notes)

    simulate(scenario)
