"""Store and gather, again and again, each time in a new cluster of four local nodes: medians, and all runs.

    python bench/store_gather.py [--rounds 3] [--bytes 942000000] [--source OTHER/src]

With `--source` a second tree of Roost is measured in turn with this one, so that what else the machine does falls on
both alike. Processor seconds, of all processes together, repeat better than those of the clock.
"""

import argparse
import os
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from roost.apps.cli.bench_checkpoint import WHOLE_BYTES, make_model
from roost.apps.cli.bench_process import Run, cpu_seconds, measure, peak_rss_bytes, settle
from roost.apps.cli.demo_cluster import DemoCluster, temporary_folder

NODES = 4
STEPS = ("store", "gather", "unchanged")


@dataclass(slots=True)
class Series:
    """What one tree did in all rounds, by step: clock seconds, processor seconds, MB of the command; MB of a node."""

    source: str
    seconds: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})
    cpu: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})
    rss: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})
    node_rss: list[float] = field(default_factory=list)


def one_round(series: Series, folder: Path, model: Path) -> None:
    """A new cluster, and every step once."""
    os.environ["PYTHONPATH"] = series.source
    with DemoCluster(folder, NODES) as cluster:
        work = folder / "work"
        work.mkdir()
        for step, arguments in (
            ("store", ["store", str(model), "--name", "bench/model"]),
            ("gather", ["gather", "bench/model", "--to", str(work / "back")]),
            ("unchanged", ["store", str(model), "--name", "bench/model"]),
        ):
            settle(work, 2 * model.stat().st_size)
            before = cpu_seconds(cluster.node_pids())
            run: Run = measure(cluster.command(*arguments), folder=work)
            series.seconds[step].append(run.seconds)
            series.cpu[step].append(run.cpu_seconds + cpu_seconds(cluster.node_pids()) - before)
            series.rss[step].append(run.rss_bytes / 1e6)
        series.node_rss.append((peak_rss_bytes(cluster.node_pids()) or 0) / 1e6)


def report(series: Series) -> None:
    """Medians, then all."""
    print(f"{series.source}: a node's memory {statistics.median(series.node_rss):.0f} MB")
    for step in STEPS:
        seconds, cpu, rss = series.seconds[step], series.cpu[step], series.rss[step]
        runs = "  ".join(f"{a:.2f}/{b:.1f}" for a, b in zip(seconds, cpu, strict=True))
        print(
            f"  {step:10s} {statistics.median(seconds):6.2f} s  {statistics.median(cpu):6.2f} CPU-s  "
            f"{statistics.median(rss):4.0f} MB   ({runs})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bytes", type=int, default=WHOLE_BYTES)
    parser.add_argument("--source", action="append", default=[], help="the src folder of another tree")
    options = parser.parse_args()
    here = str(Path(__file__).resolve().parent.parent / "src")
    every = [Series(source) for source in [*options.source, here]]
    with temporary_folder("roost-bench-") as made:
        model = made / "model.safetensors"
        make_model(model, bytes_wanted=options.bytes)
        for number in range(options.rounds):
            for series in every[:: 1 if number % 2 else -1]:
                with temporary_folder("roost-bench-") as folder:
                    one_round(series, folder, model)
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for series in every:
        report(series)


if __name__ == "__main__":
    main()
