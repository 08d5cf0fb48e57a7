"""Releases side by side: what the one before this said in its hello is understood and served, and ours is by it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from net_kits import CLUSTER, Pair, RawPeer, play, raw_client, raw_server, status_of
from roost.client.session import FORMATS, hello_of
from roost.net.link import Link
from roost.wire.connection import AnswerReceived, HelloReceived, RequestReceived
from roost.wire.frames import HEADER_BYTES, Kind, pack_header
from roost.wire.messages import PROTOCOL, GetStatus, Hello

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
FIRST: dict[str, Any] = {"protocol": 1, "protocol_min": 1, "software": "roost 0.0.1", "cluster": CLUSTER}
BEFORE = {**FIRST, "authority": b"", "instance": b"an instance"}
OLDER = pytest.mark.parametrize("said", [FIRST, BEFORE], ids=["the first", "the one before"])


class OldHello(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """A hello as the release before this one reads it."""

    protocol: int
    protocol_min: int
    software: str
    cluster: bytes
    authority: bytes = b""
    instance: bytes = b""


def frame_of(hello: dict[str, Any]) -> bytes:
    payload = msgspec.msgpack.encode(hello)
    return pack_header(Kind.HELLO, 0, len(payload)) + payload


@OLDER
def test_a_client_of_an_older_release_is_served(said: dict[str, Any]) -> None:
    async def scenario(pair: Pair) -> None:
        peer = await raw_client(pair, greet=False)
        peer.connection.hello(hello_of(CLUSTER))  # what is sent is the other
        await peer.send(frame_of(said))
        assert isinstance(await peer.receive(), HelloReceived)
        await peer.send(peer.connection.request(GetStatus())[1])
        answer = await peer.receive()
        assert isinstance(answer, AnswerReceived)
        assert answer.answer == status_of("fine")

    play(scenario, seeds=[1])


@OLDER
def test_a_server_of_an_older_release_is_asked(said: dict[str, Any]) -> None:
    async def scenario(pair: Pair) -> None:
        async def script(peer: RawPeer) -> None:
            peer.connection.hello(hello_of(CLUSTER))
            await peer.send(frame_of(said))
            while not isinstance(event := await peer.receive(), RequestReceived):
                pass
            await peer.send(peer.connection.answer(event.request_id, status_of("old")))
            await peer.silence()

        await raw_server(pair, script)
        link: Link = await pair.link()
        assert link.server_hello.formats is msgspec.UNSET
        assert await link.call(GetStatus()) == status_of("old")

    play(scenario, seeds=[1])


def test_an_older_release_understands_our_hello() -> None:
    ours = msgspec.msgpack.encode(hello_of(CLUSTER, instance=b"an instance"))
    old = msgspec.msgpack.decode(ours, type=OldHello)
    assert (old.protocol, old.cluster, old.instance) == (PROTOCOL, CLUSTER, b"an instance")
    assert old.protocol_min <= 1, "it is still spoken to"


@pytest.mark.parametrize(("name", "formats"), [("hello", msgspec.UNSET), ("hello_with_formats", FORMATS)])
def test_what_was_written_before_formats_were_told_is_read(name: str, formats: object) -> None:
    payload = (GOLDEN / f"frame_{name}.bin").read_bytes()[HEADER_BYTES:]
    assert msgspec.msgpack.decode(payload, type=Hello).formats == formats


@pytest.mark.parametrize(
    "formats", [{"record": -1}, {"x" * 33: 1}, {str(n): 1 for n in range(65)}, {"record": "1"}, []], ids=repr
)
def test_formats_are_bounded(formats: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode({**BEFORE, "formats": formats}), type=Hello)


def test_kinds_of_a_newer_release_are_no_reason_to_refuse_it() -> None:
    newer = {**BEFORE, "formats": {"record": 3, "parity": 2}, "more": [1]}
    hello = msgspec.msgpack.decode(msgspec.msgpack.encode(newer), type=Hello)
    assert hello.formats == {"record": 3, "parity": 2}
