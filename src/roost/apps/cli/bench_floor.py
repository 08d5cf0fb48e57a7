"""The floor as the benchmark measures it: in a process of its own, so that nothing else is counted in, and its memory
is not taken for that of the commands which are measured after it (Linux counts a parent's memory as its child's peak).
"""

import asyncio
import json
import os
import shutil
import socket
import sys
from dataclasses import asdict
from pathlib import Path

from roost.apps.cli.bench_process import measure
from roost.apps.cli.demo_checkpoint import weights
from roost.client.floor.reckoning import Cost, Costs

CHUNK_BYTES = 8 * 1024 * 1024
LOOPBACK = "127.0.0.1"


def measured(folder: Path) -> Costs:
    """What the steps of a store and a gather cost on this machine, in some three seconds; `folder` is on the disk that
    is measured, and nothing is left in it. Failed when it cannot be measured."""
    told = measure([sys.executable, "-m", "roost.apps.cli.bench_floor", str(folder)], folder=folder).result
    return Costs(**{step: Cost(**cost) for step, cost in told["costs"].items()})


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def connected() -> tuple[socket.socket, socket.socket]:
    """Two blocking sockets, connected to each other over loopback."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    return one, other


def main() -> None:
    """Measure in the folder that the command line names, and print the costs as a line of JSON."""
    from roost.client.floor.measuring import measure as measure_floor
    from roost.core.runtime import SystemRuntime

    folder = Path(sys.argv[1]) / "floor"
    folder.mkdir()
    try:
        costs = asyncio.run(measure_floor(SystemRuntime(), folder, connected, weights(CHUNK_BYTES // 2)))
        print(json.dumps({"costs": asdict(costs)}))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
