"""The watch over a node's disk: whether it is there and well, looked at every minute, and remembered over restarts.

A disk that keeps failing is not well because its node was started again: that verdict lies in ``state/disk``, as the
words that it is told in, until a clean pass of the scrub takes it back. A disk that cannot keep it has other troubles.
"""

import contextlib

from roost.chunks.condition import STATE, DiskCondition, Fault
from roost.chunks.disk import DiskChunkStore
from roost.core.errors import DiskFault, NotFound, RoostError
from roost.core.runtime import Runtime
from roost.disk.durable import make_directory_durably, read_small, unlink_durably, write_durably
from roost.disk.port import Disk

PATH = f"{STATE}/disk"
BYTES_MAX = 4096
LOOK_EVERY_S = 60.0
UNREADABLE = "its disk kept failing before this process started"


class DiskWatch:
    """The watch over `disk`. `failed` and `harmed` must hear of all faults and of all damage; `watch` tells it of the
    store on it."""

    def __init__(self, runtime: Runtime, disk: Disk) -> None:
        self.condition = DiskCondition()
        self._runtime = runtime
        self._disk = disk
        self._store: DiskChunkStore | None = None
        self._kept = ""

    @property
    def trouble(self) -> str:
        """Why this node should be given nothing to keep; empty when all is well."""
        unmounted = self._store.unmounted if self._store is not None else ""
        return f"the disk with its objects is not there: {unmounted}" if unmounted else self.condition.trouble

    def failed(self, path: str, writing: bool, error: DiskFault) -> None:
        """The disk refused something."""
        self.condition.note(Fault(path, writing, self._runtime.now(), error.message))

    def harmed(self, path: str, why: str) -> None:
        """A file went bad or away, and the disk had said nothing."""
        self.condition.note(Fault(path, False, self._runtime.now(), why, silent=True))

    async def open(self, store: DiskChunkStore) -> None:
        """Remember the verdict of an earlier process, and watch `store` from now on."""
        self._store = store
        self._kept = await self._runtime.in_thread(self._read)
        self.condition.restore(self._kept)

    async def run(self) -> None:
        """Look every minute, for ever."""
        while True:
            await self.look()
            await self._runtime.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look whether the disk is there, and keep what is known of it."""
        assert self._store is not None, "it was opened"
        with contextlib.suppress(DiskFault):
            await self._store.problem()
        verdict = self.condition.trouble
        if verdict != self._kept:
            with contextlib.suppress(RoostError):
                await self._runtime.in_thread(self._write, verdict)
                self._kept = verdict

    def _read(self) -> str:
        try:
            return read_small(self._disk, PATH, bytes_max=BYTES_MAX).decode("utf-8", "replace") or UNREADABLE
        except NotFound:
            return ""
        except RoostError:
            return UNREADABLE

    def _write(self, verdict: str) -> None:
        if verdict:
            make_directory_durably(self._disk, STATE)
            write_durably(self._disk, PATH, verdict.encode())
        else:
            with contextlib.suppress(NotFound):
                unlink_durably(self._disk, PATH)
