"""Whether the disk that holds a store is still there: one that is not mounted any more leaves an empty directory.

A node that went on from memory would vouch for what nobody can read, and forget, file by file, what is well on a disk
that only has to be mounted again.
"""

from roost.chunks.layout import Layout, store_id_problem
from roost.core.errors import DiskFault
from roost.core.runtime import Runtime
from roost.disk.port import Disk


class Mount:
    """The tree below `layout` on `disk`, known by its `store_id`. `problem` is why the one that is there is another, as
    the last look showed, or nothing."""

    def __init__(self, disk: Disk, runtime: Runtime, layout: Layout) -> None:
        self.store_id = ""
        self.problem = ""
        self._disk = disk
        self._runtime = runtime
        self._layout = layout

    async def look(self) -> str:
        """Look now, and return the `problem`. DiskFault when the disk does not say; then the problem is as before."""
        self.problem = await self._runtime.in_thread(store_id_problem, self._disk, self._layout, self.store_id)
        return self.problem

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
