"""Discovery: the addresses at which this machine can be found. (Finding others over mDNS has an issue of its own.)"""

from collections.abc import Callable

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
