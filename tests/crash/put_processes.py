"""A fork server for `test_put_kill.py`: processes that put an object and kill themselves at one step after another.

Run as ``python put_processes.py ROOT``. For each step of a put a child of this process opens the store below ROOT, puts
an object, and dies of SIGKILL right before that step; a second child then looks at what is left. Prints one JSON line a
step: what the first child had acknowledged and what the second found. The imports are done once, so a step is cheap.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from roost.chunks.disk import DiskChunkStore
from roost.core.ids import ObjectId, object_id
from roost.core.runtime import SystemRuntime
from roost.disk.port import Buffer, WriteFile
from roost.disk.posix import PosixDisk, PosixFile
from roost.net.body import Body
from roost.net.stream import SLICE_BYTES

STEPS_MAX = 100

Tell = Callable[[dict[str, object]], object]


class KillingDisk(PosixDisk):
    """A disk whose user is killed right before its operation number `last`, counted from when that is set."""

    last: int | None = None

    def step(self) -> None:
        if self.last is not None:
            if self.last == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.last -= 1

    def create(self, path: str, *, mode: int = 0o600) -> WriteFile:
        self.step()
        made = super().create(path, mode=mode)
        assert isinstance(made, PosixFile)
        return KillingFile(made, self)

    def rename(self, source: str, target: str) -> None:
        self.step()
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self.step()
        super().unlink(path)

    def sync_directory(self, path: str) -> None:
        self.step()
        super().sync_directory(path)


class KillingFile:
    """A file of a KillingDisk. A write is two steps: the first half of the bytes is out when the second begins."""

    def __init__(self, file: PosixFile, disk: KillingDisk) -> None:
        self._file = file
        self._disk = disk
        self.pread, self.info, self.truncate, self.begin_writeback = (
            file.pread, file.info, file.truncate, file.begin_writeback,
        )  # fmt: skip
        self.drop_cache, self.set_mode, self.set_times = file.drop_cache, file.set_mode, file.set_times

    def pwrite(self, data: Buffer, offset: int) -> None:
        self._disk.step()
        half = len(data) // 2
        view = memoryview(data)
        self._file.pwrite(view[:half], offset)
        self._disk.step()
        self._file.pwrite(view[half:], offset + half)

    def sync(self) -> None:
        self._disk.step()
        self._file.sync()

    def close(self) -> None:
        self._file.close()


def specimen(number: int) -> tuple[ObjectId, bytes]:
    data = random.Random(number).randbytes(SLICE_BYTES + 1000)
    return object_id(data), data


async def opened(disk: PosixDisk) -> DiskChunkStore:
    store = DiskChunkStore(disk, SystemRuntime(), reserve_bytes=0)
    await store.open()
    return store


async def put_and_die(root: str, number: int, tell: Tell) -> None:
    disk = KillingDisk(root)
    store = await opened(disk)
    name, data = specimen(number)
    disk.last = number
    await store.put(name, Body.of(data))
    tell({})


async def look(root: str, number: int, tell: Tell) -> None:
    disk = PosixDisk(root)
    left = len(disk.list("chunks/tmp"))
    store = await opened(disk)
    name, data = specimen(number)
    [before] = await store.have([name])
    states = [int(state) for state in await store.verify([specimen(n)[0] for n in range(number)])]
    new = await store.put(name, Body.of(data))
    into = memoryview(bytearray(len(data)))
    whole = await store.get(name, into) == len(data) and bytes(into) == data
    tell({
        "before": before, "new": new, "whole": whole, "left": left, "temporaries": len(disk.list("chunks/tmp")),
        "earlier": states, "damaged": store.damaged_total,
    })  # fmt: skip


def forked(work: Callable[[str, int, Tell], Coroutine[Any, Any, None]], root: str, number: int) -> tuple[int, bytes]:
    """Run `work` in a child; how it ended (a wait status) and what it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(work(root, number, lambda told: os.write(writing, json.dumps(told).encode())))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    return os.waitpid(child, 0)[1], told


def main(root: str) -> None:
    for number in range(STEPS_MAX):
        status, acknowledged = forked(put_and_die, root, number)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        looked, told = forked(look, root, number)
        step = {"step": number, "killed": killed, "acknowledged": bool(acknowledged)}
        print(json.dumps(step | (json.loads(told) if looked == 0 else {})), flush=True)
        if not killed:
            return


if __name__ == "__main__":
    main(sys.argv[1])
