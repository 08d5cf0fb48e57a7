"""The finder with real sockets, on loopback alone: others are seen by both ways, and networks that come and go."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from roost.cluster.discovery.broadcast import ANSWERS_A_SECOND, PORT, Broadcast
from roost.cluster.discovery.finder import Finder
from roost.cluster.discovery.interfaces import Interface, interfaces_of
from roost.cluster.discovery.sightings import Advert, Sighting, Way, pack_question, read_advert
from roost.core.cluster import Address
from roost.core.ids import NodeId
from roost.core.runtime import SystemRuntime

OURS, THEIRS = b"o" * 32, b"t" * 32
LOOPBACK = "127.0.0.1"
LIMIT_S = 15.0


def advert(letter: str, *, cluster: bytes = OURS) -> Advert:
    return Advert(cluster, NodeId(letter * 32), "home", 7000 + ord(letter), admits=True, label=f"node-{letter}")


class Seeker:
    """A finder, and what it has seen."""

    def __init__(self, told: Advert | None, *, cluster: bytes | None = OURS, **options: Any) -> None:
        self.seen: list[Sighting] = []
        self._news = asyncio.Event()
        self.finder = Finder(SystemRuntime(), cluster=cluster, host=LOOPBACK, found=self._found, **options)
        if told is not None:
            self.finder.tell(told)

    def _found(self, sighting: Sighting) -> None:
        self.seen.append(sighting)
        self._news.set()

    async def until(self, letter: str) -> Sighting:
        """The first sighting of a node."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                for sighting in self.seen:
                    if sighting.advert.node == NodeId(letter * 32):
                        return sighting
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def running(*seekers: Seeker) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for seeker in seekers:
            await stack.enter_async_context(seeker.finder.running())
        yield


@pytest.mark.parametrize("way", [Way.MDNS, Way.BROADCAST])
async def test_members_see_each_other_and_nobody_else_by_each_way(way: Way) -> None:
    ways: dict[str, Any] = {"mdns": way is Way.MDNS, "broadcast": way is Way.BROADCAST}
    a, b = Seeker(advert("a"), **ways), Seeker(advert("b"), **ways)
    other = Seeker(advert("c", cluster=THEIRS), cluster=THEIRS, **ways)
    passer_by = Seeker(None, cluster=None, **ways)
    async with running(a, b, other, passer_by):
        assert (await a.until("b")).way is way
        assert (await b.until("a")).addresses == (Address(LOOPBACK, 7000 + ord("a")),)
        for letter in "abc":
            await passer_by.until(letter)
        assert {sighting.advert.cluster for sighting in [*a.seen, *b.seen]} == {OURS}
        assert not other.seen
        assert a.finder.addresses(NodeId("b" * 32)) == [Address(LOOPBACK, 7000 + ord("b"))]
        assert [state.problem for state in a.finder.states()] == ["", ""]


async def test_a_network_that_comes_later_is_used_within_seconds() -> None:
    here: list[Interface] = []

    def interfaces(host: str) -> Sequence[Interface]:
        return tuple(here)

    a = Seeker(advert("a"), interfaces=interfaces)
    b = Seeker(advert("b"))
    async with running(a, b):
        async with asyncio.timeout(LIMIT_S):
            while not all(state.problem for state in a.finder.states()):
                await asyncio.sleep(0)
        assert {state.problem for state in a.finder.states()} == {"this machine is on no network"}
        here.extend(interfaces_of(LOOPBACK))
        await a.until("b")
        await b.until("a")


async def test_a_way_that_the_system_forbids_is_told_and_the_other_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forbidden(self: Broadcast, port: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    a, b = Seeker(advert("a")), Seeker(advert("b"), broadcast=False)
    monkeypatch.setattr(Broadcast, "_open", forbidden)
    async with running(a, b):
        assert (await a.until("b")).way is Way.MDNS
        states = {state.way: state for state in a.finder.states()}
        assert "Operation not permitted" in states[Way.BROADCAST].problem
        assert states[Way.BROADCAST].hint
        assert not states[Way.MDNS].problem


async def test_a_flood_of_questions_is_answered_so_often_and_no_more() -> None:
    now = 100.0
    spoken = Broadcast(lambda sighting: None, lambda: now)
    await spoken.start(interfaces_of(LOOPBACK), advert("a"))
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setblocking(False)
        asker.bind((LOOPBACK, 0))
        for _ in range(4 * ANSWERS_A_SECOND):
            spoken.datagram_received(pack_question(None), asker.getsockname())
        spoken.datagram_received(b"?" * 2000, asker.getsockname())
        answers = 0
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.3):
                    told = read_advert(await loop.sock_recv(asker, 2048))
                assert told == advert("a")
                answers += 1
    spoken.close()
    assert answers == ANSWERS_A_SECOND
    assert PORT == 7400
