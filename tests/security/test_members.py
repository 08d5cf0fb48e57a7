"""Members that do not keep to the protocol: garbage, fuzzed frames, names that escape, bytes that are not what they
should be. Nothing is written, memory stays bounded, and the next honest request works."""

import ast
import contextlib
import hashlib
import random
import socket
from pathlib import Path

import msgspec
import pytest

from e2e import trees
from e2e.cluster import Cluster, Node
from roost.cluster.membership import describe_self
from roost.codec.records import MemberRecord, Tombstone, member_signing_bytes
from roost.core.cluster import Address
from roost.security.identity import Identity
from roost.wire.connection import Role
from roost.wire.fields import pack_bits
from roost.wire.frames import HEADER_BYTES, Kind
from roost.wire.messages import Commit, Put, PutRecord
from security.harm import MIB, address_of, expect_bounded_memory, expect_unharmed, serves_honest_clients
from security.stranger import Rude, Stranger
from wire_specimens import specimens

SOURCES = sorted(Path(__file__).resolve().parents[2].glob("src/**/*.py"))
FUZZED = 100


# -- garbage, a huge length prefix, fuzzed frames, 200 idle connections ------------------------------------------------


def test_fault_10_garbage_after_the_handshake_is_dropped(member: Stranger, node: Node) -> None:
    address = address_of(node.home)
    with expect_unharmed(node.home, node, member):
        for seed in range(20):
            with member.connected(address, greeted=seed % 2 == 0) as rude:
                with contextlib.suppress(OSError):
                    rude.send(trees.noise(MIB, seed=seed))
                assert rude.is_dropped()


def test_fuzzed_frames_after_the_handshake_and_the_greeting(member: Stranger, home: Path, node: Node) -> None:
    chance = random.Random(77)
    frames = [specimen.data for specimen in specimens() if specimen.sender is Role.CLIENT]
    with expect_unharmed(home, node, member):
        for _ in range(FUZZED):
            with (
                member.connected(address_of(home), greeted=chance.random() < 0.9) as rude,
                contextlib.suppress(OSError),
            ):
                for _ in range(chance.randrange(1, 6)):
                    rude.send(_fuzzed(chance, chance.choice(frames)))


def _fuzzed(chance: random.Random, frame: bytes) -> bytes:
    """A frame with one to four things wrong: bits, bytes that are lost or too many, a header of another frame."""
    data = bytearray(frame)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(5):
            case 0 if data:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at:at] = chance.randbytes(chance.randrange(1, 40))
            case 2:
                del data[at : at + chance.randrange(1, 40)]
            case 3 if len(data) > HEADER_BYTES:
                data[HEADER_BYTES:] = chance.randbytes(len(data) - HEADER_BYTES)
            case _:
                data[:1] = bytes([chance.choice(list(Kind))])
    return bytes(data)


@pytest.mark.parametrize("kind", [*Kind, 0, 77], ids=lambda kind: getattr(kind, "name", str(kind)))
def test_fault_10_a_huge_length_prefix_is_dropped(member: Stranger, node: Node, kind: int) -> None:
    with expect_bounded_memory(node), member.connected(address_of(node.home), greeted=kind != Kind.HELLO) as rude:
        rude.frame(kind, 0 if kind == Kind.HELLO else 1, b"", length=0xFFFF_FFFF)
        assert rude.is_dropped()


def test_fault_10_two_hundred_idle_connections_cost_little(
    cluster: Cluster, member: Stranger, node: Node, tmp_path: Path
) -> None:
    address = address_of(node.home)
    path = trees.write(tmp_path / "honest.bin", trees.noise(5_000_000, seed=30))
    with expect_bounded_memory(node), contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(address, timeout=10))
        for _ in range(100):
            with contextlib.suppress(OSError):
                rude = stack.enter_context(member.connected(address))
                rude.frame(Kind.REQUEST, 1, b"", length=MIB)
        serves_honest_clients(cluster, path, "security/idle")


# -- names that come from outside, and what could run ------------------------------------------------------------------


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
    assert not list(cluster.root.rglob("*escape*"))


_genuine: dict[str, bytes] = {}


def _crafted(cluster: Cluster, folder: Path, field: str, value: str) -> bytes:
    """A genuine manifest of one small file with one name in it replaced."""
    if "manifest" not in _genuine:
        stored = cluster.done("store", trees.write(folder / "plain", b"plain"), "--name", "security/plain")
        holder = cluster.nodes[stored["nodes"][0]]
        [_genuine["manifest"]] = [data for data in _records(holder) if b"security/plain" in data]
    manifest = msgspec.msgpack.decode(_genuine["manifest"])
    if field == "name":
        manifest["name"] = value
    else:
        manifest["files"][0][0] = value
    return msgspec.msgpack.encode(manifest)


def _records(node: Node) -> set[bytes]:
    return {path.read_bytes() for path in node.home.glob("records/**/*") if path.is_file()}


NAMES = ["../escape", "/tmp/escape", "a/../../escape", "nul\0", "", "new\nline", "\x1b[2J", "x" * 5000]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:20]))
def test_names_in_small_records_are_refused_or_are_no_paths(
    cluster: Cluster, member: Stranger, node: Node, name: str
) -> None:
    identity = member.identity
    assert identity is not None
    tombstone = Tombstone(name="security/x", manifest=bytes(32), seq=1, at=1, keep_s=1)
    small: list[tuple[object, str, object]] = [
        (tombstone, "name", name), (_member_record(identity), "addresses", [f"{name}:7400", name]),
        (_member_record(identity), "machine", name), (_member_record(identity), "node_id", name),
    ]  # fmt: skip
    if not name.isprintable() or not 0 < len(name) <= 64:
        small.append((_member_record(identity), "name", name))
    with expect_unharmed(node.home, node, member):
        for record, field, value in small:
            _is_refused(member, node, _with(identity, record, field, value))
    assert not list(cluster.root.rglob("*escape*"))


def _member_record(identity: Identity) -> MemberRecord:
    at = (Address("127.0.0.1", 1),)
    return describe_self(identity, None, name="rude", machine=identity.machine, capacity=0, addresses=at, storage=False)


def _with(identity: Identity, record: object, field: str, value: object) -> bytes:
    """The record with another field, signed again if it is one that is."""
    assert isinstance(record, msgspec.Struct)
    crafted = msgspec.structs.replace(record, **{field: value})
    if isinstance(crafted, MemberRecord):
        crafted = crafted.signed(identity.sign(member_signing_bytes(crafted)))
    return msgspec.msgpack.encode(crafted)


def _is_refused(member: Stranger, node: Node, data: bytes) -> None:
    with member.connected(address_of(node.home)) as rude:
        rude.request(PutRecord(len(data)))
        assert rude.answer()[0] is Kind.PROCEED
        rude.body(data)
        kind, told = rude.answer()
    assert (kind, told["code"] in ("integrity", "not-admitted", "unsupported")) == (Kind.ERROR, True), told


@pytest.mark.parametrize("name", ["../../identity/key.pem", "/etc/passwd", "a" * 63, "A" * 66], ids=repr)
def test_ids_that_are_no_ids_are_refused(member: Stranger, node: Node, home: Path, name: str) -> None:
    with expect_unharmed(home, node, member):
        for told in (
            {"type": "get", "object_id": name}, {"type": "get", "object_id": name.encode()},
            {"type": "put", "object_id": name.encode(), "length": 1},
            {"type": "get-record", "record_id": name.encode()},
            {"type": "pass-on", "ids": bytes(32), "to": name}, {"type": "verify", "ids": name.encode()},
        ):  # fmt: skip
            with member.connected(address_of(home)) as rude:
                rude.frame(Kind.REQUEST, 1, msgspec.msgpack.encode(told))
                kind, answer = rude.answer()
            assert (kind, answer["code"]) == (Kind.ERROR, "unsupported"), told


# -- bytes that are not what they should be ----------------------------------------------------------------------------


def test_fault_12_a_good_copy_is_never_written_over(
    cluster: Cluster, member: Stranger, node: Node, tmp_path: Path
) -> None:
    path = trees.write(tmp_path / "good.bin", trees.noise(600_000, seed=32))
    cluster.done("store", path, "--name", "security/good", "--redundancy", "3")
    [chunk] = cluster.done("show", "security/good")["chunks"]
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
