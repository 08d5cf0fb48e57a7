"""Draining and striking off from the front door, on a simulated cluster of real nodes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from checkpoint_kits import member as kit_member
from checkpoint_kits import noise
from record_specimens import manifest
from roost.client import AsyncCluster, NodeRow, members
from roost.client.members import named
from roost.client.overview import node_rows
from roost.client.session import Session
from roost.cluster.membership import describe_self
from roost.codec.records import encode_record
from roost.core.cluster import View
from roost.core.errors import Endangers, Failed, Leaving, NotAdmitted, NotFound, RoostError, UsageError
from roost.net.body import Body
from roost.settings.schema import default_settings
from roost.testing.cluster import BLOCK_BYTES, SimCluster, SimNode
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.testing.network import Line
from roost.testing.process import SimProcess
from roost.wire.messages import Commit, Committed
from sim.identities import member

DOWN_S = 30.0


@dataclass
class World:
    """The cluster, and a client of it."""

    sim: SimCluster
    process: SimProcess
    cluster: AsyncCluster

    async def do(self, work: Awaitable[Any]) -> Any:
        """Run `work` as the client's process does."""

        async def run() -> Any:
            return await work

        return await self.process.spawn(run(), name="client")

    async def refused(self, work: Awaitable[Any], kind: type[RoostError]) -> RoostError:
        with pytest.raises(kind) as caught:
            await self.do(work)
        return caught.value

    async def rows(self) -> dict[str, NodeRow]:
        return {row.name: row for row in await self.do(self.cluster.nodes())}

    async def copies(self, *, without: str = "") -> int:
        shown = await self.do(self.cluster.show("run/step-1"))
        return min(len(set(chunk.nodes) - {without}) for chunk in shown.chunks)

    def node(self, name: str) -> SimNode:
        return next(node for node in self.sim.nodes if node.name == name)

    async def busiest(self) -> str:
        """The node with most chunks of the checkpoint."""
        shown = await self.do(self.cluster.show("run/step-1"))
        names: list[str] = [name for chunk in shown.chunks for name in chunk.nodes]
        return max(sorted(set(names)), key=names.count)


Scenario = Callable[[World], Awaitable[None]]


def simulate(scenario: Scenario, source: Path | None, *, nodes: int = 4) -> None:
    async def main() -> None:
        bugs: list[str] = []
        sim = SimCluster(
            "members", [member(n, machine=n) for n in range(nodes)], line=Line(), tell=lambda what: None,
            crashes=bugs.append, watch=lambda place, node: None,
        )  # fmt: skip
        for node in sim.nodes:
            sim.introduce(node.disk, sim.nodes[:1] if node.number else [])
            sim.start(node)
        assert await sim.until(
            lambda: all(n.node is not None and len(n.node.membership.view.storage) == nodes for n in sim.nodes),
            within_s=90,
        )
        home = MemoryDisk(block_bytes=BLOCK_BYTES)
        sim.introduce(home, sim.nodes)
        process, session = await sim.client("client", member(15, machine=100), "10.0.9.1", home)
        world = World(sim, process, AsyncCluster(session, default_settings()))
        if source is not None:
            await world.do(world.cluster.store(source, name="run/step-1"))
        await scenario(world)
        assert not bugs
        process.die()
        for node in sim.nodes:
            if node.process is not None:
                node.process.die()

    run_simulated(main(), seconds_max=2000)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkpoint of twelve objects."""
    for number in range(12):
        (tmp_path / f"{number}.bin").write_bytes(noise(1 << 20, seed=number))
    return tmp_path


# -- names -----------------------------------------------------------------------------------------------------------


def view_of(*names: str, left: Sequence[str] = ()) -> View:
    members = [replace(kit_member(number), name=name) for number, name in enumerate((*names, *left), start=0xA000)]
    return View(tuple(members[: len(names)]), tuple(members[len(names) :]))


def test_a_node_is_named_by_its_name_its_id_or_the_start_of_its_id() -> None:
    view = view_of("pi-1", "pi-2")
    first, second = view.members
    assert named(view, "pi-2") is second
    assert named(view, first.node_id) is first
    assert named(view, first.node_id.upper()) is first
    assert named(view_of("pi-1"), "0000").name == "pi-1"


@pytest.mark.parametrize("text", ["pi", "pi-3", "", "000", "ffff", "gone"])
def test_what_is_nobodys_name_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        named(view_of("pi-1", left=["gone"]), text)


@pytest.mark.parametrize("text", ["twin", "0000"])
def test_what_may_be_several_is_a_usage_error_that_names_their_ids(text: str) -> None:
    view = view_of("twin", "twin", "pi")
    with pytest.raises(UsageError) as caught:
        named(view, text)
    assert view.members[0].node_id[:8] in caught.value.message


def test_a_name_goes_before_the_start_of_an_id() -> None:
    view = view_of("0000", "pi")
    assert named(view, "0000").name == "0000"


def test_one_that_has_left_is_found_where_that_is_of_use() -> None:
    assert named(view_of("pi", left=["gone"]), "gone", left=True).name == "gone"


# -- drain -----------------------------------------------------------------------------------------------------------


def test_a_drained_node_has_left_ends_and_everything_is_whole_without_it(source: Path) -> None:
    async def scenario(world: World) -> None:
        victim = await world.busiest()
        result = await world.do(world.cluster.drain(victim))
        assert (result.state, result.reason, result.objects_left) == ("left", "", 0)
        assert result.copies > 0
        assert await world.copies(without=victim) == 2
        assert await world.sim.until(lambda: not world.node(victim).up, within_s=10)
        assert "has left" in str(world.node(victim).problem)
        assert (await world.rows())[victim].state == "left"
        again = await world.do(world.cluster.drain(victim))
        assert (again.state, again.copies) == ("left", 0)
        assert "roost join" in (await world.refused(world.cluster.drain(victim, cancel=True), Failed)).hint

    simulate(scenario, source)


def test_a_dry_run_tells_what_would_be_copied_and_changes_nothing(source: Path) -> None:
    async def scenario(world: World) -> None:
        victim = await world.busiest()
        result = await world.do(world.cluster.drain(victim, dry_run=True))
        assert result.plan
        assert all(row.work == "leaving" and victim in row.reason for row in result.plan)
        assert (result.copies, result.reason) == (0, "")
        assert (await world.rows())[victim].state == "alive"
        assert not world.sim.nodes[0].node.membership.view.members[0].draining  # type: ignore[union-attr]

    simulate(scenario, source)


def test_with_too_few_machines_it_stays_draining_and_can_be_told_to_stay(source: Path) -> None:
    async def scenario(world: World) -> None:
        victim = await world.busiest()
        result = await world.do(world.cluster.drain(victim))
        assert result.state == "draining"
        assert "no other machine" in result.reason
        assert result.objects_left > 0
        assert (await world.rows())[victim].state == "draining"
        stays = await world.do(world.cluster.drain(victim, cancel=True))
        assert stays.state == "staying"
        assert (await world.rows())[victim].state == "alive"
        again = await world.do(world.cluster.drain(victim, cancel=True))
        assert again.state == "staying"

    simulate(scenario, source, nodes=2)


def test_one_that_is_down_is_drained_when_it_is_back(source: Path) -> None:
    async def scenario(world: World) -> None:
        victim = await world.busiest()
        world.sim.kill(world.node(victim))
        await asyncio.sleep(DOWN_S)
        result = await world.do(world.cluster.drain(victim))
        assert (result.state, result.reason) == ("draining", "it does not answer")
        assert await world.copies(without=victim) == 2
        world.sim.start(world.node(victim))
        await asyncio.sleep(DOWN_S)
        result = await world.do(world.cluster.drain(victim))
        assert result.state == "left"

    simulate(scenario, source)


# -- forget ----------------------------------------------------------------------------------------------------------


def test_a_node_that_is_alive_is_not_struck_off(source: Path) -> None:
    async def scenario(world: World) -> None:
        error = await world.refused(world.cluster.forget("node-1", force=True), Failed)
        assert "drain" in error.hint
        world.sim.kill(world.node("node-1"))
        await asyncio.sleep(8)
        await world.refused(world.cluster.forget("node-1", force=True), Failed)
        assert (await world.rows())["node-1"].state == "suspect"

    simulate(scenario, source)


def test_one_that_just_answered_is_alive_though_the_coordinator_takes_it_for_down(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(world: World) -> None:
        async def mistaken(session: Session) -> list[NodeRow]:
            return [msgspec.structs.replace(row, state="down") for row in await node_rows(session)]

        monkeypatch.setattr(members, "node_rows", mistaken)
        error = await world.refused(world.cluster.forget("node-1", force=True), Failed)
        assert "alive" in error.message
        assert "node-1" in await world.rows()

    simulate(scenario, source)


def test_while_records_cannot_be_read_nobody_knows_what_one_endangers(source: Path) -> None:
    async def scenario(world: World) -> None:
        victim = await world.busiest()
        world.sim.kill(world.node(victim))
        await asyncio.sleep(DOWN_S)
        await world.do(world.cluster.repair())
        catalogue = world.cluster.session.catalogue
        spoil = "UPDATE records SET data = x'00' WHERE kind = 'manifest'"
        await world.do(catalogue._run(lambda db: db.execute(spoil)))
        error = await world.refused(world.cluster.forget(victim), Endangers)
        assert "of 1 versions the records cannot be read" in error.message
        assert (await world.rows())[victim].state == "down"
        assert (await world.do(world.cluster.forget(victim))).endangered == (), "they came back with the next survey"

    simulate(scenario, source)


def test_a_node_that_is_being_drained_says_yes_to_no_commit(source: Path) -> None:
    async def scenario(world: World) -> None:
        victim = world.node(await world.busiest())
        data = encode_record(manifest([], []))
        links = world.cluster.session.links

        async def commit() -> object:
            return await links.call(victim.node_id, Commit(len(data), b""), body=Body.of(data), bulk=True)

        assert (await world.do(world.cluster.drain(victim.name))).state == "draining"
        await world.refused(commit(), Leaving)
        await world.do(world.cluster.drain(victim.name, cancel=True))
        assert await world.do(commit()) == Committed(b"")

    simulate(scenario, source, nodes=2)


def test_one_that_endangers_checkpoints_needs_force_and_they_are_named(source: Path) -> None:
    async def scenario(world: World) -> None:
        victim = await world.busiest()
        world.sim.kill(world.node(victim))
        await asyncio.sleep(DOWN_S)
        error = await world.refused(world.cluster.forget(victim), Endangers)
        assert isinstance(error, Endangers)
        [checkpoint] = error.checkpoints
        assert checkpoint.startswith("run/step-1@1-")
        assert checkpoint in error.message
        assert (await world.rows())[victim].state == "down"
        result = await world.do(world.cluster.forget(victim, force=True))
        assert [f"{name}@{version}" for name, version in result.endangered] == [checkpoint]
        assert len(result.nodes) == 3
        assert victim not in await world.rows()

    simulate(scenario, source)


def test_one_that_endangers_nothing_goes_without_force_and_is_never_let_in_again(source: Path) -> None:
    async def scenario(world: World) -> None:
        victim = await world.busiest()
        world.sim.kill(world.node(victim))
        await asyncio.sleep(DOWN_S)
        await world.do(world.cluster.repair())
        result = await world.do(world.cluster.forget(victim))
        assert (result.name, result.endangered) == (victim, ())
        world.sim.start(world.node(victim))
        assert await world.sim.until(lambda: not world.node(victim).up, within_s=60)
        assert victim not in await world.rows()
        assert await world.copies() == 2

    simulate(scenario, source)


def test_a_machine_that_keeps_nothing_may_be_struck_off_but_not_by_itself() -> None:
    async def scenario(world: World) -> None:
        thief = member(14, machine=101)
        home = MemoryDisk(block_bytes=BLOCK_BYTES)
        world.sim.introduce(home, world.sim.nodes)
        process, session = await world.sim.client("laptop", thief, "10.0.9.2", home)
        other = World(world.sim, process, AsyncCluster(session, default_settings()))
        for each, name in ((other, "laptop"), (world, "desk")):
            own = each.cluster.session
            record = describe_self(
                own.identity, None, name=name, machine=own.identity.machine, capacity=0, addresses=(), storage=False
            )
            await each.do(own.catalogue.add(encode_record(record)))
            await each.rows()
        await world.refused(world.cluster.forget("desk"), UsageError)
        assert (await world.do(world.cluster.forget("laptop"))).endangered == ()
        await asyncio.sleep(1)
        await other.refused(other.cluster.list(), NotAdmitted)
        process.die()

    simulate(scenario, None)


def test_one_that_has_left_may_be_struck_off_too(source: Path) -> None:
    async def scenario(world: World) -> None:
        victim = await world.busiest()
        await world.do(world.cluster.drain(victim))
        result = await world.do(world.cluster.forget(victim))
        assert result.endangered == ()
        assert victim not in await world.rows()

    simulate(scenario, source)
