"""The overview: whose word counts of how the nodes stand, and what is told of each of them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from checkpoint_kits import Kit, make_kit, member, node_id
from roost.client.overview import ANSWER_LIMIT_S, COORDINATOR_LIMIT_S, node_rows, status_of
from roost.client.results import Listing, NodeRow
from roost.client.session import Session
from roost.cluster.membership import Membership
from roost.cluster.remembered import Remembered
from roost.core.cluster import View
from roost.core.errors import DiskFault
from roost.core.ids import MachineId
from roost.net.server import Call, Reply
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.settings.schema import default_settings
from roost.testing.disk import MemoryDisk
from roost.testing.loop import run_simulated
from roost.wire.fields import NodeSeen
from roost.wire.messages import GetNodes, GetStatus, Nodes

COORDINATOR = 9


class Overview:
    """Three nodes and a coordinator; each says of the nodes what the test lets it say."""

    def __init__(self, kit: Kit) -> None:
        authority = Authority.create("home")
        identity = Identity.found(authority, NodeKey.create(), machine=MachineId("f" * 32))
        self.kit = kit
        self.membership = Membership(identity.authority)
        storage = [member(number) for number in (1, 2, 3)]
        self.membership.view = View((*storage, member(COORDINATOR, storage=False)))
        self.session = Session(
            kit.runtime, kit.client, identity, self.membership, kit.catalogue, Remembered(MemoryDisk()), kit.links,
            kit.peers,
        )  # fmt: skip
        self.asked: list[int] = []

    def says(self, number: int, **states: NodeSeen) -> None:
        """Let a member tell these states; of nodes that are not named, that they are alive."""

        async def answer(call: Call) -> Reply:
            self.asked.append(number)
            return Reply(Nodes([states.get(f"n{other}", seen(other)) for other in (1, 2, 3)]))

        self.kit.nodes[number].handlers[GetNodes] = answer

    async def rows(self) -> dict[str, NodeRow]:
        return {row.name: row for row in await node_rows(self.session)}


def seen(number: int, state: str = "alive", *, heard_s: float = 1.0, trouble: str = "", address: str = "") -> NodeSeen:
    return NodeSeen(node_id(number), state, heard_s, address, trouble)


def look(scenario: Callable[[Overview], Awaitable[None]]) -> None:
    async def main() -> None:
        kit = await make_kit([member(number) for number in (1, 2, 3, COORDINATOR)])
        await scenario(Overview(kit))
        await kit.links.close()
        for node in kit.nodes.values():
            await node.links.close()

    run_simulated(main(), seconds_max=600)


def test_the_coordinators_word_counts() -> None:
    async def scenario(overview: Overview) -> None:
        overview.says(COORDINATOR, n2=seen(2, "suspect", heard_s=7), n3=seen(3, "down", heard_s=7300))
        overview.says(1)
        rows = await overview.rows()
        assert [(name, row.state) for name, row in rows.items()] == [
            ("node-1", "alive"), ("node-2", "suspect"), ("node-3", "down"),
        ]  # fmt: skip
        assert overview.asked == [COORDINATOR]
        assert rows["node-1"].bytes_free is not None
        assert (rows["node-1"].problem, rows["node-2"].problem) == ("", "not heard of for 7 s")
        assert (rows["node-3"].bytes_free, rows["node-3"].problem) == (None, "not heard of for 2 h")

    look(scenario)


@pytest.mark.parametrize("how", ["frozen", "dead", "of an older release", "alone"])
def test_without_the_coordinator_it_is_any_nodes_word(how: str) -> None:
    async def scenario(overview: Overview) -> None:
        kit = overview.kit
        if how == "frozen":
            kit.world.freeze(kit.nodes[COORDINATOR].host)
        elif how == "dead":
            kit.crash(COORDINATOR)
        elif how == "alone":
            overview.membership.view = View(overview.membership.view.storage)
        overview.says(3, n1=seen(1, "down", heard_s=-1))
        begun = kit.runtime.now()
        rows = await overview.rows()
        assert kit.runtime.now() - begun < COORDINATOR_LIMIT_S + 0.5
        assert (rows["node-1"].state, rows["node-1"].problem) == ("down", "not heard of yet")
        assert (rows["node-2"].state, rows["node-3"].state) == ("alive", "alive")
        kit.world.thaw(kit.nodes[COORDINATOR].host)

    look(scenario)


def test_the_first_nodes_word_is_enough_though_others_are_frozen() -> None:
    async def scenario(overview: Overview) -> None:
        kit = overview.kit
        kit.crash(COORDINATOR)
        kit.world.freeze(kit.nodes[1].host)
        overview.says(2, n1=seen(1, "suspect", heard_s=9))
        begun = kit.runtime.now()
        rows = await overview.rows()
        assert kit.runtime.now() - begun < 1
        assert rows["node-1"].state == "suspect"
        kit.world.thaw(kit.nodes[1].host)

    look(scenario)


def test_where_nobody_answers_all_are_down_and_it_is_said_why() -> None:
    async def scenario(overview: Overview) -> None:
        kit = overview.kit
        kit.crash(1, 2, COORDINATOR)
        kit.world.freeze(kit.nodes[3].host)
        begun = kit.runtime.now()
        rows = await overview.rows()
        assert kit.runtime.now() - begun < COORDINATOR_LIMIT_S + 2 * ANSWER_LIMIT_S + 1
        assert {row.state for row in rows.values()} == {"down"}
        assert all(row.problem for row in rows.values())
        told = status_of(default_settings(), overview.session, list(rows.values()), Listing((), False, ()), None)
        assert sum("is down: " in problem for problem in told.problems) == 3
        kit.world.thaw(kit.nodes[3].host)

    look(scenario)


def test_one_that_nobody_has_told_of_is_asked_itself() -> None:
    async def scenario(overview: Overview) -> None:
        overview.membership.view = View((*overview.membership.view.members, member(4)))
        overview.says(COORDINATOR)
        rows = await overview.rows()
        assert rows["node-4"].state == "down"
        assert rows["node-4"].problem

    look(scenario)


def test_draining_left_and_troubled_nodes() -> None:
    async def scenario(overview: Overview) -> None:
        view = overview.membership.view
        gone = replace(member(5), name="a-left-one")
        overview.membership.view = View(view.members, (gone, replace(member(6), storage=False)))
        overview.says(COORDINATOR, n1=seen(1, "draining"), n2=seen(2, trouble="its disk fails"))

        async def silent(call: Call) -> Reply:
            raise DiskFault("the disk is gone")

        overview.kit.nodes[3].handlers[GetStatus] = silent
        rows = await overview.rows()
        assert list(rows) == ["node-1", "node-2", "node-3", "a-left-one"]
        assert (rows["node-1"].state, rows["node-1"].problem) == ("draining", "")
        assert rows["node-1"].bytes_used is not None
        assert (rows["node-2"].state, rows["node-2"].problem) == ("alive", "its disk fails")
        assert (rows["node-3"].state, rows["node-3"].problem) == ("alive", "the disk is gone")
        assert (rows["a-left-one"].state, rows["a-left-one"].bytes_used) == ("left", None)
        told = status_of(default_settings(), overview.session, list(rows.values()), Listing((), True, ()), None)
        assert told.problems == ("node-2: its disk fails", "node-3: the disk is gone")

    look(scenario)


def test_an_address_is_where_it_answered_us_or_who_saw_it_or_where_it_says() -> None:
    async def scenario(overview: Overview) -> None:
        said = member(2).addresses
        two = replace(member(2), addresses=(replace(said[0], host="10.9.9.9"), *said))
        overview.membership.view = View((member(1), two, member(3), member(COORDINATOR, storage=False)))
        elsewhere = seen(3, "down", address="127.0.0.1:1")
        overview.says(COORDINATOR, n2=seen(2, "down", address=str(said[0])), n3=elsewhere)
        rows = await overview.rows()
        assert rows["node-1"].address == str(member(1).addresses[0])
        assert rows["node-2"].address == str(said[0])
        assert rows["node-3"].address == str(member(3).addresses[0]), "one that is good only where it was seen"

    look(scenario)


def test_home_and_pid_are_told_of_this_machine_alone() -> None:
    async def scenario(overview: Overview) -> None:
        here = replace(member(1), machine=overview.session.identity.machine)
        overview.membership.view = View((here, member(2), member(3), member(COORDINATOR, storage=False)))
        overview.says(COORDINATOR)
        rows = await overview.rows()
        assert rows["node-1"].pid is not None
        assert (rows["node-2"].pid, rows["node-2"].home) == (None, None)

    look(scenario)


def test_the_kit_serves_no_nodes_by_itself() -> None:
    """Where even the nodes do not know heartbeats, each is asked itself."""

    async def scenario(overview: Overview) -> None:
        overview.kit.crash(2)
        rows = await overview.rows()
        assert [row.state for row in rows.values()] == ["alive", "down", "alive"]

    look(scenario)
