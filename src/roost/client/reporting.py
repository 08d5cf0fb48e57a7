"""Reporting: operations tell the coordinator how they go, so that its page and metrics know of what runs elsewhere.

Best effort, and never waited for but a quarter of a second at the end: a coordinator that is away, slow or of an older
release costs an operation nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from roost.checkpoints.progress import Progress
from roost.client.session import Session
from roost.core.errors import RoostError
from roost.core.ids import NodeId
from roost.core.runtime import Runtime
from roost.observe.log import get_logger
from roost.observe.operation import within_operation
from roost.wire.observing import Kind, Report, State

T = TypeVar("T")

ID_BYTES = 8
EVERY_S = 1.0
AGAIN_S = 15.0
"""After nobody heard."""
SEND_LIMIT_S = 5.0
LAST_WORD_S = 0.25
QUICK_S = 1.0
"""An operation that is shorter waits for its last word although nobody has answered yet."""
TEXT_MAX = 500
INTERRUPTED = "interrupted"
_log = get_logger(__name__)

Send = Callable[[Report], Awaitable[bool]]
"""Sends a report; whether anybody heard it. Raises RoostError when it could not be sent."""


def to_coordinators(session: Session) -> Send:
    """Sends to every member that is no storage node and can be dialled: one coordinator as a rule, whose identity may
    be this home's own."""

    async def send(report: Report) -> bool:
        there = [m.node_id for m in session.membership.view.members if not m.storage and m.addresses]

        async def one(node: NodeId) -> bool:
            try:
                await session.links.call(node, report)
            except RoostError:
                return False
            return True

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(node)) for node in there]
        return any(task.result() for task in tasks)

    return send


class Outcome:
    """How an operation ends if nothing is raised; whoever runs it may set it."""

    degraded = False


class _Followed:
    """One operation that runs."""

    def __init__(self, runtime: Runtime, kind: Kind, name: str, progress: Progress) -> None:
        self.runtime = runtime
        self.kind = kind
        self.name = name
        self.progress = progress
        self.id = runtime.token_bytes(ID_BYTES)
        self.begun = runtime.now()
        self.heard = False

    def report(self, state: State, *, reason: str = "", message: str = "") -> Report:
        progress = self.progress
        return Report(
            self.id, self.kind, _cut(self.name), state, max(0.0, self.runtime.now() - self.begun),
            max(0, progress.bytes_done), max(0, progress.bytes_total), _cut(progress.waiting_for),
            reason[:64], _cut(message),
        )  # fmt: skip


class Reporting:
    """Reports of one process, by `send`. Close it when done."""

    def __init__(self, runtime: Runtime, send: Send) -> None:
        self._runtime = runtime
        self._send = send
        self._told: set[asyncio.Task[bool]] = set()

    async def follow(self, kind: Kind, name: str, progress: Progress, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work`, and tell of it; what it returns may say that it is ``degraded``."""
        async with self.following(kind, name, progress) as outcome:
            result = await work()
            outcome.degraded = bool(getattr(result, "degraded", False))
            return result

    @contextlib.asynccontextmanager
    async def following(self, kind: Kind, name: str, progress: Progress) -> AsyncIterator[Outcome]:
        """Tell of what happens within, which moves `progress`. Its id is in the log, here and at the peers."""
        outcome, followed = Outcome(), _Followed(self._runtime, kind, name, progress)
        with within_operation(followed.id):
            teller = asyncio.create_task(self._keep_telling(followed))
            last = followed.report("failed", reason=INTERRUPTED)
            try:
                yield outcome
                last = followed.report("degraded" if outcome.degraded else "done")
            except RoostError as error:
                last = followed.report("failed", reason=error.code, message=error.message)
                raise
            finally:
                teller.cancel()
                await asyncio.gather(teller, return_exceptions=True)
                await self._say_last(followed, last)

    def backup_failed(self, name: str, error: RoostError) -> None:
        """Tell that something was to be stored and is not. Returns at once."""
        followed = _Followed(self._runtime, "backup", name, Progress())
        report = followed.report("failed", reason=error.code, message=error.message)
        task = asyncio.create_task(self._try(report))
        self._told.add(task)
        task.add_done_callback(self._told.discard)

    async def aclose(self) -> None:
        """Give what was told last a moment to arrive. Idempotent."""
        if self._told:
            await asyncio.wait(set(self._told), timeout=LAST_WORD_S)
        for task in list(self._told):
            task.cancel()
        await asyncio.gather(*self._told, return_exceptions=True)

    async def _keep_telling(self, followed: _Followed) -> None:
        while True:
            followed.heard = await self._try(followed.report("running"))
            await self._runtime.sleep(EVERY_S if followed.heard else AGAIN_S)

    async def _try(self, report: Report) -> bool:
        try:
            async with self._runtime.timeout(SEND_LIMIT_S):
                return await self._send(report)
        except (RoostError, TimeoutError):
            return False

    async def _say_last(self, followed: _Followed, last: Report) -> None:
        _log.info(
            "operation ended", kind=last.kind, name=last.name, state=last.state, seconds=round(last.seconds, 3),
            reason=last.reason,
        )  # fmt: skip
        if followed.heard or last.seconds < QUICK_S:
            with contextlib.suppress(TimeoutError):
                async with self._runtime.timeout(LAST_WORD_S):
                    await self._try(last)


def _cut(text: str) -> str:
    return text[:TEXT_MAX].encode(errors="backslashreplace").decode()[:TEXT_MAX]
