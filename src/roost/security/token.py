"""Join tokens: one printable word that lets a machine in, and the book in which the coordinator remembers them.

The word is ``roost-`` and the lowercase base32 (RFC 4648, no padding) of a payload and the first 4 bytes of its
SHA-256, which tell a mistyped token from a refused one. The payload is MessagePack: ``[1, authority, secret,
addresses]``. The hash of the authority's certificate lets the joiner prove the server before it shows the secret; the
coordinator keeps only the secret's SHA-256.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

import msgspec

from roost.core.cluster import Address
from roost.core.errors import Busy, Failed, NotAdmitted, NotFound, Unsupported, UsageError
from roost.core.ids import NodeId
from roost.disk.durable import read_small, write_durably
from roost.disk.port import Disk

PREFIX = "roost-"
SECRET_BYTES = 16
ADDRESSES_MAX = 16
TOKEN_CHARACTERS_MAX = 4096
TTL_S_MAX = 366 * 86_400.0
USES_MAX = 1000
TOKENS_MAX = 256
BOOK_PATH = "tokens.json"

_FORMAT = 1
_CHECKSUM_BYTES = 4
_BOOK_BYTES_MAX = 64 * 1024 * 1024
_LOCK_WAIT_S = 2.0
_LOCK_POLL_S = 0.02
_MISTYPED_HINT = "copy the whole word that roost token create printed"

_Payload: TypeAlias = tuple[
    int,
    Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)],
    Annotated[bytes, msgspec.Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)],
    Annotated[list[str], msgspec.Meta(max_length=ADDRESSES_MAX)],
]


@dataclass(frozen=True, slots=True)
class Token:
    """What the word says: `authority` is the SHA-256 of the authority's certificate, `addresses` are where to ask."""

    authority: bytes
    secret: bytes = field(repr=False)
    addresses: tuple[Address, ...]

    @classmethod
    def parse(cls, text: str) -> "Token":
        """The token that `text` is, capitals and surrounding space forgiven.

        UsageError when it is no whole token, Unsupported when a newer release made it.
        """
        word = text.strip().lower()
        if not word.startswith(PREFIX) or len(word) > TOKEN_CHARACTERS_MAX:
            raise UsageError("this is not a join token: a token begins with roost-", hint=_MISTYPED_HINT)
        try:
            encoded = word.removeprefix(PREFIX).upper()
            decoded = base64.b32decode(encoded + "=" * (-len(encoded) % 8))
            payload, checksum = decoded[:-_CHECKSUM_BYTES], decoded[-_CHECKSUM_BYTES:]
            if not hmac.compare_digest(_checksum(payload), checksum):
                raise ValueError("the checksum differs")
            head = msgspec.msgpack.decode(payload)
            if isinstance(head, list) and head and head[0] != _FORMAT:
                raise Unsupported("this token was made by another release of Roost", hint="upgrade Roost here")
            _, authority, secret, addresses = msgspec.msgpack.decode(payload, type=_Payload)
            return cls(authority, secret, tuple(Address.parse(address) for address in addresses))
        except (ValueError, binascii.Error, msgspec.MsgspecError, RecursionError, UsageError) as error:
            raise UsageError("this join token is mistyped or cut short", hint=_MISTYPED_HINT) from error

    def format(self) -> str:
        """The word. ValueError when a part has the wrong length or there are too many addresses."""
        if len(self.authority) != 32 or len(self.secret) != SECRET_BYTES or len(self.addresses) > ADDRESSES_MAX:
            raise ValueError("a token of the wrong shape")
        payload = msgspec.msgpack.encode((_FORMAT, self.authority, self.secret, [str(a) for a in self.addresses]))
        return PREFIX + base64.b32encode(payload + _checksum(payload)).decode().rstrip("=").lower()


def _checksum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:_CHECKSUM_BYTES]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One token as the book keeps it. `uses` is how many nodes it lets in (None: any number), `nodes` those it did."""

    secret_sha256: str
    expires_at: float
    uses: int | None
    nodes: list[str] = []


class _Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    tokens: list[_Entry]


class TokenBook:
    """The tokens that are valid now, in one file of the coordinator's home.

    Every call reads and, when something changes, durably rewrites the file under a lock, so that ``roost token create``
    works beside a running coordinator. `now` is seconds since 1970 by the machine's clock. Calls block: no event loop
    may make them directly. All raise Busy when another process holds the lock for 2 s, Failed when the file is damaged.
    """

    def __init__(self, disk: Disk, path: str = BOOK_PATH) -> None:
        self._disk = disk
        self._path = path

    def create(self, *, ttl_s: float, uses: int | None, now: float) -> bytes:
        """The secret of a new token, valid for `ttl_s` seconds and for `uses` nodes (None: any number).

        UsageError when either is out of range, Failed when 256 tokens are valid already.
        """
        if not 1 <= ttl_s <= TTL_S_MAX:
            raise UsageError("a token lives from 1 second to 366 days", hint="give --ttl like 1h or 7d")
        if uses is not None and not 1 <= uses <= USES_MAX:
            raise UsageError(f"a token has 1 to {USES_MAX} uses", hint="leave --uses out for any number")
        secret = secrets.token_bytes(SECRET_BYTES)
        with self._locked():
            valid = self._valid(now)
            if len(valid) >= TOKENS_MAX:
                raise Failed(f"{TOKENS_MAX} tokens are valid already", hint="end them all with: roost token revoke")
            self._write([*valid, _Entry(_secret_hash(secret), now + ttl_s, uses)])
        return secret

    def redeem(self, secret: bytes, *, now: float, node_id: NodeId) -> None:
        """Return once it is durable that `node_id` used this token; NotAdmitted when the token is not valid.

        A node that comes again with the same token uses up nothing, so a join whose answer was lost can be repeated.
        """
        wanted = _secret_hash(secret)
        with self._locked():
            valid = self._valid(now)
            # Every entry is compared, in constant time each, so that the time taken tells nothing about the secrets.
            matching = [i for i, entry in enumerate(valid) if hmac.compare_digest(entry.secret_sha256, wanted)]
            if not matching:
                raise NotAdmitted("the join token is unknown, revoked or past its time", hint=_ASK_HINT)
            entry = valid[matching[0]]
            if entry.uses is None or node_id in entry.nodes:
                return
            if len(entry.nodes) >= entry.uses:
                raise NotAdmitted("the join token is used up", hint=_ASK_HINT)
            valid[matching[0]] = msgspec.structs.replace(entry, nodes=[*entry.nodes, node_id])
            self._write(valid)

    def revoke_all(self, *, now: float) -> int:
        """End all tokens; how many were still valid."""
        with self._locked():
            count = len(self._valid(now))
            self._write([])
            return count

    def _valid(self, now: float) -> list[_Entry]:
        try:
            book = msgspec.json.decode(read_small(self._disk, self._path, bytes_max=_BOOK_BYTES_MAX), type=_Book)
        except NotFound:
            return []
        except msgspec.MsgspecError as error:
            raise Failed(
                f"{self._path} in the Roost home is damaged: {error}", hint="end all tokens: remove the file"
            ) from error
        if book.format != _FORMAT:
            raise Unsupported(f"{self._path} was written by another release of Roost", hint="upgrade Roost here")
        return [entry for entry in book.tokens if now < entry.expires_at]

    def _write(self, entries: list[_Entry]) -> None:
        write_durably(self._disk, self._path, msgspec.json.encode(_Book(_FORMAT, entries)))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                lock = self._disk.lock(self._path + ".lock")
                break
            except Busy:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_LOCK_POLL_S)
        try:
            yield
        finally:
            lock.release()


_ASK_HINT = "make a new one on the coordinator: roost token create"


def _secret_hash(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
