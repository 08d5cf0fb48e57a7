"""Contacts: with which process of each node this one is connected, so that a second one with the same key is refused.

A node is its key. When a home or an SD card was copied and both copies run, what one of them acknowledged the other
does not have. Each process that serves says an instance of its own in its hello: while a connection with one instance
is open and lively, another instance of that key is a copy. A process that died has no open connection (its kernel
closed them), and one whose machine died is not lively, so that who starts again is refused for a few seconds at most.
"""

from collections.abc import Callable
from dataclasses import dataclass

from roost.core.errors import Refused
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.net.stream import Peer

LIVELY_S = 6.0
TOLD_S = 3600.0
"""How long it is told that a copy of a node was refused."""


@dataclass(slots=True, eq=False)
class Contact:
    """One open connection with a process that serves as `node`. Whoever drives it tells what comes and when it ends."""

    node: NodeId
    instance: bytes
    heard_s: float
    drop: Callable[[], None]
    _contacts: "Contacts"

    def heard(self) -> None:
        """Something came from the peer."""
        self._contacts.hear(self)

    def end(self) -> None:
        """The connection is over. Idempotent."""
        self._contacts.lose(self)


class Contacts:
    """All contacts of this process. `heard` and `refused_us` are hooks: a node was heard of; a node refused this very
    process."""

    def __init__(self, runtime: Runtime, *, lively_s: float = LIVELY_S) -> None:
        self._runtime = runtime
        self._lively_s = lively_s
        self._open: dict[NodeId, list[Contact]] = {}
        self._turned_away: dict[NodeId, tuple[bytes, str]] = {}
        self._doubled: dict[NodeId, tuple[float, str]] = {}
        self.heard: Callable[[NodeId], None] | None = None
        self.refused_us: Callable[[NodeId, Refused], None] | None = None

    def meet(self, peer: Peer, instance: bytes, *, drop: Callable[[], None]) -> Contact | None:
        """A connection with `peer` is greeted; `drop` breaks it. None when the peer is no process that serves.

        Raises Refused when another instance with the peer's key is alive. Connections with another one that is silent
        are dropped: it is dead, or it will be refused itself when it goes on.
        """
        node, now = peer.node_id, self._runtime.now()
        if node is None or not instance:
            return None
        others = [contact for contact in self._open.get(node, ()) if contact.instance != instance]
        if any(now - other.heard_s <= self._lively_s for other in others):
            self._turned_away[node] = instance, peer.address.host
            raise Refused(
                f"another process with the key of node {node[:8]} is alive; the one at {peer.address.host} is refused",
                hint="was its home or SD card copied? stop one of the two; a machine of its own joins with a new home: "
                "roost join TOKEN --home DIR",
            )
        for other in others:
            self.lose(other)
            other.drop()
        contact = Contact(node, instance, now, drop, self)
        self._open.setdefault(node, []).append(contact)
        return contact

    def hear(self, contact: Contact) -> None:
        """Something came on a contact."""
        contact.heard_s = self._runtime.now()
        turned_away = self._turned_away.pop(contact.node, None)
        if turned_away is not None and turned_away[0] != contact.instance:  # this one lives on: there are two
            self._doubled[contact.node] = contact.heard_s, turned_away[1]
        if self.heard is not None:
            self.heard(contact.node)

    def lose(self, contact: Contact) -> None:
        """Forget a contact that is over. Idempotent."""
        left = [other for other in self._open.get(contact.node, ()) if other is not contact]
        if left:
            self._open[contact.node] = left
        else:
            self._open.pop(contact.node, None)

    def doubled(self, node: NodeId) -> str:
        """What is to be told of copies of `node` that were refused in the last hour, or nothing."""
        known = self._doubled.get(node)
        if known is None or self._runtime.now() - known[0] > TOLD_S:
            return ""
        ago, host = self._runtime.now() - known[0], known[1]
        return f"a second machine or home runs with its key: refused {_ago(ago)} ago at {host}; stop one of the two"


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
