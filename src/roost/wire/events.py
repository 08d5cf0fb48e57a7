"""What `Connection.receive` can report: one frozen value for each thing that a peer can say."""

from typing import TypeAlias

import msgspec

from roost.wire.messages import AnyAnswer, AnyRequest, Hello, Trouble


class HelloReceived(msgspec.Struct, frozen=True):
    """The peer introduced itself."""

    hello: Hello


class RequestReceived(msgspec.Struct, frozen=True):
    """`body_length` is None when no body was announced; else `proceed` asks for it."""

    request_id: int
    request: AnyRequest
    body_length: int | None


class UnknownRequest(msgspec.Struct, frozen=True):
    """A request of a kind, or with fields, that this release does not know; `error` it as `unsupported`."""

    request_id: int
    reason: str


class ProceedReceived(msgspec.Struct, frozen=True):
    """The server wants the request's body now."""

    request_id: int


class DataReceived(msgspec.Struct, frozen=True):
    """A slice of a body: the very view that was received into."""

    request_id: int
    data: memoryview


class BodyEnded(msgspec.Struct, frozen=True):
    """Without a trouble, exactly the announced bytes have come."""

    request_id: int
    trouble: Trouble | None


class AnswerReceived(msgspec.Struct, frozen=True):
    """`body_length` is None when no body follows, and the exchange is over then; else it ends with BodyEnded."""

    request_id: int
    answer: AnyAnswer
    body_length: int | None


class BusyReceived(msgspec.Struct, frozen=True):
    """The server is still at it."""

    request_id: int
    progress: int


class ErrorReceived(msgspec.Struct, frozen=True):
    """The request ended with trouble."""

    request_id: int
    trouble: Trouble


class CancelReceived(msgspec.Struct, frozen=True):
    """The client has lost interest. The server still ends the exchange, soon, in any way that it may."""

    request_id: int


Event: TypeAlias = (
    HelloReceived | RequestReceived | UnknownRequest | ProceedReceived | DataReceived | BodyEnded | AnswerReceived
    | BusyReceived | ErrorReceived | CancelReceived
)  # fmt: skip
