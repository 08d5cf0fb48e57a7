"""Nodes as members, on virtual time: who they see, what they say of themselves, and when they end."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from cluster_kits import IDENTITIES, Keeper, keeper, member_record, tombstone
from net_kits import address
from roost.cluster.pulse import REFUSED_S
from roost.codec.records import MemberRecord, Record, Revoked, Standing, encode_record
from roost.core.cluster import NodeState
from roost.core.errors import NoSpace, NotAdmitted
from roost.core.ids import NodeId
from roost.node.node import Node
from roost.node.presence import CALM_S, LOOK_EVERY_S, Presence
from roost.security.authority import fingerprint
from roost.testing.cluster import SimCluster, SimNode
from roost.testing.loop import run_simulated
from roost.testing.network import Line

SOON_S = 3.0
"""A turn of the heartbeats, and an exchange."""


class Town:
    """Four nodes that have found each other."""

    def __init__(self, seed: int) -> None:
        self.bugs: list[str] = []
        self.cluster = SimCluster(
            f"{seed}", IDENTITIES, line=Line(), tell=lambda what: None, crashes=self.bugs.append,
            watch=lambda place, node: None,
        )  # fmt: skip
        self.nodes = self.cluster.nodes

    async def open(self) -> None:
        for node in self.nodes:
            self.cluster.introduce(node.disk, self.nodes[:1] if node.number else [])
            self.cluster.start(node)
        assert await self.cluster.until(lambda: all(self.alive(node) == 4 for node in self.nodes), within_s=90)

    def alive(self, place: SimNode) -> int:
        return len(running(place).pulse.alive()) if place.node is not None and place.ready else 0

    async def add(self, place: SimNode, record: Record) -> None:
        node = running(place)
        await node.records.add(encode_record(record))
        node.agent.wake()

    async def until(self, holds: Callable[[], bool], *, within_s: float) -> None:
        assert await self.cluster.until(holds, within_s=within_s)


def running(place: SimNode) -> Node:
    assert place.node is not None
    return place.node


def live(scenario: Callable[[Town], Awaitable[None]]) -> None:
    for seed in range(2):

        async def main(seed: int = seed) -> list[str]:
            town = Town(seed)
            await town.open()
            await scenario(town)
            for node in town.nodes:
                if node.up:
                    town.cluster.kill(node)
            await asyncio.sleep(5)
            return town.bugs

        assert run_simulated(main(), seconds_max=3000) == []


def said(place: SimNode, of: SimNode) -> str:
    """Where `place` believes that `of` is."""
    return str(running(place).membership.addresses(of.node_id)[0])


def test_one_that_comes_back_elsewhere_is_found_and_learns_at_once_what_it_missed() -> None:
    async def scenario(town: Town) -> None:
        first, away, *others = town.nodes
        town.cluster.cut_power(away)
        await asyncio.sleep(20)
        assert running(first).pulse.states()[away.node_id].state is NodeState.DOWN
        await running(first).records.add(tombstone(5))
        await asyncio.sleep(70)
        town.cluster.move(away)
        town.cluster.start(away)
        await town.until(lambda: away.ready, within_s=SOON_S)
        await town.until(lambda: town.alive(first) == 4, within_s=2 * SOON_S)
        await town.until(lambda: len(running(away).records) == len(running(first).records), within_s=SOON_S)
        await town.until(
            lambda: all(said(place, away) == str(away.address) for place in (first, *others)), within_s=SOON_S
        )

    live(scenario)


def test_one_that_was_cut_off_learns_soon_after_that_what_it_missed() -> None:
    async def scenario(town: Town) -> None:
        away, first, *_ = town.nodes
        town.cluster.world.part(
            [place.process.host for place in (away,) if place.process],
            [place.process.host for place in town.nodes[1:] if place.process],
        )
        await asyncio.sleep(40)
        assert town.alive(away) == 1
        await running(first).records.add(tombstone(5))
        town.cluster.world.heal()
        await town.until(lambda: len(running(away).records) == len(running(first).records), within_s=5 * SOON_S)

    live(scenario)


def test_a_node_restored_from_an_old_image_describes_itself_anew() -> None:
    async def scenario(town: Town) -> None:
        place, *others = town.nodes
        first_address = place.address
        town.cluster.kill(place)
        image = place.disk.remains(random.Random(0))
        town.cluster.move(place)
        town.cluster.start(place)
        await town.until(
            lambda: all(said(other, place) == str(place.address) for other in others), within_s=20 * SOON_S
        )
        town.cluster.kill(place)
        place.disk, place.address = image, first_address
        town.cluster.start(place)
        await town.until(
            lambda: all(said(other, place) == str(first_address) for other in others), within_s=20 * SOON_S
        )
        newest = running(others[0]).membership.newest(place.node_id)
        assert newest is not None
        assert newest.seq == 3
        await asyncio.sleep(200)
        assert running(others[0]).membership.newest(place.node_id) == newest

    live(scenario)


def test_a_node_that_reads_that_it_has_left_ends_and_does_not_start_again() -> None:
    async def scenario(town: Town) -> None:
        leaver, other = town.nodes[1], town.nodes[2]
        await town.add(other, Standing(node_id=leaver.node_id, seq=1, state="left", at=0))
        await town.until(lambda: not leaver.up, within_s=SOON_S)
        assert isinstance(leaver.problem, NotAdmitted)
        assert "has left" in leaver.problem.message
        assert "roost join TOKEN" in leaver.problem.hint
        assert [m.node_id for m in running(other).membership.view.left] == [leaver.node_id]
        town.cluster.start(leaver)
        await asyncio.sleep(1)
        assert not leaver.up
        assert not leaver.ready
        assert isinstance(leaver.problem, NotAdmitted)

    live(scenario)


def test_a_node_that_was_struck_off_while_it_runs_ends() -> None:
    async def scenario(town: Town) -> None:
        victim, other = town.nodes[1], town.nodes[2]
        await town.add(other, revoked(victim))
        await town.until(lambda: not victim.up, within_s=REFUSED_S + 4 * SOON_S)
        assert isinstance(victim.problem, NotAdmitted)
        assert "struck off" in victim.problem.message
        assert "new home" in victim.problem.hint
        assert all(running(place).membership.view.member(victim.node_id) is None for place in town.nodes if place.up)

    live(scenario)


def revoked(place: SimNode) -> Revoked:
    return Revoked(node_id=place.node_id, fingerprint=fingerprint(place.identity.certificate), at=0)


def test_a_node_that_was_struck_off_while_it_was_away_gets_nothing_and_ends() -> None:
    async def scenario(town: Town) -> None:
        victim, other = town.nodes[1], town.nodes[2]
        before = len(running(victim).records)
        town.cluster.kill(victim)
        await town.add(other, revoked(victim))
        await running(other).records.add(tombstone(9))
        await asyncio.sleep(100)
        town.cluster.start(victim)
        await town.until(lambda: victim.ready, within_s=SOON_S)
        await town.until(lambda: not victim.up, within_s=REFUSED_S + 2 * SOON_S)
        assert isinstance(victim.problem, NotAdmitted)
        assert "struck off" in victim.problem.message
        assert len(running(victim).records) == before

    live(scenario)


# -- what a node says of itself --------------------------------------------------------------------------------------


class Speaker:
    """The presence of one node, whose records the test writes too."""

    def __init__(self, keeping: Keeper) -> None:
        self.keeping = keeping
        self.identity = IDENTITIES[0]
        self.number = 1
        self.full = False
        self.presence = Presence(
            keeping.runtime, keeping.membership, keeping.records, own=self.identity.node_id,
            fingerprint=fingerprint(self.identity.certificate), describe=self.describe,
        )  # fmt: skip
        keeping.membership.changed = lambda view: self.presence.view_changed()

    async def describe(self) -> MemberRecord:
        if self.full:
            raise NoSpace("the disk is full")
        return self.of(self.number)

    def of(self, number: int) -> MemberRecord:
        known = self.keeping.membership.newest(self.identity.node_id)
        return member_record(self.identity, known=known, at=(address(number),))

    async def contradict(self, number: int) -> None:
        await self.keeping.records.add(encode_record(self.of(number)))

    @property
    def seq(self) -> int:
        newest = self.keeping.membership.newest(self.identity.node_id)
        assert newest is not None
        return newest.seq

    def is_true(self) -> bool:
        return self.keeping.membership.addresses(NodeId(self.identity.node_id)) == (address(self.number),)


def speak(scenario: Callable[[Speaker], Awaitable[None]]) -> None:
    async def main() -> None:
        speaker = Speaker(await keeper())
        assert await speaker.presence.say()
        task = asyncio.get_running_loop().create_task(speaker.presence.keep())
        await asyncio.sleep(1)
        await scenario(speaker)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run_simulated(main(), seconds_max=100_000)


def test_nothing_is_said_twice() -> None:
    async def scenario(speaker: Speaker) -> None:
        await asyncio.sleep(100 * LOOK_EVERY_S)
        assert speaker.seq == 1

    speak(scenario)


def test_another_address_is_told_within_a_minute() -> None:
    async def scenario(speaker: Speaker) -> None:
        speaker.number = 2
        await asyncio.sleep(LOOK_EVERY_S + 1)
        assert (speaker.seq, speaker.is_true()) == (2, True)

    speak(scenario)


def test_what_another_says_of_us_is_answered_at_once_but_not_without_end() -> None:
    async def scenario(speaker: Speaker) -> None:
        await asyncio.sleep(CALM_S)
        await speaker.contradict(7)
        await asyncio.sleep(0.5)
        assert (speaker.seq, speaker.is_true()) == (3, True)
        for _ in range(3600):
            if speaker.is_true():
                await speaker.contradict(7)
            await asyncio.sleep(1)
        assert speaker.seq < 30
        await asyncio.sleep(3 * CALM_S)
        assert speaker.is_true()
        await speaker.contradict(7)
        await asyncio.sleep(0.5)
        assert speaker.is_true()

    speak(scenario)


def test_what_cannot_be_said_now_is_said_later() -> None:
    async def scenario(speaker: Speaker) -> None:
        speaker.full, speaker.number = True, 2
        await asyncio.sleep(10 * LOOK_EVERY_S)
        assert speaker.seq == 1
        speaker.full = False
        await asyncio.sleep(LOOK_EVERY_S + 1)
        assert (speaker.seq, speaker.is_true()) == (2, True)

    speak(scenario)
