"""An event loop on virtual time: nothing waits, the clock jumps to the next timer, and a deadlock is an error.

Everything of asyncio that is built on timers and callbacks runs on it unchanged (sleep, timeout, Event, Lock, Queue,
TaskGroup). Two runs of the same program take the same steps in the same order: tasks hash by the order they were made
in, because asyncio keeps them in sets and cancels them in the order of those sets. Programs that iterate over sets of
strings also need a fixed PYTHONHASHSEED.
"""

import asyncio
import concurrent.futures
import itertools
import selectors
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STEPS_MAX = 5_000_000
CLEANUP_SECONDS = 60.0
CLEANUP_STEPS = 100_000
BEGIN_S = 1000.0
"""Where the clock starts: not at 0, so that code which takes 0 for "never" is found out."""
ROUND_S = 1e-6
"""What a round of the loop takes at least, so that a task which only ever yields does not stop the clock."""
_NAMED_TASKS_MAX = 20

Adopt = Callable[["asyncio.Task[Any]"], None]
ADOPT: ContextVar[Adopt | None] = ContextVar("ADOPT", default=None)
"""Hears of every task that is made in this context, and so in those that it makes: how a simulated process knows what
is its own."""


@dataclass(slots=True, eq=False)
class Strike:
    """Something that happens right before the `left`-th step of a task (the part between two awaits) whose context
    `hits` says yes to, however many other steps come between; never, once `off`."""

    left: int
    hits: Callable[[Context], bool]
    happen: Callable[[], None]
    off: bool = False

    def call_off(self) -> None:
        """Let it not happen. Does nothing when it has."""
        self.off = True


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set: whoever still waits would wait for ever."""


class RanOut(AssertionError):
    """The program took more virtual seconds or more steps than it may."""


class _Clock(selectors.SelectSelector):
    """The selector of the loop. It looks at no descriptor: asked to wait, it moves the clock instead."""

    def __init__(self, *, seconds_max: float, steps_max: int) -> None:
        super().__init__()
        self.now = BEGIN_S
        self.steps = 0
        self.before_round: Callable[[], None] | None = None
        self._end = BEGIN_S + seconds_max
        self._steps_max = steps_max

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.steps += 1
        if self.before_round is not None:
            self.before_round()
        if self.steps > self._steps_max:
            raise self._allow_cleanup(RanOut(f"more than {self._steps_max} steps at {self.now:.3f} s; {_pending()}"))
        if timeout is None:
            raise self._allow_cleanup(Deadlock(f"nothing can happen any more at {self.now:.3f} s; {_pending()}"))
        self.now += max(timeout, ROUND_S)
        if self.now > self._end:
            raise self._allow_cleanup(RanOut(f"not done at {self.now:.3f} s; {_pending()}"))
        return []

    def _allow_cleanup(self, error: AssertionError) -> AssertionError:
        """The tasks are cancelled next, which takes a few steps and seconds more."""
        self._end = self.now + CLEANUP_SECONDS
        self._steps_max = self.steps + CLEANUP_STEPS
        return error


def _pending() -> str:
    tasks = sorted(asyncio.all_tasks(), key=hash)
    named = [f"{task.get_name()} ({_place(task)})" for task in tasks[:_NAMED_TASKS_MAX]]
    more = f" and {len(tasks) - len(named)} more" if len(tasks) > len(named) else ""
    return f"pending: {', '.join(named) or 'none'}{more}"


def _place(task: "asyncio.Task[Any]") -> str:
    """Where `task` waits: the innermost of its coroutines that can be seen."""
    coroutine: Any = task.get_coro()
    place = "not started"
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None:
            place = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "ag_await", None)
    return place


class _Task(asyncio.Task[T]):
    """A task whose place in a set depends on when it was made, not on where it lies in memory."""

    def __init__(self, serial: int, coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T], **rest: Any) -> None:
        self._serial = serial
        super().__init__(coroutine, **rest)

    def __hash__(self) -> int:
        return self._serial

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulatedLoop(asyncio.SelectorEventLoop):
    """The loop; make it through `run_simulated`."""

    def __init__(self, *, seconds_max: float, steps_max: int = STEPS_MAX) -> None:
        self._clock = _Clock(seconds_max=seconds_max, steps_max=steps_max)
        super().__init__(self._clock)
        self._strikes: list[Strike] = []
        serials = itertools.count(1)

        def make(loop: asyncio.AbstractEventLoop, coroutine: Any, **rest: Any) -> "asyncio.Task[Any]":
            task = _Task(next(serials), coroutine, loop=loop, **rest)
            context = rest.get("context")
            adopt = ADOPT.get() if context is None else context.get(ADOPT)
            if adopt is not None:
                adopt(task)
            return task

        self.set_task_factory(make)

    @property
    def steps(self) -> int:
        """Rounds of the loop so far: equal for two runs that did the same."""
        return self._clock.steps

    def time(self) -> float:
        return self._clock.now

    def strike(self, steps: int, hits: Callable[[Context], bool], happen: Callable[[], None]) -> Strike:
        """Let something happen before the `steps`-th step from now of the tasks whose context `hits` says yes to: at
        any of their awaits, not only where a timer ends."""
        strike = Strike(max(1, steps), hits, happen)
        self._strikes.append(strike)
        self._clock.before_round = self._place_strikes
        return strike

    def _place_strikes(self) -> None:
        """Count the steps of the round that begins, and put what is due in front of the one it is due at. Every step
        of a task waits in `_ready` when its round begins: what timers and other steps wake comes a round later."""
        ready = self._ready  # type: ignore[attr-defined]  # of asyncio's own loop since it exists
        for strike in self._strikes:
            for place, handle in enumerate(ready):
                if strike.off:
                    break
                if not handle.cancelled() and strike.hits(handle._context):
                    strike.left -= 1
                    if not strike.left:
                        strike.off = True
                        ready.insert(place, asyncio.Handle(strike.happen, (), self))
                        break
        self._strikes = [strike for strike in self._strikes if not strike.off]
        if not self._strikes:
            self._clock.before_round = None

    def run_in_executor(
        self, executor: concurrent.futures.Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> "asyncio.Future[T]":
        raise RuntimeError("there are no threads in a simulation: use Runtime.in_thread")


def run_simulated(main: Coroutine[Any, Any, T], *, seconds_max: float, steps_max: int = STEPS_MAX) -> T:
    """Run `main` on virtual time to its end and return what it returns; whatever task it leaves behind is cancelled.

    Raises Deadlock, or RanOut after `seconds_max` virtual seconds or `steps_max` rounds of the loop; both name the
    tasks that were pending and where they waited.
    """
    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(seconds_max=seconds_max, steps_max=steps_max)) as runner:
        return runner.run(main)
