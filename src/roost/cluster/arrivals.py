"""The records on their way to one record set, so that exchanges with many peers at once fetch each of them once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from roost.core.ids import RecordId

STUCK_S = 0.5
"""Who fetches a record and gets nothing of it for so long is overtaken by whoever waits for it."""
LARGE_BYTES_MIN = 1024 * 1024
LARGE_AT_ONCE = 4
"""A manifest may have 64 MiB, and hundreds of exchanges may run: so few records of more than 1 MiB move at once."""


@dataclass(slots=True, eq=False)
class Arrival:
    """One record on its way. `received` grows with each slice of it; while it is `waiting`, nothing is expected of the
    peer."""

    received: int = 0
    waiting: bool = False
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def stuck(self) -> bool:
        """Wait until it has ended (False) or nothing came for half a second (True)."""
        while not self.ended.done():
            before = self.received
            await asyncio.wait([self.ended], timeout=STUCK_S)
            if not self.ended.done() and not self.waiting and self.received == before:
                return True
        return False


class Arrivals:
    """What is on its way, by id. `large` has a place for each large record that may be in memory."""

    def __init__(self) -> None:
        self._under_way: dict[RecordId, Arrival] = {}
        self.large = asyncio.Semaphore(LARGE_AT_ONCE)

    def __contains__(self, record: object) -> bool:
        return record in self._under_way

    async def turn(self, record: RecordId) -> None:
        """Return when nobody fetches `record`, whether or not it came, or whoever does is stuck. Who goes on to fetch
        it says so, by `begin`, before anything else runs."""
        while (other := self._under_way.get(record)) is not None:
            if await other.stuck() and self._under_way.get(record) is other:
                return

    @contextmanager
    def begin(self, record: RecordId) -> Iterator[Arrival]:
        """While the block runs, `record` is on its way."""
        mine = self._under_way[record] = Arrival()
        try:
            yield mine
        finally:
            mine.ended.set_result(None)
            if self._under_way.get(record) is mine:
                del self._under_way[record]
