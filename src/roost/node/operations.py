"""The operations that a coordinator knows of: its own, and those that run on other machines and are reported to it.

Only for people and metrics. What is not heard of any more is taken for failed, and counted nowhere.
"""

import asyncio
import datetime
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.net.server import Call, Reply
from roost.observe.log import get_logger
from roost.observe.metrics import Tally
from roost.wire.observing import Report, Reported

RUNNING_MAX = 256
ENDED_KEPT = 50
SILENT_S = 30.0
"""Reports come every second, and 15 s after one that nobody heard."""
WINDOW_S = 5.0
"""The rate is that of the last seconds."""
_log = get_logger(__name__)


class OperationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One operation as the API tells it. `state` is ``running``, ``done``, ``degraded`` (done, with fewer copies than
    asked) or ``failed``; `from` the machine that it runs on; `bytes_total` is None while nobody knows, `rate` (bytes a
    second) when it has ended."""

    id: str
    kind: str
    name: str
    origin: str = msgspec.field(name="from")
    begun_at: str
    state: str
    bytes_done: int
    bytes_total: int | None
    rate: float | None
    waits_for: str
    seconds: float
    message: str


@dataclass(slots=True)
class _Known:
    """The last report of one operation, from whom, and when it came."""

    report: Report
    origin: str
    begun_at: float
    number: int = 0
    heard: float = 0.0
    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def rate(self) -> float | None:
        if self.report.state != "running":
            return None
        (begun, before), (now, done) = self.seen[0], self.seen[-1]
        return max(0.0, (done - before) / (now - begun)) if now > begun else 0.0

    def row(self) -> OperationRow:
        report = self.report
        begun_at = datetime.datetime.fromtimestamp(self.begun_at, datetime.UTC)
        running = report.state == "running"
        return OperationRow(
            id=report.id.hex(), kind=report.kind, name=report.name, origin=self.origin,
            begun_at=begun_at.isoformat(timespec="seconds").replace("+00:00", "Z"), state=report.state,
            bytes_done=report.bytes_done, bytes_total=report.bytes_total or None, rate=self.rate(),
            waits_for=report.waits_for if running else "", seconds=round(report.seconds, 3), message=report.message,
        )  # fmt: skip


class Operations:
    """What runs, and what ended lately. `called` names the machine of a peer; `ended` hears of which kind something
    was that ended. For one event loop."""

    def __init__(
        self, runtime: Runtime, tally: Tally, *, own: NodeId, called: Callable[[NodeId], str],
        ended: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._tally = tally
        self._own = own
        self._called = called
        self._told_ended = ended
        self._running: dict[tuple[NodeId, bytes], _Known] = {}
        self._ended: deque[_Known] = deque(maxlen=ENDED_KEPT)
        self._count = 0
        self._news = asyncio.Event()

    async def handle(self, call: Call) -> Reply:
        """The handler of `Report`."""
        assert isinstance(call.request, Report)
        assert call.peer.node_id is not None  # who is no member can only join
        self.take(call.peer.node_id, call.request)
        return Reply(Reported())

    async def send(self, report: Report) -> bool:
        """Our own report: a `roost.client.reporting.Send`."""
        self.take(self._own, report)
        return True

    def take(self, peer: NodeId, report: Report) -> None:
        """Remember what `peer` reports."""
        if report.kind == "backup":
            self._tally.backup_failed(report.reason or "failed")
            return
        key, now, wall = (peer, report.id), self._runtime.now(), self._runtime.wall()
        known = self._running.pop(key, None) or _Known(report, self._called(peer), wall - report.seconds)
        known.report, known.heard = report, now
        known.seen.append((now, report.bytes_done))
        while len(known.seen) > 2 and now - known.seen[1][0] >= WINDOW_S:
            known.seen.popleft()
        if report.state == "running":
            if len(self._running) >= RUNNING_MAX:
                self._running.pop(next(iter(self._running)))
            self._running[key] = known
        else:
            self._end(known)
            result = "ok" if report.state == "done" else report.state
            self._tally.ended(report.kind, result, report.seconds, at=wall)
            self._told_ended(report.kind)
        self._changed(known)

    def rows(self) -> list[OperationRow]:
        """What runs, the oldest first, and then what ended lately, the newest first."""
        self._sweep()
        running = sorted(self._running.values(), key=lambda one: one.begun_at)
        return [known.row() for known in (*running, *reversed(self._ended))]

    def running(self) -> Mapping[str, tuple[int, float]]:
        """By kind how many run now, and at how many bytes a second together."""
        self._sweep()
        found: dict[str, tuple[int, float]] = {}
        for known in self._running.values():
            count, rate = found.get(known.report.kind, (0, 0.0))
            found[known.report.kind] = count + 1, rate + (known.rate() or 0.0)
        return found

    @property
    def number(self) -> int:
        """Of the last change."""
        return self._count

    def after(self, number: int) -> list[OperationRow]:
        """What has changed since the change `number`, the oldest change first."""
        found = [known for known in (*self._ended, *self._running.values()) if known.number > number]
        return [known.row() for known in sorted(found, key=lambda one: one.number)]

    async def wait(self, number: int) -> None:
        """Return when something has changed since the change `number`."""
        while self._count <= number:
            await self._news.wait()

    def _changed(self, known: _Known) -> None:
        self._count += 1
        known.number = self._count
        self._news.set()
        self._news = asyncio.Event()

    def _end(self, known: _Known) -> None:
        self._ended.append(known)
        report = known.report
        _log.info(
            "operation reported as ended", operation=report.id, kind=report.kind, name=report.name,
            state=report.state, seconds=round(report.seconds, 3), origin=known.origin, reason=report.reason,
            message=report.message,
        )  # fmt: skip

    def _sweep(self) -> None:
        now = self._runtime.now()
        for key, known in list(self._running.items()):
            if now - known.heard > SILENT_S:
                del self._running[key]
                silent = f"nothing was heard of it for {SILENT_S:.0f} s"
                known.report = msgspec.structs.replace(known.report, state="failed", message=silent)
                self._end(known)
                self._changed(known)
