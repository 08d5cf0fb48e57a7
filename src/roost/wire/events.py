"""What `Connection.receive` can report: one frozen value for each thing that a peer can say."""

from dataclasses import dataclass
from typing import TypeAlias

from roost.wire.messages import AnyAnswer, AnyRequest, Hello, Trouble


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """The peer introduced itself."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """`body_length` is None when no body was announced; else `proceed` asks for it."""

    request_id: int
    request: AnyRequest
    body_length: int | None


@dataclass(frozen=True, slots=True)
class UnknownRequest:
    """A request of a kind, or with fields, that this release does not know; `error` it as `unsupported`."""

    request_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class ProceedReceived:
    """The server wants the request's body now."""

    request_id: int


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A slice of a body: the very view that was received into."""

    request_id: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class BodyEnded:
    """Without a trouble, exactly the announced bytes have come."""

    request_id: int
    trouble: Trouble | None


@dataclass(frozen=True, slots=True)
class AnswerReceived:
    """`body_length` is None when no body follows, and the exchange is over then; else it ends with BodyEnded."""

    request_id: int
    answer: AnyAnswer
    body_length: int | None


@dataclass(frozen=True, slots=True)
class BusyReceived:
    """The server is still at it."""

    request_id: int
    progress: int


@dataclass(frozen=True, slots=True)
class ErrorReceived:
    """The request ended with trouble."""

    request_id: int
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class CancelReceived:
    """The client has lost interest. The server still ends the exchange, soon, in any way that it may."""

    request_id: int


Event: TypeAlias = (
    HelloReceived | RequestReceived | UnknownRequest | ProceedReceived | DataReceived | BodyEnded | AnswerReceived
    | BusyReceived | ErrorReceived | CancelReceived
)  # fmt: skip
