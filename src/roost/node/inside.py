"""What a coordinator lets be seen and done from inside its own process, by the API that runs beside its services."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass

from roost.client.cluster import AsyncCluster
from roost.node.events import History
from roost.node.operations import Operations

Pending = list[tuple[str, list[tuple[str, str]]]]
"""Each watched folder, and what in it is not stored yet: (name, what it waits for)."""


@dataclass(frozen=True, slots=True)
class Inside:
    """One coordinator. `cluster` stands on the coordinator's own session and must not be closed; `pending` tells what
    its watched folders wait for; `opened` is to be told where the page is, and what to say of that; `metrics` makes the
    coordinator's own, in the text format of Prometheus."""

    cluster: AsyncCluster
    history: History
    pending: Callable[[], Pending]
    opened: Callable[[str, str], Awaitable[None]]
    operations: Operations
    metrics: Callable[[], Awaitable[bytes]]


Beside = Callable[[Inside], Coroutine[object, object, None]]
"""What runs for as long as the coordinator serves; when it ends with an error, so does the coordinator."""
