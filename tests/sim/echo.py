"""Requests that come twice, and answers that get lost: TCP cannot say whether what was asked for was done."""

import asyncio
import contextlib
import random
from collections.abc import Callable

from roost.core.errors import RoostError, Unreachable
from roost.core.ids import NodeId
from roost.net.body import Body, Sink
from roost.net.links import Links
from roost.testing.process import SimProcess
from roost.wire.messages import AnyAnswer, AnyRequest

LATER_S = (0.01, 20.0)
LOST = 0.2
"""Of the answers to what comes twice, so many get lost."""


class Echo:
    """Lets requests be made twice, the second time a while later: as many as `steady` says all the time, which is no
    fault and must harm nothing; and as many as `rate` says while that is one, and then answers get lost too. What is
    only read into a buffer of the caller's is not asked for again.

    `came` hears of every request that was made twice, of which kind it is, `felt` of every one while it is a fault.
    """

    def __init__(
        self, chance: random.Random, *, steady: float, came: Callable[[str], None], felt: Callable[[], None]
    ) -> None:
        self._chance = chance
        self._came = came
        self._felt = felt
        self._coming: dict[SimProcess, set[asyncio.Task[None]]] = {}
        self.steady = steady
        self.rate = 0.0

    def wrap(self, links: Links, process: SimProcess) -> None:
        """Let the calls of a process go through here."""
        sound = links.call
        coming = self._coming[process] = set()

        async def call(
            node: NodeId, request: AnyRequest, *, body: Body | None = None, sink: Sink | None = None, bulk: bool = False
        ) -> AnyAnswer:
            drawn = self._chance.random() if self.rate or self.steady else 1.0
            fault = drawn < self.rate
            if sink is not None or not (fault or drawn < self.steady):
                return await sound(node, request, body=body, sink=sink, bulk=bulk)
            data = await _whole(body) if body is not None else None

            async def ask() -> AnyAnswer:
                return await sound(node, request, body=None if data is None else Body.of(data), bulk=bulk)

            async def again() -> None:
                await asyncio.sleep(LATER_S[0] * (LATER_S[1] / LATER_S[0]) ** self._chance.random())
                with contextlib.suppress(RoostError):
                    await ask()
                    self._came(type(request).__name__)

            answer = await ask()
            task = process.spawn(again(), name=f"again: {type(request).__name__}")
            coming.add(task)
            task.add_done_callback(coming.discard)
            if fault:
                self._felt()
                if self._chance.random() < LOST:
                    raise Unreachable("the answer got lost")
            return answer

        links.call = call  # type: ignore[method-assign]

    def end(self, process: SimProcess) -> None:
        """Let nothing come twice any more of a process that ends."""
        for task in sorted(self._coming.pop(process, ()), key=hash):
            task.cancel()


async def _whole(body: Body) -> bytes:
    async with body.opened() as slices:
        return b"".join([bytes(piece) async for piece in slices])
