"""Static peers: addresses that a person configured, where members are met although nothing else leads to them."""

import asyncio
from collections.abc import Callable, Iterable

from roost.core.cluster import Address
from roost.core.errors import RoostError
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.net.link import Link
from roost.net.stream import Network
from roost.wire.messages import Hello

MET_AT_ONCE = 16

Worked = Callable[[NodeId, Address], None]


async def meet_static(
    runtime: Runtime, network: Network, hello: Hello, addresses: Iterable[Address], worked: Worked, *, own: NodeId
) -> set[NodeId]:
    """Dial `addresses` and tell `worked`, in a thread, which member answered where; all who did, but for ourselves. Who
    does not answer, or is no member, is no error."""
    places = asyncio.Semaphore(MET_AT_ONCE)
    found: set[NodeId] = set()

    async def one(address: Address) -> None:
        async with places:
            try:
                link = await Link.open(runtime, network, address, expect=None, hello=hello)
            except RoostError:
                return
            node = link.stream.peer.node_id
            if node is not None and node != own:
                await runtime.in_thread(worked, node, address)
                found.add(node)
            await link.close()

    async with asyncio.TaskGroup() as group:
        for address in addresses:
            group.create_task(one(address))
    return found
