"""Strangers get nothing, and rude members neither: not a byte read, written, executed, or allocated beyond a bound."""

import ast
import contextlib
import hashlib
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from e2e import trees
from e2e.cluster import Cluster, Node
from e2e.stranger import Rude, Stranger
from roost.core.ids import MachineId
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey
from roost.wire.admission import Join, Recover
from roost.wire.fields import pack_bits
from roost.wire.frames import Kind
from roost.wire.messages import Commit, Get, GetStatus, Put, PutRecord, RecordDigests

pytestmark = pytest.mark.xdist_group("strangers")

SOURCES = sorted(Path(__file__).resolve().parents[2].glob("src/**/*.py"))
MIB = 1024 * 1024
GROWTH_MAX = 20 * MIB


@pytest.fixture(scope="module")
def rude_home(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a member that keeps nothing."""
    home = tmp_path_factory.mktemp("rude") / "home"
    cluster.done("join", cluster.done("token", "create")["token"], "--client", home=home)
    return home


@pytest.fixture
def member(rude_home: Path) -> Stranger:
    return Stranger.of(rude_home)


@pytest.fixture(scope="module")
def node(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Node:
    """A node that has worked before, so that what it loads and takes once does not count as its growth."""
    path = trees.write(tmp_path_factory.mktemp("usual") / "usual.bin", trees.noise(40_000_000, seed=35))
    serves_honest_clients(cluster, path, "strangers/usual")
    return next(iter(cluster.nodes.values()))


def address_of(home: Path) -> tuple[str, int]:
    host, _, port = json.loads((home / "run.json").read_text())["address"].rpartition(":")
    return host, int(port)


def serves_honest_clients(cluster: Cluster, path: Path, name: str) -> None:
    cluster.done("store", path, "--name", name)
    assert trees.tree_of(cluster.gathered(name)) == trees.tree_of(path)


@contextlib.contextmanager
def held_to_its_memory(node: Node) -> Iterator[None]:
    before = node.rss_bytes
    yield
    assert node.rss_bytes - before < GROWTH_MAX, f"{node.name} grew by {(node.rss_bytes - before) / MIB:.1f} MiB"


# -- 10: garbage, a huge length prefix, 200 idle connections -------------------------------------------------------


def test_fault_10_garbage_after_the_handshake_is_dropped(cluster: Cluster, member: Stranger, node: Node) -> None:
    address = address_of(node.home)
    with held_to_its_memory(node):
        for seed in range(20):
            with member.connected(address, greeted=seed % 2 == 0) as rude:
                with contextlib.suppress(OSError):
                    rude.send(trees.noise(MIB, seed=seed))
                assert rude.is_dropped()
    assert cluster.done("nodes")["nodes"][0]["state"] == "alive"


@pytest.mark.parametrize("kind", [*Kind, 0, 77], ids=lambda kind: getattr(kind, "name", str(kind)))
def test_fault_10_a_huge_length_prefix_is_dropped(member: Stranger, node: Node, kind: int) -> None:
    with held_to_its_memory(node), member.connected(address_of(node.home), greeted=kind != Kind.HELLO) as rude:
        rude.frame(kind, 0 if kind == Kind.HELLO else 1, b"", length=0xFFFF_FFFF)
        assert rude.is_dropped()


def test_fault_10_two_hundred_idle_connections_cost_little(
    cluster: Cluster, member: Stranger, node: Node, tmp_path: Path
) -> None:
    address = address_of(node.home)
    path = trees.write(tmp_path / "honest.bin", trees.noise(5_000_000, seed=30))
    with held_to_its_memory(node), contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(address, timeout=10))
        for _ in range(100):
            with contextlib.suppress(OSError):
                rude = stack.enter_context(member.connected(address))
                rude.frame(Kind.REQUEST, 1, b"", length=MIB)
        serves_honest_clients(cluster, path, "strangers/idle")


@pytest.mark.parametrize("where", ["node", "coordinator"])
def test_fault_10_without_a_certificate_little_is_answered(
    cluster: Cluster, node: Node, where: str, tmp_path: Path
) -> None:
    address = address_of(node.home if where == "node" else cluster.home)
    stranger = Stranger(None)
    for asked in (GetStatus(), RecordDigests(), Get(bytes(32))):
        with stranger.connected(address) as rude:
            rude.request(asked)
            with pytest.raises(OSError):
                rude.answer()
    with held_to_its_memory(node):
        for payload in (b"", b"\xff" * 200_000, trees.noise(100_000, seed=31)):
            with stranger.connected(address, greeted=False) as rude:
                with contextlib.suppress(OSError):
                    rude.frame(Kind.REQUEST, 1, payload, length=0x7FFF_FFFF)
                assert rude.is_dropped()
    path = trees.write(tmp_path / "honest.bin", b"honest")
    serves_honest_clients(cluster, path, f"strangers/{where}")


@pytest.mark.parametrize("where", ["node", "coordinator"])
def test_a_made_up_token_and_a_made_up_proof_get_nothing(cluster: Cluster, node: Node, where: str) -> None:
    address = address_of(node.home if where == "node" else cluster.home)
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
    with held_to_its_memory(node), contextlib.ExitStack() as stack:
        for _ in range(100):
            with contextlib.suppress(OSError):
                stack.enter_context(Stranger(None).connected(address))
        serves_honest_clients(cluster, path, "strangers/many")


def test_fault_10_another_cluster_is_refused(cluster: Cluster, node: Node, tmp_path: Path) -> None:
    authority = Authority.create("test")
    forged = Identity.found(authority, NodeKey.create(), machine=MachineId("0" * 32))
    with pytest.raises((ssl.SSLError, OSError)), Stranger(forged).connected(address_of(node.home)) as rude:
        rude.request(GetStatus())
        rude.answer()


# -- 11: pickle on the wire, ../ and absolute names ----------------------------------------------------------------


def test_fault_11_nothing_of_ours_can_execute_data() -> None:
    assert len(SOURCES) > 50
    forbidden = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    for path in SOURCES:
        for found in ast.walk(ast.parse(path.read_text())):
            if isinstance(found, ast.Import):
                modules = {alias.name.split(".")[0] for alias in found.names}
            elif isinstance(found, ast.ImportFrom):
                modules = {(found.module or "").split(".")[0]}
            else:
                called = found.func.id if isinstance(found, ast.Call) and isinstance(found.func, ast.Name) else ""
                assert called not in ("eval", "exec", "compile", "__import__"), path
                continue
            assert not modules & forbidden, path


ESCAPES = [
    ("path", "../escape"), ("path", "/etc/escape"), ("path", "a/../../escape"), ("path", "a//b"), ("path", "./a"),
    ("path", "nul\0"), ("path", ""), ("name", "../escape"), ("name", "/escape"), ("name", "a/../../escape"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), ESCAPES, ids=lambda value: repr(value))
def test_fault_11_names_that_escape_are_refused(
    cluster: Cluster, member: Stranger, node: Node, tmp_path: Path, field: str, value: str
) -> None:
    crafted = _crafted(cluster, tmp_path, field, value)
    for request in (Commit(len(crafted), pack_bits([False])), PutRecord(len(crafted))):
        with member.connected(address_of(node.home)) as rude:
            rude.request(request)
            assert rude.answer()[0] is Kind.PROCEED
            rude.body(crafted)
            kind, told = rude.answer()
            assert kind is Kind.ERROR
            assert told["code"] == "integrity"
    assert _records(node).isdisjoint({crafted})


_genuine: dict[str, bytes] = {}


def _crafted(cluster: Cluster, folder: Path, field: str, value: str) -> bytes:
    """A genuine manifest of one small file with one name in it replaced."""
    if "manifest" not in _genuine:
        stored = cluster.done("store", trees.write(folder / "plain", b"plain"), "--name", "strangers/plain")
        holder = cluster.nodes[stored["nodes"][0]]
        [_genuine["manifest"]] = [data for data in _records(holder) if b"strangers/plain" in data]
    manifest = msgspec.msgpack.decode(_genuine["manifest"])
    if field == "name":
        manifest["name"] = value
    else:
        manifest["files"][0][0] = value
    return msgspec.msgpack.encode(manifest)


def _records(node: Node) -> set[bytes]:
    return {path.read_bytes() for path in node.home.glob("records/**/*") if path.is_file()}


# -- 12: a bad checksum or a dropped connection over a good copy ---------------------------------------------------


def test_fault_12_a_good_copy_is_never_written_over(
    cluster: Cluster, member: Stranger, node: Node, tmp_path: Path
) -> None:
    path = trees.write(tmp_path / "good.bin", trees.noise(600_000, seed=32))
    cluster.done("store", path, "--name", "strangers/good", "--redundancy", "3")
    [chunk] = cluster.done("show", "strangers/good")["chunks"]
    name, file = next(iter(cluster.copies(chunk["id"]).items()))
    before = (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes())
    with member.connected(address_of(cluster.nodes[name].home)) as rude:
        rude.request(Put(bytes.fromhex(chunk["id"]), chunk["bytes"]))
        assert rude.answer() == (Kind.ANSWER, {"type": "stored", "already": True})
    assert (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) == before


def test_fault_12_a_dropped_connection_and_damaged_bytes_leave_nothing(member: Stranger, node: Node) -> None:
    data = trees.noise(600_000, seed=33)
    name = hashlib.sha256(data).hexdigest()
    address = address_of(node.home)
    put = Put(bytes.fromhex(name), len(data))
    with member.connected(address) as rude:
        _begin(rude, put)
        rude.body(data[:300_000], whole=False)
    with member.connected(address) as rude:
        _begin(rude, put)
        rude.body(data[:-1] + bytes([data[-1] ^ 1]))
        kind, told = rude.answer()
        assert (kind, told["code"]) == (Kind.ERROR, "integrity")
    assert name not in node.chunks
    with member.connected(address) as rude:
        _begin(rude, put)
        rude.body(data)
        assert rude.answer() == (Kind.ANSWER, {"type": "stored", "already": False})
    assert node.chunks[name].read_bytes() == data
    assert not list((node.home / "chunks/tmp").iterdir())


def _begin(rude: Rude, put: Put) -> None:
    rude.request(put)
    assert rude.answer()[0] is Kind.PROCEED
