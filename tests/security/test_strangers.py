"""Strangers: who shows no certificate, a foreign one, or speaks older TLS, who only takes up room, or says things too
early. Nothing is answered but admission, nothing is written, memory stays bounded, members are served meanwhile."""

import contextlib
import os
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, Node
from roost.core.ids import MachineId
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.security.tls import ALPN, joiner_context
from roost.wire.admission import STRANGERS_MAY_ASK, Join, Recover
from roost.wire.frames import GREETING_BYTES_MAX, Kind, pack_header
from roost.wire.messages import Get, GetStatus, RecordDigests
from security.harm import (
    address_of,
    expect_bounded_memory,
    expect_unharmed,
    is_answered,
    serves_honest_clients,
    wait_a_moment,
)
from security.stranger import Stranger
from wire_specimens import REQUESTS, specimens

HALF_OPEN = 1000
DESCRIPTORS_MAX = 200
HANDSHAKE_S = 5.0


# -- who one is --------------------------------------------------------------------------------------------------------


def test_fault_10_without_a_certificate_little_is_answered(member: Stranger, home: Path, node: Node) -> None:
    address = address_of(home)
    stranger = Stranger(None)
    for asked in (GetStatus(), RecordDigests(), Get(bytes(32))):
        with stranger.connected(address) as rude:
            rude.request(asked)
            with pytest.raises(OSError):
                rude.answer()
    with expect_unharmed(home, node, member):
        for payload in (b"", b"\xff" * 200_000, trees.noise(100_000, seed=31)):
            with stranger.connected(address, greeted=False) as rude:
                with contextlib.suppress(OSError):
                    rude.frame(Kind.REQUEST, 1, payload, length=0x7FFF_FFFF)
                assert rude.is_dropped()


def test_a_made_up_token_and_a_made_up_proof_get_nothing(home: Path) -> None:
    address = address_of(home)
    stranger = Stranger(None)
    with stranger.connected(address) as rude:
        rude.request(Join(bytes(16), NodeKey.create().request()))
        kind, told = rude.answer()
        assert (kind, told["code"]) == (Kind.ERROR, "not-admitted")
    codes = []
    for number in range(5):
        with stranger.connected(address) as rude:
            rude.request(Recover(bytes([number]) * 32))
            kind, told = rude.answer()
            assert kind is Kind.ERROR
            codes.append(told["code"])
    assert set(codes) <= {"not-admitted", "busy"}
    assert "busy" in codes, "attempts are slowed down"


def test_strangers_who_stay_leave_room_for_members(cluster: Cluster, node: Node, tmp_path: Path) -> None:
    address = address_of(node.home)
    path = trees.write(tmp_path / "honest.bin", trees.noise(100_000, seed=32))
    with expect_bounded_memory(node), contextlib.ExitStack() as stack:
        for _ in range(100):
            with contextlib.suppress(OSError):
                stack.enter_context(Stranger(None).connected(address))
        serves_honest_clients(cluster, path, "security/many")


def test_a_foreign_authority_is_refused_whatever_its_name(member: Stranger, home: Path, node: Node) -> None:
    """Fault 10: another cluster."""
    foreign = Identity.found(Authority.create("test"), NodeKey.create(), machine=MachineId("0" * 32))
    with (
        expect_unharmed(home, node, member),
        pytest.raises(OSError),
        Stranger(foreign).connected(address_of(home)) as rude,
    ):
        rude.request(GetStatus())
        rude.answer()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
def test_tls_1_2_is_refused(member: Stranger, home: Path, node: Node, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN])
    context.maximum_version = version
    refused = version < ssl.TLSVersion.TLSv1_3
    with (
        expect_unharmed(home, node, member),
        socket.create_connection(address_of(home), timeout=10) as raw,
        pytest.raises(ssl.SSLError, match=r"(?i)protocol|version") if refused else contextlib.nullcontext(),
        context.wrap_socket(raw) as stream,
    ):
        assert stream.version() == "TLSv1.3"


# -- what is said too early --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("greeted", [False, True], ids=["before its hello", "after its hello"])
def test_every_wire_message_before_authentication_is_dropped(
    member: Stranger, home: Path, node: Node, greeted: bool
) -> None:
    asked = {f"request_{name}" for name, request in REQUESTS.items() if isinstance(request, STRANGERS_MAY_ASK)}
    assert len(asked) == len(STRANGERS_MAY_ASK)
    with expect_unharmed(home, node, member):
        for specimen in specimens():
            if (greeted and specimen.name in asked) or (specimen.kind is Kind.HELLO and not greeted):
                continue
            with Stranger(None).connected(address_of(home), greeted=greeted) as rude:
                with contextlib.suppress(OSError):
                    rude.send(specimen.data)
                assert rude.is_dropped(), specimen.name


def test_what_strangers_may_ask_is_answered_with_an_error(member: Stranger, home: Path, node: Node) -> None:
    """The specimens are well formed, and neither a token, a proof nor a step of a pairing."""
    with expect_unharmed(home, node, member):
        for request in REQUESTS.values():
            if isinstance(request, STRANGERS_MAY_ASK):
                with Stranger(None).connected(address_of(home)) as rude:
                    rude.request(request)
                    kind, told = rude.answer()
                assert kind is Kind.ERROR
                assert told["code"] in ("not-admitted", "busy", "unsupported"), (request, told)


# -- who only takes up room --------------------------------------------------------------------------------------------


HOLDER = """
import socket, sys
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
held = [socket.create_connection((host, port), timeout=30) for _ in range(count)]
print(len(held), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def half_open(address: tuple[str, int]) -> Iterator[None]:
    """A process that holds so many connections, on which it says nothing."""
    words = [sys.executable, "-c", HOLDER, address[0], str(address[1]), str(HALF_OPEN)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=_many_descriptors) as holder:
        assert holder.stdout is not None
        assert int(holder.stdout.readline()) == HALF_OPEN
        yield
        holder.communicate(timeout=10)


def _many_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, HALF_OPEN + 100), hard))


def test_a_thousand_half_open_connections(cluster: Cluster, node: Node, member: Stranger, tmp_path: Path) -> None:
    address = address_of(node.home)
    path = trees.write(tmp_path / "honest.bin", trees.noise(1_000_000, seed=36))
    with expect_bounded_memory(node), half_open(address):
        assert is_answered(node.home, member)
        if sys.platform == "linux":
            assert len(os.listdir(f"/proc/{node.handle.pid}/fd")) < DESCRIPTORS_MAX
        serves_honest_clients(cluster, path, "security/half-open")


def first_words() -> bytes:
    """What a joiner says first in a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        joiner_context().wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def test_slow_loris_is_dropped_in_time_and_keeps_nobody_out(member: Stranger, node: Node) -> None:
    """One byte every quarter of a second: of the handshake, and of the hello after it."""
    words = first_words()
    assert len(words) > 100
    with expect_unharmed(node.home, node, member), contextlib.ExitStack() as stack:
        begun = time.monotonic()
        greeting = pack_header(Kind.HELLO, 0, GREETING_BYTES_MAX) + bytes(len(words))
        slow = [stack.enter_context(socket.create_connection(address_of(node.home), timeout=10)) for _ in range(40)]
        late = [stack.enter_context(Stranger(None).connected(address_of(node.home), greeted=False)) for _ in range(20)]
        waiting: dict[socket.socket, bytes] = dict.fromkeys(slow, words)
        waiting.update(dict.fromkeys([rude.stream for rude in late], greeting))
        for at in range(len(words)):
            for one, said in list(waiting.items()):
                try:
                    one.sendall(said[at : at + 1])
                except OSError:
                    del waiting[one]
            if not waiting:
                break
            assert is_answered(node.home, member)
            assert time.monotonic() - begun < 4 * HANDSHAKE_S, f"{len(waiting)} are still there"
            wait_a_moment(0.25)
        assert not waiting
        assert time.monotonic() - begun > HANDSHAKE_S / 2, "they were given a chance"
