"""Contacts: a restart is let in, a second live process of a node is not, on whichever side it is met."""

import random
from dataclasses import replace

import pytest

from net_kits import CLUSTER, Pair, address, hello, node_id, now, play, some, status_of
from roost.core.errors import NotAdmitted, Refused
from roost.core.ids import NodeId
from roost.net.body import Body
from roost.net.contacts import LIVELY_S, TOLD_S, Contact, Contacts
from roost.net.link import Link
from roost.net.links import Links
from roost.net.server import STRANGER_LIMIT_S, Call, Reply, Server
from roost.net.stream import Peer
from roost.testing.loop import run_simulated
from roost.testing.runtime import SimRuntime
from roost.wire.messages import PROTOCOL, PROTOCOL_MIN, GetStatus, Hello, Put, Stored

ONE, TWO = node_id(1), node_id(2)


class Meeting:
    """Contacts of which the test is the network, on a clock that it sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def make() -> SimRuntime:
            return SimRuntime(random.Random(0))

        runtime = run_simulated(make(), seconds_max=1)
        self.now = 0.0
        monkeypatch.setattr(runtime, "now", lambda: self.now)
        self.contacts = Contacts(runtime)
        self.heard: list[NodeId] = []
        self.contacts.heard = self.heard.append
        self.dropped: list[str] = []

    def meet(self, instance: str, *, node: NodeId | None = ONE, at: int = 7) -> Contact | None:
        peer = Peer(node, b"", address(at))
        return self.contacts.meet(peer, instance.encode(), drop=lambda: self.dropped.append(instance))


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Meeting:
    return Meeting(monkeypatch)


def met(contact: Contact | None) -> Contact:
    assert contact is not None
    return contact


def test_many_connections_of_one_process_are_welcome(meeting: Meeting) -> None:
    for _ in range(5):
        met(meeting.meet("a")).heard()
    met(meeting.meet("b", node=TWO)).heard()
    assert meeting.heard == [ONE] * 5 + [TWO]
    assert meeting.contacts.doubled(ONE) == ""


def test_strangers_and_processes_that_do_not_serve_are_no_contacts(meeting: Meeting) -> None:
    met(meeting.meet("a"))
    assert meeting.meet("", node=ONE) is None
    assert meeting.meet("a", node=None) is None


def test_a_second_instance_is_refused_while_the_first_is_lively(meeting: Meeting) -> None:
    first = met(meeting.meet("a"))
    meeting.now = LIVELY_S
    with pytest.raises(Refused, match=f"{ONE[:8]}.*10.0.0.9"):
        meeting.meet("b", at=9)
    assert meeting.dropped == []
    first.heard()
    meeting.now += LIVELY_S
    with pytest.raises(Refused):
        meeting.meet("b", at=9)


def test_a_second_instance_is_let_in_when_the_first_has_ended(meeting: Meeting) -> None:
    first, again = met(meeting.meet("a")), met(meeting.meet("a"))
    first.end()
    with pytest.raises(Refused):
        meeting.meet("b")
    again.end()
    again.end()
    met(meeting.meet("b")).heard()
    assert meeting.contacts.doubled(ONE) == "", "the first never lived on beside it"


def test_a_second_instance_takes_the_place_of_a_silent_one(meeting: Meeting) -> None:
    met(meeting.meet("a"))
    meeting.now = LIVELY_S + 0.1
    met(meeting.meet("b"))
    assert meeting.dropped == ["a"]
    with pytest.raises(Refused):
        meeting.meet("a")


def test_it_is_told_where_a_copy_is_for_an_hour_once_the_first_lives_on(meeting: Meeting) -> None:
    first = met(meeting.meet("a"))
    with pytest.raises(Refused):
        meeting.meet("b", at=9)
    assert meeting.contacts.doubled(ONE) == ""
    meeting.now = 2.0
    first.heard()
    meeting.now = 32.0
    assert "30 s ago at 10.0.0.9" in meeting.contacts.doubled(ONE)
    assert meeting.contacts.doubled(TWO) == ""
    meeting.now = 602.0
    assert "10 min ago" in meeting.contacts.doubled(ONE)
    meeting.now = 2.0 + TOLD_S + 1
    assert meeting.contacts.doubled(ONE) == ""


# -- on the wire -----------------------------------------------------------------------------------------------------


def serving(instance: bytes) -> Hello:
    return Hello(PROTOCOL, PROTOCOL_MIN, "test", CLUSTER, instance=instance)


def test_a_server_tells_a_second_instance_why_and_nothing_else() -> None:
    async def scenario(pair: Pair) -> None:
        heard: list[NodeId] = []
        kept: list[bytes] = []

        async def put(call: Call) -> Reply:
            kept.append(b"")
            return Reply(Stored(True))

        pair.handlers[Put] = put
        contacts = Contacts(pair.runtime)
        contacts.heard = heard.append
        pair.server = Server(pair.runtime, pair.handlers, greeting=lambda peer: hello(), contacts=contacts)
        await pair.serve()

        async def open_as(instance: bytes) -> Link:
            link = await Link.open(pair.runtime, pair.client, address(2), expect=TWO, hello=serving(instance))
            pair.links.append(link)
            return link

        first = await open_as(b"a")
        assert await first.call(GetStatus()) == status_of("fine")
        second = await open_as(b"b")
        with pytest.raises(Refused):
            await second.call(GetStatus())
        with pytest.raises(Refused):
            await second.call(Put(b"x" * 32, 1000), body=Body.of(some(1000)))
        assert kept == []
        command = await open_as(b"")
        assert await command.call(GetStatus()) == status_of("fine")
        assert set(heard) == {ONE}
        count = len(heard)
        assert await command.call(GetStatus()) == status_of("fine")
        assert len(heard) == count, "a command beside the node is no sign of the node"

        begun = now()
        await first.close()
        await pair.runtime.sleep(0.5)
        third = await open_as(b"b")
        assert await third.call(GetStatus()) == status_of("fine")
        while second.usable and now() - begun < 2 * STRANGER_LIMIT_S:
            await pair.runtime.sleep(1)
        assert now() - begun <= STRANGER_LIMIT_S + 2
        assert await third.call(GetStatus()) == status_of("fine")

    play(scenario)


def test_whoever_dials_a_second_instance_leaves_it_and_tries_the_other_addresses() -> None:
    async def scenario(pair: Pair) -> None:
        copy = pair.world.host("copy", TWO, bytes([2]) * 32, address(3).host)
        good = Server(pair.runtime, pair.handlers, greeting=lambda peer: serving(b"good"))
        bad = Server(pair.runtime, {}, greeting=lambda peer: serving(b"copy"))
        moved = replace(address(2), port=address(2).port + 1)
        await good.listen(pair.host, address(2))
        await good.listen(pair.host, moved)
        await bad.listen(copy, address(3))
        known = [address(2)]
        contacts = Contacts(pair.runtime)
        links = Links(pair.runtime, pair.client, hello=hello(), resolve=lambda node: known, contacts=contacts)
        pair.made.append(links)
        assert await links.call(TWO, GetStatus()) == status_of("fine")
        known[:] = [address(3), moved]
        assert await links.call(TWO, GetStatus(), bulk=True) == status_of("fine")
        assert links.address_of(TWO) == moved
        known[:] = [address(3)]
        for link in links._peer(TWO).idle:
            link.abort()
        with pytest.raises(NotAdmitted, match="alive") as caught:
            await links.call(TWO, GetStatus(), bulk=True)
        assert type(caught.value) is NotAdmitted, "it is not we who are refused"
        assert await links.call(TWO, GetStatus()) == status_of("fine")
        assert address(3).host in contacts.doubled(TWO)
        good.close()
        bad.close()

    play(scenario)


def test_who_is_refused_hears_of_it_once_a_call_and_is_let_in_when_that_is_over() -> None:
    async def scenario(pair: Pair) -> None:
        refusing = [True]
        told: list[NodeId] = []

        def refuse(peer: Peer) -> None:
            if refusing[0]:
                raise NotAdmitted("struck off", hint="join again")

        pair.server = Server(pair.runtime, pair.handlers, greeting=lambda peer: hello(), refuse=refuse)
        await pair.serve()
        contacts = Contacts(pair.runtime)
        contacts.refused_us = lambda node, error: told.append(node)
        links = Links(pair.runtime, pair.client, hello=hello(), resolve=lambda node: [address(2)], contacts=contacts)
        pair.made.append(links)
        for bulk in (False, True):
            with pytest.raises(NotAdmitted, match="struck off") as caught:
                await links.call(TWO, GetStatus(), bulk=bulk)
            assert (type(caught.value), caught.value.hint) == (NotAdmitted, "join again")
        assert told == [TWO, TWO]
        refusing[0] = False
        assert await links.call(TWO, GetStatus()) == status_of("fine")

    play(scenario)


def test_who_is_struck_off_loses_its_connections_on_both_sides() -> None:
    async def scenario(pair: Pair) -> None:
        refusing = [False]

        def refuse(peer: Peer) -> None:
            if refusing[0] and peer.node_id in (ONE, TWO):
                raise NotAdmitted("struck off")

        pair.server = Server(pair.runtime, pair.handlers, greeting=lambda peer: hello(), refuse=refuse)
        await pair.serve()
        links = Links(pair.runtime, pair.client, hello=hello(), resolve=lambda node: [address(2)], refuse=refuse)
        pair.made.append(links)
        link = await pair.link()
        assert await links.call(TWO, GetStatus()) == status_of("fine")
        pair.server.review()
        links.review()
        assert await link.call(GetStatus()) == status_of("fine")
        refusing[0] = True
        pair.server.review()
        links.review()
        await pair.runtime.sleep(1)
        assert not link.usable
        with pytest.raises(NotAdmitted, match="struck off"):
            await links.call(TWO, GetStatus())

    play(scenario)
