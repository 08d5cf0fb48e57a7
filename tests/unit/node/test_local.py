"""Local nodes before they run: their homes, identities and ports."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Never

import pytest

from roost.client.run_state import RunState, take_home, write_run_state
from roost.cluster.remembered import Remembered
from roost.core.cluster import Address
from roost.core.errors import NoSpace, NotAdmitted, RoostError
from roost.core.ids import MachineId, NodeId
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.net.ports import free_port, is_free
from roost.node.local import LocalNode, LocalNodes
from roost.security.authority import Authority
from roost.security.identity import Identity
from roost.settings.load import parse
from roost.settings.paths import Home
from roost.settings.schema import Scrub

COORDINATOR = NodeId("c" * 32)
AT = Address("127.0.0.1", 7400)
MACHINE = MachineId("d" * 32)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def nodes(home: Home) -> LocalNodes:
    return LocalNodes(SystemRuntime(), home, reserve_bytes=1 << 20, name="pi", machine=MACHINE)


def test_a_local_node_scrubs_as_the_coordinator_is_told_to(home: Home) -> None:
    told = LocalNodes(
        SystemRuntime(), home, reserve_bytes=0, name="pi", machine=MACHINE, scrub=Scrub(every_s=7 * 86_400, rate=0)
    )
    told._prepare(home.node(1), Authority.create("home"), COORDINATOR, AT)
    settings = parse(home.node(1).settings.read_text(), file=home.node(1).settings).settings
    assert (settings.scrub.every_s, settings.scrub.rate) == (7 * 86_400, 0)


def listen_of(home: Home) -> Address:
    return parse(home.settings.read_text(), file=home.settings).settings.node.listen


def test_a_home_is_made_ready_once(home: Home) -> None:
    authority = Authority.create("home")
    assert nodes(home)._prepare(home.node(1), authority, COORDINATOR, AT) is None
    disk = PosixDisk(home.node(1).root)
    identity = Identity.load(disk)
    assert identity.machine == MACHINE
    assert identity.cluster_hash == authority.cluster_hash
    remembered = Remembered(disk)
    remembered.load()
    assert remembered.addresses(COORDINATOR) == (AT,)
    listen = listen_of(home.node(1))
    assert listen.is_loopback
    assert parse(home.node(1).settings.read_text(), file=home.node(1).settings).settings.node.reserve == 1 << 20
    assert nodes(home)._prepare(home.node(1), None, COORDINATOR, Address("127.0.0.1", 7500)) is None
    assert Identity.load(disk).node_id == identity.node_id
    assert listen_of(home.node(1)) == listen, "a node keeps its port"
    remembered.load()
    assert remembered.addresses(COORDINATOR)[0] == Address("127.0.0.1", 7500)


def test_nodes_that_no_cluster_admitted_are_told_and_left_out(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes(home)._prepare(home.node(2), Authority.create("home"), COORDINATOR, AT)
    local = nodes(home)
    assert local.strange(3) == [1, 3]
    asked: list[Home] = []

    def prepare(place: Home, *_: object) -> int:
        asked.append(place)
        return os.getpid()

    async def serving(node: LocalNode) -> None:
        return

    monkeypatch.setattr(local, "_prepare", prepare)
    monkeypatch.setattr(local, "_until_serving", serving)
    asyncio.run(local.start(3, None, coordinator=COORDINATOR, at=AT, leave_out=local.strange(3)))
    assert asked == [home.node(2)]
    assert not home.node(1).root.exists()


def test_a_home_without_an_identity_needs_the_authority(home: Home) -> None:
    with pytest.raises(NotAdmitted):
        nodes(home)._prepare(home.node(1), None, COORDINATOR, AT)


def test_a_port_that_is_taken_is_changed(home: Home) -> None:
    authority = Authority.create("home")
    nodes(home)._prepare(home.node(1), authority, COORDINATOR, AT)
    before = listen_of(home.node(1))
    with socket.socket() as squatter:
        squatter.bind((before.host, before.port))
        squatter.listen()
        assert not is_free(before)
        nodes(home)._prepare(home.node(1), authority, COORDINATOR, AT)
        assert listen_of(home.node(1)).port != before.port


def test_settings_that_are_well_are_left_alone(home: Home) -> None:
    authority = Authority.create("home")
    nodes(home)._prepare(home.node(1), authority, COORDINATOR, AT)
    before = home.node(1).settings.stat()
    nodes(home)._prepare(home.node(1), authority, COORDINATOR, AT)
    assert home.node(1).settings.stat().st_ino == before.st_ino


def test_a_disk_that_takes_nothing_keeps_its_node_as_it_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.create("home")
    nodes(home)._prepare(home.node(1), authority, COORDINATOR, AT)
    before = listen_of(home.node(1))

    def refuse(self: PosixDisk, path: str, **_: object) -> Never:
        raise NoSpace(f"cannot write {path!r}")

    monkeypatch.setattr(PosixDisk, "create", refuse)
    more = LocalNodes(SystemRuntime(), home, reserve_bytes=2 << 20, name="pi", machine=MACHINE)
    assert more._prepare(home.node(1), authority, COORDINATOR, AT) is None
    assert listen_of(home.node(1)) == before
    assert [str(problem) for problem in asyncio.run(started(more, authority, 2))] != []
    assert more.nodes == []


async def started(local: LocalNodes, authority: Authority, number: int) -> list[RoostError]:
    """Start one local node alone."""
    return await local.start(
        number, authority, coordinator=COORDINATOR, at=AT, leave_out=range(1, number)
    )  # fmt: skip


@contextlib.contextmanager
def held(home: Home) -> Iterator[PosixDisk]:
    """A home that some process serves, and has said nothing of."""
    nodes(home)._prepare(home.node(1), Authority.create("home"), COORDINATOR, AT)
    disk = PosixDisk(home.node(1).root)
    write_run_state(disk, home.node(1), RunState(os.getpid(), "127.0.0.1:1"))
    lock = take_home(disk, home.node(1))
    try:
        yield disk
    finally:
        lock.release()


def test_a_node_that_is_still_starting_is_taken_over_under_its_own_process_id(home: Home) -> None:
    async def scenario(disk: PosixDisk) -> None:
        local = nodes(home)
        starting = asyncio.ensure_future(started(local, Authority.create("home"), 1))
        while not local.nodes:
            await asyncio.sleep(0)
        [node] = local.nodes
        assert (node.taken_over, node.pid) == (True, 0), "not that of an earlier life"
        write_run_state(disk, home.node(1), RunState(4711, "127.0.0.1:1"))
        assert await starting == []
        assert node.pid == 4711

    with held(home) as disk:
        asyncio.run(scenario(disk))


def test_a_node_that_answers_is_ready_although_its_disk_takes_no_word_of_it_and_is_never_signalled(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roost.node.local.UNSAID_S", 0.1)
    monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail(f"{pid} was signalled"))

    async def scenario() -> None:
        local = nodes(home)
        assert await started(local, Authority.create("home"), 1) == []
        assert [node.pid for node in local.nodes] == [0]
        await local.stop()

    with held(home), socket.socket() as listener:
        listen = listen_of(home.node(1))
        listener.bind((listen.host, listen.port))
        listener.listen()
        asyncio.run(scenario())


def test_a_node_that_ends_as_it_is_taken_over_is_a_problem(home: Home) -> None:
    with held(home):
        local = nodes(home)
        assert local._prepare(home.node(1), None, COORDINATOR, AT) == 0
        local.nodes.append(LocalNode(1, home.node(1), 0, taken_over=True))
    with pytest.raises(RoostError, match="ended as it was taken over"):
        asyncio.run(local._until_serving(local.nodes[0]))


@pytest.mark.parametrize("text", ["", "nonsense: [", "node: {listen: 5}", "node: {lisden: x}"])
def test_settings_that_cannot_be_read_are_written_anew(home: Home, text: str) -> None:
    authority = Authority.create("home")
    home.node(1).root.mkdir(parents=True)
    home.node(1).settings.write_text(text)
    nodes(home)._prepare(home.node(1), authority, COORDINATOR, AT)
    assert listen_of(home.node(1)).port > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_ports_are_found(host: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        port = free_port(host)
    except OSError:
        pytest.skip(f"this machine cannot listen on {host}")
    assert 0 < port <= 65535
    assert is_free(Address(host, port))
