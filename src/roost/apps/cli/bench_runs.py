"""The benchmark's runs: what is measured, in what order, and the bound that each figure has."""

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from roost.apps.cli.bench_checkpoint import WHOLE_BYTES, make_crumbs, make_model
from roost.apps.cli.bench_process import PIECE_BYTES, Run, cpu_seconds, measure, peak_rss_bytes, settle
from roost.apps.cli.results_here import Figure
from roost.apps.cli.words import size
from roost.client.floor.reckoning import Costs, Floor, floor_of_gather, floor_of_store

SMALL_BYTES = 100_000_000
LARGE_BYTES = 4_000_000_000
CRUMBS, CRUMB_BYTES = 1000, 1024
HELP_RUNS = 5
MB = 1e6
FLOOR_BOUND = 1.3
"""How many times the floor a store or a gather may take. Below the full size it has no bound: starting counts there."""


class Place(Protocol):
    """The cluster that is measured."""

    def command(self, *arguments: str) -> list[str]:
        """What to run for `roost` with these arguments."""
        ...

    def node_pids(self) -> Sequence[int]:
        """The nodes' processes that run on this machine."""
        ...


@dataclass(slots=True)
class Bench:
    """Runs commands against `place`, with its files in `folder`; stores under the names `prefix`/..."""

    place: Place
    folder: Path
    prefix: str
    say: Callable[[str], None]
    costs: Callable[[Path], Costs] | None = None
    """Measures, in a folder, what the floor is reckoned from; None where the place is not this machine alone."""
    cores: int = 1
    figures: list[Figure] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """What was stored so far."""

    def run(self, *, bytes_wanted: int = WHOLE_BYTES, large: bool = False) -> None:
        """Measure everything, the small before the large, because a peak of memory does not go down again."""
        whole = bytes_wanted == WHOLE_BYTES
        self._help()
        if bytes_wanted > SMALL_BYTES:
            self._model(SMALL_BYTES, bounded=False)
        self._model(bytes_wanted, bounded=whole)
        self._crumbs()
        if large:
            self._model(LARGE_BYTES, bounded=False)

    def _roost(self, *arguments: str) -> Run:
        return measure(self.place.command(*arguments), folder=self.folder)

    def _add(self, figure: str, value: float | None, unit: str, bound: float | None = None) -> None:
        if value is not None:
            self.figures.append(Figure(figure, round(value, 3), unit, bound))

    def _help(self) -> None:
        command = [sys.executable, "-m", "roost", "--help"]
        runs = [measure(command, folder=self.folder) for _ in range(HELP_RUNS)]
        self._add("roost --help", 1000 * statistics.median(run.seconds for run in runs), "ms", 200)

    def _model(self, bytes_wanted: int, *, bounded: bool) -> None:
        """Store and gather a model of so many bytes, and store it unchanged. Memory has its bound at every size,
        seconds only at the size that they were set for (`bounded`)."""
        label = f"{bytes_wanted / 1e9:.3g} GB"
        self.say(f"making {label} of bfloat16 weights")
        path = self.folder / f"model-{bytes_wanted}.safetensors"
        make_model(path, bytes_wanted=bytes_wanted)
        name = f"{self.prefix}/model-{bytes_wanted}"
        pids = self.place.node_pids()

        def timed(step: str, bound: float | None, *arguments: str) -> Run:
            settle(self.folder, 2 * bytes_wanted)
            self.say(f"{step} {label}")
            before = cpu_seconds(pids)
            run = self._roost(*arguments)
            self._add(f"{step} {label}", run.seconds, "s", bound if bounded else None)
            self._add(f"{step} {label}, processor", run.cpu_seconds + cpu_seconds(pids) - before, "CPU-s")
            return run

        costs = self._costs()
        self.names.append(name)
        stored = timed("store", 2.8, "store", str(path), "--name", name)
        self._add(f"store {label}, memory of the command", stored.rss_bytes / MB, "MB", 150)
        plain, rest = int(stored.result["bytes"]), self._sent(label, name, stored)
        if costs is not None:
            copies = int(stored.result["copies"])
            least = floor_of_store(costs, plain_bytes=plain, rest_bytes=rest, copies=copies, cores=self.cores)
            self._against(f"store {label}", stored, least, bounded=bytes_wanted >= WHOLE_BYTES)
        back = self.folder / f"back-{bytes_wanted}"
        gathered = timed("gather", 2.1, "gather", name, "--to", str(back))
        self._add(f"gather {label}, memory of the command", gathered.rss_bytes / MB, "MB")
        if costs is not None:
            least = floor_of_gather(costs, plain_bytes=plain, rest_bytes=rest, cores=self.cores)
            self._against(f"gather {label}", gathered, least, bounded=bytes_wanted >= WHOLE_BYTES)
        (back / path.name).unlink()
        timed("store unchanged", 3.0, "store", str(path), "--name", name)
        path.unlink()
        peak = peak_rss_bytes(pids)
        self._add(f"up to {label}, memory of a node", peak / MB if peak is not None else None, "MB", 64)

    def _costs(self) -> Costs | None:
        """Measured anew before each model: what else runs here, and so the floor, may have changed."""
        if self.costs is None:
            return None
        self.say("measuring what this machine can do at the most")
        return self.costs(self.folder)

    def _against(self, figure: str, run: Run, least: Floor, *, bounded: bool) -> None:
        self._add(f"{figure}, floor of this machine", least.seconds, "s")
        self._add(f"{figure} against the floor", run.seconds / least.seconds, "x", FLOOR_BOUND if bounded else None)

    def _sent(self, label: str, name: str, stored: Run) -> int:
        """What left the sender against one encoded copy: all that it wrote where the system tells it (TLS and the
        catalogue included), else the objects' bytes as it counts them. Returns the bytes of one encoded copy."""
        chunks = {chunk["id"]: int(chunk["bytes"]) for chunk in self._roost("show", name).result["chunks"]}
        encoded = sum(chunks.values())
        self._add(f"store {label}, compression", stored.result["bytes"] / encoded, "x smaller")
        sent = stored.written_bytes if stored.written_bytes is not None else stored.result["bytes_sent"]
        self._add(f"store {label}, sent against one encoded copy", sent / encoded, "x", 1.02)
        return encoded

    def _crumbs(self) -> None:
        label = f"{CRUMBS:,} files of {size(CRUMB_BYTES)}"
        self.say(f"store {label}")
        folder = self.folder / "crumbs"
        make_crumbs(folder, files=CRUMBS, each_bytes=CRUMB_BYTES)
        settle(self.folder, PIECE_BYTES)
        name = f"{self.prefix}/crumbs"
        self.names.append(name)
        self._add(f"store {label}", self._roost("store", str(folder), "--name", name).seconds, "s", 5.0)

    def clean(self) -> None:
        """Remove from the cluster what was stored."""
        for name in self.names:
            self._roost("rm", name)


def space_needed(bytes_wanted: int, *, large: bool) -> int:
    """How much disk the files and, on this machine, four nodes take at the most."""
    return 5 * (bytes_wanted + SMALL_BYTES + (LARGE_BYTES if large else 0))


def rows(figures: Iterable[Figure]) -> list[tuple[str, str, str, str]]:
    """The figures as a person reads them: what, how much, the bound, and the part of the bound that is used up."""

    def row(figure: Figure) -> tuple[str, str, str, str]:
        digits = 4 if figure.unit.startswith("x") else 3
        value = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.{digits}g}"
        if figure.bound is None:
            return figure.figure, f"{value} {figure.unit}", "", ""
        used = figure.value / figure.bound
        return figure.figure, f"{value} {figure.unit}", f"{figure.bound:g} {figure.unit}", f"{used:.2f}"

    return [row(figure) for figure in figures]
