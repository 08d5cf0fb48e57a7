"""`Cluster`: every operation for programs that have no event loop, or one of their own, such as a notebook."""

import os
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from roost.client.cluster import AsyncCluster
from roost.client.results import (
    ClusterStatus,
    GatherResult,
    Listing,
    NodeRow,
    Progress,
    RemoveResult,
    RepairResult,
    Shown,
    StoreResult,
    UndeleteResult,
    Verdict,
)
from roost.core.runtime import LoopThread
from roost.settings.load import load
from roost.settings.paths import Home
from roost.settings.schema import Settings

if TYPE_CHECKING:
    from roost.client.opened import AsyncOpened, RawTensor
    from roost.codec.arrays import Array

T = TypeVar("T")
AnyPath = str | os.PathLike[str]


def connect(*, home: AnyPath | None = None, config: AnyPath | None = None) -> "Cluster":
    """The cluster that this machine belongs to, found as the command line finds it: by `home` or ``$ROOST_HOME``, and
    the settings by `config`, ``./roost.yaml`` or the home's. Nothing is dialled yet.

    NotAdmitted in a home that belongs to no cluster; what is wrong with the settings as UsageError.
    """
    place = Home.find(os.fspath(home) if home is not None else None)
    return open_cluster(place, load(os.fspath(config) if config is not None else None, home=place).settings)


def open_cluster(home: Home, settings: Settings) -> "Cluster":
    """As `connect`, where home and settings are known already."""
    loop = LoopThread()
    try:
        return Cluster(loop, loop.run(AsyncCluster.open(home, settings)))
    except BaseException:
        loop.close()
        raise


class Cluster:
    """An `AsyncCluster` whose methods block; several threads may use it. Use it as a context manager, or close it.

    Errors are those of `roost.core.errors`; each says what to do next.
    """

    def __init__(self, loop: LoopThread, cluster: AsyncCluster) -> None:
        self._loop = loop
        self._cluster = cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; what still runs is cancelled. Idempotent."""
        if self._loop.is_open and not self._loop.is_foreign:
            self._loop.run(self._cluster.aclose())
            self._loop.close()

    def store(
        self, path: AnyPath, *, name: str | None = None, follow: bool = False, redundancy: str | None = None,
        progress: Progress | None = None,
    ) -> StoreResult:  # fmt: skip
        """See `AsyncCluster.store`."""
        return self._run(
            self._cluster.store(Path(path), name=name, follow=follow, redundancy=redundancy, progress=progress)
        )

    def gather(
        self, reference: str, *, to: AnyPath | None = None, only: str | None = None, force: bool = False,
        progress: Progress | None = None,
    ) -> GatherResult:  # fmt: skip
        """See `AsyncCluster.gather`."""
        where = Path(to) if to is not None else None
        return self._run(self._cluster.gather(reference, to=where, only=only, force=force, progress=progress))

    def open(self, reference: str, *, cache_bytes: int | None = None) -> "Opened":
        """One version, to read some of its files or tensors; see `AsyncCluster.read`."""
        return Opened(self._loop, self._run(self._cluster.read(reference, cache_bytes=cache_bytes)))

    def list(self, prefix: str = "", *, newest: bool = False, health: bool = False, removed: bool = False) -> Listing:
        """See `AsyncCluster.list`."""
        return self._run(self._cluster.list(prefix, newest=newest, health=health, removed=removed))

    def show(self, reference: str) -> Shown:
        """See `AsyncCluster.show`."""
        return self._run(self._cluster.show(reference))

    def verify(
        self, references: Sequence[str] = (), *, deep: bool = False, progress: Progress | None = None
    ) -> Sequence[Verdict]:
        """See `AsyncCluster.verify`."""
        return self._run(self._cluster.verify(references, deep=deep, progress=progress))

    def remove(self, reference: str, *, now: bool = False, dry_run: bool = False) -> RemoveResult:
        """See `AsyncCluster.remove`."""
        return self._run(self._cluster.remove(reference, now=now, dry_run=dry_run))

    def undelete(self, reference: str, *, dry_run: bool = False) -> UndeleteResult:
        """See `AsyncCluster.undelete`."""
        return self._run(self._cluster.undelete(reference, dry_run=dry_run))

    def repair(self, *, dry_run: bool = False, progress: Progress | None = None) -> RepairResult:
        """See `AsyncCluster.repair`."""
        return self._run(self._cluster.repair(dry_run=dry_run, progress=progress))

    def nodes(self) -> Sequence[NodeRow]:
        """See `AsyncCluster.nodes`."""
        return self._run(self._cluster.nodes())

    def status(self) -> ClusterStatus:
        """See `AsyncCluster.status`."""
        return self._run(self._cluster.status())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work)


class Opened:
    """An `AsyncOpened` whose methods block. It is of use until its `Cluster` is closed."""

    def __init__(self, loop: LoopThread, opened: "AsyncOpened") -> None:
        self._loop = loop
        self._opened = opened
        self.name = opened.name
        self.version = opened.version
        self.complete = opened.complete
        self.shape = opened.shape
        self.files = opened.files

    def read(self, path: str, begin: int = 0, end: int | None = None) -> bytearray:
        """See `AsyncOpened.read`."""
        return self._loop.run(self._opened.read(path, begin, end))

    def keys(self) -> tuple[str, ...]:
        """See `AsyncOpened.keys`."""
        return self._loop.run(self._opened.keys())

    def raw(self, key: str, *, file: str | None = None) -> "RawTensor":
        """See `AsyncOpened.raw`."""
        return self._loop.run(self._opened.raw(key, file=file))

    def tensor(self, key: str, *, file: str | None = None) -> "Array":
        """See `AsyncOpened.tensor`."""
        return self._loop.run(self._opened.tensor(key, file=file))
