"""The authority: what it issues, and what passes for issued by it."""

import datetime
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from roost.core.cluster import Address
from roost.core.errors import Failed, NotAdmitted, NotFound
from roost.core.ids import node_id_of_key
from roost.disk.posix import PosixDisk
from roost.security.authority import (
    CERTIFICATE_BYTES_MAX,
    Authority,
    authority_hash,
    check_issued,
    check_server_of_token,
    cluster_name_of,
    fingerprint,
    node_id_of_certificate,
    requester,
)
from roost.security.identity import Identity, NodeKey
from roost.security.token import Token

Admit = Callable[[Authority], Identity]
BOTH_ENDS = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


def leaf(
    authority: Authority,
    *,
    name: str | None = None,
    ca: bool = False,
    usages: tuple[x509.ObjectIdentifier, ...] = BOTH_ENDS,
    key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | None = None,
    signer: Ed25519PrivateKey | None = None,
) -> bytes:
    """A certificate that differs from a good one in what is given."""
    key = key or Ed25519PrivateKey.generate()
    if name is None:
        raw = key.public_key().public_bytes_raw() if isinstance(key, Ed25519PrivateKey) else b""
        name = node_id_of_key(raw)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.load_der_x509_certificate(authority.certificate).subject)
        .serial_number(1)
        .not_valid_before(datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(signer or authority.key, None)
        .public_bytes(Encoding.DER)
    )


def test_a_member_is_known_by_its_key(authority: Authority) -> None:
    key = NodeKey.create()
    certificate = authority.issue(key.request())
    assert requester(key.request()) == key.node_id
    assert check_issued(certificate, authority.certificate) == key.node_id == node_id_of_certificate(certificate)


def test_what_a_certificate_says(authority: Authority) -> None:
    key = NodeKey.create()
    certificate = x509.load_der_x509_certificate(authority.issue(key.request()))
    root = x509.load_der_x509_certificate(authority.certificate)
    for each in (certificate, root):
        assert each.not_valid_before_utc == datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        assert each.not_valid_after_utc == datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
    assert certificate.subject.rfc4514_string() == f"CN={key.node_id}"
    assert certificate.serial_number != x509.load_der_x509_certificate(authority.issue(key.request())).serial_number

    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert root.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == set(BOTH_ENDS)
    assert len(authority.certificate) <= CERTIFICATE_BYTES_MAX


@pytest.mark.parametrize("name", ["home", "Dachboden 3", "ü" * 31, "x" * 63])
def test_the_authority_carries_the_cluster_s_name(name: str) -> None:
    authority = Authority.create(name)
    assert authority.cluster_name == cluster_name_of(authority.certificate) == name
    check_issued(authority.issue(NodeKey.create().request()), authority.certificate)


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32])
def test_a_cluster_s_name_has_bounds(name: str) -> None:
    with pytest.raises(ValueError):
        Authority.create(name)


def test_nothing_but_the_key_is_taken_from_a_request(authority: Authority) -> None:
    key = Ed25519PrivateKey.generate()
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "0" * 32)]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
        .public_bytes(Encoding.DER)
    )
    certificate = authority.issue(greedy)
    assert check_issued(certificate, authority.certificate) == node_id_of_key(key.public_key().public_bytes_raw())


def test_requests_that_prove_nothing_are_refused(authority: Authority) -> None:
    good = NodeKey.create().request()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    other_kind = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    own = x509.load_der_x509_csr(good).public_key()
    assert not isinstance(own, ec.EllipticCurvePublicKey)
    raw = own.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)[-32:]
    stolen = good.replace(raw, key)
    assert stolen != good
    for bad in (b"", b"\x30", good[:-1], good + b"\0", b"\0" * 5000, other_kind, stolen):
        with pytest.raises(NotAdmitted) as caught:
            authority.issue(bad)
        assert caught.value.hint
        with pytest.raises(NotAdmitted):
            requester(bad)


def test_a_foreign_authority_of_the_same_name_is_refused(authority: Authority, stranger_authority: Authority) -> None:
    certificate = stranger_authority.issue(NodeKey.create().request())
    with pytest.raises(NotAdmitted):
        check_issued(certificate, authority.certificate)


def test_a_leaf_that_signs_is_refused(authority: Authority) -> None:
    key = NodeKey.create()
    certificate = authority.issue(key.request())
    issued_by_leaf = Authority(key.private, certificate).issue(NodeKey.create().request())
    for issuer in (authority.certificate, certificate):
        with pytest.raises(NotAdmitted):
            check_issued(issued_by_leaf, issuer)


def test_the_authority_itself_is_no_node(authority: Authority) -> None:
    with pytest.raises(NotAdmitted):
        check_issued(authority.certificate, authority.certificate)


def test_certificates_that_are_not_a_node_s_are_refused(authority: Authority) -> None:
    assert check_issued(leaf(authority), authority.certificate)  # the good one, from which the others differ
    for bad in (
        leaf(authority, name="0" * 32),
        leaf(authority, ca=True),
        leaf(authority, usages=BOTH_ENDS[:1]),
        leaf(authority, usages=BOTH_ENDS[1:]),
        leaf(authority, key=ec.generate_private_key(ec.SECP256R1())),
        leaf(authority, signer=Ed25519PrivateKey.generate()),
    ):
        with pytest.raises(NotAdmitted):
            check_issued(bad, authority.certificate)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_no_flipped_bit_passes(authority: Authority) -> None:
    good = authority.issue(NodeKey.create().request())
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NotAdmitted):
            check_issued(bytes(bad), authority.certificate)


def test_a_certificate_encoded_anew_is_refused(
    authority: Authority, reencode: Callable[[Authority, NodeKey], bytes]
) -> None:
    """The signature fits, and the fingerprint would be one that no revocation knows."""
    variant = reencode(authority, NodeKey.create())
    issuer = x509.load_der_x509_certificate(authority.certificate)
    x509.load_der_x509_certificate(variant).verify_directly_issued_by(issuer)
    with pytest.raises(NotAdmitted, match="not encoded as it was issued"):
        check_issued(variant, authority.certificate)


@given(st.binary(max_size=600))
def test_no_bytes_raise_anything_else(authority: Authority, data: bytes) -> None:
    for certificate, issuer in ((data, authority.certificate), (authority.certificate, data)):
        with pytest.raises(NotAdmitted):
            check_issued(certificate, issuer)
    for read in (node_id_of_certificate, cluster_name_of, requester):
        with pytest.raises(NotAdmitted):
            read(data)


def test_a_joiner_proves_the_server_by_its_token(
    authority: Authority, stranger_authority: Authority, admit: Admit
) -> None:
    token = Token(authority_hash(authority.certificate), b"s" * 16, (Address("10.0.0.1", 7400),))
    server, stranger = admit(authority), admit(stranger_authority)
    assert check_server_of_token(token, authority.certificate, server.certificate) == server.node_id
    for claimed, shown in (
        (stranger_authority.certificate, stranger.certificate),
        (authority.certificate, stranger.certificate),
        (stranger_authority.certificate, server.certificate),
        (b"", server.certificate),
        (authority.certificate, authority.certificate),
    ):
        with pytest.raises(NotAdmitted):
            check_server_of_token(token, claimed, shown)


def test_an_authority_is_kept(disk: PosixDisk, authority: Authority) -> None:
    with pytest.raises(NotFound, match="cannot admit"):
        Authority.load(disk)
    authority.save(disk)
    loaded = Authority.load(disk)
    assert loaded.certificate == authority.certificate
    assert loaded.cluster_hash == fingerprint(authority.certificate)
    assert check_issued(loaded.issue(NodeKey.create().request()), authority.certificate)
    assert disk.info("authority/key.pem").mode == 0o600
    assert disk.info("authority").mode == 0o700


def test_an_authority_that_is_damaged_or_open_to_others_is_refused(
    disk: PosixDisk, authority: Authority, stranger_authority: Authority
) -> None:
    from roost.disk.durable import write_durably

    authority.save(disk)
    disk.set_mode("authority/key.pem", 0o640)
    with pytest.raises(Failed, match="other users"):
        Authority.load(disk)
    disk.set_mode("authority/key.pem", 0o600)
    for path, data in (
        ("authority/certificate.der", stranger_authority.certificate),
        ("authority/certificate.der", b"nonsense"),
        ("authority/key.pem", b"nonsense"),
    ):
        authority.save(disk)
        write_durably(disk, path, data)
        with pytest.raises(Failed, match=path):
            Authority.load(disk)
    authority.save(disk)
    disk.unlink("authority/certificate.der")
    with pytest.raises(Failed, match="missing"):
        Authority.load(disk)


def test_keys_are_not_printed(authority: Authority) -> None:
    secret = authority.key.private_bytes_raw()
    for text in (repr(authority), str(authority)):
        assert secret.hex() not in text
        assert repr(secret) not in text
        assert "key" not in text
