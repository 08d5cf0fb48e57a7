"""The pulse: who is alive, suspect or down on the simulated network, and what becomes of a process that is refused."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cluster_kits import IDENTITIES, Keeper, member_record
from net_kits import CLUSTER, Pair, address, now, play
from roost.cluster.heartbeat import Rhythm
from roost.cluster.pulse import PING_LIMIT_S, REFUSED_S, Pulse
from roost.codec.records import Standing, encode_record
from roost.core.cluster import NodeState
from roost.core.errors import NotAdmitted, Refused, RoostError
from roost.core.ids import NodeId
from roost.net.contacts import Contacts
from roost.net.links import Links
from roost.net.server import Call, Reply, Server
from roost.security.authority import fingerprint
from roost.security.identity import Identity
from roost.testing.network import SimHost
from roost.wire.messages import PROTOCOL, PROTOCOL_MIN, GetNodes, Hello, Nodes, Ping, Pong

NODES = [identity.node_id for identity in IDENTITIES]
ALIVE, SUSPECT, DOWN = NodeState.ALIVE, NodeState.SUSPECT, NodeState.DOWN
RHYTHM = Rhythm()
NOTICED_S = RHYTHM.every_s * 1.1 + 1


class Process:
    """One process of a node, all by hand but the pulse: its host, its links, its server."""

    def __init__(self, house: "House", number: int, *, at: int, instance: bytes) -> None:
        pair = house.pair
        self.number = number
        self.identity: Identity = IDENTITIES[number]
        self.at = at
        self.pair = pair
        self.began = now()
        self.damaged, self.trouble = 0, ""
        self.pings = 0
        self.changes: list[tuple[NodeId, NodeState]] = []
        self.host: SimHost = pair.world.host(
            f"p{at}", self.identity.node_id, fingerprint(self.identity.certificate), address(at).host
        )
        self.keeping = Keeper(pair.runtime)
        self.contacts = Contacts(pair.runtime)
        hello = Hello(PROTOCOL, PROTOCOL_MIN, "test", CLUSTER, instance=instance)
        self.links = Links(
            pair.runtime, self.host, hello=hello, resolve=lambda node: [address(house.at[node])],
            contacts=self.contacts,
        )  # fmt: skip
        pair.made.append(self.links)
        self.pulse = Pulse(
            pair.runtime, self.links, self.keeping.membership, self.contacts, own=self.identity.node_id,
            on_change=lambda node, state: self.changes.append((node, state)), trouble=lambda: self.trouble,
        )  # fmt: skip
        self.server = Server(
            pair.runtime, {Ping: self.ping, GetNodes: self.pulse.get_nodes}, greeting=lambda peer: hello,
            contacts=self.contacts,
        )  # fmt: skip
        self.task: asyncio.Task[None] | None = None

    async def ping(self, call: Call) -> Reply:
        self.pings += 1
        return Reply(Pong(now() - self.began, self.damaged, self.trouble))

    async def start(self) -> "Process":
        await self.keeping.open()
        for number, identity in enumerate(IDENTITIES):
            await self.keeping.records.add(encode_record(member_record(identity, at=(address(10 + number),))))
        await self.server.listen(self.host, address(self.at))
        self.task = asyncio.get_running_loop().create_task(self.pulse.run())
        return self

    async def end(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])
        self.server.close()
        await self.links.close()

    async def kill(self, *, silent: bool) -> None:
        """End the process; with `silent` the others are not told, as when its machine loses power."""
        self.pair.world.crash(self.host, silent=silent)
        await self.end()

    def state(self, number: int) -> NodeState:
        return self.pulse.states()[NODES[number]].state

    def states(self) -> list[NodeState]:
        return [seen.state for _, seen in sorted(self.pulse.states().items())]

    def told(self, number: int) -> list[NodeState]:
        """The changes of one node that were told since the last time."""
        told = [state for node, state in self.changes if node == NODES[number]]
        self.changes = [change for change in self.changes if change[0] != NODES[number]]
        return told

    def problem(self) -> RoostError | None:
        """Why its pulse ended by itself."""
        assert self.task is not None
        if not self.task.done():
            return None
        error: BaseException | None = self.task.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, RoostError)
        return error


class House:
    """Four nodes that all know each other, each at its own address."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.at = {node: 10 + number for number, node in enumerate(NODES)}
        self.processes: list[Process] = []

    async def open(self) -> None:
        for number in range(len(NODES)):
            await self.start(number)
        await asyncio.sleep(5)

    async def start(self, number: int, *, at: int | None = None) -> Process:
        """A new process of a node, at an address of its own if need be."""
        place = 10 + number if at is None else at
        instance = bytes([len(self.processes)]) * 16
        process = await Process(self, number, at=place, instance=instance).start()
        self.processes.append(process)
        return process

    async def close(self) -> None:
        self.pair.world.heal()
        for process in self.processes:
            self.pair.world.thaw(process.host)
            await process.end()


def keep_house(scenario: Callable[[House], Awaitable[None]], *, seeds: int = 2) -> None:
    async def main(pair: Pair) -> None:
        house = House(pair)
        await house.open()
        await scenario(house)
        await house.close()

    play(main, seeds=range(seeds))


def test_all_see_all_and_each_pair_pings_once_a_turn() -> None:
    async def scenario(house: House) -> None:
        for process in house.processes:
            assert process.states() == [ALIVE] * 3
            process.pings = 0
        begun = now()
        await asyncio.sleep(100)
        turns = (now() - begun) / RHYTHM.every_s
        pings = sum(process.pings for process in house.processes)
        news = 12 * (now() - begun) / RHYTHM.news_s
        assert 0.7 * 6 * turns < pings < 1.2 * 6 * turns + news, "six pairs"
        assert all(process.states() == [ALIVE] * 3 for process in house.processes)

    keep_house(scenario)


def test_what_else_is_said_takes_the_place_of_pings_but_for_news() -> None:
    async def scenario(house: House) -> None:
        one, other = house.processes[:2]

        async def talk() -> None:
            while True:
                await one.links.call(NODES[1], GetNodes())
                await asyncio.sleep(1)

        task = asyncio.get_running_loop().create_task(talk())
        await asyncio.sleep(5)
        for side, peer in ((one, other), (other, one)):
            for third in house.processes[2:]:
                house.pair.world.cut(side.host, third.host)
            side.pings = 0
            assert side.pulse.pong(NODES[peer.number]) is not None
        await asyncio.sleep(60)
        assert (one.state(1), other.state(0)) == (ALIVE, ALIVE)
        assert one.state(2) is DOWN
        for side in (one, other):
            assert 4 <= side.pings <= 60 / RHYTHM.news_s
        task.cancel()
        await asyncio.wait([task])

    keep_house(scenario)


def test_a_frozen_node_is_suspect_then_down_delays_nobody_and_comes_back() -> None:
    async def scenario(house: House) -> None:
        one, frozen = house.processes[0], house.processes[3]
        one.changes.clear()
        house.pair.world.freeze(frozen.host)
        await asyncio.sleep(RHYTHM.suspect_s + NOTICED_S)
        assert one.told(3) == [SUSPECT]
        await asyncio.sleep(RHYTHM.down_s - RHYTHM.suspect_s)
        assert one.told(3) == [DOWN]
        await asyncio.sleep(60)
        assert one.changes == [], "the others were alive all the time"
        house.pair.world.thaw(frozen.host)
        await asyncio.sleep(2 * NOTICED_S)
        assert one.told(3) == [ALIVE]
        assert all(process.problem() is None for process in house.processes)
        assert frozen.states() == [ALIVE] * 3

    keep_house(scenario)


def test_a_node_that_is_cut_off_one_way_is_down_for_both_and_back_when_it_is_not() -> None:
    async def scenario(house: House) -> None:
        one, other = house.processes[:2]
        house.pair.world.cut(one.host, other.host, both=False)
        await asyncio.sleep(RHYTHM.down_s + 2 * NOTICED_S)
        assert (one.state(1), other.state(0)) == (DOWN, DOWN)
        assert {process.state(number) for process in house.processes[2:] for number in (0, 1)} == {ALIVE}
        house.pair.world.heal()
        await asyncio.sleep(RHYTHM.down_every_s + PING_LIMIT_S)
        assert (one.state(1), other.state(0)) == (ALIVE, ALIVE)

    keep_house(scenario)


def test_who_is_heard_of_again_is_told_at_once() -> None:
    async def scenario(house: House) -> None:
        one, other = house.processes[:2]
        house.pair.world.freeze(other.host)
        await asyncio.sleep(RHYTHM.suspect_s + NOTICED_S)
        one.changes.clear()
        one.pulse.heard(NODES[1])
        assert one.told(1) == [ALIVE]
        one.pulse.heard(NODES[1])
        assert one.told(1) == []

    keep_house(scenario, seeds=1)


def test_a_node_that_flaps_is_told_each_time_and_never_more() -> None:
    async def scenario(house: House) -> None:
        one, victim = house.processes[0], house.processes[2]
        one.changes.clear()
        for _ in range(5):
            house.pair.world.freeze(victim.host)
            await asyncio.sleep(RHYTHM.suspect_s + NOTICED_S)
            house.pair.world.thaw(victim.host)
            await asyncio.sleep(2 * NOTICED_S)
            assert one.told(2) == [SUSPECT, ALIVE]
        assert one.changes == []

    keep_house(scenario)


def test_a_dead_node_is_not_dialled_in_a_storm() -> None:
    async def scenario(house: House) -> None:
        one, victim = house.processes[0], house.processes[1]
        await victim.kill(silent=False)
        dials = 0
        connect = one.host.connect

        async def counted(*arguments: object, **more: object) -> object:
            nonlocal dials
            dials += 1
            return await connect(*arguments, **more)  # type: ignore[arg-type]

        one.host.connect = counted  # type: ignore[method-assign, assignment]
        await asyncio.sleep(600)
        assert 20 < dials < 150
        assert one.state(1) is DOWN

    keep_house(scenario)


def test_more_damage_and_new_trouble_are_told() -> None:
    async def scenario(house: House) -> None:
        one, victim = house.processes[0], house.processes[3]
        one.changes.clear()
        await asyncio.sleep(20)
        assert one.changes == []
        victim.damaged = 2
        await asyncio.sleep(20)
        assert one.told(3) == [ALIVE]
        victim.trouble = "its disk fails"
        await asyncio.sleep(20)
        assert one.told(3) == [ALIVE]
        [row] = [row for row in one.pulse.seen() if row.node_id == NODES[3]]
        assert (row.state, row.trouble) == ("alive", "its disk fails")
        pong = one.pulse.pong(NODES[3])
        assert pong is not None
        assert (pong.damaged_total, pong.trouble) == (2, "its disk fails")
        await victim.kill(silent=False)
        again = await house.start(3)
        await asyncio.sleep(20)
        assert one.told(3) == [ALIVE], "the trouble is over; that it counts from 0 again is none"
        again.damaged = 3
        await asyncio.sleep(20)
        assert one.told(3) == [ALIVE]
        await again.kill(silent=False)
        again = await house.start(3)
        again.damaged = 1
        await asyncio.sleep(20)
        assert one.told(3) == [ALIVE], "one more than the 0 that it began with"

    keep_house(scenario)


def test_get_nodes_tells_all_storage_members_ourselves_included() -> None:
    async def scenario(house: House) -> None:
        one = house.processes[0]
        one.trouble = "a full disk"
        await one.keeping.records.add(encode_record(Standing(node_id=NODES[1], seq=1, state="draining", at=0)))
        await one.keeping.records.add(encode_record(Standing(node_id=NODES[2], seq=1, state="left", at=0)))
        await house.processes[3].kill(silent=False)
        await asyncio.sleep(RHYTHM.suspect_s + NOTICED_S)
        answer = await house.processes[1].links.call(NODES[0], GetNodes())
        assert isinstance(answer, Nodes)
        told = {row.node_id: row for row in answer.seen}
        assert sorted(told) == sorted([NODES[0], NODES[1], NODES[3]])
        assert [row.node_id for row in answer.seen] == sorted(told)
        assert (told[NODES[0]].state, told[NODES[0]].trouble, told[NODES[0]].heard_s) == ("alive", "a full disk", 0)
        assert told[NODES[1]].state == "draining"
        assert told[NODES[1]].heard_s < 6
        assert told[NODES[3]].state == "suspect"
        assert 6 <= told[NODES[3]].heard_s < 15
        assert told[NODES[3]].address == str(address(13))

    keep_house(scenario)


# -- copies ----------------------------------------------------------------------------------------------------------


def test_a_second_process_of_a_node_is_refused_by_all_and_ends_and_the_first_goes_on() -> None:
    async def scenario(house: House) -> None:
        copy = await house.start(3, at=66)
        begun = now()
        assert copy.task is not None
        await asyncio.wait([copy.task], timeout=30)
        assert REFUSED_S <= now() - begun < REFUSED_S + 2 * NOTICED_S
        problem = copy.problem()
        assert isinstance(problem, NotAdmitted)
        assert NODES[3][:8] in problem.message
        await asyncio.sleep(30)
        for process in house.processes[:4]:
            assert process.problem() is None
            assert process.states() == [ALIVE] * 3
        for process in house.processes[:3]:
            [row] = [row for row in process.pulse.seen() if row.node_id == NODES[3]]
            assert address(66).host in row.trouble
            assert all(not row.trouble for row in process.pulse.seen() if row.node_id != NODES[3])

    keep_house(scenario)


@pytest.mark.parametrize("silent", [False, True], ids=["killed", "power lost"])
def test_a_node_that_starts_again_at_once_is_not_refused_for_good_and_not_called_doubled(silent: bool) -> None:
    async def scenario(house: House) -> None:
        await house.processes[2].kill(silent=silent)
        await asyncio.sleep(0.5)
        again = await house.start(2)
        await asyncio.sleep(30)
        assert again.problem() is None
        assert again.states() == [ALIVE] * 3
        for process in (house.processes[0], house.processes[1], house.processes[3]):
            assert process.state(2) is ALIVE
            assert not any(row.trouble for row in process.pulse.seen())

    keep_house(scenario, seeds=4)


def test_a_node_frozen_for_a_minute_goes_on_unless_its_copy_took_its_place() -> None:
    async def scenario(house: House) -> None:
        first = house.processes[1]
        house.pair.world.freeze(first.host)
        await asyncio.sleep(60)
        house.pair.world.thaw(first.host)
        await asyncio.sleep(30)
        assert first.problem() is None
        assert first.states() == [ALIVE] * 3

        house.pair.world.freeze(first.host)
        await asyncio.sleep(30)
        house.at[NODES[1]] = 66
        copy = await house.start(1, at=66)
        await asyncio.sleep(30)
        assert copy.problem() is None
        house.pair.world.thaw(first.host)
        await asyncio.sleep(30)
        assert isinstance(first.problem(), NotAdmitted)
        assert copy.problem() is None
        assert copy.states() == [ALIVE] * 3

    keep_house(scenario)


def test_two_short_refusals_far_apart_are_no_long_one() -> None:
    async def scenario(house: House) -> None:
        one = house.processes[0]
        for _ in range(2):
            for node in NODES[1:]:
                one.pulse._refused(node, Refused("a copy"))
            await asyncio.sleep(REFUSED_S + 10)
        assert one.problem() is None

    keep_house(scenario)


def test_one_that_met_the_copy_first_does_not_end_the_original() -> None:
    async def scenario(house: House) -> None:
        original, late = house.processes[0], house.processes[3]
        house.pair.world.cut(original.host, late.host)
        await asyncio.sleep(20)
        copy = await house.start(0, at=66)
        house.pair.world.heal()
        await asyncio.sleep(40)
        assert isinstance(copy.problem(), NotAdmitted)
        assert original.problem() is None
        assert original.states() == [ALIVE] * 3

    keep_house(scenario, seeds=4)
