"""Real members of one cluster whose keys, certificates and so ids are the same in every run."""

import functools
import hashlib
import itertools
from dataclasses import replace
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from roost.core.ids import MachineId
from roost.security.authority import Authority, _authority_certificate
from roost.security.identity import Identity, NodeKey


def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"simulated {name}".encode()).digest())


@functools.cache
def _members(count: int) -> tuple[Identity, ...]:
    """Ed25519 signs without chance; the only chance in a certificate is its serial number, which we count here."""
    with mock.patch.object(x509, "random_serial_number", side_effect=itertools.count(1)):
        authority = Authority(_key("authority"), _authority_certificate(_key("authority"), "sim"))
        return tuple(
            Identity.found(authority, NodeKey(_key(f"member {number}")), machine=MachineId("0" * 32))
            for number in range(count)
        )


def member(number: int, *, machine: int) -> Identity:
    """Member `number` (0 to 15) on machine `machine`."""
    return replace(_members(16)[number], machine=MachineId(f"{machine:032x}"))
