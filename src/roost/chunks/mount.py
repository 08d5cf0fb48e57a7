"""Whether the disk that holds a store is still there: one that is not mounted any more leaves an empty directory.

A node that went on from memory would vouch for what nobody can read, and forget, file by file, what is well on a disk
that only has to be mounted again.
"""

import contextlib

from roost.chunks.layout import Layout, store_id_problem
from roost.core.errors import DiskFault
from roost.core.runtime import Runtime
from roost.disk.port import Disk, DiskSpace, FileInfo


class Mount:
    """The tree below `layout` on `disk`, known by its `store_id`. `problem` is why the one that is there is another, as
    the last look showed, or nothing."""

    def __init__(self, disk: Disk, runtime: Runtime, layout: Layout) -> None:
        self.store_id = ""
        self.problem = ""
        self._disk = disk
        self._runtime = runtime
        self._layout = layout
        self._known: FileInfo | None = None

    async def look(self) -> str:
        """Look now, and return the `problem`. DiskFault when the disk does not say; then the problem is as before."""
        self.problem = await self._runtime.in_thread(self._find_problem)
        return self.problem

    def _find_problem(self) -> str:
        """Look, in a thread."""
        problem, self._known = store_id_problem(self._disk, self._layout, self.store_id, self._known)
        return problem

    async def space(self) -> DiskSpace:
        """Look now, and measure: one hop to a thread for both. DiskFault when the disk is not the one, or does not let
        itself be measured."""
        self.problem, space = await self._runtime.in_thread(self._look_and_measure, self.problem)
        if space is None:
            raise self.fault()
        return space

    def _look_and_measure(self, problem: str) -> tuple[str, DiskSpace | None]:
        with contextlib.suppress(DiskFault):  # a disk that does not say is taken for what it was
            problem = self._find_problem()
        return problem, None if problem else self._disk.space()

    async def is_gone(self) -> bool:
        """Look now; whether the disk is not the one. One that does not say is taken for what it was."""
        try:
            return bool(await self.look())
        except DiskFault:
            return bool(self.problem)

    async def require(self) -> None:
        """Look now; DiskFault when the disk is not the one."""
        if await self.is_gone():
            raise self.fault()

    def fault(self) -> DiskFault:
        """What whoever wants something of the disk is told while it is not there."""
        return DiskFault(
            f"the disk with this node's objects is not there: {self.problem}", hint="mount it again on its machine"
        )
