"""What members tell the coordinator, and it asks them, so that people see what happens; as in `roost.wire.messages`.

Nothing here decides anything: a report that is lost costs a line on a page.
"""

from typing import Annotated, Literal

import msgspec

from roost.wire.fields import Answer, Count, Request, Seconds, Text

METRICS_BYTES_MAX = 8 * 1024 * 1024
OPERATION_BYTES_MAX = 16

Kind = Literal["store", "gather", "verify", "repair", "scrub", "drain", "undelete", "backup"]
"""A ``backup`` is what a program or a watched folder wanted stored and what failed before, or beside, its store."""
State = Literal["running", "done", "degraded", "failed"]


class GetMetrics(Request, tag="get-metrics", frozen=True):
    """Your metrics, in the text format of Prometheus, as the answer's body."""


class Report(Request, tag="report", frozen=True):
    """An operation of mine: its `id`, what it is about, how far it came and after how many `seconds`; `bytes_total` is
    0 while nobody knows. `waits_for` is in words. Of one that failed `reason` is the error's code and `message` says
    why."""

    id: Annotated[bytes, msgspec.Meta(min_length=4, max_length=OPERATION_BYTES_MAX)]
    kind: Kind
    name: Text
    state: State
    seconds: Seconds
    bytes_done: Count = 0
    bytes_total: Count = 0
    waits_for: Text = ""
    reason: Annotated[str, msgspec.Meta(max_length=64)] = ""
    message: Text = ""


class Reported(Answer, tag="reported", frozen=True):
    """I know."""
