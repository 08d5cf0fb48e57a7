"""The addresses that a machine tells others."""

import pytest

from roost.cluster.discovery.interfaces import interface_hosts, own_addresses
from roost.core.cluster import Address

OF_NO_USE = ["fe80::1", "FE80::2", "169.254.9.9"]
HOSTS = ["127.0.0.1", "::1", "192.168.1.20", "192.168.1.20", *OF_NO_USE, "2001:db8::7", "10.1.1.1"]


@pytest.mark.parametrize(
    ("bound", "told"),
    [
        (Address("192.168.1.20", 7400), ["192.168.1.20:7400"]),
        (Address("127.0.0.1", 1), ["127.0.0.1:1"]),
        (Address("0.0.0.0", 7400), ["10.1.1.1:7400", "127.0.0.1:7400", "192.168.1.20:7400"]),
        (
            Address("::", 5),
            ["10.1.1.1:5", "127.0.0.1:5", "192.168.1.20:5", "[2001:db8::7]:5", "[::1]:5"],
        ),
    ],
    ids=str,
)
def test_what_is_told_of_where_we_listen(bound: Address, told: list[str]) -> None:
    assert [str(address) for address in own_addresses(bound, interfaces=lambda: HOSTS)] == told


def test_this_machine_has_a_loopback_address() -> None:
    assert "127.0.0.1" in interface_hosts()
    assert Address("127.0.0.1", 9) in own_addresses(Address("0.0.0.0", 9))
