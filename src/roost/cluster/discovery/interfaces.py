"""This machine's own addresses: those at which it can be found, and those at which all of a network hear it."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

import ifaddr

from roost.core.cluster import Address

ANY = ("0.0.0.0", "::")  # noqa: S104  # compared with, never bound here


def own_addresses(bound: Address, *, interfaces: Callable[[], list[str]] | None = None) -> list[Address]:
    """The addresses to tell others when listening at `bound`: itself, or those of all interfaces when it is the
    wildcard. Loopback comes along for peers on this machine; link-local addresses need a scope and are left out."""
    if bound.host not in ANY:
        return [bound]
    found = [host for host in (interfaces or interface_hosts)() if not host.lower().startswith(("fe80", "169.254."))]
    if bound.host == "0.0.0.0":  # noqa: S104
        found = [host for host in found if ":" not in host]
    return [Address(host, bound.port) for host in sorted(set(found))]


def interface_hosts() -> list[str]:
    """The IP addresses of this machine's interfaces, loopback included."""
    return [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for adapter in ifaddr.get_adapters() for ip in adapter.ips]


@dataclass(frozen=True, slots=True, order=True)
class Interface:
    """One IPv4 address of this machine, and the broadcast address of its network; empty where there is none (a tunnel
    to one other machine)."""

    host: str
    broadcast: str


def interfaces_of(bound_host: str) -> tuple[Interface, ...]:
    """The networks on which somebody who listens at `bound_host` can be found, by IPv4: all of this machine's but
    loopback when it is the wildcard, else the one that it is an address of (loopback too: who listens there alone is
    sought there alone)."""
    found: set[Interface] = set()
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if not isinstance(ip.ip, str):
                continue
            address = ipaddress.IPv4Interface(f"{ip.ip}/{ip.network_prefix}")
            wanted = not address.is_loopback if bound_host in ANY else ip.ip == bound_host
            if wanted:
                several = address.network.prefixlen < 31  # RFC 3021
                found.add(Interface(ip.ip, str(address.network.broadcast_address) if several else ""))
    return tuple(sorted(found))
