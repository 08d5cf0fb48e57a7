"""One specimen of every message and of every frame, and the ways tests talk to a `Connection`."""

from dataclasses import dataclass

import msgspec

from roost.wire.admission import Admitted, Join, Paired, Prove, Proved, Recover, Sealed
from roost.wire.admission import Pair as PairUp
from roost.wire.connection import Connection, Event, Role
from roost.wire.fields import NodeSeen
from roost.wire.frames import Kind, pack_header, pack_progress
from roost.wire.messages import (
    ANSWER_TO,
    Ages,
    AnyAnswer,
    AnyRequest,
    Clock,
    Collect,
    Collected,
    Commit,
    Committed,
    Digests,
    Get,
    GetAges,
    GetClock,
    GetNodes,
    GetRecord,
    GetStatus,
    GetVerified,
    Have,
    Hello,
    Holding,
    Keep,
    Keeping,
    LastVerified,
    Nodes,
    PassedOn,
    PassOn,
    Ping,
    Pong,
    Put,
    PutRecord,
    RecordDigests,
    RecordIds,
    RecordKept,
    Scrub,
    Scrubbed,
    Sending,
    Status,
    Stored,
    Trouble,
    Verified,
    Verify,
)
from roost.wire.observing import GetMetrics, Report, Reported

A, B = bytes(range(32)), bytes(range(32, 64))
NODE = "0123456789abcdef" * 2
HELLO = Hello(1, 1, "0.1.0", A)
TELLING_FORMATS = Hello(1, 1, "0.2.0", A, b"", b"an instance", {"record": 1, "manifest": 1})
TROUBLE = Trouble("no-space", "the disk is full", "free some space")

REQUESTS: dict[str, AnyRequest] = {
    "ping": Ping(),
    "have": Have(A + B, reserve=True),
    "put": Put(A, 6),
    "get": Get(A),
    "pass-on": PassOn(A + B, NODE),
    "commit": Commit(5, b"\x03"),
    "record-digests": RecordDigests(),
    "record-ids": RecordIds([0, 7, 255]),
    "get-record": GetRecord(B),
    "put-record": PutRecord(4),
    "verify": Verify(A + B),
    "get-status": GetStatus(),
    "get-clock": GetClock(),
    "join": Join(b"secret", b"\x30\x82request"),
    "get-nodes": GetNodes(),
    "get-verified": GetVerified(A + B),
    "scrub": Scrub(A, 5.0),
    "get-ages": GetAges(A + B),
    "keep": Keep(A + B, B, bytes(range(100, 132))),
    "collect": Collect(dry_run=True),
    "recover": Recover(B),
    "pair": PairUp(b"S" + A),
    "prove": Prove(b"attempt", B, b"\x30\x82request"),
    "get-metrics": GetMetrics(),
    "report": Report(b"operation", "store", "run/step-1", "failed", 2.5, 6, 12, "pi-3", "no-space", "the disk is full"),
}
ANSWERS: dict[str, AnyAnswer] = {
    "pong": Pong(12.5, 2, "its disk fails"),
    "holding": Holding(b"\x02"),
    "stored": Stored(already=False),
    "sending": Sending(6),
    "passed-on": PassedOn(["", "no-space"]),
    "committed": Committed(B),
    "digests": Digests(bytes(2048)),
    "record-kept": RecordKept(new=True),
    "verified": Verified(b"\x00\x02"),
    "status": Status(NODE, "pi", "0.1.0", 60.0, 3, 4096, 2**40, 2, 0, 1, 4242, "/srv/röost", "", "read 3 of 3", "idle"),
    "admitted": Admitted(b"\x30\x82certificate", "home"),
    "nodes": Nodes([NodeSeen(NODE, "suspect", 7.5, "192.168.1.20:7400", "")]),
    "last-verified": LastVerified([0, 1_700_000_000]),
    "scrubbed": Scrubbed(B, A, 7, 4096),
    "ages": Ages([0, 86_400]),
    "keeping": Keeping(b"\x03"),
    "collected": Collected(3, 4096, ["2 chunks wait"], ""),
    "sealed": Sealed(b"a record"),
    "clock": Clock(1_700_000_000.5),
    "paired": Paired(b"S" + B, b"attempt"),
    "proved": Proved(b"\x30\x82certificate", "home", A),
    "reported": Reported(),
}


def answer_for(request: AnyRequest) -> AnyAnswer:
    """The specimen of the answer that this request has."""
    return next(answer for answer in ANSWERS.values() if type(answer) is ANSWER_TO[type(request)])


def frame(kind: Kind, request_id: int, payload: bytes = b"") -> bytes:
    """A frame as it travels, whether or not it is allowed."""
    return pack_header(kind, request_id, len(payload)) + payload


def message(kind: Kind, request_id: int, value: msgspec.Struct) -> bytes:
    return frame(kind, request_id, msgspec.msgpack.encode(value))


@dataclass(frozen=True, slots=True)
class Specimen:
    """A frame that `sender` may send, at some time."""

    name: str
    sender: Role
    kind: Kind
    data: bytes


def specimens() -> list[Specimen]:
    """Every kind of frame, and every message in it."""
    client, server = Role.CLIENT, Role.SERVER
    found = [
        Specimen("hello", client, Kind.HELLO, message(Kind.HELLO, 0, HELLO)),
        Specimen("hello_with_formats", client, Kind.HELLO, message(Kind.HELLO, 0, TELLING_FORMATS)),
        Specimen("hello_to_joiner", server, Kind.HELLO, message(Kind.HELLO, 0, Hello(1, 1, "0.1.0", A, b"\x30\x82ca"))),
    ]
    told = Ping(operation=b"operation")
    found.append(Specimen("request_of_operation", client, Kind.REQUEST, message(Kind.REQUEST, 1, told)))
    for name, request in REQUESTS.items():
        found.append(Specimen(f"request_{name}", client, Kind.REQUEST, message(Kind.REQUEST, 1, request)))
    for name, answer in ANSWERS.items():
        found.append(Specimen(f"answer_{name}", server, Kind.ANSWER, message(Kind.ANSWER, 1, answer)))
    return [
        *found,
        Specimen("proceed", server, Kind.PROCEED, frame(Kind.PROCEED, 1)),
        Specimen("data_up", client, Kind.DATA, frame(Kind.DATA, 1, b"slice!")),
        Specimen("data_down", server, Kind.DATA, frame(Kind.DATA, 1, b"slice!")),
        Specimen("end", server, Kind.END, frame(Kind.END, 1)),
        Specimen("end_trouble", server, Kind.END, message(Kind.END, 1, TROUBLE)),
        Specimen("busy", server, Kind.BUSY, frame(Kind.BUSY, 1, pack_progress(2**40 + 1))),
        Specimen("error", server, Kind.ERROR, message(Kind.ERROR, 1, TROUBLE)),
        Specimen("cancel", client, Kind.CANCEL, frame(Kind.CANCEL, 1)),
    ]


class Feeder:
    """Hands a stream that arrives in any pieces to a connection in the pieces that it asks for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data`, with what was left over before, makes whole."""
        self._pending += data
        events = []
        while len(self._pending) >= (size := self._connection.next_size()):
            piece = memoryview(bytes(self._pending[:size]))
            del self._pending[:size]
            event = self._connection.receive(piece)
            if event is not None:
                events.append(event)
        return events


def feed(connection: Connection, data: bytes) -> list[Event]:
    """The events in `data`, which is whole frames."""
    feeder = Feeder(connection)
    events = feeder.feed(data)
    assert not feeder._pending
    return events


def greeted(role: Role, *, admitted: bool = True, requests_max: int = 64) -> Connection:
    """A connection on which both HELLOs have passed."""
    connection = Connection(role, admitted=admitted, requests_max=requests_max)
    connection.hello(HELLO)
    feed(connection, message(Kind.HELLO, 0, HELLO))
    return connection


class Pair:
    """Two ends and nothing between them: what one says, the other hears at once."""

    def __init__(self, *, admitted: bool = True) -> None:
        self.client = greeted(Role.CLIENT, admitted=admitted)
        self.server = greeted(Role.SERVER, admitted=admitted)

    def end(self, role: Role) -> Connection:
        return self.client if role is Role.CLIENT else self.server

    def say(self, sender: Role, data: bytes) -> list[Event]:
        """Deliver what `sender` was given to send."""
        return feed(self.end(sender.peer), data)

    def ask(self, request: AnyRequest, *, body_length: int | None = None) -> int:
        """Make a request and deliver it; returns its id."""
        request_id, data = self.client.request(request, body_length=body_length)
        self.say(Role.CLIENT, data)
        return request_id
