"""One end of one connection, as a machine without I/O: it says which bytes it wants next, turns them into events, and
turns calls into the bytes to send.

How to drive it, at either end and for any peer:

* Receiving: fill a buffer of exactly `next_size()` bytes from the stream and hand it to `receive`, which returns an
  event or None. When `data_for()` is not None, those bytes are body bytes of that request, and the driver may choose
  the buffer by it: `DataReceived.data` is the very view that was handed in. Any other buffer may be reused when
  `receive` returns. What is still wanted is decided when the bytes are complete, so None may also come where `data_for`
  had promised bytes: the request was given up in between.
* Sending: every method returns the bytes of a frame, to be sent in the order of the calls. After `data_header` its
  payload follows, before anything else. Empty bytes mean that there is nothing left to say.
* `hello` comes first. A client asks when it has the server's HELLO. The frames of one exchange follow the table in
  `roost.wire.exchange`, which also explains every race; a driver keeps two rules:
    - a server ends every request with `answer` (then its body and `end`) or with `error`, also after CancelReceived;
    - whoever streams a body stops when `wanted` turns false, or for a reason of its own, and then says `end` (the
      server may say `error` instead, the client `cancel`).

When the peer breaks the protocol, `receive` raises RemoteProtocolError, and does so ever after: drop the connection. A
call that would break it raises LocalProtocolError and changes nothing. The machine is not safe for use by two threads
at once. It holds one header and a few numbers for each open exchange, never a payload.
"""

from dataclasses import dataclass

from roost.wire import frames
from roost.wire.admission import STRANGERS_MAY_ASK
from roost.wire.events import AnswerReceived as AnswerReceived
from roost.wire.events import BodyEnded as BodyEnded
from roost.wire.events import BusyReceived as BusyReceived
from roost.wire.events import CancelReceived as CancelReceived
from roost.wire.events import DataReceived as DataReceived
from roost.wire.events import ErrorReceived as ErrorReceived
from roost.wire.events import Event as Event
from roost.wire.events import HelloReceived as HelloReceived
from roost.wire.events import ProceedReceived as ProceedReceived
from roost.wire.events import RequestReceived as RequestReceived
from roost.wire.events import UnknownRequest as UnknownRequest
from roost.wire.exchange import CANCELLED, QUIET, REQUESTS_MAX, REQUESTS_MAX_UNADMITTED, TABLE, owes
from roost.wire.exchange import Role as Role
from roost.wire.exchange import State as State
from roost.wire.frames import GREETING_BYTES_MAX, HEADER_BYTES, PAYLOAD_BYTES, REQUEST_ID_MAX, Header, Kind, violation
from roost.wire.frames import LocalProtocolError as LocalProtocolError
from roost.wire.frames import RemoteProtocolError as RemoteProtocolError
from roost.wire.messages import (
    ANSWER_TO,
    AnyAnswer,
    AnyRequest,
    Hello,
    Trouble,
    answer_body_bytes,
    answer_body_bytes_max,
    request_body_bytes,
)
from roost.wire.payloads import ANSWER, HELLO, REQUEST, TROUBLE, Unknown, decode, decode_request, encode


@dataclass(slots=True)
class _Exchange:
    """`left` counts the bytes of the body (whichever way it goes) that have not passed here."""

    state: State
    answer: type[AnyAnswer] | None
    answer_body_max: int | None
    left: int = 0


class Connection:
    """The protocol's state at one end. `admitted` says whether the client has a certificate of the cluster: one that
    has none may ask for nothing but `STRANGERS_MAY_ASK`, and until then nobody sends or expects more than 16 KiB at
    a time."""

    def __init__(self, role: Role, *, admitted: bool, requests_max: int = REQUESTS_MAX) -> None:
        self.role = role
        self._admitted = admitted
        self._requests_max = requests_max if admitted else REQUESTS_MAX_UNADMITTED
        self._ours, self._theirs = TABLE[role], TABLE[role.peer]
        self._open: dict[int, _Exchange] = {}
        self._last_id = 0
        self._hello_sent = False
        self._hello_received = False
        self._header: Header | None = None
        self._broken: RemoteProtocolError | None = None

    # What may be asked at any time

    @property
    def open_requests(self) -> int:
        """How many exchanges this end remembers."""
        return len(self._open)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way, so that the end of the stream here loses nothing."""
        return self._header is None and not self._open

    @property
    def may_request(self) -> bool:
        """Whether `request` is allowed now: both HELLOs have passed, and ids and places are left."""
        return (
            self.role is Role.CLIENT
            and self._hello_sent
            and self._hello_received
            and len(self._open) < self._requests_max
            and self._last_id < REQUEST_ID_MAX
        )

    def state(self, request_id: int) -> State:
        """Where the exchange stands; LocalProtocolError for an id that was never used."""
        exchange = self._open.get(request_id)
        if exchange is not None:
            return exchange.state
        if not 1 <= request_id <= self._last_id:
            raise LocalProtocolError(f"request {request_id} was never made")
        return State.DONE

    def owes(self, request_id: int) -> bool:
        """Whether this end must still send the exchange's last frame of its own."""
        return owes(self.role, self.state(request_id))

    def wanted(self, request_id: int) -> bool:
        """Whether the peer, as far as is known here, still wants the rest of the body that this end streams."""
        return self.state(request_id) is (State.UPLOADING if self.role is Role.CLIENT else State.SENDING)

    # Receiving

    def next_size(self) -> int:
        """How many bytes `receive` takes next: at least 1, at most 1 MiB, and at most 16 KiB before the peer's HELLO or
        without admission (DATA does not occur there)."""
        if self._broken is not None:
            raise self._broken
        return HEADER_BYTES if self._header is None else self._header.length

    def data_for(self) -> tuple[int, int] | None:
        """The request and the number of bytes when the next bytes are of a body that somebody here wants, else None."""
        header = self._header
        if header is None or header.kind is not Kind.DATA or self._open[header.request_id].state in QUIET:
            return None
        return header.request_id, header.length

    def left(self, request_id: int) -> int:
        """How many bytes of the body that is on its way have not passed here; 0 when the exchange is over."""
        exchange = self._open.get(request_id)
        return 0 if exchange is None else exchange.left

    def receive(self, data: memoryview) -> Event | None:
        """Take exactly `next_size()` bytes. Raises RemoteProtocolError when the peer broke the protocol."""
        if len(data) != self.next_size():
            raise LocalProtocolError(f"{len(data)} bytes were handed in, {self.next_size()} are next")
        header = self._header
        try:
            if header is None:
                header = frames.unpack_header(data)
                self._check(header)
                if header.length:
                    self._header = header
                    return None
                data = data[:0]
            self._header = None
            return self._finish(header, data)
        except RemoteProtocolError as error:
            self._broken = error
            raise

    def _check(self, header: Header) -> None:
        """Everything that can be known from the header and the state, before the payload is waited for."""
        kind, request_id, length = header
        if kind is Kind.HELLO:
            if self._hello_received:
                raise violation("a second HELLO")
            return
        if not self._hello_received:
            raise violation(f"{kind.name} before HELLO")
        if length > GREETING_BYTES_MAX and not self._admitted:
            raise violation(f"{kind.name} of {length} bytes before admission")
        if kind is Kind.REQUEST:
            self._check_request(request_id)
            return
        exchange = self._open.get(request_id)
        state = State.DONE if exchange is None else exchange.state
        if exchange is None and request_id > self._last_id:
            raise violation(f"{kind.name} for request {request_id}, which was never made")
        if kind not in self._theirs[state]:
            raise violation(f"{kind.name} for request {request_id}, which is {state.value}")
        if kind is Kind.DATA and exchange is not None and length > exchange.left:
            raise violation(f"{length} bytes of a body of which {exchange.left} are left")

    def _check_request(self, request_id: int) -> None:
        if self.role is Role.CLIENT:
            raise violation("REQUEST to a client")
        if not self._hello_sent:
            raise violation("REQUEST before it could have our HELLO")
        if request_id != self._last_id + 1:
            raise violation(f"REQUEST {request_id} after {self._last_id}")
        if len(self._open) >= self._requests_max:
            raise violation(f"more than {self._requests_max} requests at once")

    def _finish(self, header: Header, data: memoryview) -> Event | None:
        """The frame is complete: change the state, and tell whoever still listens."""
        kind, request_id, length = header
        if kind is Kind.HELLO:
            hello = decode(HELLO, kind, data)
            self._hello_received = True
            return HelloReceived(hello)
        if kind is Kind.REQUEST:
            return self._finish_request(request_id, data)
        exchange = self._open.get(request_id)
        if exchange is None:
            return None
        quiet = exchange.state in QUIET
        event: Event
        match kind:
            case Kind.DATA:
                exchange.left -= length
                event = DataReceived(request_id, data)
            case Kind.BUSY:
                event = BusyReceived(request_id, frames.unpack_progress(data))
            case Kind.PROCEED:
                event = ProceedReceived(request_id)
            case Kind.CANCEL:
                event = CancelReceived(request_id)
            case Kind.ERROR:
                event = ErrorReceived(request_id, decode(TROUBLE, kind, data))
            case Kind.END:
                event = self._ended(exchange, request_id, data, quiet=quiet)
            case _:
                event = self._answered(exchange, request_id, data)
        self._move(request_id, exchange, self._theirs[exchange.state][kind])
        return None if quiet else event

    def _finish_request(self, request_id: int, data: memoryview) -> Event:
        request = decode_request(data)
        if isinstance(request, Unknown):
            self._last_id = request_id
            self._open[request_id] = _Exchange(State.ASKED, None, None)
            return UnknownRequest(request_id, request.reason)
        if not self._admitted and not isinstance(request, STRANGERS_MAY_ASK):
            raise violation(f"{type(request).__name__} before admission")
        return RequestReceived(request_id, request, self._begin(request_id, request))

    def _ended(self, exchange: _Exchange, request_id: int, data: memoryview, *, quiet: bool) -> BodyEnded:
        if len(data):
            return BodyEnded(request_id, decode(TROUBLE, Kind.END, data))
        if exchange.left and not quiet:
            raise violation(f"END with {exchange.left} bytes of the body to come")
        return BodyEnded(request_id, None)

    def _answered(self, exchange: _Exchange, request_id: int, data: memoryview) -> AnswerReceived:
        answer = decode(ANSWER, Kind.ANSWER, data)
        problem = _misfit(exchange, answer)
        if problem:
            raise violation(problem)
        length = answer_body_bytes(answer)
        if length is not None:
            exchange.left = length
        return AnswerReceived(request_id, answer, length)

    # Sending

    def hello(self, hello: Hello) -> bytes:
        """The first frame of either side."""
        if self._hello_sent:
            raise LocalProtocolError("HELLO was sent already")
        frame = _frame(Kind.HELLO, 0, encode(HELLO, Kind.HELLO, hello))
        self._hello_sent = True
        return frame

    def request(self, request: AnyRequest, *, body_length: int | None = None) -> tuple[int, bytes]:
        """Ask; returns the new id too. `body_length`, what the caller is ready to send, is what `request` announces."""
        if not self.may_request:
            raise LocalProtocolError("no request can be made now")
        if not self._admitted and not isinstance(request, STRANGERS_MAY_ASK):
            raise LocalProtocolError(f"{type(request).__name__} before admission")
        if body_length != request_body_bytes(request):
            raise LocalProtocolError(f"{type(request).__name__} announces another body than of {body_length} bytes")
        payload = encode(REQUEST, Kind.REQUEST, request)
        self._fits_admission(payload)
        request_id = self._last_id + 1
        self._begin(request_id, request)
        return request_id, _frame(Kind.REQUEST, request_id, payload)

    def proceed(self, request_id: int) -> bytes:
        """Let the client send the body it announced."""
        return self._send(Kind.PROCEED, request_id)

    def data_header(self, request_id: int, length: int) -> bytes:
        """The header of a body slice of `length` bytes (1 to 1 MiB); the caller sends the slice itself right after."""
        exchange, after = self._next(Kind.DATA, request_id)
        shortest, longest = PAYLOAD_BYTES[Kind.DATA]
        if not shortest <= length <= min(longest, exchange.left):
            raise LocalProtocolError(f"a slice of {length} bytes, {exchange.left} are left")
        exchange.left -= length
        exchange.state = after
        return frames.pack_header(Kind.DATA, request_id, length)

    def end(self, request_id: int, trouble: Trouble | None = None) -> bytes:
        """End the body: all of it was sent, or it cannot be (`trouble`), or nobody wants it (not `wanted`)."""
        exchange, _ = self._next(Kind.END, request_id)
        if trouble is None and exchange.left and exchange.state not in QUIET:
            raise LocalProtocolError(f"the body lacks {exchange.left} bytes")
        payload = b"" if trouble is None else encode(TROUBLE, Kind.END, trouble)
        return self._send(Kind.END, request_id, payload)

    def answer(self, request_id: int, answer: AnyAnswer, body_length: int | None = None) -> bytes:
        """The one answer, of the kind that the request has; its body (`body_length` is what `answer` says) follows."""
        exchange, _ = self._next(Kind.ANSWER, request_id)
        problem = _misfit(exchange, answer)
        if problem:
            raise LocalProtocolError(problem)
        if body_length != answer_body_bytes(answer):
            raise LocalProtocolError(f"{type(answer).__name__} announces another body than of {body_length} bytes")
        payload = encode(ANSWER, Kind.ANSWER, answer)
        self._fits_admission(payload)
        frame = self._send(Kind.ANSWER, request_id, payload)
        if body_length is not None:
            exchange.left = body_length
        return frame

    def busy(self, request_id: int, progress: int) -> bytes:
        """Still at it; `progress` (0 to 2**64 - 1) grows while the work moves."""
        if not 0 <= progress < 2**64:
            raise LocalProtocolError(f"no progress can be {progress}")
        return self._send(Kind.BUSY, request_id, frames.pack_progress(progress))

    def error(self, request_id: int, trouble: Trouble) -> bytes:
        """End the exchange with `trouble`, wherever it stands: as ERROR, as the END of an answer's body, or with empty
        bytes when the server's last frame was sent already."""
        state = self.state(request_id)
        if self.role is Role.SERVER and not owes(Role.SERVER, state):
            return b""
        kind = Kind.END if state in (State.SENDING, State.SENDING_CANCELLED) else Kind.ERROR
        self._next(kind, request_id)
        return self._send(kind, request_id, encode(TROUBLE, kind, trouble))

    def cancel(self, request_id: int) -> bytes:
        """The client gives the request up, and hears no more of it; empty bytes when it is over or given up already."""
        state = self.state(request_id)
        if self.role is Role.CLIENT and (state is State.DONE or state in CANCELLED):
            return b""
        return self._send(Kind.CANCEL, request_id)

    # Both

    def _begin(self, request_id: int, request: AnyRequest) -> int | None:
        """Open the exchange; returns the length of the request's body."""
        upload, download = request_body_bytes(request), answer_body_bytes_max(request)
        state = State.OFFERED if upload is not None else State.FETCHING if download is not None else State.ASKED
        self._last_id = request_id
        self._open[request_id] = _Exchange(state, ANSWER_TO[type(request)], download, upload or 0)
        return upload

    def _move(self, request_id: int, exchange: _Exchange, state: State) -> None:
        exchange.state = state
        if state is State.DONE:
            del self._open[request_id]

    def _next(self, kind: Kind, request_id: int) -> tuple[_Exchange, State]:
        """The exchange in which this end may send `kind` now, and the state after that."""
        state = self.state(request_id)
        after = self._ours[state].get(kind)
        exchange = self._open.get(request_id)
        if after is None or exchange is None:
            raise LocalProtocolError(f"{self.role.value}: {kind.name} for request {request_id}, which is {state.value}")
        return exchange, after

    def _send(self, kind: Kind, request_id: int, payload: bytes = b"") -> bytes:
        exchange, after = self._next(kind, request_id)
        self._move(request_id, exchange, after)
        return _frame(kind, request_id, payload)

    def _fits_admission(self, payload: bytes) -> None:
        if not self._admitted and len(payload) > GREETING_BYTES_MAX:
            raise LocalProtocolError(f"{len(payload)} bytes before admission")


def _misfit(exchange: _Exchange, answer: AnyAnswer) -> str:
    """Why `answer` cannot be the answer of this exchange, or the empty string."""
    if exchange.answer is None:
        return "an answer to an unknown request"
    if not isinstance(answer, exchange.answer):
        return f"{type(answer).__name__} where {exchange.answer.__name__} is the answer"
    length, longest = answer_body_bytes(answer), exchange.answer_body_max
    if length is not None and longest is not None and length > longest:
        return f"a body of {length} bytes where at most {longest} may follow"
    return ""


def _frame(kind: Kind, request_id: int, payload: bytes) -> bytes:
    return frames.pack_header(kind, request_id, len(payload)) + payload
