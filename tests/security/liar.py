"""A malicious member: a real node with a real certificate, in a thread beside the test, that says what a test wants."""

import asyncio
import threading
from collections import ChainMap
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

from roost.client.session import member_network
from roost.core.cluster import Address
from roost.core.runtime import SystemRuntime
from roost.disk.posix import PosixDisk
from roost.net.body import Body
from roost.net.server import Call, Handler, Handlers, Reply
from roost.node.node import Node, NodeOptions
from roost.security.identity import Identity
from roost.wire.fields import pack_bits
from roost.wire.messages import (
    Commit,
    Committed,
    Digests,
    Get,
    GetRecord,
    Have,
    Holding,
    Keep,
    Keeping,
    Put,
    RecordDigests,
    RecordIds,
    Sending,
    Stored,
    Verified,
    Verify,
)

LIMIT_S = 30.0


class _Lying(Node):
    """A node, some of whose handlers are replaced while it runs."""

    lies: dict[type, Handler]

    def handlers(self) -> Handlers:
        return ChainMap(self.lies, dict(super().handlers()))


class Liar:
    """The node of the member whose home this is, served while in the context. `lies` is what it answers in place of
    the truth, by kind of request; `told` counts the answers."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.lies: dict[type, Handler] = {}
        self.told = 0
        self.id = str(Identity.load(PosixDisk(home)).node_id)
        self._serving = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="liar")
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._serving.wait(LIMIT_S), "it does not serve"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(LIMIT_S)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runtime, disk = SystemRuntime(), PosixDisk(self.home)
        identity = Identity.load(disk)
        options = NodeOptions(name="liar", listen=Address("127.0.0.1", 0), home=str(self.home))
        node = _Lying(runtime, member_network(runtime, identity, joiners=True), disk, identity, options)
        node.lies = self.lies
        serving = asyncio.create_task(node.run(ready=lambda address: self._serving.set()))
        await self._stop.wait()
        serving.cancel()
        await asyncio.wait([serving])

    def answer_gets_with(self, data: bytes, *, announced: int | None = None) -> None:
        """Send these bytes for every object."""

        async def lie(call: Call) -> Reply:
            self.told += 1
            return Reply(Sending(len(data) if announced is None else announced), Body(len(data), _endlessly(data)))

        self.lies[Get] = lie

    def claim_to_hold_everything(self) -> None:
        """Say yes to whatever is asked, and keep nothing."""

        async def lie(call: Call) -> Reply:
            self.told += 1
            request = call.request
            if isinstance(request, Have):
                return Reply(Holding(pack_bits([True] * (len(request.ids) // 32))))
            if isinstance(request, Keep):
                return Reply(Keeping(pack_bits([True] * (len(request.ids) // 32))))
            if isinstance(request, Verify):
                return Reply(Verified(bytes(len(request.ids) // 32)))
            if isinstance(request, Put):
                return Reply(Stored(already=True))
            return Reply(Committed(b""))

        self.lies.update(dict.fromkeys((Have, Keep, Verify, Put, Commit), lie))

    def tell_of_records_that_are_none(self) -> None:
        """Have records that others lack, whose bytes are not what their ids say."""

        async def digests(call: Call) -> Reply:
            return Reply(Digests(b"\xab" * 2048))

        async def ids(call: Call) -> Reply:
            assert isinstance(call.request, RecordIds)
            made = b"".join(bytes([bucket]) + b"\xcd" * 31 for bucket in call.request.buckets)
            return Reply(Sending(len(made)), Body.of(made))

        async def record(call: Call) -> Reply:
            self.told += 1
            noise = b"\xef" * 60_000
            return Reply(Sending(len(noise)), Body.of(noise))

        self.lies.update({RecordDigests: digests, RecordIds: ids, GetRecord: record})


async def _endlessly(data: bytes) -> AsyncIterator[memoryview]:
    for begin in range(0, len(data), 512 * 1024):
        yield memoryview(data)[begin : begin + 512 * 1024]
