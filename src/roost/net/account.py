"""What the operations of others had done here, told in a few lines: storing one checkpoint is hundreds of requests, and
a line for each would cost a node more than serving it."""

from dataclasses import dataclass

from roost.core.ids import NodeId
from roost.net.metering import chunk_bytes
from roost.observe.log import get_logger
from roost.observe.operation import current_operation, within_operation
from roost.wire.messages import AnyAnswer, AnyRequest, Collect, Commit, Get, PassOn, Put, Verify

FOLLOWED = (Put, Get, PassOn, Commit, Verify, Collect)
TOLD_AFTER = 10_000
"""Requests, although the peer goes on."""
_log = get_logger(__name__)


@dataclass(slots=True)
class _Sum:
    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Account:
    """The requests of one peer that were served, by operation and kind, since they were told last."""

    def __init__(self, peer: NodeId | None) -> None:
        self._peer = peer
        self._sums: dict[tuple[bytes, str], _Sum] = {}
        self._requests = 0

    def note(self, request: AnyRequest, answer: AnyAnswer, seconds: float) -> None:
        """Count a request that was served within `seconds`: one that an operation had done, if it is worth following.
        The rest is for who looks for a fault."""
        kind, operation = type(request).__name__, current_operation()
        _log.debug("served one", request=kind, peer=self._peer, seconds=round(seconds, 4))
        if operation is None or not isinstance(request, FOLLOWED):
            return
        done = self._sums.setdefault((operation, kind), _Sum())
        done.requests += 1
        done.bytes += chunk_bytes(request, answer) or 0
        done.seconds += seconds
        self._requests += 1
        if self._requests >= TOLD_AFTER:
            self.tell()

    def tell(self) -> None:
        """Say what there is to say, a line for each kind of request that an operation made, and begin anew."""
        sums, self._sums, self._requests = self._sums, {}, 0
        for (operation, kind), done in sums.items():
            with within_operation(operation):
                _log.info(
                    "served", request=kind, peer=self._peer, requests=done.requests, bytes=done.bytes,
                    seconds=round(done.seconds, 3),
                )  # fmt: skip
