"""Which requests move a chunk, which way and how much: what links and servers feed into `Transfers`."""

from typing import TYPE_CHECKING, TypeAlias

from roost.core.errors import RoostError
from roost.core.ids import NodeId
from roost.wire.messages import AnyAnswer, AnyRequest, Get, Put, Sending, Stored

if TYPE_CHECKING:
    from roost.observe.transfers import Direction, Transfers

Meter: TypeAlias = "Transfers | None"
"""Where nobody counts, None."""


def chunk_bytes(request: AnyRequest, answer: AnyAnswer) -> int | None:
    """How many bytes of a chunk went with this request or its answer; None when none did."""
    if isinstance(request, Put) and isinstance(answer, Stored) and not answer.already:
        return request.length
    if isinstance(request, Get) and isinstance(answer, Sending):
        return answer.length
    return None


def note_moved(
    meter: Meter, peer: NodeId | None, request: AnyRequest, answer: AnyAnswer, seconds: float, *, ours: bool
) -> None:
    """Count it, if it moved a chunk; `ours` tells that we asked."""
    count = chunk_bytes(request, answer) if meter is not None else None
    if meter is not None and count is not None:
        direction: Direction = "out" if isinstance(request, Put) is ours else "in"
        meter.moved(peer, direction, count, seconds)


def note_failed(meter: Meter, peer: NodeId | None, request: AnyRequest, error: RoostError) -> None:
    """Count it, if it should have moved a chunk."""
    if meter is not None and isinstance(request, Put | Get):
        meter.failed(peer, error.code)
