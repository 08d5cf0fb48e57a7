"""A node frees what nothing needs and nothing else: each rule of protocol 2 on nodes that store and exchange."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from checkpoint_kits import CHUNK_MAX, UNIT, noise, path_of
from collection_kits import DAY, HOUR, KEEP_S, NAME, Estate, collecting, tombstone
from record_specimens import file as file_entry
from record_specimens import manifest as manifest_with
from roost.codec.manifest import Chunk
from roost.codec.records import encode_record, record_id
from roost.core.errors import DiskFault, NoSpace
from roost.core.ids import CheckpointName, ObjectId, object_id
from roost.net.body import Body
from roost.wire.messages import Ages as AgesAnswer
from roost.wire.messages import Collect, Collected, GetAges, RecordDigests

OTHER = CheckpointName("run/step-2")
TREE = {"a": noise(CHUNK_MAX, 1), "b": noise(CHUNK_MAX, 2)}
SHARES = {"a": noise(CHUNK_MAX, 1), "c": noise(CHUNK_MAX, 3)}
LEFT = noise(UNIT, 9)
LEFTOVER = object_id(LEFT)


async def left_over(estate: Estate, number: int = 1) -> ObjectId:
    """What a store left that died before its commit."""
    await estate.node(number).store.put(LEFTOVER, Body.of(LEFT))
    return LEFTOVER


async def two_versions(estate: Estate) -> tuple[list[ObjectId], list[ObjectId]]:
    """Two checkpoints that share a chunk, the first of them removed: what only it names, and what the second names."""
    _, first = await estate.store(TREE)
    _, second = await estate.store(SHARES, name=OTHER)
    await estate.remove(NAME)
    await estate.exchange()
    needed = second.objects()
    return [i for i in first.objects() if i not in needed], needed


async def rest(estate: Estate, seconds: float, *numbers: int) -> int:
    """Let time pass with a pass at its end; how many objects went."""
    await asyncio.sleep(seconds)
    return await estate.collect(*numbers)


# Rule 2: what goes, and when


def test_what_was_removed_goes_when_it_cannot_be_brought_back_any_more() -> None:
    async def scenario(estate: Estate) -> None:
        only, needed = await two_versions(estate)
        assert estate.holders(only)
        assert await rest(estate, 0) == 0
        assert await rest(estate, KEEP_S - HOUR) == 0
        number = min(estate.holders(only))
        assert "removed less than 7d ago" in estate.collectors[number].status
        assert await rest(estate, 2 * HOUR) == 2 * len(only)
        assert estate.holders(only) == set()
        assert all(len(estate.kit.holders(i)) == 2 for i in needed)
        assert estate.collectors[number].status.startswith(f"freed {len(only)} chunk")
        await estate.collect(number)
        assert estate.collectors[number].status == "idle: nothing to free"
        await estate.kit.gather(name=OTHER)

    collecting(scenario)


def test_leftovers_of_a_dead_store_go_after_a_day() -> None:
    async def scenario(estate: Estate) -> None:
        await estate.store(TREE)
        await left_over(estate)
        assert await rest(estate, HOUR / 2, 1) == 0
        assert "a store may count on them" in estate.collectors[1].status
        assert await rest(estate, 23 * HOUR, 1) == 0
        assert "not for 1d" in estate.collectors[1].status
        assert await rest(estate, 2 * HOUR, 1) == 1
        assert not estate.node(1).holds(LEFTOVER)
        assert estate.node(1).store.size_of(LEFTOVER) is None
        assert await estate.node(1).store.have([LEFTOVER]) == [False]

    collecting(scenario)


def test_what_is_removed_now_goes_as_soon_as_no_store_can_count_on_it() -> None:
    async def scenario(estate: Estate) -> None:
        _, manifest = await estate.store(TREE)
        await estate.remove(keep_s=0)
        assert await rest(estate, 0) == 0
        number = min(estate.holders(manifest.objects()))
        assert "a store may count on them" in estate.collectors[number].status
        assert await rest(estate, 1.1 * HOUR) == 2 * len(manifest.objects())
        assert estate.holders(manifest.objects()) == set()

    collecting(scenario)


def test_of_two_removals_the_one_that_wants_it_gone_now_counts() -> None:
    async def scenario(estate: Estate) -> None:
        record, manifest = await estate.store(TREE)
        await estate.remove(keep_s=KEEP_S)
        assert await rest(estate, 2 * HOUR) == 0
        await estate.node(1).records.add(tombstone(record, keep_s=0))
        assert await rest(estate, 0) == 2 * len(manifest.objects())

    collecting(scenario)


def test_what_another_removed_version_names_waits_for_that_one() -> None:
    async def scenario(estate: Estate) -> None:
        _, first = await estate.store(TREE)
        _, second = await estate.store(SHARES, name=OTHER)
        await estate.remove(NAME, keep_s=0)
        await estate.remove(OTHER, keep_s=KEEP_S)
        assert await rest(estate, 3 * HOUR) == 2 * len(set(first.objects()) - set(second.objects()))
        assert all(len(estate.kit.holders(i)) == 2 for i in second.objects())

    collecting(scenario)


TOUCHES: dict[str, Callable[[Estate], Awaitable[object]]] = {
    "asked for": lambda estate: estate.node(1).store.have([LEFTOVER]),
    "put again": lambda estate: estate.node(1).store.put(LEFTOVER, Body.of(LEFT)),
    "fetched": lambda estate: estate.kit.peers.store(estate.node(1).node_id).get(
        LEFTOVER, memoryview(bytearray(len(LEFT)))
    ),
    "committed": lambda estate: _missing(estate),
}


async def _missing(estate: Estate) -> None:
    store = estate.node(1).store
    async with store.guard():
        assert await store.missing([LEFTOVER]) == []


@pytest.mark.parametrize("how", TOUCHES)
def test_what_is_touched_stays_for_another_day(how: str) -> None:
    async def scenario(estate: Estate) -> None:
        await estate.store(TREE)
        await left_over(estate)
        await estate.collect(1)
        await asyncio.sleep(23 * HOUR)
        await TOUCHES[how](estate)
        assert await rest(estate, 3 * HOUR, 1) == 0
        assert await rest(estate, 22 * HOUR, 1) == 1

    collecting(scenario)


def test_reading_back_is_no_use_of_an_object() -> None:
    async def scenario(estate: Estate) -> None:
        await estate.store(TREE)
        await left_over(estate)
        await estate.collect(1)
        await asyncio.sleep(23 * HOUR)
        await estate.node(1).store.verify([LEFTOVER])
        assert await rest(estate, 2 * HOUR, 1) == 1

    collecting(scenario)


def test_a_day_may_be_made_of_several_lives_but_a_node_must_be_up_for_a_while() -> None:
    async def scenario(estate: Estate) -> None:
        await estate.store(TREE)
        await left_over(estate)
        await estate.collect(1)
        for _ in range(3):
            assert await rest(estate, 7 * HOUR, 1) == 0
            estate.kit.crash(1)
            await asyncio.sleep(1000 * HOUR)
            await estate.again(1)
        assert await rest(estate, HOUR, 1) == 0
        assert await rest(estate, 2.5 * HOUR, 1) == 1

    collecting(scenario)


def test_a_touch_is_not_forgotten_by_a_crash() -> None:
    async def scenario(estate: Estate) -> None:
        await estate.store(TREE)
        await left_over(estate)
        await estate.collect(1)
        running = asyncio.create_task(estate.collectors[1].run())
        await asyncio.sleep(20 * HOUR)
        await estate.node(1).store.have([LEFTOVER])
        await asyncio.sleep(30)
        running.cancel()
        await asyncio.wait([running])
        await estate.again(1)
        assert await rest(estate, 5 * HOUR, 1) == 0
        assert await rest(estate, 20 * HOUR, 1) == 1

    collecting(scenario)


def test_the_collector_works_by_itself_every_hour_and_soon_after_it_was_blocked() -> None:
    async def scenario(estate: Estate) -> None:
        await estate.store(TREE)
        await left_over(estate)
        estate.node(2).refuse(RecordDigests, DiskFault("it burns"))
        running = asyncio.create_task(estate.collectors[1].run())
        await asyncio.sleep(40 * HOUR)
        assert estate.collectors[1].status.startswith("blocked: node-2 is alive and did not exchange")
        assert estate.node(1).holds(LEFTOVER)
        estate.kit.crash(2)
        await asyncio.sleep(HOUR)
        assert estate.collectors[1].status.startswith("1 chunk")
        await asyncio.sleep(25 * HOUR)
        assert not estate.node(1).holds(LEFTOVER)
        assert estate.collectors[1].status in ("idle: nothing to free", "freed 1 chunk (32.0 KiB)")
        running.cancel()
        await asyncio.wait([running])

    collecting(scenario)


# Rule 3: what blocks a pass


async def ripe(estate: Estate) -> None:
    """A leftover on node 1 that goes with the next pass."""
    await estate.store(TREE)
    await left_over(estate)
    await estate.collect(1)
    await asyncio.sleep(25 * HOUR)


async def blocked(estate: Estate) -> str:
    """Why node 1 makes no pass; nothing went."""
    outcome = await estate.collectors[1].collect()
    assert (outcome.objects, outcome.bytes) == (0, 0)
    assert estate.node(1).holds(LEFTOVER)
    assert estate.collectors[1].status == f"blocked: {outcome.plan.blocked}"
    return outcome.plan.blocked


def test_no_pass_before_every_member_that_is_alive_exchanged_its_records() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        estate.node(3).refuse(RecordDigests, DiskFault("it burns"))
        assert await blocked(estate) == "node-3 is alive and did not exchange its records (it burns)"
        estate.kit.crash(3)
        assert await estate.collect(1) == 1

    collecting(scenario)


def test_what_a_member_knows_is_learnt_before_anything_goes() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        await estate.node(4).records.add(naming(LEFTOVER))
        assert await estate.collect(1) == 0
        assert await rest(estate, 100 * DAY, 1) == 0
        assert estate.node(1).holds(LEFTOVER)

    collecting(scenario)


def naming(*objects: ObjectId, size: int = UNIT) -> bytes:
    """A manifest that names these objects."""
    chunks = [Chunk(i, i, size, size, 0) for i in objects]
    return encode_record(manifest_with([file_entry("x", size * len(objects))], chunks))


def test_no_pass_while_a_record_is_damaged_and_nobody_has_it() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        data = naming(LEFTOVER)
        node = estate.node(1)
        await node.records.add(data)
        estate.kit.crash(2, 3, 4)
        path = f"records/{record_id(data).hex()}.manifest"
        node.disk.flip(path, 40, 1)
        assert "cannot be read" in await blocked(estate)
        assert "1 record missing here" in await blocked(estate)
        await estate.again(1)
        assert "1 record missing here" in await blocked(estate)
        await estate.node(1).records.add(data)
        await asyncio.sleep(25 * HOUR)
        assert await estate.collect(1) == 0
        assert estate.collectors[1].status == "idle: nothing to free"

    collecting(scenario)


def test_no_pass_while_a_manifest_or_a_tombstone_cannot_be_read() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        await estate.remove()
        for kind in ("manifest", "tombstone"):
            await estate.again(1)
            node = estate.node(1)
            [digest, *_] = sorted(node.records_of(kind))
            node.disk.failing.add(f"records/{digest}.{kind}")
            assert "a record here cannot be read" in await blocked(estate)
            node.disk.failing.clear()

    collecting(scenario)


@pytest.mark.parametrize(("kind", "version"), [("pin", 1), ("manifest", 2)])
def test_no_pass_while_a_record_is_known_that_only_a_newer_release_reads(kind: str, version: int) -> None:
    """Here already, from before this release was put back; or offered by a member."""
    data = msgspec.msgpack.encode({"kind": kind, "format": version, "name": "x"})

    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        give(estate, 2, kind, data)
        await estate.again(2)
        assert "node-2 told of 1 record that could not be had" in await blocked(estate)
        estate.kit.crash(2)
        assert "1 record missing here" in await blocked(estate)
        give(estate, 1, kind, data)
        await estate.again(1)
        assert ("not known here" if kind == "manifest" else "newer release") in await blocked(estate)

    collecting(scenario)


def give(estate: Estate, number: int, kind: str, data: bytes) -> None:
    """Put a record's file on a node's disk."""
    file = estate.node(number).disk.create(f"records/{record_id(data).hex()}.{kind}")
    file.pwrite(data, 0)
    file.close()


@pytest.mark.parametrize("there", [None, b"f" * 32 + b"\n"])
def test_no_pass_while_the_disk_is_not_the_one_that_was_opened(there: bytes | None) -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        disk = estate.node(1).disk
        if there is None:
            disk.unlink("chunks/store.id")
        else:
            file = disk.open_write("chunks/store.id")
            file.pwrite(there, 0)
            file.close()
        assert "may not be mounted" in await blocked(estate)

    collecting(scenario)


def test_no_pass_where_all_records_are_lost_and_nobody_is_known() -> None:
    async def scenario(estate: Estate) -> None:
        await left_over(estate)
        await asyncio.sleep(25 * HOUR)
        assert "may have been lost" in await blocked(estate)

    collecting(scenario, nodes=1)


# The check and the removal are one step


def test_a_manifest_that_comes_after_the_decision_protects_what_it_names() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        collector, node = estate.collectors[1], estate.node(1)
        remove = collector._remove

        async def late(*arguments: object) -> tuple[int, int]:
            await node.records.add(naming(LEFTOVER))
            return await remove(*arguments)  # type: ignore[arg-type]

        collector._remove = late  # type: ignore[assignment, method-assign]
        assert await estate.collect(1) == 0
        assert node.holds(LEFTOVER)

    collecting(scenario)


@pytest.mark.parametrize("how", ["reserved", "touched"])
def test_what_is_used_after_the_decision_stays(how: str) -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        collector, node = estate.collectors[1], estate.node(1)
        remove = collector._remove

        async def late(*arguments: object) -> tuple[int, int]:
            await node.store.have([LEFTOVER], reserve=how == "reserved")
            return await remove(*arguments)  # type: ignore[arg-type]

        collector._remove = late  # type: ignore[assignment, method-assign]
        assert await estate.collect(1) == 0
        assert node.holds(LEFTOVER)

    collecting(scenario)


def test_nothing_is_removed_while_somebody_holds_the_guard() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        async with estate.node(1).store.guard():
            collecting_now = asyncio.create_task(estate.collect(1))
            await asyncio.sleep(60)
            assert not collecting_now.done()
            assert estate.node(1).holds(LEFTOVER)
        assert await collecting_now == 1

    collecting(scenario)


def test_a_disk_that_refuses_keeps_the_object_and_the_node_says_so() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        node = estate.node(1)
        node.disk.failing.add(path_of(LEFTOVER))
        running = asyncio.create_task(estate.collectors[1].run())
        await asyncio.sleep(HOUR)
        assert estate.collectors[1].status.startswith("failed: ")
        assert node.store.size_of(LEFTOVER) == len(LEFT)
        node.disk.failing.clear()
        await asyncio.sleep(HOUR)
        assert not node.holds(LEFTOVER)
        running.cancel()
        await asyncio.wait([running])

    collecting(scenario)


# On request


def test_a_peer_may_ask_for_a_pass_and_for_what_it_would_do() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        await estate.remove()
        links, node = estate.kit.links, estate.node(1)
        before = estate.collectors[1].status
        would = await links.call(node.node_id, Collect(dry_run=True))
        assert node.holds(LEFTOVER)
        assert estate.collectors[1].status == before
        done = await links.call(node.node_id, Collect())
        assert isinstance(would, Collected)
        assert would == done
        assert (would.objects, would.bytes, would.blocked) == (1, len(LEFT), "")
        assert not node.holds(LEFTOVER)
        estate.node(2).refuse(RecordDigests, DiskFault("it burns"))
        answer = await links.call(node.node_id, Collect())
        assert isinstance(answer, Collected)
        assert (answer.objects, answer.waiting) == (0, [])
        assert "it burns" in answer.blocked

    collecting(scenario)


def test_nodes_tell_each_other_for_how_long_they_know_a_tombstone() -> None:
    async def scenario(estate: Estate) -> None:
        record, _ = await estate.store(TREE)
        data = tombstone(record)
        await estate.node(1).records.add(data)
        await asyncio.sleep(5 * DAY)
        ids = record_id(data) + bytes(32)
        answer = await estate.kit.links.call(estate.node(1).node_id, GetAges(ids))
        assert isinstance(answer, AgesAnswer)
        assert answer.seconds == [pytest.approx(5 * DAY, abs=2), 0]
        await estate.collect(2)
        answer = await estate.kit.links.call(estate.node(2).node_id, GetAges(ids))
        assert isinstance(answer, AgesAnswer)
        assert answer.seconds == [pytest.approx(5 * DAY, abs=2), 0]

    collecting(scenario)


def test_a_tombstone_grows_old_together() -> None:
    """Each node alone knew it for a few days only, or not at all."""

    async def scenario(estate: Estate) -> None:
        record, manifest = await estate.store(TREE)
        await estate.node(1).records.add(tombstone(record))
        await rest(estate, 4 * DAY)
        estate.kit.crash(1)
        await rest(estate, 4 * DAY)
        assert estate.holders(manifest.objects()) <= {1}

    collecting(scenario)


def test_a_full_disk_frees_all_the_same_and_says_that_it_notes_no_ages() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        node = estate.node(1)
        write = node.disk.create
        node.disk.bytes_max = (1 << 50) - node.disk.space().free

        def refused(path: str, *, mode: int = 0o600) -> object:
            if path.startswith("state/"):
                raise NoSpace("it is full")
            return write(path, mode=mode)

        node.disk.create = refused  # type: ignore[assignment, method-assign]
        assert await estate.collect(1) == 1
        assert not node.holds(LEFTOVER)
        assert estate.collectors[1].status == "ages cannot be noted (it is full); freed 1 chunk (32.0 KiB)"
        await estate.collect(1)
        assert estate.collectors[1].status == "ages cannot be noted (it is full); idle: nothing to free"

    collecting(scenario)


def test_the_status_fits_its_message() -> None:
    async def scenario(estate: Estate) -> None:
        await ripe(estate)
        estate.node(3).refuse(RecordDigests, DiskFault("x" * 2000))
        await estate.collect(1)
        assert len(estate.collectors[1].status) == 1024
        answer = await estate.kit.links.call(estate.node(1).node_id, Collect())
        assert isinstance(answer, Collected)
        assert len(answer.blocked) == 1024

    collecting(scenario)
