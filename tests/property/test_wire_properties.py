"""The wire under everything a network and a peer can do: any split, any damage, any order of what crosses."""

import contextlib
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from roost.wire.connection import (
    AnswerReceived,
    BodyEnded,
    CancelReceived,
    Connection,
    DataReceived,
    ErrorReceived,
    Event,
    HelloReceived,
    ProceedReceived,
    RemoteProtocolError,
    RequestReceived,
    Role,
    State,
    UnknownRequest,
)
from roost.wire.frames import Kind, pack_header
from roost.wire.messages import AnyRequest, Get, Ping, Put, Sending, request_body_bytes
from wire_specimens import HELLO, REQUESTS, TROUBLE, A, Feeder, answer_for, frame, message, specimens

CLIENT, SERVER = Role.CLIENT, Role.SERVER
LINEUP = [*REQUESTS.values()]


class Machine:
    """One end with a driver that reacts to each event in a fixed way, so that its events depend on its input alone."""

    def __init__(self, role: Role, *, admitted: bool) -> None:
        self.connection = Connection(role, admitted=admitted)
        self.said = bytearray(self.connection.hello(HELLO))
        self.heard: list[str] = []
        self.pending = bytearray()
        self._bodies: dict[int, int] = {}

    def feed(self, data: bytes) -> None:
        """Take what has arrived, and react to each event before the next frame is looked at."""
        self.pending += data
        while len(self.pending) >= (size := self.connection.next_size()):
            piece = memoryview(bytes(self.pending[:size]))
            del self.pending[:size]
            event = self.connection.receive(piece)
            self.check_bound()
            if event is not None:
                self.heard.append(repr(event).partition("<memory")[0])
                self.react(event)

    def check_bound(self) -> None:
        size = self.connection.next_size()
        greeted = any(text.startswith("HelloReceived") for text in self.heard)
        admitted = self.connection._admitted
        assert 1 <= size <= (1024 * 1024 if greeted and admitted else 16 * 1024)
        assert self.connection.open_requests <= (64 if admitted else 1)

    def react(self, event: Event) -> None:
        c = self.connection
        match event:
            case HelloReceived() if c.role is CLIENT:
                for request in LINEUP if c._admitted else [REQUESTS["join"]]:
                    request_id, data = c.request(request, body_length=request_body_bytes(request))
                    self._bodies[request_id] = request_body_bytes(request) or 0
                    self.said += data
            case ProceedReceived(request_id):
                if length := self._bodies[request_id]:
                    self.said += c.data_header(request_id, length) + bytes(length)
                self.said += c.end(request_id)
            case RequestReceived(request_id, _, int()):
                self.said += c.proceed(request_id)
            case RequestReceived(request_id, request, None):
                self.answer(request_id, request)
            case UnknownRequest(request_id) | CancelReceived(request_id):
                self.said += c.error(request_id, TROUBLE)
            case BodyEnded(request_id) if c.role is SERVER:
                self.said += c.error(request_id, TROUBLE)
            case DataReceived(data=data):
                assert len(data) > 0

    def answer(self, request_id: int, request: AnyRequest) -> None:
        answer = answer_for(request)
        length = answer.length if isinstance(answer, Sending) else None
        self.said += self.connection.answer(request_id, answer, length)
        if length:
            self.said += self.connection.data_header(request_id, length) + bytes(length)
            self.said += self.connection.end(request_id)


def conversation(*, admitted: bool) -> dict[Role, bytes]:
    """What each side receives in a whole conversation with every request."""
    client, server = Machine(CLIENT, admitted=admitted), Machine(SERVER, admitted=admitted)
    passed = {CLIENT: bytearray(), SERVER: bytearray()}
    while client.said or server.said:
        for one, other in ((client, server), (server, client)):
            data, one.said = bytes(one.said), bytearray()
            passed[other.connection.role] += data
            other.feed(data)
    return {role: bytes(data) for role, data in passed.items()}


CONVERSATIONS = {admitted: conversation(admitted=admitted) for admitted in (True, False)}


def heard_in(role: Role, pieces: list[bytes]) -> list[str]:
    machine = Machine(role, admitted=True)
    for piece in pieces:
        machine.feed(piece)
    assert not machine.pending
    return machine.heard


@given(role=st.sampled_from(Role), data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_split_of_the_input_gives_the_same_events(role: Role, data: st.DataObject) -> None:
    whole = CONVERSATIONS[True][role]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert heard_in(role, pieces) == heard_in(role, [whole])
    assert len(heard_in(role, [whole])) > len(LINEUP)


@given(role=st.sampled_from(Role), admitted=st.booleans(), where=st.integers(0, 10**9), bits=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_one_damaged_byte_is_an_error_or_another_sane_conversation(
    role: Role, admitted: bool, where: int, bits: int
) -> None:
    data = bytearray(CONVERSATIONS[admitted][role])
    data[where % len(data)] ^= bits
    with contextlib.suppress(RemoteProtocolError):
        Machine(role, admitted=admitted).feed(bytes(data))


some_frames = st.lists(
    st.one_of(
        st.sampled_from([specimen.data for specimen in specimens()]),
        st.builds(
            lambda kind, request_id, payload: pack_header(kind, request_id, len(payload)) + payload,
            st.sampled_from(Kind),
            st.integers(0, 4) | st.integers(0, 2**32 - 1),
            st.binary(max_size=40),
        ),
        st.binary(max_size=40),
    ),
    max_size=12,
)


@given(role=st.sampled_from(Role), admitted=st.booleans(), greeted=st.booleans(), pieces=some_frames)
@settings(max_examples=300, deadline=None)
def test_rubbish_is_an_error_or_sane_events(role: Role, admitted: bool, greeted: bool, pieces: list[bytes]) -> None:
    machine = Machine(role, admitted=admitted)
    if greeted:
        machine.feed(message(Kind.HELLO, 0, HELLO))
    with contextlib.suppress(RemoteProtocolError):
        for piece in pieces:
            machine.feed(piece)


@given(payload=st.binary(max_size=200), kind=st.sampled_from([Kind.HELLO, Kind.REQUEST, Kind.ANSWER, Kind.ERROR]))
@settings(max_examples=300, deadline=None)
def test_any_payload_is_refused_or_understood(payload: bytes, kind: Kind) -> None:
    machine = Machine(SERVER if kind is Kind.REQUEST else CLIENT, admitted=True)
    with contextlib.suppress(RemoteProtocolError):
        if kind is not Kind.HELLO:
            machine.feed(message(Kind.HELLO, 0, HELLO))
        if payload:
            machine.feed(frame(kind, 0 if kind is Kind.HELLO else 1, payload))


@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | st.text(max_size=5)
        | st.binary(max_size=40),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
    base=st.sampled_from([*REQUESTS.values()]),
    field=st.integers(0, 4),
)
@settings(max_examples=300, deadline=None)
def test_a_request_with_any_value_in_any_field_is_known_or_unknown(value: Any, base: AnyRequest, field: int) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(base))
    names = [*fields, "extra"]
    fields[names[field % len(names)]] = value
    machine = Machine(SERVER, admitted=True)
    machine.feed(message(Kind.HELLO, 0, HELLO))
    machine.feed(frame(Kind.REQUEST, 1, msgspec.msgpack.encode(fields)))
    assert machine.heard[1].startswith(("RequestReceived", "UnknownRequest"))


class Side:
    """What a driver at one end knows of one request: only what it said and heard itself."""

    def __init__(self, request: AnyRequest) -> None:
        self.request = request
        self.left = request_body_bytes(request) or 0
        self.proceeded = False
        self.body_over = False
        self.finished = False
        self.cancelled = False
        self.sending = False
        self.body = bytearray()
        self.outcome: list[Event] = []


class CrossingFrames(RuleBasedStateMachine):
    """Two ends, two directions that hold back what was said for as long as they like, and two drivers that follow the
    rules of the docstring without one case for a race. Nothing may ever raise, and in the end the ends must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = {role: Connection(role, admitted=True, requests_max=4) for role in Role}
        self.feeders = {role: Feeder(self.ends[role]) for role in Role}
        self.under_way = {role: bytearray() for role in Role}
        self.clients: dict[int, Side] = {}
        self.servers: dict[int, Side] = {}

    def say(self, sender: Role, data: bytes) -> None:
        self.under_way[sender.peer] += data

    @initialize()
    def greet(self) -> None:
        for role in Role:
            self.say(role, self.ends[role].hello(HELLO))
        for role in Role:
            self.deliver(role, 1 << 20)

    # The client's driver

    @precondition(lambda self: self.ends[CLIENT].may_request)
    @rule(request=st.sampled_from([Put(A, 3), Get(A), REQUESTS["commit"], Ping(), Put(A, 0)]))
    def ask(self, request: AnyRequest) -> None:
        request_id, data = self.ends[CLIENT].request(request, body_length=request_body_bytes(request))
        self.clients[request_id] = Side(request)
        self.say(CLIENT, data)

    def uploads(self) -> list[int]:
        return [i for i, side in self.clients.items() if side.proceeded and not side.body_over]

    @precondition(lambda self: self.uploads())
    @rule(data=st.data(), polite=st.booleans())
    def upload(self, data: st.DataObject, polite: bool) -> None:
        """One slice; a polite driver looks first whether it is wanted, but nothing may depend on it."""
        request_id = data.draw(st.sampled_from(self.uploads()))
        side = self.clients[request_id]
        if side.left and (self.ends[CLIENT].wanted(request_id) or not polite):
            length = data.draw(st.integers(1, side.left))
            self.say(CLIENT, self.ends[CLIENT].data_header(request_id, length) + b"u" * length)
            side.left -= length
        elif not side.left or not self.ends[CLIENT].wanted(request_id):
            self.say(CLIENT, self.ends[CLIENT].end(request_id))
            side.body_over = True

    @precondition(lambda self: self.uploads())
    @rule(data=st.data())
    def upload_fails(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(self.uploads()))
        self.say(CLIENT, self.ends[CLIENT].end(request_id, TROUBLE))
        self.clients[request_id].body_over = True

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), seldom=st.integers(0, 5))
    def cancel(self, data: st.DataObject, seldom: int) -> None:
        """Whenever it likes, also twice, also when all is over."""
        if seldom:
            return
        request_id = data.draw(st.sampled_from(sorted(self.clients)))
        side = self.clients[request_id]
        self.say(CLIENT, self.ends[CLIENT].cancel(request_id))
        side.body_over = side.cancelled = True

    # The server's driver

    def serving(self) -> list[int]:
        return [i for i, side in self.servers.items() if not side.finished]

    @precondition(lambda self: self.serving())
    @rule(data=st.data())
    def proceed(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(self.serving()))
        side = self.servers[request_id]
        if request_body_bytes(side.request) is not None and not side.proceeded and not side.cancelled:
            side.proceeded = True
            self.say(SERVER, self.ends[SERVER].proceed(request_id))

    @precondition(lambda self: self.serving())
    @rule(data=st.data(), progress=st.integers(0, 2**64 - 1))
    def busy(self, data: st.DataObject, progress: int) -> None:
        self.say(SERVER, self.ends[SERVER].busy(data.draw(st.sampled_from(self.serving())), progress))

    @precondition(lambda self: self.serving())
    @rule(data=st.data(), length=st.integers(0, 4))
    def reply(self, data: st.DataObject, length: int) -> None:
        """The answer, early or not, or the next step of its body."""
        request_id = data.draw(st.sampled_from(self.serving()))
        side, server = self.servers[request_id], self.ends[SERVER]
        if side.sending:
            if side.left and server.wanted(request_id):
                size = data.draw(st.integers(1, side.left))
                self.say(SERVER, server.data_header(request_id, size) + b"d" * size)
                side.left -= size
            else:
                self.say(SERVER, server.end(request_id))
                side.finished = True
            return
        answer = answer_for(side.request)
        if isinstance(answer, Sending):
            self.say(SERVER, server.answer(request_id, Sending(length), length))
            side.sending, side.left = True, length
        else:
            self.say(SERVER, server.answer(request_id, answer))
            side.finished = True

    @precondition(lambda self: self.servers)
    @rule(data=st.data(), seldom=st.integers(0, 5))
    def fail(self, data: st.DataObject, seldom: int) -> None:
        """Whenever it likes, also when all is over."""
        if seldom:
            return
        request_id = data.draw(st.sampled_from(sorted(self.servers)))
        self.say(SERVER, self.ends[SERVER].error(request_id, TROUBLE))
        self.servers[request_id].finished = True

    # The network

    @precondition(lambda self: any(self.under_way.values()))
    @rule(role=st.sampled_from(Role), length=st.just(1 << 20) | st.integers(1, 60))
    def deliver(self, role: Role, length: int) -> None:
        data = bytes(self.under_way[role][:length])
        del self.under_way[role][:length]
        for event in self.feeders[role].feed(data):
            if role is CLIENT:
                self.client_hears(event)
            else:
                self.server_hears(event)

    def client_hears(self, event: Event) -> None:
        if isinstance(event, HelloReceived):
            return
        assert not isinstance(event, RequestReceived | UnknownRequest | CancelReceived)
        side = self.clients[event.request_id]
        assert not side.cancelled, "nothing is heard of what was given up"
        assert not side.finished, "nothing comes after the last frame"
        match event:
            case ProceedReceived():
                side.proceeded = True
            case DataReceived(data=data):
                side.body += data
            case ErrorReceived() | AnswerReceived(body_length=None):
                side.finished = True
                side.outcome.append(event)
            case AnswerReceived(body_length=int(length)):
                side.left = length
            case BodyEnded(trouble=trouble):
                side.finished = True
                side.outcome.append(event)
                if trouble is None:
                    assert side.body == b"d" * side.left

    def server_hears(self, event: Event) -> None:
        match event:
            case HelloReceived():
                return
            case RequestReceived(request_id, request):
                assert request == self.clients[request_id].request
                self.servers[request_id] = Side(request)
                return
        assert not isinstance(event, UnknownRequest)
        side = self.servers[event.request_id]
        assert not side.finished, "nothing is heard of what was answered"
        match event:
            case DataReceived(data=data):
                assert side.proceeded
                side.body += data
            case BodyEnded(trouble=None):
                assert len(side.body) == request_body_bytes(side.request)
            case CancelReceived():
                assert not side.cancelled
                side.cancelled = True

    @invariant()
    def memory_is_bounded(self) -> None:
        for end in self.ends.values():
            assert end.open_requests <= 4
            assert 1 <= end.next_size() <= 1024 * 1024

    def teardown(self) -> None:
        """Let everybody finish; then nobody remembers anything, and every request ended once."""
        while any(self.under_way.values()) or any(not end.at_rest for end in self.ends.values()):
            for role in Role:
                self.deliver(role, 1 << 20)
            for request_id in self.uploads():
                if self.ends[CLIENT].owes(request_id):
                    self.say(CLIENT, self.ends[CLIENT].end(request_id, TROUBLE))
                self.clients[request_id].body_over = True
            for request_id in self.serving():
                self.say(SERVER, self.ends[SERVER].error(request_id, TROUBLE))
                self.servers[request_id].finished = True
        for request_id, side in self.clients.items():
            assert self.ends[CLIENT].state(request_id) is self.ends[SERVER].state(request_id) is State.DONE
            assert side.cancelled or len(side.outcome) == 1


CrossingFrames.TestCase.settings = settings(
    max_examples=120, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCrossingFrames = CrossingFrames.TestCase
