"""Measuring the disk of the home with a scratch file in it, which is removed afterwards."""

import contextlib
from pathlib import Path

from roost.client.doctor.disk import DiskSeen, Written
from roost.core.errors import RoostError
from roost.core.runtime import Runtime
from roost.disk.durable import temporary_name
from roost.disk.port import Disk, WriteFile
from roost.disk.posix import PosixDisk
from roost.settings.paths import Home

BLOCK_BYTES = 4 << 20
BYTES_MAX = 32 << 20
SECONDS_MAX = 2.0


async def look_at_disk(runtime: Runtime, home: Home, *, reserve: int) -> DiskSeen:
    """The room of the disk, and its speed when there is a home and room above the reserve. DiskFault and its like when
    the disk fails."""
    exists = await runtime.in_thread(home.root.is_dir)
    where = home.root if exists else await runtime.in_thread(_nearest, home.root)
    disk = PosixDisk(where)
    space = await runtime.in_thread(disk.space)
    written = None
    if exists and space.free - reserve > BYTES_MAX:
        written = await measure(runtime, disk)
    return DiskSeen(str(home.root), exists, space.free, space.total, reserve, written)


def _nearest(path: Path) -> Path:
    """The nearest folder above `path` that is there."""
    return next(parent for parent in path.parents if parent.is_dir())


async def measure(runtime: Runtime, disk: Disk) -> Written:
    """Write at most 32 MiB for some 2 s, each 4 MiB durably before the next, and remove them again."""
    block = await runtime.in_thread(runtime.token_bytes, BLOCK_BYTES)  # so that no file system shrinks it
    name = temporary_name("doctor", runtime.token_bytes(8).hex())
    file = await runtime.in_thread(disk.create, name)
    begun, count = runtime.now(), 0
    try:
        while count < BYTES_MAX and (not count or runtime.now() - begun < SECONDS_MAX):
            await runtime.in_thread(_write_durably, file, block, count)
            count += len(block)
        return Written(count, runtime.now() - begun)
    finally:
        file.close()
        with contextlib.suppress(RoostError):
            disk.unlink(name)


def _write_durably(file: WriteFile, block: bytes, offset: int) -> None:
    file.pwrite(block, offset)
    file.sync()
