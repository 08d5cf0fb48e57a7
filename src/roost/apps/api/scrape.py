"""What `/metrics` answers: the cluster as it is now, asked once for all who scrape at the same time."""

import asyncio
from collections.abc import Callable

from roost import __version__
from roost.node import Inside
from roost.observe.metrics import ClusterMetrics, Peer

FRESH_S = 2.0


class Scrape:
    """The metrics of one coordinator; `now` is in seconds since 1970."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, inside: Inside, now: Callable[[], float]) -> None:
        self._inside = inside
        self._now = now
        self._metrics = ClusterMetrics(__version__)
        self._turn = asyncio.Lock()
        self._set_at = float("-inf")

    async def text(self) -> bytes:
        """In the text format of Prometheus, two seconds old at most."""
        async with self._turn:
            if self._now() - self._set_at > FRESH_S:
                status = await self._inside.cluster.status(ask=False)
                peers = [Peer(node.name, node.state, node.bytes_free, node.bytes_used) for node in status.nodes]
                stored = [told.at for told in self._inside.history.after(0) if told.event.kind == "stored"]
                pending = sum(len(waits) for _, waits in self._inside.pending())
                self._metrics.set(status.by_health, peers, pending=pending, stored_at=stored[-1] if stored else None)
                self._set_at = self._now()
            return self._metrics.text()
