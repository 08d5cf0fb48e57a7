"""Who is in a cluster, as values: addresses, members, and the view that is the fold of the member records."""

import enum
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from roost.core.errors import UsageError
from roost.core.ids import MachineId, NodeId


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """One TCP address. `host` is an IP literal (or a name that a person configured)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """``HOST:PORT`` or ``[IPV6]:PORT``; UsageError for anything else."""
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
            raise UsageError(f"not an address: {text[:120]!r}", hint="write HOST:PORT, for example 192.168.1.20:7400")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class NodeState(enum.StrEnum):
    """How a node stands in the cluster, as `nodes` prints it."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    DOWN = "down"
    DRAINING = "draining"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the cluster as its newest member record tells. `capacity` is in bytes, rounded so that it rarely
    changes; `storage` is False for machines that only store and gather from here; what a `draining` one keeps moves to
    the others."""

    node_id: NodeId
    name: str
    machine: MachineId
    capacity: int
    addresses: tuple[Address, ...]
    storage: bool
    fingerprint: bytes
    draining: bool = False


@dataclass(frozen=True)
class View:
    """The members of a cluster, sorted by node id; `left` are those that were drained and are none any more.

    What follows from them is worked out once: placement asks for it several times an object.
    """

    members: tuple[Member, ...]
    left: tuple[Member, ...] = ()

    @cached_property
    def storage(self) -> tuple[Member, ...]:
        return tuple(m for m in self.members if m.storage)

    @cached_property
    def keepers(self) -> tuple[Member, ...]:
        """The storage members that are given things to keep: all that are not draining."""
        return tuple(m for m in self.members if m.storage and not m.draining)

    @cached_property
    def single_machine(self) -> bool:
        """Whether all storage is on one machine, so that copies are counted by node."""
        return len({m.machine for m in self.storage}) <= 1

    def member(self, node_id: NodeId) -> Member | None:
        return self._by_id.get(node_id)

    def domain_of(self, node_id: NodeId) -> str:
        """What is lost together with this node: its machine, or the node alone when all share one machine."""
        member = self._by_id.get(node_id)
        if member is None or self.single_machine:
            return str(node_id)
        return str(member.machine)

    @cached_property
    def _by_id(self) -> Mapping[NodeId, Member]:
        return {member.node_id: member for member in self.members}
