"""The index of one disk's objects, in memory: which are here, how long, how well known, and which must stay.

Nothing here looks at the disk. About 150 bytes of memory an object.
"""

import collections
from collections.abc import Iterable

from roost.chunks.layout import Listing
from roost.core.errors import NotFound
from roost.core.ids import ObjectId
from roost.core.runtime import Runtime

RESERVED_S = 3600.0


class ObjectIndex:
    """The objects that are durable on a disk. A reservation lasts `reserved_s` of running time."""

    def __init__(self, runtime: Runtime, *, reserved_s: float = RESERVED_S) -> None:
        self.bytes_used = 0
        self._runtime = runtime
        self._reserved_s = reserved_s
        self._sizes: dict[ObjectId, int] = {}
        self._verified: dict[ObjectId, int] = {}
        self._suspect: set[ObjectId] = set()
        self._reserved: collections.OrderedDict[ObjectId, float] = collections.OrderedDict()

    def __contains__(self, object_id: ObjectId) -> bool:
        return object_id in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def ids(self) -> list[ObjectId]:
        """What is here, in no order."""
        return list(self._sizes)

    def suspects(self) -> list[ObjectId]:
        """What does not count until it is read well or put again, in no order."""
        return list(self._suspect)

    def get(self, object_id: ObjectId) -> int | None:
        """The object's length; None when it is not here."""
        return self._sizes.get(object_id)

    def size(self, object_id: ObjectId) -> int:
        """The object's length; NotFound when it is not here."""
        size = self._sizes.get(object_id)
        if size is None:
            raise NotFound(f"object {object_id.hex()} is not on this disk")
        return size

    def load(self, listing: Listing) -> None:
        """Take in what was found at a start."""
        self._sizes |= listing.sizes
        self._verified |= listing.verified
        self.bytes_used += sum(listing.sizes.values())

    def add(self, object_id: ObjectId, size: int) -> None:
        """The object has become durable: it is here, beyond doubt, and reserved."""
        self.forget(object_id)
        self._sizes[object_id] = size
        self._verified[object_id] = self.wall()
        self.bytes_used += size
        self.reserve([object_id])

    def forget(self, object_id: ObjectId) -> None:
        """The object is not here any more."""
        self.bytes_used -= self._sizes.pop(object_id, 0)
        self._verified.pop(object_id, None)
        self._suspect.discard(object_id)
        self._reserved.pop(object_id, None)

    def usable(self, object_id: ObjectId) -> bool:
        """Whether the object is here and not doubted."""
        return object_id in self._sizes and object_id not in self._suspect

    def doubted(self, object_id: ObjectId) -> bool:
        """Whether the object is here and does not count."""
        return object_id in self._suspect

    def doubt(self, object_id: ObjectId) -> None:
        """The object's file looked bad: it does not count until it is read well or put again."""
        if object_id in self._sizes:
            self._suspect.add(object_id)

    def trust(self, object_id: ObjectId) -> None:
        """The object was read and is good, or its file is another one now."""
        self._suspect.discard(object_id)

    def verified(self, object_id: ObjectId) -> int:
        """When the object was last known good (Unix seconds by this machine's clock); 0 when it is not here."""
        return self._verified.get(object_id, 0) if object_id not in self._suspect else 0

    def note_verified(self, object_id: ObjectId, at: int) -> None:
        """The object was read back at `at` (as `wall` says) and is good."""
        if object_id in self._sizes:
            self._verified[object_id] = at

    def wall(self) -> int:
        """The time as `verified` tells it, never 0."""
        return max(1, int(self._runtime.wall()))

    def is_reserved(self, object_id: ObjectId) -> bool:
        """Whether a reservation of the object lasts."""
        expiry = self._reserved.get(object_id)
        return expiry is not None and expiry > self._runtime.now()

    def reserve(self, ids: Iterable[ObjectId]) -> None:
        """Keep these, which are here, from now on for as long as reservations last; forget those that have expired."""
        now = self._runtime.now()
        for object_id in ids:
            self._reserved[object_id] = now + self._reserved_s
            self._reserved.move_to_end(object_id)
        while self._reserved and next(iter(self._reserved.values())) <= now:
            self._reserved.popitem(last=False)
