"""The frame that every command runs in: its home, its settings, its output, its clock, and the way to the cluster."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roost.apps.cli.failure import is_bug
from roost.apps.cli.output import Output
from roost.settings.load import Loaded, load
from roost.settings.paths import Home
from roost.settings.schema import Settings

if TYPE_CHECKING:
    from roost.client import AsyncCluster
    from roost.observe.otlp import OtlpHandler

LOG_NAME = "command"


@dataclass(frozen=True, slots=True)
class Frame:
    """What a command is given."""

    home: Home
    loaded: Loaded
    output: Output
    begun: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, home: str | None, config: str | None, json: bool) -> "Frame":
        """From the options that every command takes; UsageError, NotFound or Failed when the settings are wrong."""
        place = Home.find(home)
        return cls(place, load(config, home=place), Output(json=json))

    @property
    def settings(self) -> Settings:
        return self.loaded.settings

    @property
    def seconds(self) -> float:
        """How long the command has been running, to the millisecond."""
        return round(time.monotonic() - self.begun, 3)

    @contextlib.asynccontextmanager
    async def cluster(self) -> "AsyncIterator[AsyncCluster]":
        """The cluster that this home belongs to; NotAdmitted when it belongs to none."""
        cluster = await open_cluster(self.home, self.settings)
        try:
            yield cluster
        finally:
            await cluster.aclose()

    def run(self, work: Coroutine[Any, Any, int]) -> int:
        """Run the command's work on an event loop; its exit code."""
        with self.watched():
            return asyncio.run(work)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the traceback of an error that nobody expected in the home's log, and let the error go on."""
        try:
            yield
        except BaseException as error:
            if is_bug(error) and self.home.identity.exists():
                self._log_bug()
            raise

    def log_to(self, name: str) -> None:
        """Let what happens from now on be logged in the home, as the log `name`, and warnings on a terminal too. A disk
        that takes no log, or a collector that cannot be had, keeps nothing from running."""
        from roost.observe.log import configure, get_logger

        people = sys.stderr if sys.stderr.isatty() and not self.output.json else None
        more, lacking = _collectors(name)
        try:
            configure(directory=self.home.logs, name=name, people=people, more=more)
        except OSError:
            configure(directory=None, people=people, more=more)
        if lacking:
            get_logger(__name__).warning(lacking, hint="pip install 'roost[otlp]'")

    def _log_bug(self) -> None:
        from roost.observe.log import configure, get_logger, shutdown

        with contextlib.suppress(OSError):
            configure(directory=self.home.logs, name=LOG_NAME, people=None)
            get_logger(__name__).error("a command failed unexpectedly", traceback=True)
            shutdown()


def _collectors(name: str) -> "tuple[list[OtlpHandler], str]":
    """Who else gets the log, as the environment asks; and what is to be said where that cannot be."""
    from roost.observe.otlp import OtlpHandler, is_wanted

    if not is_wanted():
        return [], ""
    try:
        return [OtlpHandler(name)], ""
    except ImportError:
        return [], "the log is not sent over OTLP: its library is not installed"


async def open_cluster(home: Home, settings: Settings) -> "AsyncCluster":
    """The one way from the command line to the cluster."""
    from roost.client import AsyncCluster

    return await AsyncCluster.open(home, settings)
