"""Remembered peers: where each node last answered, kept in the home so that nothing else is needed to find them."""

from collections.abc import Iterable

import msgspec

from roost.core.cluster import Address
from roost.core.errors import RoostError
from roost.core.ids import NodeId, parse_node_id
from roost.disk.durable import read_small, write_durably
from roost.disk.port import Disk

FILE_BYTES_MAX = 4 * 1024 * 1024
ADDRESSES_MAX = 8


class Remembered:
    """Addresses by node, the newest first, in ``peers.json``. Only a hint: the certificate decides who is there."""

    PATH = "peers.json"

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._addresses: dict[NodeId, list[Address]] = {}

    def load(self) -> None:
        """Read the file; an absent or damaged one is an empty one, for it is only a hint."""
        try:
            data = read_small(self._disk, self.PATH, bytes_max=FILE_BYTES_MAX)
            found = msgspec.json.decode(data, type=dict[str, list[str]])
            self._addresses = {
                parse_node_id(node): [Address.parse(text) for text in texts] for node, texts in found.items()
            }
        except (RoostError, ValueError):
            self._addresses = {}

    def nodes(self) -> Iterable[NodeId]:
        return sorted(self._addresses)

    def addresses(self, node: NodeId) -> tuple[Address, ...]:
        return tuple(self._addresses.get(node, ()))

    def worked(self, node: NodeId, address: Address) -> None:
        """`node` answered at `address`: remember it first. A home that cannot be written costs only the hint."""
        known = self._addresses.get(node, [])
        if known[:1] == [address]:
            return
        self._addresses[node] = [address, *(a for a in known if a != address)][:ADDRESSES_MAX]
        data = msgspec.json.encode({n: [str(a) for a in many] for n, many in sorted(self._addresses.items())})
        try:
            write_durably(self._disk, self.PATH, data)
        except RoostError:
            return
