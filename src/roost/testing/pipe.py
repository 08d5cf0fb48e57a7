"""One simulated stream: two ends, and a pipe for each direction that delays, splits, holds and breaks like TCP."""

import asyncio
import enum
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, TypeVar

from roost.core.cluster import Address
from roost.core.errors import RoostError, Unreachable
from roost.net.stream import Ends, Peer

if TYPE_CHECKING:
    from roost.testing.network import SimHost, SimNetwork

T = TypeVar("T")

WINDOW_BYTES = 1024 * 1024
"""What a pipe holds: under way, and arrived but not read."""
ROOM_BYTES_MIN = WINDOW_BYTES // 4
"""A sender who was held waits for so much room, lest bytes trickle in ever smaller pieces (RFC 9293, 3.8.6.2.1)."""
CLOSE_LIMIT_S = 1.0
SPLIT_DELAY_MAX_S = 0.000_2


class Waiters:
    """Tasks that wait for something to change."""

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Return when somebody says that something changed."""
        future = asyncio.get_running_loop().create_future()
        self._futures.append(future)
        try:
            await future
        finally:
            if future in self._futures:
                self._futures.remove(future)

    def notify(self) -> None:
        for future in self._futures:
            if not future.done():
                future.set_result(None)
        self._futures.clear()


class Sign(enum.Enum):
    """What a pipe carries beside bytes."""

    END = enum.auto()
    RESET = enum.auto()


class Pipe:
    """One direction of a stream. `SimStream` sets the two ends."""

    sender: "SimStream"
    receiver: "SimStream"

    def __init__(self, world: "SimNetwork", source: "SimHost", target: "SimHost") -> None:
        self.source = source
        self.target = target
        self.waiting = 0
        """Bytes that count against the window."""
        self.under_way: deque[tuple[float, memoryview | Sign]] = deque()
        self._broken = False
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._acknowledged = 0

    @property
    def is_done(self) -> bool:
        """Whether nobody is left to whom anything could happen here."""
        return self.sender.is_over and self.receiver.is_over and (not self.under_way or self.target.dead)

    @property
    def room(self) -> int:
        return WINDOW_BYTES - self.waiting

    def put(self, what: memoryview | Sign) -> None:
        size = len(what) if isinstance(what, memoryview) else 0
        self.waiting += size
        last = self.under_way[-1][0] if self.under_way else 0.0
        self.under_way.append((max(last, self._world.arrival(self.source, self.target, size)), what))
        self.resume()

    def reset(self, *, after_s: float = 0.0) -> None:
        """Throw away what is under way, and break the receiver when the news arrives."""
        if self._broken:
            return
        self.under_way.clear()
        self.under_way.append((self._loop.time() + after_s + self._world.delay(self.source, self.target), Sign.RESET))
        self._stop()
        self.resume()

    def read(self, size: int) -> None:
        """The receiver took `size` bytes: the sender may send as many once it hears of it."""
        self._acknowledged += size
        self._acknowledge()

    def resume(self) -> None:
        """Go on if nothing is in the way."""
        self._acknowledge()
        if self._timer is None and self.under_way and self._world.passes(self.source, self.target):
            self._timer = self._loop.call_at(max(self._loop.time(), self.under_way[0][0]), self._arrive)

    def _acknowledge(self) -> None:
        if self._acknowledged and self._world.passes(self.target, self.source):
            self.waiting -= self._acknowledged
            self._acknowledged = 0
            self.sender.changed.notify()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arrive(self) -> None:
        self._timer = None
        if not self._world.passes(self.source, self.target):
            return
        if self.target.dead and self.target.silent and not self.target.forgotten:
            return  # nobody is there to acknowledge or to object
        _, what = self.under_way.popleft()
        if isinstance(what, Sign):
            self._sign(what)
        elif self.receiver.is_over:
            self.receiver.object()
        else:
            self.receiver.arrive(self._part(what))
        self.sender.changed.notify()
        self.resume()

    def _part(self, data: memoryview) -> memoryview:
        """All of `data`, or the first part of it while the rest comes a moment later."""
        rng = self._world.rng
        if len(data) < 2 or rng.random() < 0.5:
            return data
        first = rng.randrange(1, len(data))
        self.under_way.appendleft((self._loop.time() + rng.random() * SPLIT_DELAY_MAX_S, data[first:]))
        return data[:first]

    def _sign(self, sign: Sign) -> None:
        if sign is Sign.END:
            self.receiver.end()
        else:
            self._broken = True
            self.under_way.clear()
            self.receiver.die(Unreachable(f"{self.receiver.peer.address} broke the connection"), reset_after_s=None)


class SimStream:
    """One end of a simulated stream."""

    def __init__(self, peer: Peer, local: Address, *, incoming: Pipe, outgoing: Pipe) -> None:
        incoming.receiver = self
        outgoing.sender = self
        self.changed = Waiters()
        self._peer = peer
        self._local = local
        self._in = incoming
        self._out = outgoing
        self._host = outgoing.source
        self._arrived: deque[memoryview] = deque()
        self._ended = False
        self._lingering = False
        self._sending = asyncio.Lock()
        self._error: RoostError | None = None
        self._received = 0
        self._sent = 0

    @property
    def peer(self) -> Peer:
        return self._peer

    @property
    def local(self) -> Address:
        return self._local

    @property
    def bytes_received(self) -> int:
        return self._received

    @property
    def bytes_sent(self) -> int:
        return self._sent

    @property
    def is_over(self) -> bool:
        return self._error is not None and not self._lingering

    async def receive_exactly(self, into: memoryview) -> None:
        filled, wanted = 0, into.nbytes
        await self._running()
        while filled < wanted:
            if not self._arrived:
                if self._ended:
                    self.die(Unreachable(f"{self._peer.address} ended the connection"), reset_after_s=0.0)
                else:
                    await self.changed.wait()
                await self._running()
                continue
            part = self._arrived.popleft()
            taken = min(len(part), wanted - filled)
            into[filled : filled + taken] = part[:taken]
            if taken < len(part):
                self._arrived.appendleft(part[taken:])
            filled += taken
            self._received += taken
            self._in.read(taken)

    async def send(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        async with self._sending:
            await self._running()
            for buffer in buffers:
                await self._put(memoryview(bytes(buffer)))  # the caller may reuse its buffer, the network may be late

    async def carry(self, job: Callable[[Ends], Coroutine[object, object, T]]) -> T:
        try:
            return await job(self)
        except asyncio.CancelledError:
            self.abort()
            raise

    async def _put(self, view: memoryview) -> None:
        while view:
            while self._out.room < min(len(view), ROOM_BYTES_MIN):
                await self.changed.wait()
                await self._running()
            size = min(len(view), self._out.room)
            self._out.put(view[:size])
            self._sent += size
            view = view[size:]

    def abort(self) -> None:
        self.die(Unreachable(f"the connection with {self._peer.address} was broken off here"), reset_after_s=0.0)

    async def close(self) -> None:
        if self._error is not None:
            return
        ended = Unreachable(f"the connection with {self._peer.address} was closed here")
        try:
            async with asyncio.timeout(CLOSE_LIMIT_S), self._sending:
                if self._error is None:
                    await self._linger(ended)
        except TimeoutError:
            pass
        finally:
            self._lingering = False
            if self._error is None:  # a send was under way for all that time
                self.die(ended, reset_after_s=0.0)

    async def _linger(self, ended: RoostError) -> None:
        """End our side and wait for theirs; what still comes is thrown away."""
        self._error = ended
        self._lingering = True
        self._in.read(sum(len(part) for part in self._arrived))
        self._arrived.clear()
        self._out.put(Sign.END)
        self.changed.notify()
        while not self._ended:
            await self.changed.wait()

    async def _running(self) -> None:
        if self._host.frozen or self._host.dead:
            await self._host.thawed()
        if self._error is not None:
            raise type(self._error)(self._error.message, hint=self._error.hint)

    def arrive(self, data: memoryview) -> None:
        if self._lingering:
            self._in.read(len(data))
            return
        self._arrived.append(data)
        self.changed.notify()

    def end(self) -> None:
        """The other end sends no more."""
        self._ended = True
        self.changed.notify()

    def object(self) -> None:
        """Bytes came for an end that is over."""
        self._out.reset()

    def die(self, error: RoostError, *, reset_after_s: float | None) -> None:
        """Break this end, and the other one too when it hears of it; None: it does not."""
        if self.is_over:
            return
        self._error = self._error or error
        self._lingering = False
        self._ended = True
        self._arrived.clear()
        self.changed.notify()
        if reset_after_s is not None:
            self._out.reset(after_s=reset_after_s)
