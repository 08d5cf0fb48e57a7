"""The agent: rounds at the start, every minute and when woken, with every member that can be reached."""

import asyncio
from collections.abc import Awaitable, Callable

from cluster_kits import IDENTITIES, Keeper, ids_of, member_record, serve_records, tombstone
from net_kits import Pair, address, play
from roost.cluster.agent import ALONE_S, EVERY_S, LIMIT_S, PEERS_A_ROUND, Agent
from roost.cluster.exchange import Exchanged
from roost.codec.records import encode_record
from roost.core.errors import RoostError, Unreachable
from roost.core.ids import NodeId
from roost.net.links import Links
from roost.net.server import Call, Reply
from roost.wire.messages import RecordDigests

NODES = [identity.node_id for identity in IDENTITIES]
TOMBSTONES = set(ids_of(*(tombstone(number) for number in range(4))))


class House:
    """Four nodes with their agents, who all know each other."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.keepers = [Keeper(pair.runtime) for _ in NODES]
        self.agents: list[Agent] = []
        self.links: list[Links] = []
        self.remembered: list[NodeId] = []

    async def open(self, *, knowing: bool = True) -> None:
        for number, keeping in enumerate(self.keepers):
            await keeping.open()
            for other, identity in enumerate(IDENTITIES):
                if knowing or other == number:
                    await keeping.records.add(encode_record(member_record(identity, at=(address(10 + other),))))
        for number, keeping in enumerate(self.keepers):
            links = await serve_records(self.pair, 10 + number, keeping, node=NODES[number], changed=self.wake(number))
            links._resolve = lambda node: [address(10 + NODES.index(node))] if node in NODES else []
            self.links.append(links)
            self.agents.append(self.agent(number))
            keeping.membership.changed = self.wake(number)

    def wake(self, number: int) -> Callable[..., None]:
        return lambda *_: self.agents[number].wake()

    def agent(self, number: int) -> Agent:
        keeping = self.keepers[number]
        return Agent(
            self.pair.runtime, self.links[number], keeping.membership, keeping.records, own=NODES[number],
            remembered=lambda: self.remembered,
        )  # fmt: skip

    def agree(self) -> bool:
        return all(keeping.all() == self.keepers[0].all() for keeping in self.keepers)


def keep_house(scenario: Callable[[House], Awaitable[None]], *, knowing: bool = True) -> None:
    async def main(pair: Pair) -> None:
        house = House(pair)
        await house.open(knowing=knowing)
        await scenario(house)

    play(main, seeds=range(2))


async def running(house: House) -> "list[asyncio.Task[None]]":
    tasks = [asyncio.get_running_loop().create_task(agent.run()) for agent in house.agents]
    await asyncio.sleep(5)
    return tasks


async def stop(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


def test_a_round_exchanges_with_all_others_and_says_how_it_went() -> None:
    async def scenario(house: House) -> None:
        await house.keepers[0].records.add(tombstone(1))
        await house.keepers[2].records.add(tombstone(2))
        house.pair.world.crash(house.pair.world._hosts["n13"])
        found = await house.agents[0].round()
        assert found[NODES[1]] == Exchanged(0, 1, 0)
        assert found[NODES[2]] == Exchanged(1, 1, 0)
        assert isinstance(found[NODES[3]], Unreachable)
        assert sorted(found) == sorted(NODES[1:])

    keep_house(scenario)


def test_what_is_new_spreads_at_once_when_the_agent_is_woken() -> None:
    async def scenario(house: House) -> None:
        tasks = await running(house)
        for number in range(3):
            await house.keepers[number].records.add(tombstone(number))
            house.agents[number].wake()
        await asyncio.sleep(2)
        assert house.agree()
        assert len(house.keepers[3].records) == 4 + 3
        await stop(tasks)

    keep_house(scenario)


def test_what_is_new_spreads_within_a_minute_when_nobody_says_so() -> None:
    async def scenario(house: House) -> None:
        tasks = await running(house)
        await house.keepers[1].records.add(tombstone(1))
        await asyncio.sleep(1.2 * EVERY_S)
        assert house.agree()
        await stop(tasks)

    keep_house(scenario)


def test_an_agent_rests_when_nothing_is_new() -> None:
    async def scenario(house: House) -> None:
        tasks = await running(house)
        rounds = 0
        plain = house.agents[0]._exchange

        async def counted(peers: list[NodeId]) -> "dict[NodeId, Exchanged | RoostError]":
            nonlocal rounds
            rounds += 1
            return await plain(peers)

        house.agents[0]._exchange = counted  # type: ignore[method-assign]
        await asyncio.sleep(10 * EVERY_S)
        assert 8 <= rounds <= 12
        await stop(tasks)

    keep_house(scenario)


def test_one_that_is_met_is_exchanged_with_at_once_and_alone() -> None:
    async def scenario(house: House) -> None:
        tasks = [asyncio.get_running_loop().create_task(house.agents[0].run())]
        await asyncio.sleep(5)
        for number in range(4):
            await house.keepers[number].records.add(tombstone(number))
        house.agents[0].meet(NODES[2])
        await asyncio.sleep(2)
        assert ids_of(tombstone(0), tombstone(2)) == sorted(set(house.keepers[0].all()) & TOMBSTONES)
        assert house.keepers[2].all() == house.keepers[0].all()
        await stop(tasks)

    keep_house(scenario)


def test_the_dead_are_not_dialled_each_time_something_is_new() -> None:
    async def scenario(house: House) -> None:
        tasks = await running(house)
        dead = house.pair.world._hosts["n13"]
        house.pair.world.crash(dead, silent=False)
        await stop(tasks[3:])
        dials = 0
        call = house.links[0].call

        async def counted(node: NodeId, *arguments: object, **more: object) -> object:
            nonlocal dials
            dials += node == NODES[3]
            return await call(node, *arguments, **more)  # type: ignore[arg-type]

        house.links[0].call = counted  # type: ignore[method-assign, assignment]
        for _ in range(300):
            house.agents[0].wake()
            await asyncio.sleep(1)
        assert 5 <= dials <= 12
        house.agents[0].meet(NODES[3])
        await asyncio.sleep(2)
        before = dials
        house.agents[0].wake()
        await asyncio.sleep(2)
        assert dials == before
        found = await house.agents[0].round()
        assert isinstance(found[NODES[3]], Unreachable), "asked for by name, a round leaves nobody out"
        await stop(tasks[:3])

    keep_house(scenario)


def test_of_many_that_are_met_at_once_none_is_forgotten() -> None:
    async def scenario(pair: Pair) -> None:
        keeping = await Keeper(pair.runtime).open()
        many = [NodeId(f"{number:032x}") for number in range(100, 150)]
        agent = Agent(pair.runtime, pair.links_of(), keeping.membership, keeping.records, own=many[0], remembered=list)
        asked: list[NodeId] = []
        plain = agent._exchange

        async def noted(peers: list[NodeId]) -> "dict[NodeId, Exchanged | RoostError]":
            assert len(peers) <= PEERS_A_ROUND
            asked.extend(peers)
            return await plain(peers)

        agent._exchange = noted  # type: ignore[method-assign]
        task = asyncio.get_running_loop().create_task(agent.run())
        await asyncio.sleep(1)
        for node in many:
            agent.meet(node)
        await asyncio.sleep(40)
        assert sorted(asked) == many
        await stop([task])

    play(scenario, seeds=range(2))


def test_members_that_were_apart_agree_again() -> None:
    async def scenario(house: House) -> None:
        tasks = await running(house)
        hosts = [house.pair.world._hosts[f"n{10 + number}"] for number in range(4)]
        house.pair.world.part(hosts[:2], hosts[2:])
        for number in range(4):
            await house.keepers[number].records.add(tombstone(number))
        await asyncio.sleep(3 * EVERY_S)
        assert house.keepers[0].all() == house.keepers[1].all() != house.keepers[2].all()
        house.pair.world.heal()
        await asyncio.sleep(3 * EVERY_S)
        assert house.agree()
        await stop(tasks)

    keep_house(scenario)


def test_a_new_member_finds_all_by_one_node_that_it_remembers() -> None:
    async def scenario(house: House) -> None:
        for number in (1, 2):
            await house.keepers[number].records.add(encode_record(member_record(IDENTITIES[3], at=(address(13),))))
            await house.keepers[3].records.add(
                encode_record(member_record(IDENTITIES[number], at=(address(10 + number),)))
            )
        assert await house.agents[0].round() == {}, "it knows nobody"
        house.remembered = [NODES[3], NODES[0]]
        tasks = [asyncio.get_running_loop().create_task(house.agents[number].run()) for number in (0, 3)]
        await asyncio.sleep(5)
        assert house.agree()
        assert len(house.keepers[0].membership.view.members) == 4
        await stop(tasks)

    keep_house(scenario, knowing=False)


def test_a_peer_that_never_ends_is_left_after_a_minute() -> None:
    async def scenario(pair: Pair) -> None:
        async def busy(call: Call) -> Reply:
            while True:
                await asyncio.sleep(1)
                call.progress += 1

        pair.handlers[RecordDigests] = busy
        await pair.serve()
        keeping = await Keeper(pair.runtime).open()
        await keeping.records.add(encode_record(member_record(IDENTITIES[1], at=(address(2),))))
        agent = Agent(
            pair.runtime, pair.links_of(address(2)), keeping.membership, keeping.records, own=NODES[0],
            remembered=list,
        )  # fmt: skip
        pair.world.host("n2", NODES[1], b"2" * 32, address(2).host)
        await pair.server.listen(pair.world._hosts["n2"], address(2))
        begin = asyncio.get_running_loop().time()
        found = await agent.round()
        assert 0 <= asyncio.get_running_loop().time() - begin - LIMIT_S < 1
        assert "took longer than" in str(found[NODES[1]])

    play(scenario, seeds=range(2))


def test_a_round_asks_a_few_of_many_and_everybody_in_time() -> None:
    async def scenario(pair: Pair) -> None:
        keeping = await Keeper(pair.runtime).open()
        many = [NodeId(f"{number:032x}") for number in range(100, 140)]
        agent = Agent(
            pair.runtime, pair.links_of(), keeping.membership, keeping.records, own=many[0], remembered=lambda: many
        )
        asked: set[NodeId] = set()
        for _ in range(30):
            found = await agent.round()
            assert len(found) == PEERS_A_ROUND
            asked |= found.keys()
        assert asked == set(many[1:])

    play(scenario, seeds=range(1))


def test_who_reaches_nobody_tries_again_within_seconds() -> None:
    """After a power cut all nodes may be back at other addresses, and the one that all can find comes last."""

    async def scenario(house: House) -> None:
        pair = house.pair
        others = [pair.world.listener(address(10 + number)) for number in range(1, len(NODES))]
        for listener in others:
            assert listener is not None
            pair.world.unbind(listener)
        task = asyncio.get_running_loop().create_task(house.agents[0].run())
        try:
            await asyncio.sleep(300)
            await house.keepers[0].records.add(tombstone(1))
            for listener in others[:1]:
                assert listener is not None
                pair.world.bind(listener)
            await asyncio.sleep(2 * ALONE_S)
            assert house.keepers[1].all() == house.keepers[0].all()
        finally:
            await stop([task])

    keep_house(scenario)
