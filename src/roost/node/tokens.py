"""Join tokens as the command line makes and ends them, beside a running coordinator or without one."""

import datetime

from roost.client.run_state import read_run_state
from roost.cluster.discovery.interfaces import own_addresses
from roost.core.cluster import Address
from roost.core.errors import Failed, NotAdmitted, NotFound
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.security.authority import Authority
from roost.security.token import Token, TokenBook
from roost.settings.paths import Home
from roost.settings.schema import Settings

ADDRESSES_MAX = 16


async def create_token(home: Home, settings: Settings, *, ttl_s: float, uses: int | None) -> tuple[str, str]:
    """A new token and when it ends (RFC 3339). NotAdmitted where the authority's key is not, for only it admits; Failed
    where it cannot be said yet at which port joiners will be answered."""
    runtime = SystemRuntime()

    def make() -> tuple[str, str]:
        disk = PosixDisk(home.root)
        authority = load_authority(disk)
        now = runtime.wall()
        state = read_run_state(disk, home)
        bound = Address.parse(state.address) if state else settings.node.listen
        if not bound.port:
            raise Failed(
                "nothing has ever run in this home, and node.listen leaves its port open, so the token could not say "
                "where to join",
                hint="run roost start once, or give node.listen a port",
            )
        secret = TokenBook(disk).create(ttl_s=ttl_s, uses=uses, now=now)
        addresses = sorted(own_addresses(bound), key=lambda a: (a.is_loopback, a))
        token = Token(authority=authority.cluster_hash, secret=secret, addresses=tuple(addresses[:ADDRESSES_MAX]))
        ends = datetime.datetime.fromtimestamp(now + ttl_s, datetime.UTC)
        return token.format(), ends.strftime("%Y-%m-%dT%H:%M:%SZ")

    return await runtime.in_thread(make)


def load_authority(disk: PosixDisk) -> Authority:
    """The authority in a home; NotAdmitted says what to do where there is none."""
    try:
        return Authority.load(disk)
    except NotFound as error:
        raise NotAdmitted(
            "this machine does not hold the cluster's authority, so it cannot admit others",
            hint="run this where roost start made the cluster, or become able to here with: roost recover CODE",
        ) from error


def revoke_tokens(home: Home) -> int:
    """End all tokens; how many were valid."""
    disk = PosixDisk(home.root)
    load_authority(disk)
    return TokenBook(disk).revoke_all(now=SystemRuntime().wall())
