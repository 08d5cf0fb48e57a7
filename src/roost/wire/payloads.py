"""The payloads that are messages, as msgpack: written only if the peer will take them, read whatever they are.

`msgspec` checks bounds when it decodes and not when it encodes, so `encode` reads back what it wrote.
"""

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from roost.wire.frames import PAYLOAD_BYTES, Kind, LocalProtocolError, violation
from roost.wire.messages import AnyAnswer, AnyRequest, Hello, Trouble

REASON_CHARS_MAX = 200

_T = TypeVar("_T")

HELLO = msgspec.msgpack.Decoder(Hello)
REQUEST: msgspec.msgpack.Decoder[AnyRequest] = msgspec.msgpack.Decoder(AnyRequest)
ANSWER: msgspec.msgpack.Decoder[AnyAnswer] = msgspec.msgpack.Decoder(AnyAnswer)
TROUBLE = msgspec.msgpack.Decoder(Trouble)

_ENCODER = msgspec.msgpack.Encoder()
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that is msgpack but no request of this release."""

    reason: str


def decode(decoder: "msgspec.msgpack.Decoder[_T]", kind: Kind, data: memoryview) -> _T:
    """The message in a payload of `kind`; RemoteProtocolError when there is none of this release in it."""
    try:
        return decoder.decode(data)
    except _UNDECODABLE as error:
        raise violation(f"{kind.name} that does not decode: {_reason(error)}") from None


def decode_request(data: memoryview) -> AnyRequest | Unknown:
    """The request in a payload. One of a kind or with fields that this release does not know is `Unknown`: a newer
    peer may ask it in good faith. RemoteProtocolError for what is not msgpack at all."""
    try:
        return REQUEST.decode(data)
    except msgspec.ValidationError as error:
        return Unknown(_reason(error))
    except _UNDECODABLE as error:
        raise violation(f"REQUEST that does not decode: {_reason(error)}") from None


def encode(decoder: "msgspec.msgpack.Decoder[_T]", kind: Kind, message: _T) -> bytes:
    """The payload of `kind` for `message`; LocalProtocolError when the message breaks its own bounds."""
    try:
        payload = _ENCODER.encode(message)
        decoder.decode(payload)
    except (*_UNDECODABLE, UnicodeEncodeError, OverflowError, TypeError) as error:
        raise LocalProtocolError(f"{type(message).__name__} breaks its own bounds: {_reason(error)}") from error
    longest = PAYLOAD_BYTES[kind][1]
    if len(payload) > longest:
        raise LocalProtocolError(f"{type(message).__name__} of {len(payload)} bytes, {longest} are allowed")
    return payload


def _reason(error: Exception) -> str:
    return str(error)[:REASON_CHARS_MAX]
