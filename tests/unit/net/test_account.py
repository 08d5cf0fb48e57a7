"""What the log says of the requests that an operation made: a line a kind, once they rest or their connection ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from net_kits import Pair, address, hello, node_id, play, some
from roost.core.ids import object_id
from roost.net import account
from roost.net.body import Body, BytesSink
from roost.net.links import Links
from roost.net.server import Call, Reply
from roost.observe import log
from roost.observe.operation import within_operation
from roost.wire.messages import Ping, Pong, Put, Stored

ONE, TWO = node_id(1), node_id(2)
DATA = some(100_000)
NAME = object_id(DATA)
OPERATION = b"8 bytes!"


@pytest.fixture(autouse=True)
def written(tmp_path: Path) -> Iterator[None]:
    log.configure(directory=tmp_path, name="node", people=None)
    yield
    log.shutdown()


def told(folder: Path) -> list[tuple[Any, ...]]:
    """(request, how many, bytes) of each line that tells of what was served to the operation."""
    lines = [json.loads(line) for line in (folder / "node.jsonl").read_text().splitlines()]
    served = [line for line in lines if line["event"] == "served"]
    assert all((line["operation"], line["peer"]) == (OPERATION.hex(), ONE) for line in served)
    return [(line["request"], line["requests"], line["bytes"]) for line in served]


async def keep(call: Call) -> Reply:
    assert isinstance(call.request, Put)
    await call.receive_body(BytesSink(call.request.length))
    return Reply(Stored(already=False))


async def nothing(call: Call) -> Reply:
    return Reply(Pong(1.0))


async def serving(pair: Pair, folder: Path) -> Links:
    (folder / "node.jsonl").write_text("")  # the same scenario is played several times
    pair.handlers |= {Put: keep, Ping: nothing}
    await pair.serve()
    links = Links(pair.runtime, pair.client, hello=hello(), resolve=lambda node: [address(2)])
    pair.made.append(links)
    return links


async def put(links: Links) -> None:
    await links.call(TWO, Put(NAME, len(DATA)), body=Body.of(DATA), bulk=True)


def test_it_is_told_when_the_peer_rests(tmp_path: Path) -> None:
    async def scenario(pair: Pair) -> None:
        links = await serving(pair, tmp_path)
        with within_operation(OPERATION):
            for _ in range(3):
                await put(links)
            await links.call(TWO, Ping())
        await put(links)
        assert told(tmp_path) == []
        await pair.runtime.sleep(2.5)
        assert told(tmp_path) == [("Put", 3, 300_000)], "of what belongs to an operation, and is worth following"
        with within_operation(OPERATION):
            await put(links)
        await pair.runtime.sleep(2.5)
        assert told(tmp_path)[1:] == [("Put", 1, 100_000)]

    play(scenario)


def test_it_is_told_when_the_connection_ends(tmp_path: Path) -> None:
    async def scenario(pair: Pair) -> None:
        links = await serving(pair, tmp_path)
        with within_operation(OPERATION):
            await put(links)
        await links.close()
        await pair.runtime.sleep(0.1)
        assert told(tmp_path) == [("Put", 1, 100_000)]

    play(scenario)


def test_it_is_told_of_a_peer_that_never_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "TOLD_AFTER", 2)

    async def scenario(pair: Pair) -> None:
        links = await serving(pair, tmp_path)
        with within_operation(OPERATION):
            for _ in range(5):
                await put(links)
        assert told(tmp_path) == [("Put", 2, 200_000), ("Put", 2, 200_000)]

    play(scenario)
