"""A small Ed25519 authority for tests of the network, independent of `roost.security`."""

import datetime
import ssl
import tempfile
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from roost.core.ids import NodeId, node_id_of_key
from roost.security.tls import ALPN

BEGIN = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
END = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class TestAuthority:
    """Signs certificates; all authorities have the same name, so only the key tells them apart."""

    __test__ = False

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.pem = self._sign("test authority", self._key, is_authority=True).public_bytes(Encoding.PEM).decode()

    def _sign(self, name: str, key: Ed25519PrivateKey, *, is_authority: bool = False) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("test authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGIN)
            .not_valid_after(END)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .sign(self._key, None)
        )

    def member(self, name: str) -> "TestMember":
        key = Ed25519PrivateKey.generate()
        certificate = self._sign(name, key)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(
            Encoding.PEM
        )
        return TestMember(
            node_id_of_key(key.public_key().public_bytes_raw()), certificate.public_bytes(Encoding.DER), pem, self.pem
        )


@dataclass(frozen=True, slots=True)
class TestMember:
    """One node's key and certificate."""

    __test__ = False

    node_id: NodeId
    certificate: bytes
    pem: bytes
    authority_pem: str

    def client_context(self) -> ssl.SSLContext:
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        self._show(context)
        return context

    def server_context(self, *, joiners: bool = False) -> ssl.SSLContext:
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0
        self._show(context)
        context.verify_mode = ssl.CERT_OPTIONAL if joiners else ssl.CERT_REQUIRED
        return context

    def _show(self, context: ssl.SSLContext) -> None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.authority_pem)
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.pem)
            file.flush()
            context.load_cert_chain(file.name)


def joiner_context() -> ssl.SSLContext:
    """For a client that has no certificate and checks none."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_NONE
    return context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.set_alpn_protocols([ALPN])
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    return context
