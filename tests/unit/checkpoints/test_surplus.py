"""Surplus goes only from a node that needs the room, and only when all to whom it belongs promised to keep theirs:
never do two holders drop what each thinks the other keeps."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from checkpoint_kits import CHUNK_MAX, THREE, member, noise, path_of, read_file
from collection_kits import HOUR, NAME, Estate, collecting, tombstone
from roost.checkpoints import surplus
from roost.checkpoints.collect import Surplus
from roost.checkpoints.placement import line, view_digest
from roost.checkpoints.references import References
from roost.checkpoints.surplus import Dropper
from roost.codec.records import encode_record
from roost.core.cluster import View
from roost.core.ids import NodeId, ObjectId, RecordId
from roost.net.body import Body
from roost.wire.fields import unpack_bits
from roost.wire.messages import AnyAnswer, AnyRequest, Keep, Keeping

TREE = {f"f{i}": noise(CHUNK_MAX, i) for i in range(6)}


async def everywhere(estate: Estate) -> tuple[RecordId, list[ObjectId]]:
    """A checkpoint whose objects lie on every node, since long ago: the record, and the objects."""
    record, manifest = await estate.store(TREE)
    for object_id in manifest.objects():
        source = estate.node(min(estate.kit.holders(object_id)))
        data = read_file(source.disk, path_of(object_id))
        for node in estate.kit.nodes.values():
            await node.store.put(object_id, Body.of(data))
    await asyncio.sleep(3 * HOUR)
    return record, manifest.objects()


def home(object_id: ObjectId, view: View, copies: int = 2) -> set[int]:
    return {int(node, 16) for node in line(object_id, view)[:copies]}


def drained(view: View, number: int) -> View:
    return View(tuple(replace(m, draining=int(m.node_id, 16) == number) for m in view.members))


def short(estate: Estate, objects: list[ObjectId], copies: int = 2) -> list[int]:
    """The objects with fewer copies than they need, by their place."""
    return [place for place, i in enumerate(objects) if len(estate.kit.holders(i)) < copies]


async def all_at_once(estate: Estate) -> list[int]:
    passes = [collector.collect() for collector in estate.collectors.values()]
    return [outcome.objects for outcome in await asyncio.gather(*passes)]


def test_under_pressure_each_object_ends_where_it_belongs() -> None:
    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        for number in estate.kit.nodes:
            estate.squeeze(number, 0.999)
        assert sum(await all_at_once(estate)) == 3 * len(objects)
        assert {i: estate.kit.holders(i) for i in objects} == {i: home(i, estate.kit.view) for i in objects}
        assert (await estate.kit.gather()).notes == ()

    collecting(scenario, nodes=5)


def test_surplus_may_stay_while_there_is_room_and_goes_only_until_there_is() -> None:
    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        assert sum(await all_at_once(estate)) == 0
        assert estate.collectors[1].status == "idle: nothing to free"
        mine = [i for i in objects if 1 not in home(i, estate.kit.view)]
        surplus.ASKED_AT_ONCE, before = 1, surplus.ASKED_AT_ONCE
        try:
            estate.squeeze(1, 0.85)
            gone = await estate.collect(1)
        finally:
            surplus.ASKED_AT_ONCE = before
        assert 0 < gone < len(mine)
        assert (await estate.collectors[1]._dropper.pressure()).fill < 0.80

    collecting(scenario, nodes=5)


def test_a_node_that_is_drained_drops_all_that_others_keep() -> None:
    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        estate.kit.views.append(drained(estate.kit.view, 2))
        await estate.collect()
        assert estate.holders(objects) == {1, 3, 4, 5}
        assert not short(estate, objects, 4)

    collecting(scenario, nodes=5)


def test_a_node_that_was_just_started_drops_nothing() -> None:
    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        estate.kit.views.append(drained(estate.kit.view, 2))
        await estate.again(2)
        assert await estate.collect(2) == 0
        await asyncio.sleep(2.1 * HOUR)
        assert await estate.collect(2) == len(objects)

    collecting(scenario, nodes=5)


@pytest.mark.parametrize("lacks", ["object", "object's file", "manifest", "life", "other view", "trouble"])
def test_it_stays_unless_all_to_whom_it_belongs_have_it_and_say_so(lacks: str) -> None:
    async def scenario(estate: Estate) -> None:
        record, objects = await everywhere(estate)
        wanted = objects[0]
        estate.kit.views.append(drained(estate.kit.view, 2))
        lacking = min(home(wanted, estate.kit.view))
        node, told = estate.node(lacking), set(objects)
        if lacks == "object":
            async with node.store.guard():
                node.disk.unlink(path_of(wanted))
                node.store._index.forget(wanted)
            told = {wanted}
        elif lacks == "object's file":
            node.disk.unlink(path_of(wanted))
            told = {wanted}
        elif lacks == "manifest":
            on_keep(estate, 2, before=lambda: node.records._lose(record))
        elif lacks == "life":
            estate.kit.crash(lacking)
        elif lacks == "other view":
            estate.views[lacking] = View(estate.kit.view.members[1:])
        else:
            estate.collectors[lacking]._trouble = lambda: "its disk keeps failing"
            node.handlers.update(estate.collectors[lacking].handlers())
        await estate.collect(2)
        belonging = {i for i in told if lacking in home(i, estate.kit.view)}
        assert wanted in belonging
        assert {i for i in objects if 2 in estate.kit.holders(i)} == belonging
        assert "not all to whom they belong" in estate.collectors[2].status

    collecting(scenario, nodes=5)


def on_keep(
    estate: Estate, number: int, *, before: Callable[[], object] = str, after: Callable[[], object] = str,
    takes_s: float = 0.0,
) -> None:  # fmt: skip
    """Let something happen around each time that the node asks another one to keep things."""
    links = estate.node(number).links
    call = links.call

    async def watched(node: NodeId, request: AnyRequest, **options: Any) -> AnyAnswer:
        if not isinstance(request, Keep):
            return await call(node, request, **options)
        before()
        answer = await call(node, request)
        await asyncio.sleep(takes_s)
        after()
        return answer

    links.call = watched  # type: ignore[method-assign]


def test_two_holders_who_see_different_clusters_do_not_rely_on_each_other() -> None:
    """Each of two nodes believes that all belongs to the other one and to a third; one more copy has to stay."""

    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        for number in (1, 2):
            estate.squeeze(number, 0.999)
        for wanted in objects:
            async with estate.node(4).store.guard():
                await estate.node(4).store.remove([wanted])
        members = estate.kit.view.members
        estate.views[1] = View(tuple(m if int(m.node_id, 16) != 1 else replace(m, draining=True) for m in members[:3]))
        estate.views[2] = View(tuple(m if int(m.node_id, 16) != 2 else replace(m, draining=True) for m in members[:3]))
        assert view_digest(estate.views[1]) != view_digest(estate.views[2])
        estate.views[3] = estate.views[1]
        assert (await all_at_once(estate))[:2] == [0, 0]
        assert all(estate.kit.holders(i) == {1, 2, 3} for i in objects)

    collecting(scenario, nodes=4)


def test_who_gave_a_promise_does_not_drop_until_it_has_run_out() -> None:
    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        before = estate.kit.view
        estate.kit.views.append(drained(before, 1))
        gone = await estate.collect(1)
        assert gone == len(objects)
        promised = {i: home(i, estate.kit.view) for i in objects}
        for number in (2, 3, 4, 5):
            estate.kit.views.append(drained(before, number))
            await estate.collect(number)
            assert {i for i in objects if number in promised[i]} == {
                i for i in objects if number in promised[i] and number in estate.kit.holders(i)
            }
        assert not short(estate, objects)
        kept = estate.holders(objects)
        assert kept
        await asyncio.sleep(1.1 * HOUR)
        await estate.collect(5)
        assert not short(estate, objects)

    collecting(scenario, nodes=5)


def test_whatever_the_order_of_drains_and_passes_two_copies_stay() -> None:
    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        before = estate.kit.view
        for numbers in itertools.permutations((1, 2, 3, 4), 2):
            for number in numbers:
                estate.views[number] = drained(before, number)
                await asyncio.sleep(0.4 * HOUR)
                await all_at_once(estate)
                assert not short(estate, objects)
            estate.views.clear()
        assert len(estate.holders(objects)) >= 2

    collecting(scenario, nodes=4)


def test_a_promise_that_is_not_fresh_any_more_is_worth_nothing() -> None:
    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        estate.kit.views.append(drained(estate.kit.view, 2))
        on_keep(estate, 2, takes_s=0.6 * HOUR)
        assert await estate.collect(2) == 0
        assert "not fresh" in estate.collectors[2].status
        assert all(2 in estate.kit.holders(i) for i in objects)

    collecting(scenario, nodes=5)


@pytest.mark.parametrize("what", ["view", "promise"])
def test_what_changes_after_the_answers_counts(what: str) -> None:
    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        estate.kit.views.append(drained(estate.kit.view, 2))
        views, index = estate.kit.views, estate.node(2).store._index

        def changed() -> None:
            if what == "view":
                views.append(drained(estate.kit.view, 3))
            else:
                index.reserve(objects)

        on_keep(estate, 2, after=changed)
        assert await estate.collect(2) == 0
        assert all(2 in estate.kit.holders(i) for i in objects)

    collecting(scenario, nodes=5)


def test_a_dry_run_asks_nobody_and_says_what_may_go() -> None:
    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        estate.kit.views.append(drained(estate.kit.view, 2))
        for number in (1, 3, 4, 5):
            estate.node(number).refuse(Keep, RuntimeError("it was asked"))
        outcome = await estate.collectors[2].collect(dry_run=True)
        assert (outcome.objects, outcome.bytes) == (0, 0)
        [waiting] = outcome.plan.waiting
        assert (waiting.objects, "may go once" in waiting.reason) == (len(objects), True)

    collecting(scenario, nodes=5)


def test_what_was_removed_is_promised_to_nobody() -> None:
    async def scenario(estate: Estate) -> None:
        record, objects = await everywhere(estate)
        ids, digest = b"".join(objects), view_digest(estate.kit.view)

        async def kept(manifests: bytes, view: bytes) -> list[bool]:
            answer = await estate.kit.links.call(estate.node(1).node_id, Keep(ids, manifests, view))
            assert isinstance(answer, Keeping)
            return unpack_bits(answer.kept, len(objects))

        assert await kept(bytes(32), digest) == [False] * len(objects)
        assert await kept(record, bytes(32)) == [False] * len(objects)
        assert not any(estate.node(1).store.reserved(i) for i in objects)
        assert await kept(record, digest) == [True] * len(objects)
        assert all(estate.node(1).store.reserved(i) for i in objects)
        await estate.node(1).records.add(tombstone(record))
        assert await kept(record, digest) == [False] * len(objects)

    collecting(scenario, nodes=5)


def test_a_removal_from_before_a_restart_is_known_to_who_promises() -> None:
    async def scenario(estate: Estate) -> None:
        record, objects = await everywhere(estate)
        await estate.node(1).records.add(tombstone(record))
        await estate.again(1)
        request = Keep(b"".join(objects), record, view_digest(estate.kit.view))
        answer = await estate.kit.links.call(estate.node(1).node_id, request)
        assert isinstance(answer, Keeping)
        assert not any(unpack_bits(answer.kept, len(objects)))

    collecting(scenario, nodes=5)


def test_the_most_copies_that_any_live_version_asks_stay() -> None:
    async def scenario(estate: Estate) -> None:
        await estate.kit.store(TREE, name=NAME, redundancy=THREE, at="three")
        _, objects = await everywhere(estate)
        for number in estate.kit.nodes:
            estate.squeeze(number, 0.999)
        await all_at_once(estate)
        assert {i: estate.kit.holders(i) for i in objects} == {i: home(i, estate.kit.view, 3) for i in objects}

    collecting(scenario, nodes=5)


@pytest.mark.parametrize("step", [(References, "needs"), (Dropper, "_ask")])
def test_a_version_that_asks_for_more_copies_during_a_pass_is_heeded(
    monkeypatch: pytest.MonkeyPatch, step: tuple[type, str]
) -> None:
    """It comes before those are asked to whom an object belongs, or while they are. A pass may take hours, in which the
    reservations of that version's store have run out."""
    sound = getattr(*step)

    async def scenario(estate: Estate) -> None:
        record, objects = await everywhere(estate)
        manifest = await estate.kit.catalogue.manifest(record)
        more = encode_record(msgspec.structs.replace(manifest, seq=2, redundancy="3"))
        third = int(line(objects[0], estate.kit.view)[2], 16)

        async def late(*given: Any, **named: Any) -> Any:
            found = await sound(*given, **named)
            await estate.node(third).records.add(more)
            return found

        monkeypatch.setattr(*step, late)
        estate.squeeze(third, 0.999)
        keeps = {i for i in objects if third in home(i, estate.kit.view, 3)}
        assert await estate.collect(third) == len(objects) - len(keeps)
        assert {i for i in objects if estate.node(third).holds(i)} == keeps
        if step[0] is Dropper:
            assert "surplus, but not all" in estate.collectors[third].status

    collecting(scenario, nodes=5)


def test_a_planted_bug_is_noticed_that_drops_without_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(one: Surplus, **_: object) -> str:
        return ""

    monkeypatch.setattr(surplus, "why_it_stays", careless)
    with pytest.raises(AssertionError):
        test_two_holders_who_see_different_clusters_do_not_rely_on_each_other()


def test_machines_count_and_not_nodes() -> None:
    """Two nodes of one machine are as good as one: the third copy is no surplus."""

    async def scenario(estate: Estate) -> None:
        _, objects = await everywhere(estate)
        for number in estate.kit.nodes:
            estate.squeeze(number, 0.999)
        assert sum(await all_at_once(estate)) == len(objects)
        for i in objects:
            assert {estate.kit.view.domain_of(estate.node(n).node_id) for n in estate.kit.holders(i)} == {
                str(m.machine) for m in estate.kit.view.members
            }

    collecting(scenario, nodes=[member(1, machine=1), member(2, machine=1), member(3, machine=3)])
