"""`roost bench repair`: measure how fast copies go from node to node, and how fast nodes read back what they hold."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol

import typer

from roost.apps.cli.bench_checkpoint import WHOLE_BYTES, make_model
from roost.apps.cli.bench_process import Run, cpu_seconds, measure, peak_rss_bytes, settle
from roost.apps.cli.bench_runs import MB, Place, rows
from roost.apps.cli.demo_cluster import DemoCluster, temporary_folder
from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.results_here import Figure, Measured
from roost.apps.cli.words import size, table
from roost.core.errors import Failed, NoSpace, UsageError
from roost.settings.units import parse_size

NODES = 4
NAME = "bench/model"
BYTES_MIN = 1024 * 1024
GB = 1e9


def repair(
    bytes_wanted: Annotated[str, typer.Option("--bytes", metavar="SIZE", help="The size of the checkpoint.")] = str(
        WHOLE_BYTES
    ),
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Measure repair and scrub.

    On a cluster of four nodes on this machine, without the rates that keep both in the background otherwise. A
    checkpoint is stored in two copies and read back by the nodes; then the one that has most of it is killed, and the
    copies that it had are made again from node to node. MB are bytes at rest, as they lie on the nodes; the seconds are
    those of the whole command.
    """
    frame = Frame.of(home, config, json)
    wanted = parse_size(bytes_wanted)
    if wanted < BYTES_MIN:
        raise UsageError(f"--bytes must be at least {size(BYTES_MIN)}", hint="such as: --bytes 100MB")

    def say(text: str) -> None:
        frame.output.progress("step", {"text": text})
        frame.output.tell(text)

    with frame.watched(), temporary_folder("roost-bench-") as folder:
        needed = 5 * wanted
        if shutil.disk_usage(folder).free < needed:
            raise NoSpace(
                f"the benchmark needs {size(needed)} in {folder.parent}", hint="name another folder with TMPDIR"
            )
        with DemoCluster(folder, NODES) as cluster:
            run = RepairBench(cluster, folder, say)
            run.run(bytes_wanted=wanted)
        lines = table(("FIGURE", "VALUE"), [row[:2] for row in rows(run.figures)], right=(1,))
        frame.output.result(Measured(tuple(run.figures), frame.seconds), lines)
    return 0


class Mortal(Place, Protocol):
    """A cluster of which a node may be killed."""

    def kill(self, pid: int) -> None:
        """``kill -9`` a node, and wait until it is gone."""
        ...


@dataclass(slots=True)
class RepairBench:
    """Stores a checkpoint in `cluster`, has it read back, and made whole again after a node's death; `folder` is for
    files."""

    cluster: Mortal
    folder: Path
    say: Callable[[str], None]
    figures: list[Figure] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)

    def run(self, *, bytes_wanted: int) -> None:
        """Measure everything; Failed when a command of it fails."""
        self.say(f"storing {size(bytes_wanted)} of bfloat16 weights")
        path = self.folder / "model.safetensors"
        make_model(path, bytes_wanted=bytes_wanted)
        self._roost("store", str(path), "--name", NAME)
        path.unlink()
        nodes = self._roost("nodes").result["nodes"]
        fullest = max(nodes, key=lambda row: int(row["bytes_used"]))
        self._measured("scrub, one node", fullest["bytes_used"], "scrub", fullest["name"])
        self._measured(f"scrub, {NODES} nodes at once", sum(row["bytes_used"] for row in nodes), "scrub")
        victim = fullest["pid"]
        self.cluster.kill(victim)
        self.killed.add(victim)
        self._measured("repair, from node to node", None, "repair")
        peak = peak_rss_bytes(self._pids())
        if peak is not None:
            self.figures.append(Figure("memory of a node, at most", round(peak / MB, 1), "MB"))

    def _pids(self) -> list[int]:
        return [pid for pid in self.cluster.node_pids() if pid not in self.killed]

    def _roost(self, *arguments: str) -> Run:
        return measure(self.cluster.command(*arguments), folder=self.folder)

    def _measured(self, figure: str, moved: int | None, *arguments: str) -> None:
        """Time a command that moves so many bytes (None: as its result tells)."""
        settle(self.folder, moved or 0)
        self.say(" ".join(arguments))
        pids = self._pids()
        before = cpu_seconds(pids)
        run = self._roost(*arguments)
        used = cpu_seconds(pids) - before + run.cpu_seconds
        count = run.result["bytes"] if moved is None else moved
        if not count:
            raise Failed(f"roost {arguments[0]} found nothing to do")
        self.figures += [
            Figure(figure, round(count / MB / run.seconds, 3), "MB/s"),
            Figure(f"{figure}, moved", round(count / MB, 3), "MB"),
            Figure(f"{figure}, processor", round(used / (count / GB), 3), "CPU-s a GB"),
        ]
