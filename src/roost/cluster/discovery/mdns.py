"""Multicast DNS (RFC 6762, RFC 6763): serving processes as instances of ``_roost._tcp``, each named by its node id.

One stack a process, on the networks on which the process can be reached. mDNS finds nodes and never notices a dead one,
so nothing is concluded from what it says, and nothing from its silence.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from roost.cluster.discovery.sightings import Advert, Sighting, Way, from_text, to_text
from roost.core.cluster import Address
from roost.core.errors import Unreachable

if TYPE_CHECKING:
    from zeroconf import Zeroconf
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

TYPE = "_roost._tcp.local."
INSTANCE_CHARACTERS = 32
ASK_LIMIT_MS = 3000
ASKED_AT_ONCE = 32


class Mdns:
    """The stack of one process; `saw` hears of everybody that is seen, as often as it is."""

    def __init__(self, saw: Callable[[Sighting], None]) -> None:
        self._saw = saw
        self._stack: AsyncZeroconf | None = None
        self._advertised: AsyncServiceInfo | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def start(self, hosts: Sequence[str], advert: Advert | None) -> None:
        """Listen on the networks of these addresses of ours, and tell `advert` there. Unreachable when the system does
        not let us, with what to do."""
        from zeroconf import IPVersion, ServiceStateChange
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

        def changed(zeroconf: "Zeroconf", service_type: str, name: str, state_change: ServiceStateChange) -> None:
            if state_change is not ServiceStateChange.Removed:
                self._ask(zeroconf, name)

        try:
            self._stack = stack = AsyncZeroconf(interfaces=list(hosts), ip_version=IPVersion.V4Only)
            AsyncServiceBrowser(stack.zeroconf, TYPE, handlers=[changed])
            if advert is not None:
                self._advertised = AsyncServiceInfo(
                    TYPE, f"{advert.node}.{TYPE}", port=advert.port, properties=to_text(advert),
                    addresses=[socket.inet_aton(host) for host in hosts], server=f"{advert.node}.local.",
                )  # fmt: skip
                # The instance is a node's id: who else claims it is told apart by its key, not by its name.
                await stack.async_register_service(self._advertised, cooperating_responders=True)
        except OSError as error:
            await self.close()
            raise Unreachable(f"mDNS is not possible here: {error.strerror or error}", hint=_hint(error)) from error

    async def close(self) -> None:
        """Say goodbye and end. Idempotent."""
        for task in self._asking.values():
            task.cancel()
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.async_close()

    def _ask(self, zeroconf: "Zeroconf", name: str) -> None:
        """Ask for the rest of what an instance is about, unless that is being done."""
        instance = name.removesuffix(f".{TYPE}")
        if len(instance) != INSTANCE_CHARACTERS or instance in self._asking or len(self._asking) >= ASKED_AT_ONCE:
            return
        task = asyncio.get_running_loop().create_task(self._look(zeroconf, name, instance))
        self._asking[instance] = task
        task.add_done_callback(lambda _: self._asking.pop(instance, None))

    async def _look(self, zeroconf: "Zeroconf", name: str, instance: str) -> None:
        from zeroconf import IPVersion
        from zeroconf.asyncio import AsyncServiceInfo

        info = AsyncServiceInfo(TYPE, name)
        if not await info.async_request(zeroconf, ASK_LIMIT_MS) or not info.port:
            return
        attributes = {str(key): str(value) for key, value in _decoded(info).items() if value is not None}
        advert = from_text(instance, info.port, attributes)
        if advert is not None:
            hosts = info.parsed_addresses(IPVersion.V4Only)[:16]
            self._saw(Sighting(advert, tuple(Address(host, info.port) for host in hosts), Way.MDNS))


def _decoded(info: "AsyncServiceInfo") -> dict[Any, Any]:
    try:
        return dict(info.decoded_properties)
    except UnicodeDecodeError:
        return {}


def _hint(error: OSError) -> str:
    return (
        "on a Mac allow it under System Settings, Privacy & Security, Local Network; elsewhere see: roost doctor"
        if error.errno
        else "see: roost doctor"
    )
