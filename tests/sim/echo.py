"""Requests that come twice, and answers that get lost: TCP cannot say whether what was asked for was done."""

import asyncio
import random

from roost.core.errors import RoostError, Unreachable
from roost.core.ids import NodeId
from roost.net.body import Body, Sink
from roost.net.links import Links
from roost.testing.process import SimProcess
from roost.wire.messages import AnyAnswer, AnyRequest, Put

LATER_S = (0.01, 20.0)


class Echo:
    """Lets requests be made twice, the second time a while later, and lets answers get lost: `rate` says of how many.

    Only what has no body, or a small one, is repeated; an object that is put again is there already.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.rate = 0.0

    def wrap(self, links: Links, process: SimProcess) -> None:
        """Let the calls of a process go through here."""
        sound = links.call

        async def call(
            node: NodeId, request: AnyRequest, *, body: Body | None = None, sink: Sink | None = None, bulk: bool = False
        ) -> AnyAnswer:
            drawn = self._chance.random() < self.rate if self.rate else False
            if not drawn or sink is not None or isinstance(request, Put):
                return await sound(node, request, body=body, sink=sink, bulk=bulk)
            data = None if body is None else b"".join([bytes(piece) async for piece in body.slices])

            async def again() -> None:
                await asyncio.sleep(LATER_S[0] * (LATER_S[1] / LATER_S[0]) ** self._chance.random())
                try:
                    await sound(node, request, body=Body.of(data) if data is not None else None, bulk=bulk)
                except RoostError:
                    return

            answer = await sound(node, request, body=Body.of(data) if data is not None else None, bulk=bulk)
            process.spawn(again(), name=f"again: {type(request).__name__}")
            if self._chance.random() < 0.2:
                raise Unreachable("the answer got lost")
            return answer

        links.call = call  # type: ignore[method-assign]
