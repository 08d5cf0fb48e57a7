"""The authority in a coordinator's home: made in an empty one, sealed under a recovery code, and the homes in which no
coordinator may start.

The recovery code is told once, in an event, and kept nowhere. It is told before the sealed record is durable: a crash
between the two leaves a code that opens nothing, and the next start tells another; the other order could leave a
record whose code nobody has seen.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from roost.checkpoints.catalogue import Catalogue
from roost.client.run_state import read_run_state
from roost.codec.records import SMALL_RECORD_BYTES_MAX, SealedAuthority, encode_record
from roost.core.errors import NotAdmitted, NotFound, RoostError, UsageError
from roost.core.runtime import Runtime
from roost.disk.durable import read_small, write_durably
from roost.disk.posix import PosixDisk
from roost.node.events import Event, Say
from roost.node.node import STORE_ID_PATH
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey, take_machine
from roost.security.recovery import RecoveryCode, seal
from roost.settings.paths import LOCAL_NODES_MAX, Home

SEALED_PATH = "authority/sealed"
"""The sealed record, beside the key that it seals: that it is here says that its code was told."""
AGAIN_S = 2.0

Exchanged = Callable[[], Awaitable[bool]]
"""Exchanges records once; whether all that somebody else may know is known here now."""


def refuse_node_home(disk: PosixDisk, home: Home) -> None:
    """UsageError in the home of a storage node, whose chunks would be out of service while a coordinator has it."""
    if not disk.exists(STORE_ID_PATH):
        return
    state = read_run_state(disk, home)
    where = state.address if state else "HOST:PORT"
    raise UsageError(
        f"{home.root} is the home of a storage node; a coordinator in it would take what it keeps out of service",
        hint=f"run the node with: roost join --home {home.root}    for a coordinator on this machine take another "
        f"home: roost recover CODE --home DIR --at {where}, then roost start --home DIR",
    )


def take_identity(
    disk: PosixDisk, home: Home, cluster_name: str, *, at: int, say: Say
) -> tuple[Authority | None, Identity]:
    """The authority, if its key is here, and this machine's identity; both are made in a home that has neither."""
    try:
        authority: Authority | None = Authority.load(disk)
    except NotFound:
        authority = None
    try:
        return authority, Identity.load(disk)
    except NotAdmitted:
        if authority is None:
            _refuse_orphans(disk, home)
            authority = Authority.create(cluster_name)
            authority.save(disk)
            make_sealed(disk, authority, at=at, say=say, made=True)
        identity = Identity.found(authority, NodeKey.load_or_create(disk), machine=take_machine(disk))
        identity.save(disk)
        return authority, identity


def _refuse_orphans(disk: PosixDisk, home: Home) -> None:
    """UsageError where local nodes of an older cluster are, which a new authority could not let in."""
    for number in range(1, LOCAL_NODES_MAX + 1):
        node = home.node(number)
        if disk.exists(f"{home.relative(node.identity)}/certificate.der"):
            raise UsageError(
                f"{node.root} holds a node of a cluster, but the identity of {home.root} is gone: a new cluster here "
                "would not know it",
                hint=f"to go on with the old cluster run the node: roost join --home {node.root}, and beside it: roost "
                "recover CODE --at with the address it prints; for a new cluster take another home with --home",
            )


def sealed_anew(authority: Authority, *, at: int) -> tuple[RecoveryCode, bytes]:
    """A new code, and the record that it opens. Blocks."""
    code = RecoveryCode.create()
    return code, encode_record(seal(authority, code, at=at))


def make_sealed(disk: PosixDisk, authority: Authority, *, at: int, say: Say, made: bool) -> bytes:
    """Seal the authority under a new code, tell the code, and keep the record durably; its bytes. Blocks."""
    code, record = sealed_anew(authority, at=at)
    told: dict[str, object] = {"cluster": authority.cluster_name, "recovery_code": code.format()}
    if made:
        say(Event("authority-created", f"made the cluster {authority.cluster_name!r}", told))
    else:
        say(Event("recovery-code", "the cluster's authority had no recovery code, and has one now", told))
    write_durably(disk, SEALED_PATH, record)
    return record


async def keep_sealed(
    runtime: Runtime, disk: PosixDisk, catalogue: Catalogue, *, exchanged: Exchanged, say: Say
) -> None:
    """See to it that the sealed authority is among the records, in a home that holds its key.

    Returns when it is. A cluster whose members know of none gets one, when records were `exchanged` with them.
    """
    try:
        await catalogue.add(await runtime.in_thread(_read, disk))
        return
    except RoostError:
        pass  # absent, or not what we wrote: others have it, or it is made again
    while not await catalogue.of_kind(SealedAuthority):
        if not await exchanged():
            await runtime.sleep(AGAIN_S)
            continue
        if not await catalogue.of_kind(SealedAuthority):
            authority = await runtime.in_thread(Authority.load, disk)
            sealing = partial(make_sealed, disk, authority, at=int(runtime.wall()), say=say, made=False)
            await catalogue.add(await runtime.in_thread(sealing))


def _read(disk: PosixDisk) -> bytes:
    return read_small(disk, SEALED_PATH, bytes_max=SMALL_RECORD_BYTES_MAX)
