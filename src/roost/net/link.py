"""The client's end of one connection: calls that end with an answer, an error, or a stall noticed in seconds."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field

import msgspec

from roost.core.cluster import Address
from roost.core.errors import BY_CODE, Failed, NotAdmitted, ProtocolError, RoostError, Stalled, Unreachable, Unsupported
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.net.body import Body, Sink
from roost.net.channel import Channel
from roost.net.contacts import Contact
from roost.net.stream import Network, Stream
from roost.observe.operation import current_operation
from roost.wire.connection import (
    AnswerReceived,
    BodyEnded,
    BusyReceived,
    Connection,
    DataReceived,
    ErrorReceived,
    Event,
    HelloReceived,
    ProceedReceived,
    Role,
)
from roost.wire.messages import PROTOCOL, PROTOCOL_MIN, AnyAnswer, AnyRequest, Hello, Trouble

CONNECT_LIMIT_S = 5.0
SILENCE_LIMIT_S = 5.0
NO_PROGRESS_LIMIT_S = 30.0
TICK_S = 0.5


def error_of(trouble: Trouble) -> RoostError:
    """The exception that the peer reported, so that callers handle far and near errors alike."""
    return BY_CODE.get(trouble.code, Failed)(trouble.message, hint=trouble.hint)


def trouble_of(error: RoostError) -> Trouble:
    """An error as it travels, cut to what a frame may carry."""

    def clean(text: str) -> str:
        return text[:1000].encode(errors="backslashreplace").decode()[:1000]

    return Trouble(error.code, clean(error.message), clean(error.hint))


@dataclass(slots=True)
class _Pending:
    """One call that has not ended."""

    sink: Sink | None
    outcome: asyncio.Future[AnyAnswer]
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    answer: AnyAnswer | None = None
    progress: int = 0
    idle_ticks: int = 0


class Link:
    """One connection that we dialled. Calls may overlap; the caller decides which links carry bodies.

    A peer that sends nothing for 5 s while a call waits breaks the link with Stalled; one that says *busy* without
    progress for 30 s fails that call with Stalled. Seconds are counted while this process runs, so that a machine
    that slept does not take its peers for dead.
    """

    def __init__(self, runtime: Runtime, stream: Stream, hello: Hello, *, exclusive: bool, admitted: bool) -> None:
        self._runtime = runtime
        self._channel = Channel(stream, Connection(Role.CLIENT, admitted=admitted), carries=exclusive)
        self._hello = hello
        self._exclusive = exclusive
        self._pending: dict[int, _Pending] = {}
        self._error: RoostError | None = None
        self._greeted: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self._work = asyncio.Event()
        self._freed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.contact: Contact | None = None
        """Told of all that comes, once whoever dialled knows the peer for a process that serves."""

    @classmethod
    async def open(
        cls, runtime: Runtime, network: Network, address: Address, *, expect: NodeId | None, hello: Hello,
        exclusive: bool = False, admitted: bool = True,
    ) -> "Link":  # fmt: skip
        """Dial and greet; who is not `admitted` can only join. Raises Unreachable, Stalled (no answer within 5 s),
        NotAdmitted, or Unsupported when no common protocol version exists."""
        link: Link | None = None
        try:
            async with runtime.timeout(CONNECT_LIMIT_S):
                stream = await network.connect(address, expect=expect, timeout_s=2 * CONNECT_LIMIT_S)
                link = cls(runtime, stream, hello, exclusive=exclusive, admitted=admitted)
                await link._greet()
                return link
        except TimeoutError:
            if link is not None:
                link.abort()
            raise Stalled(f"{address} did not answer within {CONNECT_LIMIT_S:.0f} s", hint="see: roost nodes") from None
        except BaseException:
            if link is not None:
                link.abort()
            raise

    async def _greet(self) -> None:
        self._spawn(self._read())
        self._spawn(self._watch())
        await self._channel.send(lambda: self._channel.connection.hello(self._hello))
        theirs = await asyncio.shield(self._greeted)
        if theirs.protocol_min > PROTOCOL or theirs.protocol < PROTOCOL_MIN:
            raise Unsupported(
                f"{self.stream.peer.address} speaks protocol {theirs.protocol_min}-{theirs.protocol}, "
                f"this release {PROTOCOL_MIN}-{PROTOCOL}",
                hint="bring both machines to the same release of roost",
            )
        if self._hello.cluster and theirs.cluster != self._hello.cluster:
            raise NotAdmitted(f"{self.stream.peer.address} belongs to another cluster", hint="see: roost status")

    @property
    def stream(self) -> Stream:
        return self._channel.stream

    @property
    def server_hello(self) -> Hello:
        """What the server said of itself when the connection began."""
        return self._greeted.result()

    @property
    def usable(self) -> bool:
        return self._error is None

    async def call(self, request: AnyRequest, *, body: Body | None = None, sink: Sink | None = None) -> AnyAnswer:
        """Ask, send `body` when the server wants it, take the answer's body into `sink`, and return the answer.

        Raises what the server reports, Unreachable or Stalled. Cancelling an exclusive link breaks it; on a shared one
        the server is told to stop.
        """
        if self._error is not None:
            raise self._error
        operation = current_operation()
        if operation is not None:
            request = msgspec.structs.replace(request, operation=operation)
        pending = _Pending(sink, asyncio.get_running_loop().create_future())
        request_id = await self._ask(request, body, pending)
        try:
            if body is not None:
                await pending.turn.wait()
                if self.usable and self._channel.connection.owes(request_id):
                    await self._send_body(request_id, body)
            return await pending.outcome
        except RoostError:
            raise
        except BaseException:  # cancelled, or the body's producer failed in a way of its own
            self._give_up(request_id)
            raise
        finally:
            self._pending.pop(request_id, None)
            await self._channel.let_go(request_id)

    async def _ask(self, request: AnyRequest, body: Body | None, pending: _Pending) -> int:
        """Send the request as soon as one of the connection's places is free."""
        connection = self._channel.connection
        made: list[int] = []

        def make() -> bytes:
            if not connection.may_request:
                return b""
            request_id, frame = connection.request(request, body_length=body.length if body else None)
            made.append(request_id)
            self._pending[request_id] = pending
            self._work.set()
            return frame

        try:
            while not made:
                await self._channel.send(make)
                if self._error is not None:
                    raise self._error
                if not made:
                    self._freed.clear()
                    await self._freed.wait()
        except BaseException as error:
            if made:
                self._pending.pop(made[0], None)
            if isinstance(error, RoostError) and self._error is not None and error is not self._error:
                raise self._error from error
            raise
        return made[0]

    async def _send_body(self, request_id: int, body: Body) -> None:
        """Stream the body for as long as the server wants it. Once it said PROCEED it is owed an END in any case."""
        connection = self._channel.connection
        trouble: Trouble | None = None
        failed: RoostError | None = None
        try:
            async with body.opened() as slices:
                await self._channel.carry_slices(request_id, slices, length=body.length)
        except RoostError as error:
            if self._error is not None:
                raise self._error from error
            failed, trouble = error, trouble_of(error)
        await self._channel.send(lambda: connection.end(request_id, trouble) if connection.owes(request_id) else b"")
        self._freed.set()
        if failed is not None:
            raise failed

    def _give_up(self, request_id: int) -> None:
        if self._exclusive:
            self.abort()
        elif self._error is None:
            self._spawn(self._send_cancel(request_id))

    async def _send_cancel(self, request_id: int) -> None:
        try:
            await self._channel.send(lambda: self._channel.connection.cancel(request_id))
        except RoostError as error:
            self._break(error)

    async def _read(self) -> None:
        def sink_of(request_id: int) -> Sink | None:
            pending = self._pending.get(request_id)
            return pending.sink if pending else None

        try:
            while True:
                event = await self._channel.next_event(sink_of, self._sink_failed)
                if self._channel.connection.may_request:
                    self._freed.set()  # also by the last frame of a request that was given up, which is no event
                if self.contact is not None:
                    self.contact.heard()
                if event is not None:
                    self._dispatch(event)
        except RoostError as error:
            self._break(error)

    def _sink_failed(self, request_id: int, error: RoostError) -> None:
        pending = self._pending.pop(request_id, None)
        if pending is not None:
            self._settle(pending, error)
            self._give_up(request_id)

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, HelloReceived):
            self._greeted.set_result(event.hello)
            return
        pending = self._pending.get(getattr(event, "request_id", -1))
        if pending is None:
            return
        match event:
            case ProceedReceived():
                pending.turn.set()
            case AnswerReceived(answer=answer, body_length=None):
                self._settle(pending, answer)
            case DataReceived():
                pending.idle_ticks = 0
            case AnswerReceived(answer=answer):
                pending.answer = answer
                pending.idle_ticks = 0
                if pending.sink is None:
                    self._settle(pending, ProtocolError("the peer sent a body that nobody asked for"))
            case BodyEnded(trouble=None):
                assert pending.answer is not None
                self._settle(pending, pending.answer)
            case BodyEnded(trouble=Trouble() as trouble) | ErrorReceived(trouble=trouble):
                self._settle(pending, error_of(trouble))
            case BusyReceived(progress=progress):
                if progress != pending.progress:
                    pending.progress = progress
                    pending.idle_ticks = 0
            case _:
                pass

    @staticmethod
    def _settle(pending: _Pending, outcome: AnyAnswer | RoostError) -> None:
        if not pending.outcome.done():
            if isinstance(outcome, RoostError):
                pending.outcome.set_exception(outcome)
                pending.outcome.exception()  # whoever waited may be gone by now, and that is no news
            else:
                pending.outcome.set_result(outcome)
        pending.turn.set()

    async def _watch(self) -> None:
        """Count ticks of silence and of work without progress, while the server owes us something."""
        heard, silent = -1, 0
        while self._error is None:
            if not self._waits:
                self._work.clear()
                await self._work.wait()
                silent = 0
            await self._runtime.sleep(TICK_S)
            moved, heard = self.stream.bytes_received != heard, self.stream.bytes_received
            silent = 0 if moved or self._channel.holding else silent + 1
            if self._waits and silent * TICK_S >= SILENCE_LIMIT_S:
                self._break(
                    Stalled(
                        f"{self.stream.peer.address} has been silent for {SILENCE_LIMIT_S:.0f} s",
                        hint="see: roost nodes",
                    )
                )
            self._check_progress(moved=moved)

    @property
    def _waits(self) -> bool:
        """Whether the server owes us the end of a request: of one that waits, or of one that was given up."""
        connection = self._channel.connection
        ours = [i for i, pending in self._pending.items() if pending.outcome.done() and connection.owes(i)]
        return connection.open_requests > len(ours)

    def _check_progress(self, *, moved: bool) -> None:
        """`moved` tells whether bytes arrived since the last tick. Those of *busy* itself are no progress, so what
        arrives counts for the request whose body it belongs to."""
        channel = self._channel
        for request_id, pending in list(self._pending.items()):
            receiving = moved and channel.receiving == request_id
            if pending.outcome.done() or receiving or channel.holding:
                pending.idle_ticks = 0
                continue
            pending.idle_ticks += 1
            if pending.idle_ticks * TICK_S >= NO_PROGRESS_LIMIT_S:
                stalled = Stalled(
                    f"{self.stream.peer.address} works without progress for {NO_PROGRESS_LIMIT_S:.0f} s",
                    hint="its disk or its own link may be failing; see: roost status",
                )
                if self._exclusive or channel.connection.owes(request_id):
                    self._break(stalled)  # a body that does not move cannot be ended in order
                    return
                self._pending.pop(request_id)
                self._settle(pending, stalled)
                self._give_up(request_id)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _break(self, error: RoostError) -> None:
        if self._error is None:
            self._error = error
        self._channel.stream.abort()
        if self.contact is not None:
            self.contact.end()
        if not self._greeted.done():
            self._greeted.set_exception(self._error)
            self._greeted.exception()
        for pending in list(self._pending.values()):
            self._settle(pending, self._error)
        self._work.set()
        self._freed.set()
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()

    def abort(self) -> None:
        """Break the link now; its calls raise Unreachable."""
        self._break(self._error or Unreachable(f"the connection to {self.stream.peer.address} was given up"))

    async def close(self) -> None:
        """Break the link and wait for its tasks. Idempotent."""
        self.abort()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
