"""The cluster's authority: one Ed25519 key that signs the certificate of every member, and the check that it did.

Certificates (X.509 v3, RFC 5280 and RFC 8410) do not expire: a small machine without a clock boots in 1970, and nothing
may fail because nobody renewed something for a year. Membership ends by a record, never by a date.
"""

import contextlib
import datetime
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roost.core.errors import Failed, NotAdmitted, NotFound
from roost.core.ids import NodeId, node_id_of_key
from roost.disk.durable import make_directory_durably, read_small, write_durably
from roost.disk.port import Disk
from roost.security.token import Token
from roost.settings.schema import CLUSTER_NAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_PATH = "authority/key.pem"
CERTIFICATE_PATH = "authority/certificate.der"
CERTIFICATE_BYTES_MAX = 4096
REQUEST_BYTES_MAX = 2048

_SIGNED_BY = bytes.fromhex("300506032b6570034100")
"""What stands between the signed part and the 64 bytes of signature: the name of Ed25519 (RFC 8410) and the head of a
bit string of whole bytes (X.690, 8.6 and 11.2)."""

NOT_BEFORE = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True, eq=False)
class Authority:
    """The key that admits, and its self-signed certificate (DER). Only the machine that admits needs it."""

    key: "Ed25519PrivateKey" = field(repr=False)
    certificate: bytes

    @classmethod
    def create(cls, cluster_name: str) -> "Authority":
        """A new authority. `cluster_name` has 1 to 63 bytes of UTF-8."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if not 1 <= len(cluster_name.encode()) <= CLUSTER_NAME_BYTES_MAX:
            raise ValueError(f"a cluster's name has 1 to {CLUSTER_NAME_BYTES_MAX} bytes")
        key = Ed25519PrivateKey.generate()
        return cls(key, _authority_certificate(key, cluster_name))

    @classmethod
    def load(cls, disk: Disk) -> "Authority":
        """The authority kept under the home that `disk` is the root of.

        NotFound when this machine keeps none, Failed when what it keeps is unusable.
        """
        from cryptography import x509

        try:
            key = read_private_key(disk, KEY_PATH)
        except NotFound as error:
            raise NotFound(
                "this machine does not hold the cluster's authority, so it cannot admit",
                hint="admit where roost start made the cluster, or become able to here with: roost recover CODE",
            ) from error
        with _damage_named(CERTIFICATE_PATH):
            certificate = read_small(disk, CERTIFICATE_PATH, bytes_max=CERTIFICATE_BYTES_MAX)
            if x509.load_der_x509_certificate(certificate).public_key() != key.public_key():
                raise ValueError("it is of another key")
        return cls(key, certificate)

    def save(self, disk: Disk) -> None:
        """Keep key (mode 0600) and certificate durably; the key comes last and marks a complete authority."""
        make_directory_durably(disk, "authority")
        write_durably(disk, CERTIFICATE_PATH, self.certificate)
        write_durably(disk, KEY_PATH, private_key_pem(self.key))

    @property
    def cluster_name(self) -> str:
        return cluster_name_of(self.certificate)

    @property
    def cluster_hash(self) -> bytes:
        """What names the cluster on the wire and in tokens: the SHA-256 of the authority's certificate."""
        return fingerprint(self.certificate)

    def issue(self, request_der: bytes) -> bytes:
        """The certificate (DER) for the key that the PKCS #10 request proves; nothing else is taken from the request.

        NotAdmitted when the request is not one, is not signed by its own key, or its key is not Ed25519.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding
        from cryptography.x509.oid import ExtendedKeyUsageOID

        public_key = _requested_key(request_der)
        authority = x509.load_der_x509_certificate(self.certificate)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        subject_key = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            _builder(subject=_node_name(node_id_of_key(public_key.public_bytes_raw())), issuer=authority.subject)
            .public_key(public_key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key), critical=False)
            .sign(self.key, None)
            .public_bytes(Encoding.DER)
        )


def fingerprint(certificate_der: bytes) -> bytes:
    """The SHA-256 (32 bytes) of a certificate, by which one certificate is meant and no other."""
    return hashlib.sha256(certificate_der).digest()


def authority_hash(authority_der: bytes) -> bytes:
    """What names a cluster (32 bytes): its authority's fingerprint."""
    return fingerprint(authority_der)


def requester(request_der: bytes) -> NodeId:
    """The node that a PKCS #10 request comes from, its key proved; NotAdmitted when it proves none."""
    return node_id_of_key(_requested_key(request_der).public_bytes_raw())


def check_issued(certificate_der: bytes, authority_der: bytes) -> NodeId:
    """The node whose certificate this is, if this very authority issued it.

    It must be signed by the authority, an Ed25519 end entity (never an authority itself) for TLS client and server,
    and its common name must be the id of its own key. Dates do not matter. NotAdmitted otherwise, whatever the bytes.
    Only the very bytes that were issued pass: a certificate has one fingerprint, and no holder can make it another by
    encoding it anew (the reader of bit strings, for one, forgives a wrong count of unused bits).

    The caller must have proof that the peer holds the key (the TLS handshake is one).
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    with _refused("the certificate"):
        certificate = _read_certificate(certificate_der)
        authority = _read_certificate(authority_der)
        if not _constraints(authority).ca:
            raise ValueError("its issuer is not an authority")
        certificate.verify_directly_issued_by(authority)
        if not certificate_der.endswith(certificate.tbs_certificate_bytes + _SIGNED_BY + certificate.signature):
            raise ValueError("it is not encoded as it was issued")
        if _constraints(certificate).ca:
            raise ValueError("it is an authority's, not a node's")
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usage or ExtendedKeyUsageOID.SERVER_AUTH not in usage:
            raise ValueError("it is not for both ends of a connection")
        node_id = node_id_of_key(_ed25519(certificate.public_key()).public_bytes_raw())
        if certificate.subject != _node_name(node_id):
            raise ValueError("its name is not the id of its key")
        return node_id


def node_id_of_certificate(certificate_der: bytes) -> NodeId:
    """The id of the Ed25519 key in a certificate, whoever issued it; NotAdmitted when there is no such key."""
    with _refused("the certificate"):
        return node_id_of_key(_ed25519(_read_certificate(certificate_der).public_key()).public_bytes_raw())


def check_server_of_token(token: Token, authority_der: bytes, leaf_der: bytes) -> NodeId:
    """The node that a joiner reached, proved to belong to the cluster that made `token`; NotAdmitted otherwise.

    `authority_der` is what the server's Hello said, `leaf_der` the certificate whose key the TLS handshake proved.
    Until this has returned, the joiner must not send the token's secret.
    """
    if not hmac.compare_digest(authority_hash(authority_der), token.authority):
        raise NotAdmitted(
            "the machine at this address belongs to another cluster than the token",
            hint="make a new token on the coordinator: roost token create",
        )
    return check_issued(leaf_der, authority_der)


def cluster_name_of(authority_der: bytes) -> str:
    """The cluster's name in its authority's certificate; NotAdmitted when there is none."""
    from cryptography.x509.oid import NameOID

    with _refused("the authority's certificate"):
        return str(_read_certificate(authority_der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def private_key_pem(key: "Ed25519PrivateKey") -> bytes:
    """The key as PKCS #8 in PEM, unencrypted: only for files of mode 0600."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_private_key(disk: Disk, path: str) -> "Ed25519PrivateKey":
    """The Ed25519 key in the PEM file at `path`.

    NotFound when absent; Failed when it is no such key or when others than its owner may read or write the file.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = read_small(disk, path, bytes_max=CERTIFICATE_BYTES_MAX)
    if disk.info(path, follow=True).mode & 0o077:
        raise Failed(f"{path} in the Roost home can be read by other users", hint=f"chmod 600 on {path}")
    with _damage_named(path):
        key = load_pem_private_key(pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("it is not an Ed25519 key")
        return key


def _authority_certificate(key: "Ed25519PrivateKey", cluster_name: str) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Roost cluster authority"),
            x509.NameAttribute(NameOID.COMMON_NAME, cluster_name),
        ]
    )
    public_key = key.public_key()
    return (
        _builder(subject=name, issuer=name)
        .public_key(public_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key), critical=False)
        .sign(key, None)
        .public_bytes(Encoding.DER)
    )


def _builder(*, subject: "x509.Name", issuer: "x509.Name") -> "x509.CertificateBuilder":
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _node_name(node_id: NodeId) -> "x509.Name":
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id)])


def _requested_key(request_der: bytes) -> "Ed25519PublicKey":
    from cryptography import x509

    with _refused("the request for a certificate"):
        if len(request_der) > REQUEST_BYTES_MAX:
            raise ValueError("it is too long")
        request = x509.load_der_x509_csr(request_der)
        public_key = _ed25519(request.public_key())
        if not request.is_signature_valid:
            raise ValueError("it is not signed by its own key")
        return public_key


def _read_certificate(der: bytes) -> "x509.Certificate":
    from cryptography import x509

    if len(der) > CERTIFICATE_BYTES_MAX:
        raise ValueError("it is too long")
    return x509.load_der_x509_certificate(der)


def _ed25519(public_key: object) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(public_key, Ed25519PublicKey):
        raise ValueError("its key is not Ed25519")
    return public_key


def _constraints(certificate: "x509.Certificate") -> "x509.BasicConstraints":
    from cryptography import x509

    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value


def _unreadable() -> tuple[type[Exception], ...]:
    """Everything that `cryptography` raises for bytes that are not what they should be."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.x509 import DuplicateExtension, ExtensionNotFound, InvalidVersion

    found: tuple[Any, ...] = (
        ValueError, TypeError, IndexError, InvalidSignature, UnsupportedAlgorithm, DuplicateExtension,
        ExtensionNotFound, InvalidVersion,
    )  # fmt: skip
    return found


@contextlib.contextmanager
def _refused(what: str) -> "Iterator[None]":
    try:
        yield
    except _unreadable() as error:
        raise NotAdmitted(
            f"{what} is refused: {str(error) or 'it is not signed by the authority of this cluster'}",
            hint="join the cluster with a token made on its coordinator: roost token create, then roost join TOKEN",
        ) from error


@contextlib.contextmanager
def _damage_named(path: str) -> "Iterator[None]":
    try:
        yield
    except NotFound as error:
        raise Failed(f"{path} is missing in the Roost home", hint="restore it from a backup of the home") from error
    except _unreadable() as error:
        raise Failed(
            f"{path} in the Roost home is damaged: {error}", hint="restore it from a backup of the home"
        ) from error
