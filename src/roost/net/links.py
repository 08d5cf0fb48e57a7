"""All connections of this process to its peers: one control link and a few bulk links a peer, dialled when needed."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import stamina
import stamina.instrumentation

from roost.core.cluster import Address
from roost.core.errors import NotAdmitted, Refused, RoostError, Unreachable
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.net.body import Body, Sink
from roost.net.contacts import Contacts
from roost.net.dial import first_to_answer
from roost.net.link import Link
from roost.net.metering import Meter, note_failed, note_moved
from roost.net.stream import Network, Peer
from roost.wire.messages import AnyAnswer, AnyRequest, Hello, Ping

BULK_LINKS_MAX = 4
DIAL_ATTEMPTS = 3
TRUSTED_S = 2.0
"""For how long a link that nobody uses is taken for a working one."""
REFUSAL_S = 1.0
"""After a failed dial a peer is not dialled again for this long, unless another address of it is known by then: whoever
asks meanwhile gets the same error at once."""

stamina.instrumentation.set_on_retry_hooks([])

Resolve = Callable[[NodeId], Sequence[Address]]
Worked = Callable[[NodeId, Address], None]
Refuse = Callable[[Peer], None]


@dataclass(slots=True)
class _PeerLinks:
    control: Link | None = None
    dialling: asyncio.Lock = field(default_factory=asyncio.Lock)
    idle: dict[Link, float] = field(default_factory=dict)
    """The bulk links that nobody uses, and since when, the last one last."""
    busy: set[Link] = field(default_factory=set)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BULK_LINKS_MAX))
    refused: RoostError | None = None
    refused_at: float = 0.0
    refused_by: frozenset[Address] = frozenset()
    worked: Address | None = None


def _refused_at_once(error: Exception) -> bool:
    """Whether dialling again soon may help: a refused or broken connection, not one that timed out."""
    return type(error) is Unreachable


class Links:
    """Calls to peers by node id.

    `resolve` tells a peer's possible addresses, best first; `worked` is told the one that answered, in a thread, for
    it may write that down. Requests with a body to or fro go over an exclusive bulk link (`bulk=True`), so that no
    transfer delays the small ones. `refuse` looks at who answered and may raise NotAdmitted; `contacts`, of a process
    that serves, hear of all that comes. `meter` counts the chunks that go.
    """

    def __init__(
        self, runtime: Runtime, network: Network, *, hello: Hello, resolve: Resolve, worked: Worked | None = None,
        refuse: Refuse | None = None, contacts: Contacts | None = None, meter: Meter = None,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._meter = meter
        self._network = network
        self._hello = hello
        self._resolve = resolve
        self._worked = worked
        self._refuse = refuse
        self._contacts = contacts
        self._telling = asyncio.Lock()
        self._peers: dict[NodeId, _PeerLinks] = {}
        self._closed = False

    async def call(
        self, node: NodeId, request: AnyRequest, *, body: Body | None = None, sink: Sink | None = None,
        bulk: bool = False,
    ) -> AnyAnswer:  # fmt: skip
        """Ask `node` and return its answer. Raises what it reports, Unreachable, Stalled or NotAdmitted.

        A small request on a connection that turns out to be dead is asked once more on a new one; one that carries
        bytes is not, because its caller knows better where else to send them.
        """
        if bulk:
            return await self._call_bulk(node, request, body, sink)
        link, fresh = await self._control(node)
        try:
            return await self._ask(node, link, request, body, sink)
        except Unreachable:
            if fresh or link.usable or body is not None or sink is not None:
                raise
        link, _ = await self._control(node)
        return await self._ask(node, link, request, None, None)

    async def _ask(
        self, node: NodeId, link: Link, request: AnyRequest, body: Body | None, sink: Sink | None
    ) -> AnyAnswer:
        """One call on `link`. A refusal of us holds for the whole link, and the next one may be welcome."""
        try:
            return await link.call(request, body=body, sink=sink)
        except Refused as error:
            link.abort()
            if self._contacts is not None and self._contacts.refused_us is not None:
                self._contacts.refused_us(node, error)
            raise NotAdmitted(error.message, hint=error.hint) from error

    async def _call_bulk(self, node: NodeId, request: AnyRequest, body: Body | None, sink: Sink | None) -> AnyAnswer:
        peer = self._peer(node)
        async with peer.places:
            link = await self._idle(peer) or await self._dial(node, peer, exclusive=True)
            peer.busy.add(link)
            begun = self._runtime.now()
            try:
                answer = await self._ask(node, link, request, body, sink)
                note_moved(self._meter, node, request, answer, self._runtime.now() - begun, ours=True)
                return answer
            except RoostError as error:
                note_failed(self._meter, node, request, error)
                raise
            finally:
                peer.busy.discard(link)
                if link.usable and not self._closed:
                    peer.idle[link] = self._runtime.now()

    async def _idle(self, peer: _PeerLinks) -> Link | None:
        """A bulk link that nobody uses and that works. One that was idle for a while is asked first: its machine may
        have lost its power, or the way to it, and bytes are sent to it once only."""
        while peer.idle:
            link, since = peer.idle.popitem()
            if not link.usable:
                continue
            if self._runtime.now() - since < TRUSTED_S:
                return link
            peer.busy.add(link)
            try:
                await link.call(Ping())
            except Unreachable:
                link.abort()
            else:
                return link
            finally:
                peer.busy.discard(link)
        return None

    async def reach(self, nodes: Iterable[NodeId], *, within_s: float = 5.0) -> dict[NodeId, RoostError | None]:
        """Ping all `nodes` at once; per node None, or why it did not answer within `within_s`."""

        async def one(node: NodeId) -> RoostError | None:
            try:
                async with self._runtime.timeout(within_s):
                    await self.call(node, Ping())
            except TimeoutError:
                return Unreachable(f"node {node[:8]} did not answer within {within_s:g} s")
            except RoostError as error:
                return error
            return None

        order = sorted(set(nodes))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(node)) for node in order]
        return dict(zip(order, (task.result() for task in tasks), strict=True))

    def address_of(self, node: NodeId) -> Address | None:
        """The address at which `node` last answered us, if it did."""
        return self._peer(node).worked

    def _peer(self, node: NodeId) -> _PeerLinks:
        return self._peers.setdefault(node, _PeerLinks())

    async def _control(self, node: NodeId) -> tuple[Link, bool]:
        peer = self._peer(node)
        async with peer.dialling:
            if peer.control is not None and peer.control.usable:
                return peer.control, False
            peer.control = await self._dial(node, peer, exclusive=False)
            return peer.control, True

    async def _dial(self, node: NodeId, peer: _PeerLinks, *, exclusive: bool) -> Link:
        """A new link, by the first address that answers as `node`; all are tried, with backoff, a few times."""
        lately = self._runtime.now() - peer.refused_at < REFUSAL_S
        if peer.refused is not None and lately and peer.refused_by.issuperset(self._resolve(node)):
            raise peer.refused
        try:
            async for attempt in stamina.retry_context(
                on=_refused_at_once,
                attempts=DIAL_ATTEMPTS,
                timeout=None,
                wait_initial=0.05 * (1 + self._runtime.random()),
                wait_max=1.0,
                wait_jitter=0,  # stamina's own chance is not the runtime's
            ):
                with attempt:
                    link = await self._dial_once(node, peer, exclusive=exclusive)
                    peer.refused = None
                    return link
        except RoostError as error:
            peer.refused, peer.refused_at = error, self._runtime.now()
            peer.refused_by = frozenset(self._resolve(node))
            raise
        raise AssertionError("the last attempt either returns or raises")

    async def _dial_once(self, node: NodeId, peer: _PeerLinks, *, exclusive: bool) -> Link:
        self._require_open()
        known = list(self._resolve(node))
        if not known:
            raise Unreachable(f"no address of node {node[:8]} is known", hint="see: roost nodes")
        addresses = ([peer.worked] if peer.worked in known else []) + [a for a in known if a != peer.worked]

        async def open_link(address: Address) -> Link:
            self._require_open()
            return await Link.open(
                self._runtime, self._network, address, expect=node, hello=self._hello, exclusive=exclusive
            )

        link, address = await first_to_answer(addresses, open_link, self._accept)
        try:
            await self._note(node, peer, address)
            self._require_open()
        except BaseException:  # nobody knows of the link yet
            link.abort()
            raise
        return link

    async def _note(self, node: NodeId, peer: _PeerLinks, address: Address) -> None:
        """Remember where the peer answered."""
        if peer.worked != address:
            peer.worked = address
            if self._worked is not None:
                async with self._telling:
                    await self._runtime.in_thread(self._worked, node, address)

    def _accept(self, link: Link) -> None:
        self._require_open()
        self._meet(link)

    def _meet(self, link: Link) -> None:
        """Look at who answered. Refused when it is not the process that we know, NotAdmitted when it is no member."""
        if self._refuse is not None:
            self._refuse(link.stream.peer)
        if self._contacts is not None:
            link.contact = self._contacts.meet(link.stream.peer, link.server_hello.instance, drop=link.abort)

    def review(self) -> None:
        """Break the links to peers that `refuse` does not let pass any more."""
        if self._refuse is None:
            return
        for peer in self._peers.values():
            for link in [*peer.idle, *peer.busy, *([peer.control] if peer.control else [])]:
                try:
                    self._refuse(link.stream.peer)
                except NotAdmitted:
                    link.abort()

    def _require_open(self) -> None:
        if self._closed:
            raise Unreachable("this process is closing its connections")

    async def close(self) -> None:
        """Break all links and wait for their tasks. Idempotent."""
        self._closed = True
        for peer in list(self._peers.values()):
            for link in [*peer.idle, *peer.busy, *([peer.control] if peer.control else [])]:
                await link.close()
        self._peers.clear()
