"""A simulated process: the tasks, the runtime, the network host and the disk that live and die together.

Every task that is made within the process, however deep, belongs to it; so does the serving of its listeners. It can
die at any moment between two steps of any of them (`before_step`), or, by `MemoryDisk.stop_after`, between two changes
of its disk.
Nothing that its tasks do on their way out has an effect: its network and its disk are dead before they learn of it.
"""

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from roost.core.errors import RoostError
from roost.testing.disk import MemoryDisk, PowerCut
from roost.testing.loop import ADOPT, SimulatedLoop, Strike
from roost.testing.network import SimHost
from roost.testing.runtime import SimRuntime

T = TypeVar("T")


@dataclass(slots=True)
class DiskSpeed:
    """What a simulated disk takes its time for; 0 is at once. `felt` is called whenever that held somebody up."""

    bytes_per_s: float = 0.0
    sync_s: float = 0.0
    felt: Callable[[], None] | None = None


class SimProcess:
    """A process on `host` with its home on `disk`. `chance` is its runtime's, and says how long its machine is up
    already. `crashes` hears of each task of a living process that ends with an error which is none of ours: a bug."""

    def __init__(
        self, host: SimHost, disk: MemoryDisk, chance: random.Random, *, crashes: Callable[[str], None],
        speed: DiskSpeed | None = None,
    ) -> None:  # fmt: skip
        self.host = host
        self.disk = disk
        self.speed = speed or DiskSpeed()
        up_s = chance.choice((0.0, 60.0, 1e6)) * chance.random()
        self.runtime = SimRuntime(chance, clock_offset=up_s - asyncio.get_running_loop().time())
        self.runtime.on_thread = self._cost
        self.dead = False
        self.died: Callable[[], None] | None = None
        """Called once when it dies by its disk."""
        self._crashes = crashes
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self.tasks_peak = 0
        """The most tasks that it had at once."""
        self._context = contextvars.copy_context()
        self._context.run(ADOPT.set, self._adopt)
        self._charged = (disk.cost_bytes, disk.cost_syncs)
        disk.on_power_cut = self._power_cut

    @property
    def tasks(self) -> int:
        """How many tasks of it have not ended."""
        return len(self._tasks)

    def task_names(self) -> list[str]:
        """The names of those, in the order they were made in."""
        return [task.get_name() for task in self._tasks]

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> "asyncio.Task[T]":
        """Run `work` as a task of this process."""
        return asyncio.get_running_loop().create_task(work, name=name, context=self._context.copy())

    def before_step(self, steps: int, happen: Callable[[], None]) -> Strike:
        """Let something happen right before the `steps`-th step that a task of it takes from now on: at any await."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        return loop.strike(steps, lambda context: context.get(ADOPT) == self._adopt, happen)

    def die(self, *, silent: bool | None = None) -> None:
        """End it here and now: see `SimNetwork.crash` for `silent`. What is left of the disk, the caller decides."""
        if self.dead:
            return
        self.dead = self.disk.dead = True
        self.host.world.crash(self.host, silent=silent)
        for task in list(self._tasks):
            task.cancel()

    def _power_cut(self) -> None:
        self.die()
        if self.died is not None:
            self.died()

    def _adopt(self, task: "asyncio.Task[Any]") -> None:
        self._tasks[task] = None
        self.tasks_peak = max(self.tasks_peak, len(self._tasks))
        task.add_done_callback(self._ended)
        if self.dead:
            task.cancel()

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            return
        error = getattr(task, "_exception", None)  # looked at, not retrieved: that is the business of its owner
        if self.dead:
            task.exception()
        elif error is not None and not _is_ours(error):
            self._crashes(f"{self.host.name}: task {task.get_name()} ended with {error!r}")

    def _cost(self, _work: Callable[..., object]) -> float:
        """The virtual seconds that the disk took for what was done since the last time."""
        before, self._charged = self._charged, (self.disk.cost_bytes, self.disk.cost_syncs)
        seconds = (self._charged[1] - before[1]) * self.speed.sync_s
        if self.speed.bytes_per_s:
            seconds += (self._charged[0] - before[0]) / self.speed.bytes_per_s
        if seconds and self.speed.felt is not None:
            self.speed.felt()
        return seconds


def _is_ours(error: BaseException) -> bool:
    """Whether the error is one that a task of ours may end with: its caller hears of it."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_ours(one) for one in error.exceptions)
    return isinstance(error, RoostError | PowerCut | TimeoutError | asyncio.CancelledError)
