"""`roost bench`: measure storing and gathering, on a cluster of its own on this machine or on the configured one."""

import asyncio
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.bench_checkpoint import WHOLE_BYTES
from roost.apps.cli.bench_floor import cores, measured
from roost.apps.cli.bench_process import measure
from roost.apps.cli.bench_runs import Bench, rows, space_needed
from roost.apps.cli.demo_cluster import DemoCluster, temporary_folder
from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.results_here import Figure, Measured
from roost.apps.cli.words import size, table
from roost.core.errors import NoSpace, UsageError
from roost.settings.units import parse_size

if TYPE_CHECKING:
    from roost.apps.cli.bench_bottleneck import Probing

NODES = 4
PREFIX = "roost-bench"
BYTES_MIN = 1024 * 1024


def bench(
    context: typer.Context,
    bytes_wanted: Annotated[str, typer.Option("--bytes", metavar="SIZE", help="The size of the checkpoint.")] = str(
        WHOLE_BYTES
    ),
    large: Annotated[bool, typer.Option("--large", help="Measure 4 GB as well.")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Measure the configured cluster, not one of four nodes on this machine.")
    ] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Measure storing and gathering.

    The checkpoint is made for it: bfloat16 weights in the shapes of Qwen2.5-0.5B. The bounds are for two cores that do
    nothing else; a ratio above 1 misses its bound. The floor is the least that this machine can take for what must be
    done (read, hash, encode, encrypt, write), by what each of these costs here and now.

    With --cluster every node is probed in the end with some 24 MB of noise, and the bottleneck is named. That noise is
    in no checkpoint: each node frees it by itself after a day.
    """
    if context.invoked_subcommand is not None:
        if large or cluster or home is not None or config is not None or json or bytes_wanted != str(WHOLE_BYTES):
            raise UsageError("options stand at the end", hint=f"see: roost bench {context.invoked_subcommand} --help")
        return 0
    frame = Frame.of(home, config, json)
    wanted = parse_size(bytes_wanted)
    if wanted < BYTES_MIN:
        raise UsageError(f"--bytes must be at least {size(BYTES_MIN)}", hint="such as: --bytes 100MB")
    with frame.watched(), temporary_folder("roost-bench-") as folder:
        figures, probing = _measured(frame, folder, wanted, large=large, cluster=cluster)
        told = Measured(tuple(figures), frame.seconds)
        lines = table(("FIGURE", "VALUE", "BOUND", "RATIO"), rows(figures), right=(1, 2, 3))
        if probing is not None:
            told = probing.told(told)
            lines += ["", *probing.lines()]
        frame.output.result(told, lines)
    return 0


def _measured(
    frame: Frame, folder: Path, wanted: int, *, large: bool, cluster: bool
) -> "tuple[list[Figure], Probing | None]":
    needed = space_needed(wanted, large=large)
    if shutil.disk_usage(folder).free < needed:
        raise NoSpace(f"the benchmark needs {size(needed)} in {folder.parent}", hint="name another folder with TMPDIR")

    def say(text: str) -> None:
        frame.output.progress("step", {"text": text})
        frame.output.tell(text)

    work = folder / "work"
    work.mkdir()
    if not cluster:
        with DemoCluster(folder, NODES) as place:
            local = Bench(place, work, PREFIX, say, costs=measured, cores=cores())
            local.run(bytes_wanted=wanted, large=large)
        return local.figures, None
    from roost.apps.cli.bench_bottleneck import bottleneck  # opens the cluster in this process

    run = Bench(_Configured(frame, work), work, PREFIX, say)
    try:
        run.run(bytes_wanted=wanted, large=large)
    finally:
        run.clean()
    return run.figures, asyncio.run(bottleneck(frame, work, say))


@dataclass(frozen=True, slots=True)
class _Configured:
    """The cluster that the command line is set up for."""

    frame: Frame
    folder: Path

    def command(self, *arguments: str) -> list[str]:
        places = ["--home", str(self.frame.home.root), "--json"]
        if self.frame.loaded.file is not None:
            places += ["--config", str(self.frame.loaded.file)]
        return [sys.executable, "-m", "roost", *arguments, *places]

    def node_pids(self) -> Sequence[int]:
        found = measure(self.command("nodes"), folder=self.folder).result["nodes"]
        return [node["pid"] for node in found if node["pid"] is not None]
