"""A peer that does not keep to the protocol: it passes the TLS handshake, then sends whatever bytes a test wants.

Written with blocking sockets and the frame format alone, so that nothing of ours keeps it from being rude.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from roost.client.session import hello_of
from roost.disk.posix import PosixDisk
from roost.security.identity import Identity
from roost.security.tls import client_context, joiner_context
from roost.wire.frames import HEADER_BYTES, Kind, pack_header, unpack_header
from roost.wire.messages import AnyRequest

LIMIT_S = 10.0
SLICE_BYTES = 256 * 1024


@dataclass
class Rude:
    """One connection after its handshake."""

    stream: ssl.SSLSocket

    def send(self, data: bytes) -> None:
        self.stream.sendall(data)

    def frame(self, kind: int, request_id: int, payload: bytes, *, length: int | None = None) -> None:
        """Send one frame, whose header may lie about its length."""
        header = bytes([kind, 0, 0, 0]) + request_id.to_bytes(4, "big")
        self.send(header + (len(payload) if length is None else length).to_bytes(4, "big") + payload)

    def greet(self, cluster: bytes) -> None:
        self.frame(Kind.HELLO, 0, msgspec.msgpack.encode(hello_of(cluster)))

    def request(self, request: AnyRequest, *, number: int = 1) -> None:
        payload = msgspec.msgpack.encode(request)
        self.send(pack_header(Kind.REQUEST, number, len(payload)) + payload)

    def body(self, data: bytes, *, number: int = 1, whole: bool = True) -> None:
        for begin in range(0, len(data), SLICE_BYTES):
            self.frame(Kind.DATA, number, data[begin : begin + SLICE_BYTES])
        if whole:
            self.frame(Kind.END, number, b"")

    def answer(self) -> tuple[Kind, dict[str, Any]]:
        """The next frame that is no greeting and no *busy*; its payload, if it is a message."""
        while True:
            header = unpack_header(self._receive(HEADER_BYTES))
            payload = self._receive(header.length)
            if header.kind in (Kind.ANSWER, Kind.ERROR):
                found = msgspec.msgpack.decode(payload)
                return header.kind, found[0] if isinstance(found, list) else found
            if header.kind not in (Kind.HELLO, Kind.BUSY):
                return header.kind, {}

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.stream.recv(count - len(data))
            if not more:
                raise ConnectionResetError("the node has hung up")
            data += more
        return data

    def is_dropped(self) -> bool:
        """Whether the node hangs up within 10 s, whatever it says before."""
        try:
            while self.stream.recv(SLICE_BYTES):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Hang up at once, in the middle of whatever there is."""
        self.stream.close()


@dataclass
class Stranger:
    """Who connects. Without an identity, one that asks to be admitted."""

    identity: Identity | None

    @classmethod
    def of(cls, home: Path) -> "Stranger":
        """A member whose home this is."""
        return cls(Identity.load(PosixDisk(home)))

    def connect(self, address: tuple[str, int]) -> Rude:
        """Connect and shake hands."""
        context = client_context(self.identity) if self.identity else joiner_context()
        raw = socket.create_connection(address, timeout=LIMIT_S)
        try:
            return Rude(context.wrap_socket(raw))
        except BaseException:
            raw.close()
            raise

    @contextmanager
    def connected(self, address: tuple[str, int], *, greeted: bool = True) -> Iterator[Rude]:
        """A connection for a while, greeted as the protocol asks unless the test wants to be rude from the start."""
        rude = self.connect(address)
        try:
            if greeted:
                rude.greet(self.identity.cluster_hash if self.identity else b"")
            yield rude
        finally:
            rude.close()
