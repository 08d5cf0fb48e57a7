"""Many nodes and many checkpoints: how long `roost ls` takes, and what an idle cluster costs while time goes on.

    python bench/many.py [--nodes 20] [--checkpoints 500] [--minutes 4] [--pause]

Makes a cluster of local nodes with small checkpoints, stored several at a time, and prints how long `roost ls` takes as
a command of its own (a new process each time, its catalogue as the one before left it, and with none at all), the
memory of nodes and coordinator, now and after some minutes in which nobody asks for anything, and the processor that
the idle cluster uses meanwhile. `tests/e2e/test_bench.py` holds them to bounds.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from roost.apps.cli.bench_process import cpu_seconds, measure
from roost.apps.cli.demo_cluster import DemoCluster, temporary_folder
from roost.client import AsyncCluster
from roost.settings.schema import default_settings

TENSORS, TENSOR_BYTES = 8, 128 * 1024
AT_ONCE = 4
LS_RUNS = 5
LOOK_EVERY_S = 30.0


def make_checkpoint(folder: Path, number: int) -> Path:
    """A safetensors file of 1 MiB: a chunk for the header and one for each tensor, because the kinds alternate."""
    header: dict[str, object] = {}
    for i in range(TENSORS):
        kind, width = (("BF16", 2), ("F32", 4))[i % 2]
        offsets = [i * TENSOR_BYTES, (i + 1) * TENSOR_BYTES]
        header[f"{number}.{i}"] = {"dtype": kind, "shape": [TENSOR_BYTES // width], "data_offsets": offsets}
    text = json.dumps(header).encode()
    data = random.Random(number).randbytes(TENSORS * TENSOR_BYTES)
    path = folder / f"step-{number}.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


async def store_all(cluster: DemoCluster, folder: Path, checkpoints: int, *, first: int = 0) -> None:
    """Store checkpoints until there are so many, several at a time, in runs of 50; `first` are there already."""
    numbers = iter(range(first, checkpoints))
    async with await AsyncCluster.open(cluster.home, default_settings()) as client:

        async def work() -> None:
            for number in numbers:
                path = await asyncio.to_thread(make_checkpoint, folder, number)
                await client.store(path, name=f"run-{number // 50}/step-{number}")
                path.unlink()

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())


def ls(cluster: DemoCluster, folder: Path, *words: str) -> list[float]:
    """How many seconds `roost ls` takes, in each of a few runs."""
    return [measure(cluster.command("ls", *words), folder=folder).seconds for _ in range(LS_RUNS)]


@dataclass(frozen=True, slots=True)
class Memory:
    """What each node and the coordinator have now, in MB."""

    nodes: tuple[float, ...]
    coordinator: float

    @classmethod
    def of(cls, cluster: DemoCluster) -> "Memory":
        return cls(tuple(rss_mb(sorted(cluster.node_pids()))), *rss_mb([coordinator_pid(cluster)]))


def coordinator_pid(cluster: DemoCluster) -> int:
    return int(json.loads(cluster.home.run_state.read_bytes())["pid"])


def rss_mb(pids: Sequence[int]) -> list[float]:
    """The memory that each process has now."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            found.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
    return found


def looks(minutes: float) -> Iterator[float]:
    """Wait, and tell the seconds since the beginning every now and then."""
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < 60 * minutes:
        yield passed
        time.sleep(LOOK_EVERY_S)
    yield passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--checkpoints", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--pause", action="store_true", help="wait for Enter before the end, to look at the processes")
    options = parser.parse_args()
    with temporary_folder("roost-bench-") as folder, DemoCluster(folder, options.nodes) as cluster:
        work = folder / "work"
        work.mkdir()
        pids = [*cluster.node_pids(), coordinator_pid(cluster)]
        new = Memory.of(cluster)
        print(f"{options.nodes} nodes: {statistics.mean(new.nodes):.1f} MB each, coordinator {new.coordinator:.1f} MB")
        begun = time.monotonic()
        asyncio.run(store_all(cluster, work, options.checkpoints))
        print(f"stored {options.checkpoints} checkpoints in {time.monotonic() - begun:.0f} s")
        print(f"ls {statistics.median(ls(cluster, work)):.2f} s")
        print(f"ls --newest {statistics.median(ls(cluster, work, '--newest')):.2f} s")
        for file in cluster.home.root.glob("catalogue*"):
            file.unlink()
        empty = measure(cluster.command("ls"), folder=work)
        print(f"ls without a catalogue {empty.seconds:.2f} s, {len(empty.result['checkpoints'])} checkpoints")
        before, last = cpu_seconds(pids), 0.0
        for passed in looks(options.minutes):
            now, has = cpu_seconds(pids), Memory.of(cluster)
            part = (now - before) / (passed - last) if passed > last else 0.0
            print(
                f"{passed:4.0f} s: nodes {min(has.nodes):.1f} to {max(has.nodes):.1f} MB, "
                f"coordinator {has.coordinator:.1f} MB, processor {100 * part:.1f} % of a core",
                flush=True,
            )
            before, last = now, passed
        print(f"ls {statistics.median(ls(cluster, work)):.2f} s")
        if options.pause:
            input(f"nodes and, last, the coordinator: {pids}; Enter ends them: ")


if __name__ == "__main__":
    main()
