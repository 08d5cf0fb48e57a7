"""What we damaged on the disks of nodes and is not whole again: the losses that nobody but us is to blame for."""

import asyncio
from dataclasses import dataclass, field

from roost.codec.records import record_id
from roost.core.ids import object_id
from roost.testing.cluster import SimNode
from roost.testing.disk import Operation
from sim.disks import durable_on, file_on, object_at, record_at

Key = tuple[int, bytes]
"""The number of a node, and the id of an object or a record."""


@dataclass(slots=True)
class Damage:
    """The objects and records that hold other bytes than were written to them, or did when they were last seen. One is
    whole again once good bytes are durable in its place; what is lost after that is no more of our doing."""

    _hit: dict[Key, str] = field(default_factory=dict)
    """Where each is."""
    _aside: dict[Key, float] = field(default_factory=dict)
    """When the node found one out, and moved it away."""
    _mending: set[Key] = field(default_factory=set)

    def happens(self, node: SimNode, path: str) -> None:
        """A file on the node's disk holds other bytes than were written to it."""
        found = object_at(path) or record_at(path)
        if found is not None:
            self._hit[node.number, found] = path
            self._aside.pop((node.number, found), None)

    def watch(self, node: SimNode, operation: Operation) -> None:
        """The node is about to change its disk."""
        self._see(node)
        if operation.what != "rename":
            return
        back = object_at(operation.target) or record_at(operation.target)
        if back is not None and (node.number, back) in self._hit:
            self._mending.add((node.number, back))
        away = object_at(operation.path) or record_at(operation.path)
        if away is not None and (node.number, away) in self._hit:
            self._aside[node.number, away] = asyncio.get_running_loop().time()

    def hit(self, node: SimNode, what: bytes) -> bool:
        """Whether it was damaged there and is not whole again."""
        self._see(node)
        return (node.number, what) in self._hit

    def of_record(self, node: SimNode, digits: str) -> bool:
        """Whether a record whose id begins so was damaged there and is not whole again."""
        self._see(node)
        return any(number == node.number and what.hex().startswith(digits) for number, what in self._hit)

    def excuses(self, node: SimNode, what: bytes, *, since: float) -> bool:
        """Whether we are to blame when it is not there: the node did not find out before `since`, or cannot know,
        because a power cut brought the file back."""
        if not self.hit(node, what):
            return False
        aside = self._aside.get((node.number, what))
        return aside is None or aside >= since or file_on(node.disk, self._hit[node.number, what]) is not None

    def _see(self, node: SimNode) -> None:
        """Note what has become whole again."""
        for key in [key for key in self._mending if key[0] == node.number]:
            data = durable_on(node, self._hit[key])
            if data is not None and key[1] in (object_id(data), record_id(data)):
                del self._hit[key]
                self._mending.discard(key)
                self._aside.pop(key, None)
