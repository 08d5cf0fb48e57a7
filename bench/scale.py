"""What it costs as the work grows (the checkpoint, the cluster, what is stored), written to docs/performance.md.

    python -m bench.scale [--only sizes|nodes|checkpoints] [--once-bytes 12000000000] [--bytes-max N] [--quick]

Each series runs on local nodes on loopback, in clusters of its own that are gone afterwards (TMPDIR says where; the
largest checkpoint takes five times its size). The page is written after each series, and keeps what is not measured
now. `--quick` tries everything with little, and prints the page instead.
"""

import argparse
import asyncio
import datetime
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.many import Memory, ls, make_checkpoint, store_all
from bench.scale_page import EMPTY_PAGE, MACHINE, Column, Row, Series, replaced, section

from roost.apps.cli.bench_checkpoint import WHOLE_BYTES, make_model
from roost.apps.cli.bench_floor import cores
from roost.apps.cli.bench_process import Run, cpu_seconds, measure, peak_rss_bytes, settle
from roost.apps.cli.demo_cluster import DemoCluster, temporary_folder

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
MB, GB = 1e6, 1e9
NODES = 4
NAME = "bench/model"
LOAD_MAX = 0.3
"""The load of a machine that does nothing else, at most; the page tells a higher one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of each series."""

    sizes: Sequence[int]
    nodes: Sequence[int]
    nodes_bytes: int
    checkpoints: Sequence[int]


FULL = Plan(
    sizes=(100_000_000, 300_000_000, WHOLE_BYTES, 2_000_000_000, 4_000_000_000),
    nodes=(2, 4, 8, 12, 20),
    nodes_bytes=300_000_000,
    checkpoints=(1, 10, 100, 300, 1000),
)
QUICK = Plan(sizes=(10_000_000, 30_000_000), nodes=(2, 3), nodes_bytes=10_000_000, checkpoints=(1, 5, 10))


@dataclass(frozen=True, slots=True)
class Measured:
    """A command, the processor's seconds of all nodes while it ran included."""

    run: Run
    cpu_s: float


def timed(cluster: DemoCluster, folder: Path, size: int, *arguments: str) -> Measured:
    """Run a command that moves `size` bytes."""
    settle(folder, 2 * size)
    before = cpu_seconds(cluster.node_pids())
    run = measure(cluster.command(*arguments), folder=folder)
    return Measured(run, run.cpu_seconds + cpu_seconds(cluster.node_pids()) - before)


def store_and_gather(cluster: DemoCluster, folder: Path, size: int) -> tuple[Measured, Measured]:
    """Store a new model of `size` bytes, and gather it; the files are removed."""
    model, back = folder / "model.safetensors", folder / "back"
    make_model(model, bytes_wanted=size)
    stored = timed(cluster, folder, size, "store", str(model), "--name", NAME)
    model.unlink()
    gathered = timed(cluster, folder, size, "gather", NAME, "--to", str(back))
    shutil.rmtree(back)
    return stored, gathered


def node_peak_mb(cluster: DemoCluster) -> float | None:
    peak = peak_rss_bytes(cluster.node_pids())
    return peak / MB if peak is not None else None


SIZE_COLUMNS = (
    Column("store", "s", chart=True),
    Column("gather", "s", chart=True),
    Column("store", "CPU-s", chart=True),
    Column("gather", "CPU-s", chart=True),
    Column("memory of the storing command", "MB", chart=True),
    Column("memory of the gathering command", "MB"),
    Column("memory of a node", "MB", chart=True),
    Column("sent", "MB"),
    Column("sent against one encoded copy", "x"),
)


def sizes(plan: Plan) -> Series:
    """Checkpoints of growing size."""
    rows = []
    for size in plan.sizes:
        with temporary_folder("roost-scale-") as folder:
            if shutil.disk_usage(folder).free < 5 * size:
                sys.exit(f"a checkpoint of {size / GB:.3g} GB takes {5 * size / GB:.3g} GB there: set TMPDIR")
            with DemoCluster(folder, NODES) as cluster:
                work = made(folder / "work")
                stored, gathered = store_and_gather(cluster, work, size)
                shown = measure(cluster.command("show", NAME), folder=work).result
                encoded = sum({chunk["id"]: int(chunk["bytes"]) for chunk in shown["chunks"]}.values())
                sent = stored.run.written_bytes or int(stored.run.result["bytes_sent"])
                values = (
                    stored.run.seconds, gathered.run.seconds, stored.cpu_s, gathered.cpu_s,
                    stored.run.rss_bytes / MB, gathered.run.rss_bytes / MB, node_peak_mb(cluster), sent / MB,
                    sent / encoded,
                )  # fmt: skip
                rows.append(row(size / GB, values))
    return Series("sizes", "GB", SIZE_COLUMNS, rows)


NODE_COLUMNS = (
    Column("store", "s", chart=True),
    Column("gather", "s", chart=True),
    Column("store", "CPU-s"),
    Column("gather", "CPU-s"),
    Column("memory of a node", "MB", chart=True),
    Column("roost ls", "s", chart=True),
)


def nodes(plan: Plan) -> Series:
    """Clusters of growing size, and one checkpoint in each."""
    rows = []
    for count in plan.nodes:
        with temporary_folder("roost-scale-") as folder, DemoCluster(folder, count) as cluster:
            work = made(folder / "work")
            stored, gathered = store_and_gather(cluster, work, plan.nodes_bytes)
            values = (
                stored.run.seconds, gathered.run.seconds, stored.cpu_s, gathered.cpu_s, node_peak_mb(cluster),
                statistics.median(ls(cluster, work)),
            )  # fmt: skip
            rows.append(row(count, values))
    return Series("nodes", "nodes", NODE_COLUMNS, rows)


CHECKPOINT_COLUMNS = (
    Column("roost ls", "s", chart=True),
    Column("store of one more", "s", chart=True),
    Column("memory of a node", "MB", chart=True),
    Column("memory of the coordinator", "MB", chart=True),
    Column("records on a node's disk", "MB", chart=True),
)


def checkpoints(plan: Plan) -> Series:
    """One cluster, and more and more in it."""
    rows: list[Row] = []
    there = 0
    with temporary_folder("roost-scale-") as folder, DemoCluster(folder, NODES) as cluster:
        work = made(folder / "work")
        for count in plan.checkpoints:
            asyncio.run(store_all(cluster, work, count, first=there))
            there = count
            seconds = statistics.median(ls(cluster, work))
            more = make_checkpoint(work, 10**6 + count)  # of other bytes than all before
            one = measure(cluster.command("store", str(more), "--name", f"more/step-{count}"), folder=work)
            more.unlink()
            memory = Memory.of(cluster)
            records = statistics.mean(map(bytes_below, (home / "records" for home in cluster.home.nodes.iterdir())))
            values = (seconds, one.seconds, statistics.mean(memory.nodes), memory.coordinator, records / MB)
            rows.append(row(count, values))
    return Series("checkpoints", "checkpoints", CHECKPOINT_COLUMNS, rows)


SERIES: dict[str, Callable[[Plan], Series]] = {"sizes": sizes, "nodes": nodes, "checkpoints": checkpoints}


def bytes_below(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def row(step: float, values: Sequence[float | None]) -> Row:
    """A step that was measured, told as it comes."""
    print(f"{step:g}: {', '.join('-' if value is None else f'{value:.3g}' for value in values)}", file=sys.stderr)
    return Row(step, values)


def machine() -> str:
    """This machine as the page names it, the day, and whether it was busy: nothing that tells whose it is."""
    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    today = datetime.date.today().isoformat()
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    load = os.getloadavg()[0]
    busy = f", which were busy: the load was {load:.1f} when it began" if load > LOAD_MAX else ""
    return f"{cores()} cores of {model}{busy}; Python {platform.python_version()}, {system}, on {today}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=[*SERIES], help="this series alone; may be repeated")
    parser.add_argument("--once-bytes", type=int, default=0, help="one more checkpoint, of so many bytes")
    parser.add_argument("--bytes-max", type=int, default=10**12, help="leave out the checkpoints that are larger")
    parser.add_argument("--quick", action="store_true", help="try everything with little, and print the page")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    plan = QUICK if options.quick else FULL
    bytes_of = [size for size in plan.sizes if size <= options.bytes_max]
    plan = replace(plan, sizes=[*bytes_of, *([options.once_bytes] if options.once_bytes else [])])
    page = options.page.read_text(encoding="utf-8") if options.page.exists() else EMPTY_PAGE
    wanted = options.only or [*SERIES]
    whole = set(wanted) == set(SERIES)
    where = machine()
    if whole:
        page = replaced(page, MACHINE, f"Measured with {where}.")
    for key in wanted:
        print(key, file=sys.stderr)
        told = section(SERIES[key](plan))
        page = replaced(page, key, told if whole else f"{told}\n\nThis series was measured with {where}.")
        if not options.quick:
            options.page.write_text(page, encoding="utf-8")
    if options.quick:
        print(page)


if __name__ == "__main__":
    main()
