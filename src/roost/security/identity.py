"""A node's identity: its Ed25519 key, its certificate, the authority that issued it, and the machine it was made on.

The key is the node: its id is the first half of the key's SHA-256. It is made once, is kept in the home with mode 0600,
never leaves the machine, and survives every rejoining.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from roost.core.errors import Failed, NotAdmitted, NotFound
from roost.core.ids import MachineId, NodeId, node_id_of_key
from roost.disk.durable import make_directory_durably, read_small, write_durably
from roost.disk.port import Disk
from roost.security.authority import (
    CERTIFICATE_BYTES_MAX,
    Authority,
    check_issued,
    fingerprint,
    private_key_pem,
    read_private_key,
)
from roost.security.machine import machine_id, parse_machine_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_PATH = "identity/key.pem"
CERTIFICATE_PATH = "identity/certificate.der"
AUTHORITY_PATH = "identity/authority.der"
MACHINE_PATH = "identity/machine"

_SIGNING_CONTEXT = b"roost record\x00"
"""Put before everything signed here, so that a signature made for one purpose (TLS uses the key too) fits no other."""


@dataclass(frozen=True, slots=True, eq=False)
class NodeKey:
    """A node's private key, before and after a cluster admits it."""

    private: "Ed25519PrivateKey" = field(repr=False)

    @classmethod
    def create(cls) -> "NodeKey":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, disk: Disk) -> "NodeKey":
        """The key in this home, or a new one that is durable before this returns. Failed when the file is unusable."""
        try:
            return cls(read_private_key(disk, KEY_PATH))
        except NotFound:
            key = cls.create()
            make_directory_durably(disk, "identity")
            write_durably(disk, KEY_PATH, private_key_pem(key.private))
            return key

    @property
    def public_key(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""
        return self.private.public_key().public_bytes_raw()

    @property
    def node_id(self) -> NodeId:
        return node_id_of_key(self.public_key)

    def request(self) -> bytes:
        """A PKCS #10 request (DER) that proves this key to an authority."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding
        from cryptography.x509.oid import NameOID

        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.node_id)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        return builder.sign(self.private, None).public_bytes(Encoding.DER)

    def sign(self, data: bytes) -> bytes:
        """The Ed25519 signature (64 bytes) that `verify_signature` accepts for `data`."""
        return self.private.sign(_SIGNING_CONTEXT + data)

    def pem(self) -> bytes:
        """The key as unencrypted PKCS #8 in PEM."""
        return private_key_pem(self.private)


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A member: its key, its certificate (DER), the authority's certificate (DER), and its machine."""

    key: NodeKey
    certificate: bytes = field(repr=False)
    authority: bytes = field(repr=False)
    machine: MachineId

    @classmethod
    def admitted(cls, key: NodeKey, *, certificate: bytes, authority: bytes, machine: MachineId) -> "Identity":
        """The identity that an admission made; NotAdmitted when the certificate is not this key's or not the
        authority's."""
        if check_issued(certificate, authority) != key.node_id:
            raise NotAdmitted("the certificate is of another key", hint="join again with a token: roost join TOKEN")
        return cls(key, certificate, authority, machine)

    @classmethod
    def found(cls, authority: Authority, key: NodeKey, *, machine: MachineId) -> "Identity":
        """The identity of the node on the machine that holds the authority, which admits itself."""
        certificate = authority.issue(key.request())
        return cls.admitted(key, certificate=certificate, authority=authority.certificate, machine=machine)

    @classmethod
    def load(cls, disk: Disk) -> "Identity":
        """The identity in the home that `disk` is the root of.

        NotAdmitted when this machine was never admitted to a cluster, Failed when what is there is unusable.
        """
        try:
            certificate = read_small(disk, CERTIFICATE_PATH, bytes_max=CERTIFICATE_BYTES_MAX)
        except NotFound as error:
            raise NotAdmitted(
                "this machine belongs to no cluster yet",
                hint="make one with roost start, or join one with roost join TOKEN",
            ) from error
        try:
            key = NodeKey(read_private_key(disk, KEY_PATH))
            authority = read_small(disk, AUTHORITY_PATH, bytes_max=CERTIFICATE_BYTES_MAX)
            return cls.admitted(key, certificate=certificate, authority=authority, machine=load_machine(disk))
        except (NotFound, NotAdmitted) as error:
            raise Failed(
                f"the identity in this home does not fit together: {error.message}",
                hint="join again with a token: roost join TOKEN; the data on this node stays",
            ) from error

    def save(self, disk: Disk) -> None:
        """Keep it durably; the certificate comes last and marks an admitted machine."""
        make_directory_durably(disk, "identity")
        write_durably(disk, KEY_PATH, self.key.pem())
        write_durably(disk, MACHINE_PATH, self.machine.encode() + b"\n")
        write_durably(disk, AUTHORITY_PATH, self.authority)
        write_durably(disk, CERTIFICATE_PATH, self.certificate)

    @property
    def node_id(self) -> NodeId:
        return self.key.node_id

    @property
    def fingerprint(self) -> bytes:
        """The SHA-256 of the certificate."""
        return fingerprint(self.certificate)

    @property
    def cluster_hash(self) -> bytes:
        """What names the cluster on the wire: the SHA-256 of its authority's certificate."""
        return fingerprint(self.authority)

    def sign(self, data: bytes) -> bytes:
        """The signature (64 bytes) that `verify_signature` accepts for this identity's certificate and `data`."""
        return self.key.sign(data)


def load_machine(disk: Disk) -> MachineId:
    """The machine id kept in this home; NotFound when none was taken yet, Failed when the file holds no id."""
    return parse_machine_id(read_small(disk, MACHINE_PATH, bytes_max=256).decode("ascii", "replace").strip())


def take_machine(disk: Disk) -> MachineId:
    """The machine id kept in this home, or this machine's own, taken now. It stays when network cards change later;
    `Identity.save` keeps it."""
    try:
        return load_machine(disk)
    except NotFound:
        return machine_id()


def verify_signature(certificate_der: bytes, data: bytes, signature: bytes) -> None:
    """Return if the key of this certificate signed `data`; NotAdmitted if not, whatever the bytes.

    Says nothing about who issued the certificate: that is `check_issued`.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public_key = x509.load_der_x509_certificate(certificate_der).public_key()
        if not isinstance(public_key, Ed25519PublicKey):
            raise ValueError("the key is not Ed25519")
        public_key.verify(signature, _SIGNING_CONTEXT + data)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise NotAdmitted(
            "a signature does not fit its certificate", hint="whoever sent this is not who it says; look at roost nodes"
        ) from error
