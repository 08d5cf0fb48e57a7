"""Real TLS 1.3 handshakes, over memory: who gets through, and who does not."""

import contextlib
import datetime
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from roost.core.errors import NotAdmitted, ProtocolError, Unreachable
from roost.core.ids import MachineId
from roost.security import tls
from roost.security.authority import Authority, check_server_of_token
from roost.security.identity import Identity, NodeKey
from roost.security.tls import client_context, joiner_context, refusal_of, server_context, shown_certificate
from roost.security.token import Token

Admit = Callable[[Authority], Identity]
MACHINE = MachineId("5" * 32)


class Pair:
    """Two ends in one process. `connect` raises what either end raises, as their owners would see it."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(to_client, to_server, server_side=False)
        self.server = server.wrap_bio(to_server, to_client, server_side=True)

    def connect(self) -> "Pair":
        waiting = [self.client, self.server]
        for _ in range(10):  # a TLS 1.3 handshake takes three flights
            for end in list(waiting):
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
                    waiting.remove(end)
            if not waiting:
                return self
        raise AssertionError("the handshake makes no progress")

    def say(self, data: bytes) -> bytes:
        """`data` from the client to the server and, once it arrived, back."""
        self.client.write(data)
        self.server.write(self.server.read(len(data)))
        return self.client.read(len(data))


def refused(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLError:
    pair = Pair(client, server)
    with pytest.raises(ssl.SSLError) as caught:
        pair.connect()
    return caught.value


def show(context: ssl.SSLContext, pem: bytes) -> ssl.SSLContext:
    with tls._private_file(pem) as path:
        context.load_cert_chain(path)
    return context


def pem_of(*certificates: bytes) -> bytes:
    return "".join(ssl.DER_cert_to_PEM_cert(certificate) for certificate in certificates).encode()


def stranger_client(authority_der: bytes, pem: bytes | None) -> ssl.SSLContext:
    """A client that accepts the cluster's servers and shows whatever `pem` holds."""
    context = joiner_context()
    context.load_verify_locations(cadata=authority_der)
    context.verify_mode = ssl.CERT_REQUIRED
    return show(context, pem) if pem else context


def self_signed(key: NodeKey, name: str) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .serial_number(1)
        .not_valid_before(datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC))
        .public_key(key.private.public_key())
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(key.private, None)
        .public_bytes(Encoding.DER)
    )


def test_members_prove_themselves_to_each_other(authority: Authority, admit: Admit) -> None:
    a, b = admit(authority), admit(authority)
    pair = Pair(client_context(a), server_context(b)).connect()
    assert pair.say(b"hello") == b"hello"
    assert pair.client.version() == pair.server.version() == "TLSv1.3"
    seen_by_client, seen_by_server = shown_certificate(pair.client), shown_certificate(pair.server)
    assert seen_by_client is not None
    assert seen_by_server is not None
    assert (seen_by_client.node_id, seen_by_client.fingerprint) == (b.node_id, b.fingerprint)
    assert (seen_by_server.node_id, seen_by_server.certificate) == (a.node_id, a.certificate)


def test_no_session_is_ever_resumed(authority: Authority, admit: Admit) -> None:
    client, server = client_context(admit(authority)), server_context(admit(authority))
    pair = Pair(client, server).connect()
    assert pair.say(b"x") == b"x"
    assert server.session_stats()["hits"] == 0
    assert pair.client.session is None or not pair.client.session.has_ticket


@pytest.mark.parametrize("joiners", [False, True])
def test_a_foreign_authority_is_refused_by_both_ends(
    authority: Authority, stranger_authority: Authority, admit: Admit, joiners: bool
) -> None:
    member, stranger = admit(authority), admit(stranger_authority)
    server_side = refused(
        stranger_client(authority.certificate, stranger.key.pem() + pem_of(stranger.certificate)),
        server_context(member, joiners=joiners),
    )
    assert isinstance(refusal_of(server_side), NotAdmitted)
    client_side = refused(client_context(member), server_context(stranger, joiners=joiners))
    assert isinstance(client_side, ssl.SSLCertVerificationError)
    assert isinstance(refusal_of(client_side), NotAdmitted)


def test_no_certificate_is_refused(authority: Authority, admit: Admit) -> None:
    error = refused(stranger_client(authority.certificate, None), server_context(admit(authority)))
    assert isinstance(refusal_of(error), NotAdmitted)


@pytest.mark.parametrize("joiners", [False, True])
def test_a_self_signed_certificate_with_a_member_s_name_is_refused(
    authority: Authority, admit: Admit, joiners: bool
) -> None:
    member, key = admit(authority), NodeKey.create()
    for name in (member.node_id, key.node_id):
        pem = key.pem() + pem_of(self_signed(key, name))
        error = refused(stranger_client(authority.certificate, pem), server_context(member, joiners=joiners))
        assert isinstance(refusal_of(error), NotAdmitted)


@pytest.mark.parametrize("joiners", [False, True])
def test_a_certificate_signed_by_a_member_is_refused(authority: Authority, admit: Admit, joiners: bool) -> None:
    member, traitor, key = admit(authority), admit(authority), NodeKey.create()
    sold = Authority(traitor.key.private, traitor.certificate).issue(key.request())
    pem = key.pem() + pem_of(sold, traitor.certificate, authority.certificate)
    error = refused(stranger_client(authority.certificate, pem), server_context(member, joiners=joiners))
    assert isinstance(refusal_of(error), NotAdmitted)

    context = show(server_context(admit(authority)), pem)
    assert isinstance(refused(client_context(member), context), ssl.SSLCertVerificationError)


@pytest.mark.parametrize("joiners", [False, True])
def test_a_certificate_encoded_anew_is_refused(
    authority: Authority, admit: Admit, reencode: Callable[[Authority, NodeKey], bytes], joiners: bool
) -> None:
    key = NodeKey.create()
    pem = key.pem() + pem_of(reencode(authority, key))
    refused(stranger_client(authority.certificate, pem), server_context(admit(authority), joiners=joiners))


def test_a_member_s_certificate_without_its_key_is_of_no_use(authority: Authority, admit: Admit) -> None:
    victim = admit(authority)
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        show(joiner_context(), NodeKey.create().pem() + pem_of(victim.certificate))


@pytest.mark.parametrize("joiners", [False, True])
def test_tls_1_2_is_refused_by_both_ends(authority: Authority, admit: Admit, joiners: bool) -> None:
    def old(context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    a, b = admit(authority), admit(authority)
    error = refused(old(client_context(a)), server_context(b, joiners=joiners))
    assert isinstance(refusal_of(error), Unreachable)
    assert isinstance(refusal_of(refused(client_context(a), old(server_context(b)))), Unreachable)


def test_noise_is_no_handshake(authority: Authority, admit: Admit) -> None:
    incoming = ssl.MemoryBIO()
    server = server_context(admit(authority)).wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    with pytest.raises(ssl.SSLError) as caught:
        server.do_handshake()
    assert isinstance(refusal_of(caught.value), Unreachable)


def test_another_protocol_is_refused(authority: Authority, admit: Admit) -> None:
    client = client_context(admit(authority))
    client.set_alpn_protocols(["h2"])
    pair = Pair(client, server_context(admit(authority))).connect()
    for end in (pair.client, pair.server):
        with pytest.raises(ProtocolError):
            shown_certificate(end)


def test_a_joiner_gets_in_only_where_joiners_are_welcome(authority: Authority, admit: Admit) -> None:
    coordinator = admit(authority)
    refused(joiner_context(), server_context(coordinator))
    pair = Pair(joiner_context(), server_context(coordinator, joiners=True)).connect()
    assert shown_certificate(pair.server) is None
    token = Token(authority.cluster_hash, bytes(16), ())
    leaf = shown_certificate(pair.client)
    assert leaf is not None
    assert check_server_of_token(token, authority.certificate, leaf.certificate) == coordinator.node_id
    assert pair.say(b"secret") == b"secret"


def test_a_joiner_refuses_a_server_that_is_not_its_token_s(
    authority: Authority, stranger_authority: Authority, admit: Admit
) -> None:
    token = Token(authority.cluster_hash, bytes(16), ())
    pair = Pair(joiner_context(), server_context(admit(stranger_authority), joiners=True)).connect()
    leaf = shown_certificate(pair.client)
    assert leaf is not None
    for claimed in (authority.certificate, stranger_authority.certificate):
        with pytest.raises(NotAdmitted):
            check_server_of_token(token, claimed, leaf.certificate)


def test_members_are_let_in_where_joiners_are_welcome(authority: Authority, admit: Admit) -> None:
    member = admit(authority)
    pair = Pair(client_context(member), server_context(admit(authority), joiners=True)).connect()
    seen = shown_certificate(pair.server)
    assert seen is not None
    assert seen.node_id == member.node_id


def test_a_certificate_survives_every_clock(authority: Authority, admit: Admit) -> None:
    """The openssl program, if there is one, verifies strictly for a clock in 1970 and one in 9998."""
    member = admit(authority)
    for moment in (1, 253_370_764_800):
        with (
            tls._private_file(pem_of(authority.certificate)) as root,
            tls._private_file(pem_of(member.certificate)) as leaf,
        ):
            descriptors = [int(path.rpartition("/")[2]) for path in (root, leaf) if path.startswith("/proc/")]
            try:
                checked = subprocess.run(
                    ["openssl", "verify", "-x509_strict", "-attime", str(moment), "-CAfile", root, leaf],
                    capture_output=True, text=True, timeout=20, check=False, pass_fds=descriptors,
                )  # fmt: skip
            except FileNotFoundError:
                pytest.skip("no openssl program here")
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_key_s_file_is_gone_after_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with tls._private_file(b"secret") as path:
        assert Path(path).read_bytes() == b"secret"
        assert Path(path).stat().st_mode & 0o777 == 0o600
    with pytest.raises(RuntimeError), tls._private_file(b"secret"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_memory_for_it_no_key_file_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: Authority, admit: Admit
) -> None:
    if not hasattr(os, "memfd_create"):
        pytest.skip("only Linux has files in memory")
    monkeypatch.setattr(tempfile, "mkstemp", lambda **_: pytest.fail("a key file was made"))
    before = len(os.listdir("/proc/self/fd"))
    client_context(admit(authority))
    assert len(os.listdir("/proc/self/fd")) == before


def test_importing_the_package_does_not_import_what_is_slow() -> None:
    program = (
        "import sys, roost.security.tls, roost.security.token, roost.security.machine, roost.settings.load\n"
        "sys.exit(' '.join(m for m in ('cryptography', 'yaml', 'platformdirs', 'asyncio') if m in sys.modules) or 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
