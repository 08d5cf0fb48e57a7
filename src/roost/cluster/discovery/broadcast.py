"""UDP broadcast on port 7400, where multicast is blocked: whoever serves says so, and whoever seeks asks.

An answer goes to the one who asked, is not longer than the question, and at most so many go out a second; so nobody can
be flooded through us.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from roost.cluster.discovery.interfaces import Interface
from roost.cluster.discovery.sightings import (
    ANY_CLUSTER,
    Advert,
    Sighting,
    Way,
    pack_advert,
    pack_question,
    read_advert,
    read_question,
)
from roost.core.cluster import Address
from roost.core.errors import Unreachable

PORT = 7400
ANSWERS_A_SECOND = 50
PACKET_BYTES_MAX = 1024


class Broadcast(asyncio.DatagramProtocol):
    """The sockets of one process: one to ask from, and one on the port that all know, if it serves. `saw` hears of
    everybody that is seen."""

    def __init__(self, saw: Callable[[Sighting], None], now: Callable[[], float]) -> None:
        self._saw = saw
        self._now = now
        self._interfaces: Sequence[Interface] = ()
        self._advert: Advert | None = None
        self._asking: asyncio.DatagramTransport | None = None
        self._listening: asyncio.DatagramTransport | None = None
        self._answered: list[float] = []
        self.problem = ""
        """Why the last packet could not be sent, in the system's words."""

    async def start(self, interfaces: Sequence[Interface], advert: Advert | None) -> None:
        """Open the sockets. Unreachable when the system does not let us."""
        self._interfaces, self._advert = interfaces, advert
        try:
            self._asking = await self._open(0)
            if advert is not None:
                self._listening = await self._open(PORT)
        except OSError as error:
            self.close()
            raise Unreachable(
                f"broadcast is not possible here: {error.strerror or error}",
                hint=f"another program may have UDP port {PORT}; see: roost doctor",
            ) from error

    async def _open(self, port: int) -> asyncio.DatagramTransport:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if port:
                # All who serve on this machine share the port, and each hears what is broadcast.
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if sys.platform != "linux":
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            opened.bind(("", port))
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=opened)
        except BaseException:
            opened.close()
            raise
        return transport

    def ask(self, cluster: bytes | None) -> None:
        """Ask on every network who is there, of one cluster or of any."""
        self._to_all(pack_question(cluster))

    def announce(self) -> None:
        """Tell every network that we are here, if we serve."""
        if self._advert is not None:
            self._to_all(pack_advert(self._advert))

    def _to_all(self, packet: bytes) -> None:
        self.problem = ""
        for interface in self._interfaces:
            if interface.broadcast and self._asking is not None:
                self._asking.sendto(packet, (interface.broadcast, PORT))

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if len(data) > PACKET_BYTES_MAX:
            return
        cluster = read_question(data)
        if cluster is not None:
            self._answer(cluster, addr)
            return
        advert = read_advert(data)
        if advert is not None and (self._advert is None or advert.node != self._advert.node):
            self._saw(Sighting(advert, (Address(addr[0], advert.port),), Way.BROADCAST))

    def _answer(self, cluster: bytes, addr: tuple[str | Any, int]) -> None:
        advert, now = self._advert, self._now()
        if advert is None or self._asking is None or cluster not in (ANY_CLUSTER, advert.cluster):
            return
        self._answered = [at for at in self._answered if now - at < 1.0]
        if len(self._answered) < ANSWERS_A_SECOND:
            self._answered.append(now)
            self._asking.sendto(pack_advert(advert), addr)

    def error_received(self, exc: Exception) -> None:
        self.problem = getattr(exc, "strerror", None) or str(exc)

    def close(self) -> None:
        """Close the sockets. Idempotent."""
        for transport in (self._asking, self._listening):
            if transport is not None:
                with contextlib.suppress(OSError):
                    transport.close()
        self._asking = self._listening = None
