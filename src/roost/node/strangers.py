"""What a machine without a certificate may ask of any member: to be admitted with a token, and for the sealed authority
with the proof of the recovery code.

Whoever finds the authority's key in its home admits; a key that `roost recover` has just put there counts at once.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from roost.codec.records import SealedAuthority, decode_record
from roost.core.errors import Busy, Damaged, NotAdmitted, NotFound, Unsupported
from roost.core.runtime import Runtime
from roost.disk.port import Disk
from roost.net.server import Call, Handler, Handlers, Reply
from roost.node.admission import join_handler
from roost.security.authority import Authority
from roost.security.recovery import is_proof, wrong_code
from roost.security.token import TokenBook
from roost.wire.admission import Join, Pair, Prove, Recover, Sealed

ATTEMPT_EVERY_S = 1.0
HOSTS_MAX = 256

Kept = Callable[[], Awaitable[Sequence[bytes]]]
"""The sealed authorities among a member's records, as bytes."""


def stranger_handlers(runtime: Runtime, disk: Disk, kept: Kept) -> Handlers:
    """What a member serves to strangers; `disk` is its home. Where a join code is shown, `admission.Door` serves the
    last two."""
    return {
        Join: _admitting(runtime, disk),
        Recover: recover_handler(Attempts(runtime), kept),
        Pair: _no_code,
        Prove: _no_code,
    }


async def _no_code(call: Call) -> Reply:
    raise Unsupported(
        "no join code is shown on the machine at this address",
        hint="take the address of the one where roost start shows it, or a token: roost token create",
    )


def _admitting(runtime: Runtime, disk: Disk) -> Handler:
    async def join(call: Call) -> Reply:
        try:
            authority = await runtime.in_thread(Authority.load, disk)
        except NotFound:
            raise NotAdmitted(
                "the machine at this address is of this cluster, but does not hold its authority's key, so it admits "
                "nobody",
                hint="give the address of the one that does with --at HOST:PORT, or run there: roost recover CODE",
            ) from None
        return await join_handler(runtime, authority, TokenBook(disk))(call)

    return join


class Attempts:
    """Lets each address ask once a second. At most 256 addresses are remembered, each for one second; while all of
    them are fresh, nobody else is let in, so that the work is bounded too."""

    def __init__(self, runtime: Runtime, *, every_s: float = ATTEMPT_EVERY_S, hosts_max: int = HOSTS_MAX) -> None:
        self._runtime = runtime
        self._every_s = every_s
        self._hosts_max = hosts_max
        self._at: OrderedDict[str, float] = OrderedDict()

    def count(self, host: str) -> None:
        """One attempt from `host`; Busy when it comes too soon."""
        now = self._runtime.now()
        while self._at and now - next(iter(self._at.values())) >= self._every_s:
            self._at.popitem(last=False)
        if host in self._at or len(self._at) >= self._hosts_max:
            raise Busy(f"recovery is tried at most once in {self._every_s:g} s from one address", hint="try again")
        self._at[host] = now


def recover_handler(attempts: Attempts, kept: Kept) -> Handler:
    """Answers the newest sealed authority that the proof is of; every one is compared, each in constant time."""

    async def recover(call: Call) -> Reply:
        assert isinstance(call.request, Recover)
        attempts.count(call.peer.address.host)
        fitting: list[tuple[int, bytes]] = []
        for data in await kept():
            with contextlib.suppress(Damaged, Unsupported):  # one of a newer release, say, is no reason to hide others
                fitting += _fitting(data, call.request.proof)
        if not fitting:
            raise wrong_code()
        return Reply(Sealed(max(fitting)[1]))

    return recover


def _fitting(data: bytes, proof: bytes) -> list[tuple[int, bytes]]:
    record = decode_record(data)
    return [(record.at, data)] if isinstance(record, SealedAuthority) and is_proof(record, proof) else []
