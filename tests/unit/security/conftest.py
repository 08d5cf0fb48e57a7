"""A cluster's authority and identities to test with."""

from collections.abc import Callable
from pathlib import Path

import pytest

from roost.core.ids import MachineId
from roost.disk.posix import PosixDisk
from roost.security.authority import Authority
from roost.security.identity import Identity, NodeKey

MACHINE = MachineId("5" * 32)


def member_of(authority: Authority) -> Identity:
    return Identity.found(authority, NodeKey.create(), machine=MACHINE)


def encoded_anew(authority: Authority, key: NodeKey) -> bytes:
    """A certificate for `key` whose signature claims an unused bit: signed all the same, but with another fingerprint.

    It takes a signature that ends in a zero bit; each certificate has another serial number, and so another signature.
    """
    certificate = authority.issue(key.request())
    while certificate[-1] & 1:
        certificate = authority.issue(key.request())
    assert certificate[-67:-64] == b"\x03\x41\x00"
    return certificate[:-65] + b"\x01" + certificate[-64:]


@pytest.fixture
def reencode() -> Callable[[Authority, NodeKey], bytes]:
    """See `encoded_anew`."""
    return encoded_anew


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority.create("home")


@pytest.fixture(scope="session")
def stranger_authority() -> Authority:
    """Another cluster's, of the same name."""
    return Authority.create("home")


@pytest.fixture
def admit() -> Callable[[Authority], Identity]:
    """Makes a new member of an authority's cluster."""
    return member_of


@pytest.fixture
def disk(tmp_path: Path) -> PosixDisk:
    return PosixDisk(tmp_path)
