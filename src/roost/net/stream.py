"""The ports of the network: a `Stream` of bytes to one authenticated peer, and the `Network` that dials and listens.

They are asynchronous and coarse, so that the simulator runs the code above them unchanged. An implementation must keep
the promises written here; `tests/contract/test_stream.py` holds every one of them to it.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from roost.core.cluster import Address
from roost.core.ids import NodeId

T = TypeVar("T")

SLICE_BYTES = 512 * 1024
"""What is handed to a stream or a disk at a time; large enough to be cheap, small enough that a deadline covers it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. `node_id` and `fingerprint` (SHA-256 of the certificate) are proved by the handshake;
    both are None for a joiner, who has no certificate yet. `authority` is what a joiner checks the server with."""

    node_id: NodeId | None
    fingerprint: bytes | None
    address: Address
    certificate: bytes | None = None


class Ends(Protocol):
    """The two ends of a stream, for whoever moves bytes."""

    async def receive_exactly(self, into: memoryview) -> None:
        """Fill `into`. Raises Unreachable when the stream ends or breaks first. After a cancellation the stream is
        unusable: close it."""
        ...

    async def send(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send all bytes of `buffers` in order; returns when they may be reused and no more than about 1 MiB waits
        unsent, so that a slow peer slows its sender. Raises Unreachable when the stream broke. After a cancellation
        the stream is unusable: close it."""
        ...


class Stream(Ends, Protocol):
    """An authenticated, ordered, reliable stream of bytes. One task may receive while another sends."""

    @property
    def peer(self) -> Peer: ...

    @property
    def local(self) -> Address:
        """This end's address."""
        ...

    @property
    def bytes_received(self) -> int:
        """Bytes that have arrived so far, also part of an unfinished `receive_exactly`: the sign of life."""
        ...

    @property
    def bytes_sent(self) -> int:
        """Bytes accepted by `send` so far and handed to the network."""
        ...

    async def carry(self, job: Callable[[Ends], Coroutine[object, object, T]]) -> T:
        """Run `job`, which moves many slices, with ends that it alone uses for its direction, and return what it
        returns: in a thread, where there are threads. It may wait for nothing but those ends and `Runtime.in_thread`.
        A cancellation breaks the stream, and is raised when the job has ended."""
        ...

    def abort(self) -> None:
        """Break the stream now, without waiting. Pending and later calls at both ends raise Unreachable. Idempotent."""
        ...

    async def close(self) -> None:
        """Send what waits (for at most a second), then end the stream. Idempotent."""
        ...


class Listener(Protocol):
    """A place where peers are accepted."""

    @property
    def address(self) -> Address:
        """The address really bound (its port is never 0)."""
        ...

    async def close(self) -> None:
        """Accept no more. Streams already accepted live on."""
        ...


Accepted = Callable[[Stream], Awaitable[None]]


class Network(Protocol):
    """Dials and listens with this machine's identity."""

    async def connect(self, address: Address, *, expect: NodeId | None, timeout_s: float = 5.0) -> Stream:
        """A stream to the member at `address`, its certificate checked; with `expect`, that very member.

        Raises Unreachable (nobody there, or not within `timeout_s`, or another member than expected) or NotAdmitted
        (a certificate of no or another authority, ours or theirs).
        """
        ...

    async def listen(self, address: Address, accepted: Accepted) -> Listener:
        """Call `accepted` in a task of its own for each peer whose handshake succeeded. Port 0 means a free one.

        Raises Busy when the port is taken. Before the handshake is done a peer costs a bounded few KiB and at most
        5 seconds, and at most 64 of them are waited for at once.
        """
        ...
