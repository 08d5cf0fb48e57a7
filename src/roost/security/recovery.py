"""The recovery code: what a person writes down once, and the authority's key sealed under it, which every node keeps.

The code is 100 random bits, written as 20 characters of Crockford's base32 and 2 that check them, in groups of five:
``CFM6B-3RWAM-N14MV-RD9X0-DH``. Read as one number in base 32, all 22 make a multiple of 1021, so one wrong character
and two that changed places are always told from a code that is good and opens nothing here, and anything else in 1,020
cases of 1,021.

Two keys come from the 20 characters, by scrypt (RFC 7914; N = 2^15, r = 8, p = 1: 32 MiB) and HKDF with SHA-256
(RFC 5869). The *proof*, whose salt is a constant so that a machine which knows nothing yet can compute it, asks a node
for the record; the record holds its SHA-256. The *sealing key*, whose salt is the record's, seals what is in the record
with ChaCha20-Poly1305 (RFC 8439); each seals one thing, so the nonce is zero. Neither tells anything of the other, and
who holds the record must guess 100 bits, one scrypt a guess. All of this belongs to format 1 of the record: a code that
was printed stays good for ever (`tests/golden/recovery_1.json`).

The record's field ``sealed`` is the authority's Ed25519 signature (64 bytes) over the rest of the record, then the
sealed bytes. So nobody but the authority can add such a record, and one that a node holds is worth asking for.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import msgspec

from roost.codec.records import SALT_BYTES, SIGNATURE_BYTES, SealedAuthority, encode_record
from roost.core.errors import Damaged, NotAdmitted, UsageError
from roost.security import crockford
from roost.security.authority import CERTIFICATE_BYTES_MAX, Authority, fingerprint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET_CHARACTERS = 20
CHECK_CHARACTERS = 2
GROUP = 5
SCRYPT_N = 1 << 15
SCRYPT_R = 8
SCRYPT_P = 1
SCRYPT_MEMORY_MAX = 64 * 1024 * 1024
KEY_BYTES = 32

_MODULUS = 1021
_PROOF_SALT = b"roost recovery proof 1"
_PROOF = b"roost recovery proof"
_SEALING = b"roost recovery sealing key"
_SEALED = b"roost sealed authority\x00"
"""Begins what is signed and what is authenticated beside the sealed bytes, so that neither can stand for another."""
_NONCE = bytes(12)


@dataclass(frozen=True, slots=True)
class RecoveryCode:
    """The code; `secret` is its first 20 characters, in capitals."""

    secret: str = field(repr=False)

    @classmethod
    def create(cls) -> "RecoveryCode":
        """A new code of 100 random bits."""
        return cls(crockford.written(secrets.randbits(SECRET_CHARACTERS * crockford.BITS), SECRET_CHARACTERS))

    @classmethod
    def parse(cls, text: str) -> "RecoveryCode":
        """The code that `text` is, however it is grouped. UsageError tells a mistyped one, and never repeats it."""
        kept = crockford.read(text, what="recovery code", characters=SECRET_CHARACTERS + CHECK_CHARACTERS)
        if crockford.number(kept) % _MODULUS:
            raise UsageError("this recovery code is mistyped", hint=crockford.COPY_HINT)
        return cls(kept[:SECRET_CHARACTERS])

    def format(self) -> str:
        """The code as it is printed."""
        checked = self.secret + crockford.written(
            -(crockford.number(self.secret) << CHECK_CHARACTERS * crockford.BITS) % _MODULUS, 2
        )
        return crockford.grouped(checked, GROUP)

    def proof(self) -> bytes:
        """What shows a node that we hold the code (32 bytes). Takes a while: not for an event loop."""
        return _derived(self.secret, salt=_PROOF_SALT, purpose=_PROOF)

    def sealing_key(self, salt: bytes) -> bytes:
        """The key (32 bytes) of the record with this salt. Takes a while: not for an event loop."""
        return _derived(self.secret, salt=salt, purpose=_SEALING)


class _Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sealed: the raw Ed25519 key and the certificate (DER), which names the cluster."""

    key: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    certificate: Annotated[bytes, msgspec.Meta(max_length=CERTIFICATE_BYTES_MAX)]


def seal(authority: Authority, code: RecoveryCode, *, at: int) -> SealedAuthority:
    """The record from which `code` brings the authority back. `at` is in Unix seconds, for display. Blocks."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    salt = secrets.token_bytes(SALT_BYTES)
    plain = msgspec.msgpack.encode(_Contents(authority.key.private_bytes_raw(), authority.certificate))
    sealed = ChaCha20Poly1305(code.sealing_key(salt)).encrypt(_NONCE, plain, _beside(authority.cluster_hash))
    unsigned = SealedAuthority(
        authority=authority.cluster_hash, salt=salt, proof=hashlib.sha256(code.proof()).digest(), sealed=sealed, at=at
    )
    return msgspec.structs.replace(unsigned, sealed=authority.key.sign(_signed(unsigned)) + sealed)


def is_proof(record: SealedAuthority, proof: bytes) -> bool:
    """Whether `proof` is that of the code which opens `record`, compared in constant time."""
    return hmac.compare_digest(hashlib.sha256(proof).digest(), record.proof)


def unseal(record: SealedAuthority, code: RecoveryCode) -> Authority:
    """The authority that `code` brings back; NotAdmitted when the record is not this code's, Damaged when it
    is not as the authority made it. Blocks."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    if not is_proof(record, code.proof()):
        raise wrong_code()
    aead = ChaCha20Poly1305(code.sealing_key(record.salt))
    try:
        plain = aead.decrypt(_NONCE, record.sealed[SIGNATURE_BYTES:], _beside(record.authority))
        contents = msgspec.msgpack.decode(plain, type=_Contents)
    except (InvalidTag, ValueError) as error:
        raise _damaged() from error
    key = Ed25519PrivateKey.from_private_bytes(contents.key)
    if not _is_of(contents.certificate, key):
        raise _damaged()
    try:
        check_sealed(record, contents.certificate)
    except NotAdmitted as error:
        raise _damaged() from error
    return Authority(key, contents.certificate)


def check_sealed(record: SealedAuthority, authority_der: bytes) -> None:
    """NotAdmitted unless the authority with this certificate (DER) made the record. Needs no code."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signature, sealed = record.sealed[:SIGNATURE_BYTES], record.sealed[SIGNATURE_BYTES:]
    try:
        public_key = x509.load_der_x509_certificate(authority_der).public_key()
        if record.authority != fingerprint(authority_der) or not sealed or not isinstance(public_key, Ed25519PublicKey):
            raise ValueError
        public_key.verify(signature, _signed(msgspec.structs.replace(record, sealed=sealed)))
    except (ValueError, InvalidSignature) as error:
        raise NotAdmitted("a sealed authority is not of this cluster's own authority") from error


def wrong_code() -> NotAdmitted:
    """What to tell whoever holds a code that opens nothing here."""
    return NotAdmitted(
        "this recovery code is well written, but it opens nothing in this cluster",
        hint="is it the code of this cluster, and the newest one that roost start printed?",
    )


def _derived(secret: str, *, salt: bytes, purpose: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    stretched = hashlib.scrypt(
        secret.encode(), salt=salt, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, maxmem=SCRYPT_MEMORY_MAX, dklen=KEY_BYTES
    )
    return HKDF(SHA256(), KEY_BYTES, None, purpose).derive(stretched)


def _signed(unsigned: SealedAuthority) -> bytes:
    return _SEALED + encode_record(unsigned)


def _beside(authority_hash: bytes) -> bytes:
    return _SEALED + bytes([1]) + authority_hash


def _is_of(certificate_der: bytes, key: "Ed25519PrivateKey") -> bool:
    from cryptography import x509

    try:
        return x509.load_der_x509_certificate(certificate_der).public_key() == key.public_key()
    except ValueError:
        return False


def _damaged() -> Damaged:
    return Damaged(
        "the sealed authority is damaged: the code is right, but it does not open it",
        hint="give another node with --at HOST:PORT",
    )
