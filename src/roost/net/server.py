"""The server's end of a connection: requests to handlers, *busy* every second, and limits on everything a peer may
hold."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from roost.core.cluster import Address
from roost.core.errors import Failed, NotAdmitted, ProtocolError, Refused, RoostError, Unsupported
from roost.core.runtime import Runtime
from roost.net.account import Account
from roost.net.body import Body, Sink
from roost.net.channel import Channel
from roost.net.contacts import Contact, Contacts
from roost.net.link import error_of, trouble_of
from roost.net.metering import Meter, note_failed, note_moved
from roost.net.stream import Listener, Network, Peer, Stream
from roost.observe.log import get_logger
from roost.observe.operation import within_operation
from roost.wire.connection import (
    BodyEnded,
    CancelReceived,
    Connection,
    DataReceived,
    Event,
    HelloReceived,
    RequestReceived,
    Role,
    UnknownRequest,
)
from roost.wire.messages import AnyAnswer, AnyRequest, Hello

GREETING_LIMIT_S = 5
STRANGER_LIMIT_S = 30
"""How long a connection of a joiner lives, or of who is refused: enough for the one request that it may make."""
IDLE_LIMIT_S = 300
BODY_LIMIT_S = 10
"""How long not a byte may come of a body that was asked for."""
TAKING_LIMIT_S = 60
"""How long not a byte may go of what we send. The system takes more only when much of what it has is gone, so on a slow
line this stands still for a long time between two steps."""
LOOK_EVERY_S = 1
BUSY_EVERY_S = 1.0
CONNECTIONS_MAX = 2048
CONNECTIONS_PER_PEER_MAX = 64
STRANGERS_MAX = 64
"""Connections of peers without a certificate, all together, so that members always find a place."""
SEE_LOG = "see that node's log"
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers: the message, and the body that follows it."""

    answer: AnyAnswer
    body: Body | None = None


@dataclass(slots=True)
class Call:
    """One request being worked on."""

    request: AnyRequest
    peer: Peer
    _take_body: Callable[["Call", Sink], Awaitable[None]]
    progress: int = 0
    """Grows while the work moves; told to the client with every *busy*."""
    _sink: Sink | None = None
    _received: asyncio.Future[None] | None = None
    _task: asyncio.Task[None] | None = None
    _cancellable: bool = False
    _given_up: bool = False

    async def receive_body(self, sink: Sink) -> None:
        """Let the client send the body it announced, into `sink`; returns when all of it was given to the sink.
        Raises what the sink raises, what the client reports, or Unreachable."""
        await self._take_body(self, sink)


Handler = Callable[[Call], Awaitable[Reply]]
Handlers = Mapping[type, Handler]
Greeting = Callable[[Peer], Hello]


class Server:
    """Serves connections with `handlers`, one per kind of request; kinds without one are answered *unsupported*.

    `greeting` makes our Hello for a peer. `refuse` looks at a peer right after the handshake and may raise NotAdmitted;
    `contacts`, of a process that serves, does so after the peer's hello, and hears of all that comes. Who is refused is
    told why in answer to whatever it asks, and nothing else. `meter` counts the chunks that go.
    """

    def __init__(
        self, runtime: Runtime, handlers: Handlers, *, greeting: Greeting, refuse: Callable[[Peer], None] | None = None,
        contacts: Contacts | None = None, meter: Meter = None,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._handlers = handlers
        self._greeting = greeting
        self._refuse = refuse
        self._contacts = contacts
        self._meter = meter
        self._open: dict[Stream, str] = {}

    async def listen(self, network: Network, address: Address) -> Listener:
        """Accept peers at `address`. Raises Busy when the port is taken."""
        return await network.listen(address, self.serve)

    async def serve(self, stream: Stream) -> None:
        """Serve one connection to its end. Never raises for what the peer does."""
        who = stream.peer.node_id or stream.peer.address.host
        mine = sum(1 for other in self._open.values() if other == who)
        stranger = stream.peer.node_id is None
        strangers = sum(1 for other in self._open if other.peer.node_id is None) if stranger else 0
        if len(self._open) >= CONNECTIONS_MAX or mine >= CONNECTIONS_PER_PEER_MAX or strangers >= STRANGERS_MAX:
            stream.abort()
            return
        self._open[stream] = who
        served = _Served(
            self._runtime, stream, self._handlers, self._greeting(stream.peer), self._contacts, self._meter
        )  # fmt: skip
        try:
            served.refusal = self._refusal(stream.peer)
            await served.run()
        finally:
            self._open.pop(stream, None)
            stream.abort()

    def _refusal(self, peer: Peer) -> Refused | None:
        if self._refuse is not None:
            try:
                self._refuse(peer)
            except NotAdmitted as error:
                return Refused(error.message, hint=error.hint)
        return None

    def review(self) -> None:
        """Break the connections of peers that `refuse` does not let pass any more."""
        for stream in [stream for stream in self._open if self._refusal(stream.peer) is not None]:
            stream.abort()

    def close(self) -> None:
        """Break all connections; what is under way on them ends."""
        for stream in list(self._open):
            stream.abort()

    def drop(self, node_id: str) -> None:
        """Break all connections of one peer."""
        for stream in [stream for stream, who in self._open.items() if who == node_id]:
            stream.abort()


class _Served:
    """One connection while it is served."""

    def __init__(
        self, runtime: Runtime, stream: Stream, handlers: Handlers, hello: Hello, contacts: Contacts | None,
        meter: Meter,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._stream = stream
        self._handlers = handlers
        self._hello = hello
        self._connection = Connection(Role.SERVER, admitted=stream.peer.node_id is not None)
        self._channel = Channel(stream, self._connection, carries=True)
        self._calls: dict[int, Call] = {}
        self._work = asyncio.Event()
        self._greeted = False
        self._contacts = contacts
        self._meter = meter
        self._account = Account(stream.peer.node_id)
        self._contact: Contact | None = None
        self.refusal: Refused | None = None
        """What the peer is told in answer to whatever it asks, when it is not let in."""

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                companions = [group.create_task(self._tick()), group.create_task(self._watch())]
                try:
                    await self._read(group)
                finally:
                    self._stream.abort()
                    self._account.tell()
                    if self._contact is not None:
                        self._contact.end()
                    for companion in companions:
                        companion.cancel()
                    for call in self._calls.values():
                        if call._task is not None:
                            call._task.cancel()
        except* RoostError:
            pass  # the connection is over; whoever called has its own side of the story

    async def _read(self, group: asyncio.TaskGroup) -> None:
        await self._channel.send(lambda: self._connection.hello(self._hello))
        while True:
            event = await self._channel.next_event(self._sink_of, self._sink_failed)
            if self._contact is not None:
                self._contact.heard()
            if isinstance(event, HelloReceived):
                self._greet(event.hello)
            elif isinstance(event, RequestReceived):
                self._begin(group, event)
            elif isinstance(event, UnknownRequest):
                error = Unsupported(f"a request this release does not know: {event.reason}", hint="update this machine")
                await self._fail(event.request_id, error)
            elif event is not None:
                self._on(event)

    def _greet(self, hello: Hello) -> None:
        self._greeted = True
        if self._contacts is not None and self.refusal is None:
            try:
                self._contact = self._contacts.meet(self._stream.peer, hello.instance, drop=self._stream.abort)
            except Refused as refused:
                self.refusal = refused

    def _sink_of(self, request_id: int) -> Sink | None:
        call = self._calls.get(request_id)
        return call._sink if call else None

    def _begin(self, group: asyncio.TaskGroup, event: RequestReceived) -> None:
        async def take_body(call: Call, sink: Sink) -> None:
            call._sink = sink
            call._received = asyncio.get_running_loop().create_future()
            await self._channel.send(lambda: self._connection.proceed(event.request_id))
            await call._received

        call = Call(event.request, self._stream.peer, take_body)
        self._calls[event.request_id] = call
        call._task = group.create_task(self._handle(event.request_id, call))
        self._work.set()

    def _on(self, event: Event) -> None:
        call = self._calls.get(getattr(event, "request_id", -1))
        if call is None:
            return
        if isinstance(event, CancelReceived) and call._task is not None:
            call._given_up = True
            if call._cancellable:  # before and after that it ends by itself at its next step
                call._task.cancel()
        elif isinstance(event, DataReceived):
            call.progress += 1
        elif isinstance(event, BodyEnded):
            self._body_ended(call, error_of(event.trouble) if event.trouble is not None else None)

    def _sink_failed(self, request_id: int, error: RoostError) -> None:
        call = self._calls.get(request_id)
        if call is not None:
            call._sink = None
            self._body_ended(call, error)

    @staticmethod
    def _body_ended(call: Call, error: RoostError | None) -> None:
        received = call._received
        if received is None or received.done():
            return
        if error is None:
            received.set_result(None)
        else:
            received.set_exception(error)
            received.exception()  # whoever waited may be gone by now, and that is no news

    async def _handle(self, request_id: int, call: Call) -> None:
        operation = call.request.operation
        with within_operation(operation) if isinstance(operation, bytes) else contextlib.nullcontext():
            await self._work_on(request_id, call)

    async def _work_on(self, request_id: int, call: Call) -> None:
        begun = self._runtime.now()
        try:
            if self.refusal is not None:
                raise self.refusal
            handler = self._handlers.get(type(call.request))
            if handler is None:
                raise Unsupported(f"{type(call.request).__name__} is not served here", hint="see: roost nodes")
            if call._given_up:
                raise Failed("the client gave the request up")
            call._cancellable = True
            reply = await handler(call)
            call._cancellable = False
            await self._answer(request_id, call, reply)
            self._note_done(call, reply, self._runtime.now() - begun)
        except asyncio.CancelledError:
            if not call._given_up:
                raise
            await self._fail(request_id, Failed("the client gave the request up"))
        except ProtocolError as error:
            await self._fail(request_id, error)
            raise
        except RoostError as error:
            self._note_failed(call, error)
            await self._fail(request_id, error)
        except (MemoryError, OSError, ValueError) as error:
            failed = Failed(f"{type(call.request).__name__} failed there: {error}", hint=SEE_LOG)
            await self._fail(request_id, failed)
        except Exception:
            await self._fail(request_id, Failed(f"{type(call.request).__name__} failed there", hint=SEE_LOG))
            raise
        finally:
            self._calls.pop(request_id, None)

    def _note_done(self, call: Call, reply: Reply, seconds: float) -> None:
        peer, request = call.peer.node_id, call.request
        note_moved(self._meter, peer, request, reply.answer, seconds, ours=False)
        self._account.note(request, reply.answer, seconds)

    def _note_failed(self, call: Call, error: RoostError) -> None:
        note_failed(self._meter, call.peer.node_id, call.request, error)
        name = type(call.request).__name__
        _log.info("refused", request=name, peer=call.peer.node_id, code=error.code, reason=error.message)

    async def _fail(self, request_id: int, error: RoostError) -> None:
        """The server's last frame of an exchange, whatever its state; nothing when that was sent already."""
        await self._channel.send(functools.partial(self._connection.error, request_id, trouble_of(error)))

    async def _answer(self, request_id: int, call: Call, reply: Reply) -> None:
        connection = self._connection
        if reply.body is None:
            await self._channel.send(functools.partial(connection.answer, request_id, reply.answer))
            return

        def moved(count: int) -> None:
            call.progress += count

        async with reply.body.opened() as slices:
            await self._channel.send(functools.partial(connection.answer, request_id, reply.answer, reply.body.length))
            await self._channel.send_slices(request_id, slices, moved=moved)
        await self._channel.send(functools.partial(connection.end, request_id))

    async def _tick(self) -> None:
        while True:
            if not self._calls:
                self._work.clear()
                await self._work.wait()
            await self._runtime.sleep(BUSY_EVERY_S)
            if not self._calls:
                self._account.tell()
            for request_id, call in list(self._calls.items()):

                def frame(i: int = request_id, count: int = call.progress) -> bytes:
                    return self._connection.busy(i, count) if self._connection.owes(i) else b""

                await self._channel.send(frame)

    async def _watch(self) -> None:
        """Break the connection when the peer keeps us waiting for longer than it may. What counts is whether bytes
        move, so a slow peer is never taken for a silent one; and seconds of ours, so that a machine that slept does
        not take its peers for dead."""
        stream, channel = self._stream, self._channel
        received = sent = -1
        age = idle = silent = unsent = 0
        while True:
            await self._runtime.sleep(LOOK_EVERY_S)
            arrived = stream.bytes_received != received
            quiet = not arrived and not channel.holding
            stuck = stream.bytes_sent == sent and channel.sending
            received, sent = stream.bytes_received, stream.bytes_sent
            age += LOOK_EVERY_S
            idle = idle + LOOK_EVERY_S if quiet and not self._calls else 0
            silent = silent + LOOK_EVERY_S if quiet and self._awaits_body else 0
            unsent = unsent + LOOK_EVERY_S if stuck else 0
            late = age >= GREETING_LIMIT_S and not self._greeted
            let_in = stream.peer.node_id is not None and self.refusal is None
            overstayed = age >= STRANGER_LIMIT_S and not let_in
            if late or overstayed or idle >= IDLE_LIMIT_S or silent >= BODY_LIMIT_S or unsent >= TAKING_LIMIT_S:
                stream.abort()
                return
            receiving = self._calls.get(channel.receiving)
            if receiving is not None and arrived:
                receiving.progress += 1  # a body that comes slowly is work that moves

    @property
    def _awaits_body(self) -> bool:
        return any(call._received is not None and not call._received.done() for call in self._calls.values())
