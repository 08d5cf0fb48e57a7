"""Pairing by a short code: a machine that knows a few characters proves them, and is proved to, without showing them.

The protocol is SPAKE2 (RFC 9382; the `spake2` package, Ed25519 group) between a *joiner*, who typed the code, and an
*admitter*, on whose machine it is shown. Both come to one key if they used one code; from what passes nobody learns
anything of it, and each run is worth one guess. Then each confirms the key, over what the other must not be able to
swap:

    bound     = SHA-256("roost pairing 1\\0" + SHA-256 of the authority's certificate + SHA-256 of the certificate whose
                key the TLS handshake proved + SHA-256 of the joiner's PKCS #10 request)
    joiner    -> HMAC-SHA-256(HKDF(key, "roost pairing joiner"), bound)
    admitter  -> HMAC-SHA-256(HKDF(key, "roost pairing admitter"), bound + SHA-256 of the certificate that it issued)

So one who stands between the two, and has a certificate of his own, fails; the joiner confirms first, so that who only
asks learns nothing; and the joiner takes no authority that the holder of the code did not confirm.

`Guesses` says who may try which code when. It is pure: the time is an argument.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from roost.core.errors import Busy, NotAdmitted, UsageError
from roost.security import crockford
from roost.security.authority import fingerprint

SECRET_CHARACTERS = 7
GROUP = 4
MESSAGE_BYTES = 33
PROOF_BYTES = 32
ATTEMPT_BYTES = 16

CODE_S = 600.0
ATTEMPT_S = 20.0
"""How long an attempt may take from its first message to its proof."""
ATTEMPTS_MAX = 4
"""Attempts under way at a time, whoever makes them."""
ATTEMPTS_PER_HOST_MAX = 2
"""Of these by one address, so that nobody alone keeps the others out."""
EVERY_S = 1.0
"""How often one address may begin an attempt."""
HOSTS_MAX = 256
PAUSE_S = 1.0
PAUSE_MAX_S = 600.0
FORGIVEN_S = 3600.0
"""After a wrong code none is good for 1 s, then 2 s, and so on up to 10 minutes; an hour after the last wrong one it
begins anew. So a stranger has at most 15 guesses in his first hour, and 6 in each that follows, of 2^35."""

_MODULUS = 29
_JOINER = b"roost pairing joiner"
_ADMITTER = b"roost pairing admitter"
_BOUND = b"roost pairing 1\x00"


@dataclass(frozen=True, slots=True)
class JoinCode:
    """The code: 35 random bits in 7 characters, and one that checks them, as in ``K7Q4-XMR9``. Read as one number in
    base 32 all 8 make a multiple of 29, so that a slip is told at once and costs no guess."""

    secret: str = field(repr=False)

    @classmethod
    def create(cls) -> "JoinCode":
        return cls(crockford.written(secrets.randbits(SECRET_CHARACTERS * crockford.BITS), SECRET_CHARACTERS))

    @classmethod
    def parse(cls, text: str) -> "JoinCode":
        """The code that `text` is. UsageError tells a mistyped one, and never repeats it."""
        kept = crockford.read(text, what="join code", characters=SECRET_CHARACTERS + 1)
        if crockford.number(kept) % _MODULUS:
            raise UsageError("this join code is mistyped", hint=crockford.COPY_HINT)
        return cls(kept[:SECRET_CHARACTERS])

    def format(self) -> str:
        """The code as it is shown."""
        check = -(crockford.number(self.secret) << crockford.BITS) % _MODULUS
        return crockford.grouped(self.secret + crockford.written(check, 1), GROUP)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a proof is about: the authority's certificate (DER), the certificate of the admitter's TLS end (DER), and
    the joiner's request (DER)."""

    authority: bytes
    shown: bytes
    request: bytes

    def digest(self) -> bytes:
        parts = (self.authority, self.shown, self.request)
        return hashlib.sha256(_BOUND + b"".join(map(fingerprint, parts))).digest()


class Joiner:
    """The side that typed the code. `message` goes first. Blocks: 30 ms of mathematics a step."""

    def __init__(self, code: JoinCode) -> None:
        from spake2 import SPAKE2_A

        self._spake: Any = SPAKE2_A(code.secret.encode(), idA=_JOINER, idB=_ADMITTER)
        self.message: bytes = self._spake.start()
        self._key = b""

    def prove(self, message: bytes, bound: Bound) -> bytes:
        """The proof to send, in answer to the admitter's `message`; NotAdmitted when that is none."""
        self._key = _finished(self._spake, message)
        return _mac(self._key, _JOINER, bound.digest())

    def check(self, proof: bytes, bound: Bound, certificate: bytes) -> None:
        """Return if the admitter knows the code and issued this certificate (DER); NotAdmitted otherwise."""
        wanted = _mac(self._key, _ADMITTER, bound.digest() + fingerprint(certificate))
        if not hmac.compare_digest(wanted, proof):
            raise NotAdmitted(
                "the machine that answered does not know the join code: it is not the one that shows it",
                hint="look at the code again; with roost start's address: roost join CODE --at HOST:PORT",
            )


class Admitter:
    """The side that shows the code, for one attempt. Blocks: 60 ms of mathematics at its start."""

    def __init__(self, code: JoinCode, message: bytes) -> None:
        """NotAdmitted when the joiner's `message` is none."""
        from spake2 import SPAKE2_B

        spake: Any = SPAKE2_B(code.secret.encode(), idA=_JOINER, idB=_ADMITTER)
        self.message: bytes = spake.start()
        self._key = _finished(spake, message)

    def is_proved(self, proof: bytes, bound: Bound) -> bool:
        """Whether the joiner used our code, compared in constant time."""
        return hmac.compare_digest(_mac(self._key, _JOINER, bound.digest()), proof)

    def confirm(self, bound: Bound, certificate: bytes) -> bytes:
        """The proof that goes with the certificate (DER) that was issued."""
        return _mac(self._key, _ADMITTER, bound.digest() + fingerprint(certificate))


def _finished(spake: Any, message: bytes) -> bytes:
    from spake2 import SPAKEError

    try:
        key: bytes = spake.finish(message)
    except (SPAKEError, ValueError, AssertionError, IndexError) as error:
        raise NotAdmitted("what the other machine sent is no step of a pairing", hint="try again") from error
    return key


def _mac(key: bytes, purpose: bytes, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return hmac.digest(HKDF(SHA256(), 32, None, purpose).derive(key), data, "sha256")


class Guesses:
    """The one code that is good at a time, and who may try it. Times are readings of a clock that never goes back.

    A code is good for 10 minutes, for any number of machines; a wrong one, tried once, ends it. Whoever begins and does
    not prove has learned nothing, and costs nothing.
    """

    def __init__(self, now: float) -> None:
        self._code = JoinCode.create()
        self._since = now
        self._opens_at = now
        self._wrong = 0
        self._wrong_at = now
        self._under_way: dict[bytes, tuple[str, float]] = {}
        self._hosts: OrderedDict[str, float] = OrderedDict()

    @property
    def code(self) -> JoinCode:
        """The code that is good now, or will be when the pause is over."""
        return self._code

    def opens_in_s(self, now: float) -> float:
        """For how long no code is good, because wrong ones were tried."""
        return max(0.0, self._opens_at - now)

    def left_s(self, now: float) -> float:
        """For how long the code is good yet; 0 when it is to be renewed."""
        return max(0.0, max(self._since, self._opens_at) + CODE_S - now)

    def renew(self, now: float) -> None:
        """Another code; the old one, and all attempts with it, are over."""
        self._code = JoinCode.create()
        self._since = now
        self._under_way.clear()

    def begin(self, host: str, now: float) -> tuple[bytes, JoinCode]:
        """A new attempt from `host`: its id, and the code that it is made with. Busy when it has to wait."""
        if wait := self.opens_in_s(now):
            raise Busy(
                f"a wrong join code was tried; the next one is good in {wait:.0f} s",
                hint="wait, then type the code that roost start shows now",
            )
        if not self.left_s(now):
            self.renew(now)
        self._under_way = {i: one for i, one in self._under_way.items() if now - one[1] < ATTEMPT_S}
        own = sum(1 for other, _ in self._under_way.values() if other == host)
        while self._hosts and now - next(iter(self._hosts.values())) >= EVERY_S:
            self._hosts.popitem(last=False)
        full = len(self._under_way) >= ATTEMPTS_MAX or own >= ATTEMPTS_PER_HOST_MAX
        if full or host in self._hosts or len(self._hosts) >= HOSTS_MAX:
            raise Busy("others are joining at this moment, or it was tried a moment ago", hint="try again in a moment")
        self._hosts[host] = now
        attempt = secrets.token_bytes(ATTEMPT_BYTES)
        self._under_way[attempt] = (host, now)
        return attempt, self._code

    def drop(self, attempt: bytes) -> None:
        """End an attempt that was none."""
        self._under_way.pop(attempt, None)

    def is_under_way(self, attempt: bytes) -> bool:
        """Whether a proof may still come for this attempt."""
        return attempt in self._under_way

    def take(self, attempt: bytes, now: float) -> None:
        """End an attempt, because its proof has come. NotAdmitted when it is over already: too late, or made with a
        code that is not good any more."""
        _, begun = self._under_way.pop(attempt, ("", now - ATTEMPT_S))
        if now - begun >= ATTEMPT_S:
            raise NotAdmitted("this attempt to join is over", hint="type the code that roost start shows now")

    def wrong(self, now: float) -> NotAdmitted:
        """A proof was wrong: the code is over. What to tell the joiner."""
        if now - self._wrong_at >= FORGIVEN_S:
            self._wrong = 0
        self._wrong += 1
        self._wrong_at = now
        self._opens_at = now + min(PAUSE_MAX_S, PAUSE_S * 2 ** min(self._wrong - 1, 10))
        self.renew(now)
        return NotAdmitted(
            "this is not the join code that is shown now; each can be tried once, so another is shown next",
            hint="type the code that roost start shows now",
        )
