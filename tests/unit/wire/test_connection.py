"""What the table does not say: greeting, admission, ids, body lengths, payloads, buffers, and whose fault it is."""

import msgspec
import pytest

from roost.wire.admission import STRANGERS_MAY_ASK
from roost.wire.connection import (
    AnswerReceived,
    BodyEnded,
    BusyReceived,
    CancelReceived,
    Connection,
    DataReceived,
    ErrorReceived,
    Event,
    HelloReceived,
    LocalProtocolError,
    ProceedReceived,
    RemoteProtocolError,
    RequestReceived,
    Role,
    State,
    UnknownRequest,
)
from roost.wire.exchange import REQUESTS_MAX
from roost.wire.fields import OBJECT_BYTES_MAX, RECORD_IDS_BODY_MAX
from roost.wire.frames import Kind, pack_header
from roost.wire.messages import Get, GetRecord, Have, Hello, Ping, Pong, Put, RecordIds, Sending, Stored, Trouble
from wire_specimens import (
    ANSWERS,
    HELLO,
    REQUESTS,
    TROUBLE,
    A,
    Feeder,
    Pair,
    Specimen,
    answer_for,
    feed,
    frame,
    greeted,
    message,
    specimens,
)

CLIENT, SERVER = Role.CLIENT, Role.SERVER


def receiver_of(specimen: Specimen) -> Connection:
    """A connection to which this specimen may come as the next frame."""
    if specimen.kind is Kind.HELLO:
        return Connection(specimen.sender.peer, admitted=True)
    if specimen.kind is Kind.REQUEST:
        return greeted(SERVER)
    pair = Pair()
    if specimen.kind is Kind.ANSWER:
        answer = next(a for name, a in ANSWERS.items() if specimen.name == f"answer_{name}")
        request = next(r for r in REQUESTS.values() if type(answer_for(r)) is type(answer))
        pair.ask(request, body_length=getattr(request, "length", None))
    elif specimen.name in ("data_down", "end", "end_trouble"):
        pair.ask(Get(A))
        pair.say(SERVER, pair.server.answer(1, Sending(6), 6))
        if specimen.name == "end":
            pair.say(SERVER, pair.server.data_header(1, 6) + b"slice!")
    else:
        pair.ask(Put(A, 6), body_length=6)
        if specimen.name == "data_up":
            pair.say(SERVER, pair.server.proceed(1))
    return pair.end(specimen.sender.peer)


@pytest.mark.parametrize("specimen", specimens(), ids=lambda s: s.name)
def test_every_frame_byte_by_byte_is_the_event_it_is_in_one_piece(specimen: Specimen) -> None:
    whole = feed(receiver_of(specimen), specimen.data)
    feeder = Feeder(receiver_of(specimen))
    slowly = [event for byte in specimen.data for event in feeder.feed(bytes([byte]))]
    assert slowly == whole
    assert len(whole) == 1


@pytest.mark.parametrize("specimen", specimens(), ids=lambda s: s.name)
def test_a_frame_cut_short_is_no_event_and_no_error(specimen: Specimen) -> None:
    for length in range(len(specimen.data)):
        connection = receiver_of(specimen)
        assert Feeder(connection).feed(specimen.data[:length]) == []
        assert connection.next_size() <= len(specimen.data)


def test_every_event_carries_what_was_said() -> None:
    heard: list[Event] = []
    pair = Pair()
    heard += feed(Connection(CLIENT, admitted=True), message(Kind.HELLO, 0, HELLO))
    heard += feed(greeted(SERVER), pair.client.request(Put(A, 4), body_length=4)[1])
    feed(pair.server, message(Kind.REQUEST, 1, Put(A, 4)))
    heard += pair.say(SERVER, pair.server.proceed(1))
    heard += pair.say(SERVER, pair.server.busy(1, 7))
    heard += pair.say(CLIENT, pair.client.data_header(1, 4) + b"four")
    heard += pair.say(CLIENT, pair.client.end(1))
    heard += pair.say(SERVER, pair.server.answer(1, Stored(already=False)))
    pair.ask(Get(A))
    heard += pair.say(SERVER, pair.server.answer(2, Sending(9), 9))
    heard += pair.say(SERVER, pair.server.error(2, TROUBLE))
    pair.ask(Ping())
    heard += pair.say(CLIENT, pair.client.cancel(3))
    pair.ask(Ping())
    heard += pair.say(SERVER, pair.server.error(4, TROUBLE))
    assert heard == [
        HelloReceived(HELLO),
        RequestReceived(1, Put(A, 4), 4),
        ProceedReceived(1),
        BusyReceived(1, 7),
        DataReceived(1, memoryview(b"four")),
        BodyEnded(1, None),
        AnswerReceived(1, Stored(already=False), None),
        AnswerReceived(2, Sending(9), 9),
        BodyEnded(2, TROUBLE),
        CancelReceived(3),
        ErrorReceived(4, TROUBLE),
    ]


def test_nothing_comes_before_hello() -> None:
    for kind, payload in ((Kind.REQUEST, b"\x80"), (Kind.CANCEL, b"")):
        server = Connection(SERVER, admitted=True)
        server.hello(HELLO)
        with pytest.raises(RemoteProtocolError, match="before HELLO"):
            feed(server, frame(kind, 1, payload))


def test_a_second_hello_is_refused_on_either_side() -> None:
    client = greeted(CLIENT)
    with pytest.raises(LocalProtocolError):
        client.hello(HELLO)
    with pytest.raises(RemoteProtocolError, match="second HELLO"):
        feed(client, message(Kind.HELLO, 0, HELLO))


def test_a_client_asks_when_both_hellos_have_passed() -> None:
    client = Connection(CLIENT, admitted=True)
    for step in (lambda: client.hello(HELLO), lambda: feed(client, message(Kind.HELLO, 0, HELLO))):
        assert not client.may_request
        with pytest.raises(LocalProtocolError):
            client.request(Ping())
        step()
    assert client.may_request
    assert not greeted(SERVER).may_request


def test_a_request_that_cannot_have_waited_for_our_hello_is_refused() -> None:
    server = Connection(SERVER, admitted=True)
    feed(server, message(Kind.HELLO, 0, HELLO))
    with pytest.raises(RemoteProtocolError, match="our HELLO"):
        feed(server, message(Kind.REQUEST, 1, Ping()))


def test_a_hello_of_a_later_protocol_with_more_fields_is_understood() -> None:
    payload = msgspec.msgpack.encode(
        {"protocol": 7, "protocol_min": 1, "software": "9", "cluster": b"", "more": [1, {"x": None}]}
    )
    assert feed(Connection(CLIENT, admitted=True), frame(Kind.HELLO, 0, payload)) == [
        HelloReceived(Hello(7, 1, "9", b""))
    ]


@pytest.mark.parametrize(("oldest", "cluster"), [(2, b""), (1, b"x")])
def test_a_hello_that_contradicts_itself_is_refused(oldest: int, cluster: bytes) -> None:
    fields = {"protocol": 1, "protocol_min": oldest, "software": "", "cluster": cluster}
    with pytest.raises(RemoteProtocolError, match="HELLO"):
        feed(Connection(CLIENT, admitted=True), frame(Kind.HELLO, 0, msgspec.msgpack.encode(fields)))


def test_ids_count_up_by_one_and_never_come_again() -> None:
    for bad in (0, 2, 1):
        server = greeted(SERVER)
        if bad == 1:
            feed(server, message(Kind.REQUEST, 1, Ping()))
            server.answer(1, Pong(0.0))
        with pytest.raises(RemoteProtocolError):
            feed(server, message(Kind.REQUEST, bad, Ping()))


@pytest.mark.parametrize("kind", [Kind.CANCEL, Kind.END])
def test_a_request_that_was_never_made_is_refused(kind: Kind) -> None:
    with pytest.raises(RemoteProtocolError, match="never made"):
        feed(greeted(SERVER), frame(kind, 1))
    with pytest.raises(LocalProtocolError, match="never made"):
        greeted(CLIENT).cancel(1)
    with pytest.raises(LocalProtocolError, match="never made"):
        greeted(SERVER).error(0, TROUBLE)


def test_the_number_of_open_requests_is_bounded_at_both_ends() -> None:
    pair = Pair()
    for _ in range(REQUESTS_MAX):
        pair.ask(Ping())
    assert not pair.client.may_request
    with pytest.raises(LocalProtocolError):
        pair.client.request(Ping())
    with pytest.raises(RemoteProtocolError, match="at once"):
        feed(pair.server, message(Kind.REQUEST, REQUESTS_MAX + 1, Ping()))


def test_an_answer_frees_its_place_at_both_ends() -> None:
    pair = Pair()
    for _ in range(3 * REQUESTS_MAX):
        request_id = pair.ask(Ping())
        pair.say(SERVER, pair.server.answer(request_id, Pong(0.0)))
    assert pair.client.at_rest
    assert pair.server.at_rest


def test_an_upload_answered_early_keeps_its_place_until_its_end() -> None:
    pair = Pair()
    pair.ask(Put(A, 9), body_length=9)
    pair.say(SERVER, pair.server.proceed(1))
    assert pair.client.wanted(1)
    assert pair.client.owes(1)
    early = pair.server.error(1, TROUBLE)
    assert feed(pair.server, pair.client.data_header(1, 5) + b"under") == []
    assert feed(pair.client, early) == [ErrorReceived(1, TROUBLE)]
    assert not pair.client.wanted(1)
    assert pair.client.owes(1)
    assert pair.server.open_requests == pair.client.open_requests == 1
    assert pair.say(CLIENT, pair.client.end(1)) == []
    assert pair.client.at_rest
    assert pair.server.at_rest


def test_a_body_that_nobody_takes_any_more_is_still_bounded_by_what_was_announced() -> None:
    pair = Pair()
    pair.ask(Put(A, 9), body_length=9)
    pair.say(SERVER, pair.server.proceed(1))
    pair.server.error(1, TROUBLE)
    feed(pair.server, frame(Kind.DATA, 1, b"12345678"))
    with pytest.raises(RemoteProtocolError, match="1 are left"):
        feed(pair.server, frame(Kind.DATA, 1, b"90"))


def test_a_server_that_hears_cancel_may_stop_its_body_anywhere() -> None:
    pair = Pair()
    pair.ask(Get(A))
    pair.say(SERVER, pair.server.answer(1, Sending(9), 9))
    assert pair.server.wanted(1)
    assert pair.say(CLIENT, pair.client.cancel(1)) == [CancelReceived(1)]
    assert not pair.server.wanted(1)
    assert pair.say(SERVER, pair.server.data_header(1, 2) + b"on") == []
    assert pair.say(SERVER, pair.server.end(1)) == []
    assert pair.client.at_rest


def test_a_client_hears_nothing_of_what_it_gave_up() -> None:
    pair = Pair()
    pair.ask(Get(A))
    cancel = pair.client.cancel(1)
    assert pair.client.cancel(1) == b""
    for data in (
        pair.server.busy(1, 1),
        pair.server.answer(1, Sending(3), 3),
        pair.server.data_header(1, 3) + b"abc",
        pair.server.end(1),
    ):
        assert feed(pair.client, data) == []
    assert pair.client.cancel(1) == b""
    assert feed(pair.server, cancel) == []


def test_an_answer_must_fit_its_request() -> None:
    pair = Pair()
    pair.ask(Ping())
    with pytest.raises(LocalProtocolError, match="Stored where Pong"):
        pair.server.answer(1, Stored(already=True))
    with pytest.raises(RemoteProtocolError, match="Stored where Pong"):
        feed(pair.client, message(Kind.ANSWER, 1, Stored(already=True)))


@pytest.mark.parametrize(
    ("request_", "longest"), [(Get(A), OBJECT_BYTES_MAX), (RecordIds([]), RECORD_IDS_BODY_MAX), (GetRecord(A), 2**26)]
)
def test_an_answers_body_is_bounded_by_its_request(request_: Get | RecordIds | GetRecord, longest: int) -> None:
    pair = Pair()
    pair.ask(request_)
    with pytest.raises(LocalProtocolError, match="at most"):
        pair.server.answer(1, Sending(longest + 1), longest + 1)
    pair.say(SERVER, pair.server.answer(1, Sending(longest), longest))
    pair = Pair()
    pair.ask(request_)
    with pytest.raises(RemoteProtocolError, match="at most"):
        feed(pair.client, message(Kind.ANSWER, 1, Sending(longest + 1)))


def test_a_body_has_exactly_the_announced_length() -> None:
    pair = Pair()
    pair.ask(Put(A, 4), body_length=4)
    pair.say(SERVER, pair.server.proceed(1))
    with pytest.raises(LocalProtocolError, match="4 are left"):
        pair.client.data_header(1, 5)
    with pytest.raises(LocalProtocolError, match="slice of 0"):
        pair.client.data_header(1, 0)
    pair.say(CLIENT, pair.client.data_header(1, 3) + b"abc")
    with pytest.raises(LocalProtocolError, match="lacks 1"):
        pair.client.end(1)
    with pytest.raises(RemoteProtocolError, match="1 bytes of the body to come"):
        feed(pair.server, frame(Kind.END, 1))


def test_an_overrun_is_refused_at_the_header() -> None:
    pair = Pair()
    pair.ask(Put(A, 4), body_length=4)
    pair.say(SERVER, pair.server.proceed(1))
    with pytest.raises(RemoteProtocolError, match="5 bytes of a body of which 4 are left"):
        pair.server.receive(memoryview(pack_header(Kind.DATA, 1, 5)))


def test_an_empty_body_is_a_body() -> None:
    pair = Pair()
    pair.ask(Put(A, 0), body_length=0)
    pair.say(SERVER, pair.server.proceed(1))
    assert pair.say(CLIENT, pair.client.end(1)) == [BodyEnded(1, None)]
    pair.ask(Get(A))
    assert pair.say(SERVER, pair.server.answer(2, Sending(0), 0)) == [AnswerReceived(2, Sending(0), 0)]
    assert pair.say(SERVER, pair.server.end(2)) == [BodyEnded(2, None)]


def test_the_announced_length_is_the_bodys() -> None:
    pair = Pair()
    for length in (None, 3):
        with pytest.raises(LocalProtocolError, match="another body"):
            pair.client.request(Put(A, 4), body_length=length)
    pair.ask(Get(A))
    with pytest.raises(LocalProtocolError, match="another body"):
        pair.server.answer(1, Sending(4))


def test_a_body_slice_is_the_very_view_that_was_handed_in() -> None:
    pair = Pair()
    pair.ask(Put(A, 6), body_length=6)
    pair.say(SERVER, pair.server.proceed(1))
    assert pair.server.data_for() is None
    assert pair.server.receive(memoryview(pair.client.data_header(1, 6))) is None
    assert pair.server.data_for() == (1, 6)
    assert pair.server.next_size() == 6
    view = memoryview(bytearray(b"slice!"))
    event = pair.server.receive(view)
    assert isinstance(event, DataReceived)
    assert event.data is view
    assert pair.server.data_for() is None


def test_a_slice_whose_request_is_given_up_while_it_arrives_is_dropped() -> None:
    pair = Pair()
    pair.ask(Put(A, 6), body_length=6)
    pair.say(SERVER, pair.server.proceed(1))
    pair.server.receive(memoryview(pair.client.data_header(1, 6)))
    pair.say(SERVER, pair.server.error(1, TROUBLE))
    assert pair.server.data_for() is None
    assert pair.server.next_size() == 6
    assert pair.server.receive(memoryview(b"slice!")) is None


def test_a_message_may_be_read_from_a_buffer_that_is_used_again() -> None:
    payload = bytearray(msgspec.msgpack.encode(Put(A, 6)))
    server = greeted(SERVER)
    server.receive(memoryview(pack_header(Kind.REQUEST, 1, len(payload))))
    event = server.receive(memoryview(payload))
    payload[:] = bytes(len(payload))
    assert event == RequestReceived(1, Put(A, 6), 6)


def test_the_wrong_number_of_bytes_is_our_mistake_and_does_no_harm() -> None:
    server = greeted(SERVER)
    for size in (0, 11, 13):
        with pytest.raises(LocalProtocolError, match="12 are next"):
            server.receive(memoryview(bytes(size)))
    assert feed(server, message(Kind.REQUEST, 1, Ping())) == [RequestReceived(1, Ping(), None)]


@pytest.mark.parametrize(
    "payload",
    [
        msgspec.msgpack.encode({"type": "brew-coffee", "strength": 3}),
        msgspec.msgpack.encode({"type": "ping", "colour": "red"}),
        msgspec.msgpack.encode({"type": "put", "object_id": A, "length": -1}),
        msgspec.msgpack.encode({"type": "put", "object_id": A[1:], "length": 1}),
        msgspec.msgpack.encode({"type": "have", "ids": A[1:]}),
        msgspec.msgpack.encode({"type": "pass-on", "ids": A, "to": "../../etc"}),
        msgspec.msgpack.encode(["ping"]),
        msgspec.msgpack.encode({"type": "q" * 100_000}),
    ],
)
def test_an_unknown_request_is_answered_with_an_error_and_the_connection_lives(payload: bytes) -> None:
    pair = Pair()
    pair.ask(Ping())
    (event,) = feed(pair.server, frame(Kind.REQUEST, 2, payload))
    assert isinstance(event, UnknownRequest)
    assert event.request_id == 2
    assert 0 < len(event.reason) <= 200
    with pytest.raises(LocalProtocolError, match="unknown request"):
        pair.server.answer(2, Pong(0.0))
    with pytest.raises(LocalProtocolError):
        pair.server.proceed(2)
    pair.server.busy(2, 0)
    assert pair.server.error(2, TROUBLE)
    assert pair.say(SERVER, pair.server.answer(1, Pong(0.0)))
    assert feed(pair.server, message(Kind.REQUEST, 3, Ping())) == [RequestReceived(3, Ping(), None)]


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc1",
        b"\x81\xa4type\xa4pin",
        msgspec.msgpack.encode(Ping()) + b"\xc0",
        b"\x81\xa4type\xa4\xff\xff\xff\xff",
        b"\x81\xa4type\xc6\xff\xff\xff\xff",
        b"\x82\xa4type\xaarecord-ids\xa7buckets\xdd\xff\xff\xff\xff",
    ],
)
def test_a_request_that_is_not_msgpack_breaks_the_connection_or_is_unknown(payload: bytes) -> None:
    server = greeted(SERVER)
    try:
        (event,) = feed(server, frame(Kind.REQUEST, 1, payload))
    except RemoteProtocolError:
        with pytest.raises(RemoteProtocolError):
            server.next_size()
    else:
        assert isinstance(event, UnknownRequest)


@pytest.mark.parametrize(
    "payload", [b"\xc1", b"\x91" * 15_000, b"\xa4\xff\xff\xff\xff", b"\x80", b"\xdd\xff\xff\xff\xff"]
)
def test_other_messages_that_do_not_decode_break_the_connection(payload: bytes) -> None:
    for kind in (Kind.ANSWER, Kind.ERROR):
        pair = Pair()
        pair.ask(Ping())
        with pytest.raises(RemoteProtocolError, match="does not decode"):
            feed(pair.client, frame(kind, 1, payload))


def test_nested_rubbish_in_a_field_that_is_ignored_breaks_the_connection_and_nothing_else() -> None:
    payload = b"\x83\xa4code\xa0\xa7message\xa0\xa1x" + b"\x91" * 15_000 + b"\xc0"
    pair = Pair()
    pair.ask(Ping())
    with pytest.raises(RemoteProtocolError, match="does not decode"):
        feed(pair.client, frame(Kind.ERROR, 1, payload))


def test_what_breaks_its_own_bounds_is_refused_before_it_is_sent() -> None:
    pair = Pair()
    pair.ask(Ping())
    for trouble in (Trouble("failed", "m" * 2049), Trouble("failed", "\udcff"), Trouble("c" * 65, "")):
        with pytest.raises(LocalProtocolError, match="Trouble"):
            pair.server.error(1, trouble)
    with pytest.raises(LocalProtocolError):
        pair.client.request(Put(b"short", 4), body_length=4)
    with pytest.raises(LocalProtocolError):
        pair.server.busy(1, -1)
    assert pair.server.state(1) is State.ASKED
    assert pair.ask(Ping()) == 2


class TestBeforeAdmission:
    """A peer without a certificate can do one thing: join, in 16 KiB."""

    def test_it_may_join(self) -> None:
        pair = Pair(admitted=False)
        pair.ask(REQUESTS["join"])
        assert pair.say(SERVER, pair.server.answer(1, ANSWERS["admitted"]))

    @pytest.mark.parametrize(
        "request_", [r for r in REQUESTS.values() if not isinstance(r, STRANGERS_MAY_ASK)], ids=lambda r: type(r)
    )
    def test_it_may_ask_for_nothing_else(self, request_: Ping) -> None:
        pair = Pair(admitted=False)
        with pytest.raises(LocalProtocolError, match="before admission"):
            pair.client.request(request_, body_length=getattr(request_, "length", None))
        with pytest.raises(RemoteProtocolError, match="before admission"):
            feed(pair.server, message(Kind.REQUEST, 1, request_))

    def test_one_request_at_a_time(self) -> None:
        pair = Pair(admitted=False)
        pair.ask(REQUESTS["join"])
        assert not pair.client.may_request
        with pytest.raises(RemoteProtocolError, match="at once"):
            feed(pair.server, message(Kind.REQUEST, 2, REQUESTS["join"]))

    def test_at_most_16_kib_are_taken(self) -> None:
        with pytest.raises(RemoteProtocolError, match="before admission"):
            greeted(SERVER, admitted=False).receive(memoryview(pack_header(Kind.REQUEST, 1, 16 * 1024 + 1)))
        client = greeted(CLIENT, admitted=False)
        client.request(REQUESTS["join"])
        with pytest.raises(RemoteProtocolError, match="before admission"):
            client.receive(memoryview(pack_header(Kind.ANSWER, 1, 16 * 1024 + 1)))

    def test_a_large_request_is_refused_before_hello_whoever_it_is(self) -> None:
        server = Connection(SERVER, admitted=True)
        with pytest.raises(RemoteProtocolError, match="before HELLO"):
            server.receive(memoryview(pack_header(Kind.REQUEST, 1, 1024 * 1024)))


def test_the_largest_messages_fit_their_frames() -> None:
    pair = Pair()
    pair.ask(Have(A * 16_384))
    wide = "\U0001f426"
    trouble = Trouble("c" * 64, wide * 2048, wide * 1024)
    assert pair.say(SERVER, pair.server.error(1, trouble)) == [ErrorReceived(1, trouble)]
    hello = Hello(2**63 - 1, 1, wide * 1024, A, bytes(4096))
    assert feed(Connection(CLIENT, admitted=False), Connection(SERVER, admitted=False).hello(hello))
