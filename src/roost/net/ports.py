"""TCP ports on this machine: whether one can be bound now, and one that can."""

import socket

from roost.core.cluster import Address


def is_free(address: Address) -> bool:
    """Whether `address` can be listened at now. Somebody may take it before you do."""
    with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError:
            return False
        return True


def free_port(host: str) -> int:
    """A port that can be listened at on `host` now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
