"""Roost beside its peers and beside the wire, on five machines with links of 100 Mbit: one table of figures and bounds.

    sudo python bench/lab.py [--only plain noise kill freeze slow gigabit peers] [--page docs/performance.md]

A checkpoint of bfloat16 weights, two copies, four nodes; TLS, fsync and all verification on. The wire's figure is what
one raw copy would need; `USED` is the part of its bound that a figure uses up, so that a row above 1 misses it. Peers
run when their Debian packages are installed, and the table says when they are not.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(_ROOT), str(_ROOT / "tests")]  # not this folder: tests/lab is another lab

from bench.lab_cluster import MACHINES, NODES, Measured, Shaped, shaped_cluster
from bench.lab_models import change_tensors, make_noise
from bench.peers import Place
from bench.peers import peers as all_peers
from bench.scale import machine
from bench.scale_page import replaced

from lab.shaping import shape
from lab.wires import Wires, missing
from roost.apps.cli.bench_checkpoint import WHOLE_BYTES, make_model
from roost.apps.cli.demo_cluster import temporary_folder
from roost.apps.cli.words import table

NAME = "bench/model"
CHANGED_SHARE = 0.1
GOODPUT = 0.9565
"""What TCP leaves of an Ethernet frame for its bytes: 1,448 of 1,514."""
MB = 1e6
HEAD = ("figure", "value", "of the wire", "bound", "used", "of ours")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: what was measured, and what it should be at the most (None: for information)."""

    what: str
    value: float
    unit: str
    bound: float | None = None
    wire: float | None = None
    ours: float | None = None
    """What Roost took for the same, beside a peer's figure."""


@dataclass(slots=True)
class Table:
    """The figures so far, told as they come, and what did not run."""

    figures: list[Figure] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def add(
        self, what: str, value: float, unit: str, *, bound: float | None = None, wire: float | None = None,
        ours: float | None = None,
    ) -> None:  # fmt: skip
        self.figures.append(Figure(what, value, unit, bound, wire, ours))
        print(f"  {what}: {value:.1f} {unit}", file=sys.stderr, flush=True)

    def value(self, what: str) -> float | None:
        return next((figure.value for figure in self.figures if figure.what == what), None)

    def rows(self) -> list[tuple[str, ...]]:
        """Each figure with its part of the wire's, its bound, the part of that that it uses up, or how far behind ours
        it is."""

        def row(figure: Figure) -> tuple[str, ...]:
            wire = f"{figure.value / figure.wire:.2f}" if figure.wire else ""
            bound = f"{figure.bound:g}" if figure.bound is not None else ""
            used = f"{figure.value / figure.bound:.2f}" if figure.bound else ""
            ahead = f"{figure.value / figure.ours:.1f}" if figure.ours else ""
            return figure.what, f"{figure.value:.1f} {figure.unit}", wire, bound, used, ahead

        return [row(figure) for figure in self.figures]

    def print(self) -> None:
        print("\n".join(table(HEAD, self.rows(), right=(1, 2, 3, 4, 5))))
        print("\n".join(self.absent))

    def markdown(self) -> str:
        lines = [HEAD, ("---", *["---:"] * (len(HEAD) - 1)), *self.rows()]
        return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", *self.absent]).rstrip()


@dataclass(slots=True)
class Setting:
    """What all scenarios share: where files lie, the checkpoints, the links, and the table."""

    folder: Path
    bytes: int
    mbit: int
    table: Table
    labs: Iterator[int] = field(default_factory=lambda: iter(range(os.getpid() % 900 * 10 + 50_000, 1 << 30)))

    @property
    def wire_s(self) -> float:
        """The seconds that the link needs for one raw copy."""
        return self.bytes * 8 / (self.mbit * 1e6 * GOODPUT)

    @property
    def whole(self) -> bool:
        """Whether the bounds, which are for one size and one speed, hold."""
        return self.bytes == WHOLE_BYTES and self.mbit == 100

    def bound(self, value: float) -> float | None:
        return value if self.whole else None

    @contextlib.contextmanager
    def cluster(self, mbit: int | None = None, *, slow: Sequence[str] = (), slow_mbit: int = 0) -> Iterator[Shaped]:
        with temporary_folder("roost-lab-") as folder, shaped_cluster(folder / "lab", next(self.labs)) as cluster:
            cluster.shape(self.mbit if mbit is None else mbit, slow=slow, slow_mbit=slow_mbit)
            cluster.settle(2 * self.bytes)
            yield cluster

    def model(self) -> Path:
        path = self.folder / "model.safetensors"
        if not path.exists():
            make_model(path, bytes_wanted=self.bytes)
        return path

    def other_model(self) -> Path:
        """The same in a part of its tensors."""
        path = self.folder / "changed" / "model.safetensors"
        if not path.exists():
            path.parent.mkdir()
            change_tensors(self.model(), path, share=CHANGED_SHARE)
        return path

    def noise(self) -> Path:
        path = self.folder / "noise.safetensors"
        if not path.exists():
            make_noise(path, bytes_wanted=self.bytes)
        return path


def away(setting: Setting, cluster: Shaped, what: str) -> None:
    """Which part of all copies lies elsewhere than where placement wants them, to be moved there later."""
    objects = {chunk["id"] for chunk in cluster.roost("show", NAME).result["chunks"]}
    work = cluster.roost("repair", "--dry-run").result["plan"]
    moving = sum(1 for row in work if row["work"] == "home")
    setting.table.add(f"{what}: copies away from home", 100 * moving / (2 * len(objects)), "%")


def gather_into(cluster: Shaped, label: str) -> list[object]:
    return ["gather", NAME, "--to", cluster.lab.root / label]


def plain(setting: Setting) -> None:
    """Store, gather, store what changed, store what did not; then gather while a node stops, and while one dies."""
    told = setting.table.add
    with setting.cluster() as cluster:
        stored = cluster.roost("store", setting.model(), "--name", NAME)
        told("store", stored.seconds, "s", bound=setting.bound(55.5), wire=setting.wire_s)
        told(
            "sender's bytes on the link",
            stored.sent_bytes / MB,
            "MB",
            bound=setting.bound(665),
            wire=setting.bytes / MB,
        )
        told("memory of the storing process", stored.rss_bytes / MB, "MB", bound=150)
        away(setting, cluster, "store")
        gathered = cluster.roost(*gather_into(cluster, "back"))
        told("gather", gathered.seconds, "s", bound=setting.bound(54.5), wire=setting.wire_s)
        changed = cluster.roost("store", setting.other_model(), "--name", NAME)
        told("10 % changed", changed.seconds, "s", bound=setting.bound(6.5))
        told("10 % changed, bytes", changed.sent_bytes / MB, "MB", bound=setting.bound(68))
        same = cluster.roost("store", setting.other_model(), "--name", NAME)
        told("unchanged", same.seconds, "s", bound=setting.bound(3))
        told("unchanged, bytes", same.sent_bytes / MB, "MB", bound=setting.bound(1))
        told("memory of a node", cluster.node_rss_bytes() / MB, "MB", bound=64)
        gather_disturbed(setting, cluster, gathered)


def gather_disturbed(setting: Setting, cluster: Shaped, undisturbed: Measured) -> None:
    """A node freezes in the middle of a gather; it goes on, and another is killed in the middle of the next."""
    half = undisturbed.received_bytes // 2
    frozen = cluster.disturbed("m3", lambda n: n.freeze(), after_bytes=half, arguments=gather_into(cluster, "frozen"))
    added(setting, "gather, a node frozen in the middle", frozen, undisturbed.seconds)
    cluster.resume("m3")
    killed = cluster.disturbed("m4", lambda n: n.kill(), after_bytes=half, arguments=gather_into(cluster, "killed"))
    added(setting, "gather, a node killed in the middle", killed, undisturbed.seconds)


def added(setting: Setting, what: str, measured: Measured, undisturbed_s: float) -> None:
    setting.table.add(f"{what}: added", measured.seconds - undisturbed_s, "s", bound=8)


def noise(setting: Setting) -> None:
    """Bytes that cannot be compressed."""
    with setting.cluster() as cluster:
        stored = cluster.roost("store", setting.noise(), "--name", NAME)
        setting.table.add("store, incompressible", stored.seconds, "s", bound=setting.bound(82), wire=setting.wire_s)
        gathered = cluster.roost(*gather_into(cluster, "back"))
        setting.table.add("gather, incompressible", gathered.seconds, "s", bound=setting.bound(81), wire=setting.wire_s)


def store_disturbed(setting: Setting, what: str, do: str) -> None:
    store_s = setting.table.value("store")
    arguments: list[object] = ["store", setting.model(), "--name", NAME]
    if store_s is None:
        with setting.cluster() as undisturbed:  # one of its own: what it holds afterwards need not be sent again
            store_s = undisturbed.roost(*arguments).seconds
    with setting.cluster() as cluster:
        measured = cluster.disturbed(
            "m3", lambda node: getattr(node, do)(), after_bytes=round(setting.bytes / 3), arguments=arguments
        )
        added(setting, f"store, a node {what} in the middle", measured, store_s)


def kill(setting: Setting) -> None:
    """A node is killed in the middle of a store."""
    store_disturbed(setting, "killed", "kill")


def freeze(setting: Setting) -> None:
    """A node is frozen in the middle of a store."""
    store_disturbed(setting, "frozen", "freeze")


def slow(setting: Setting) -> None:
    """One node's link carries a tenth of what the others' do."""
    with setting.cluster(slow=NODES[-1:], slow_mbit=setting.mbit // 10) as cluster:
        for step, arguments in (
            ("store", ["store", setting.model(), "--name", NAME]),
            ("gather", gather_into(cluster, "back")),
        ):
            measured = cluster.roost(*arguments)
            undisturbed = setting.table.value(step) or setting.wire_s / 1.4
            setting.table.add(f"{step}, one link a tenth", measured.seconds, "s", bound=round(1.3 * undisturbed, 1))
        away(setting, cluster, "store, one link a tenth")


def gigabit(setting: Setting) -> None:
    """Links of 1 Gbit: here the two cores that all five machines share are the limit, not the wire."""
    wire_s = setting.bytes * 8 / (1e9 * GOODPUT)
    with setting.cluster(1000) as cluster:
        stored = cluster.roost("store", setting.model(), "--name", NAME)
        setting.table.add("store, 1 Gbit", stored.seconds, "s", bound=setting.bound(5.8), wire=wire_s)
        gathered = cluster.roost(*gather_into(cluster, "back"))
        setting.table.add("gather, 1 Gbit", gathered.seconds, "s", bound=setting.bound(5.8), wire=wire_s)


def peers(setting: Setting) -> None:
    """The same work by rsync, restic and Syncthing, each on machines of its own."""
    for peer in all_peers():
        if why := peer.missing():
            print(f"  {peer.name}: {why}", file=sys.stderr)
            setting.table.absent.append(f"{peer.name} did not run: {why}")
            continue
        with temporary_folder("roost-lab-") as folder, contextlib.closing(Wires(next(setting.labs))) as wires:
            wires.open()
            for number, name in enumerate(MACHINES, 11):
                wires.add(name, number)
                shape(wires, name, mbit=setting.mbit)
            for step, took in peer.measure(Place(wires, folder), setting.model(), setting.other_model()).items():
                what = f"{peer.name}, {peer.copies} {'copy' if peer.copies == 1 else 'copies'}: {step}"
                ours = setting.table.value({"changed": "10 % changed"}.get(step, step))
                setting.table.add(what, took.seconds, "s", ours=ours)
                setting.table.add(f"{what}, bytes", took.sent_bytes / MB, "MB")


SCENARIOS: dict[str, Callable[[Setting], None]] = {
    run.__name__: run for run in (plain, noise, kill, freeze, slow, gigabit, peers)
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--bytes", type=int, default=WHOLE_BYTES)
    parser.add_argument("--mbit", type=int, default=100)
    parser.add_argument("--page", type=Path, help="put the table into this page too")
    options = parser.parse_args()
    if why := missing():
        sys.exit(f"there can be no such machines here: {why}")
    where = machine()
    with temporary_folder("roost-lab-") as folder:
        setting = Setting(folder, options.bytes, options.mbit, Table())
        try:
            for name in options.only:
                print(f"{name}: {SCENARIOS[name].__doc__}", file=sys.stderr)
                SCENARIOS[name](setting)
        finally:
            setting.table.print()
        if options.page:
            page = replaced(options.page.read_text(), "lab", f"{setting.table.markdown()}\n\nMeasured with {where}.")
            options.page.write_text(page)


if __name__ == "__main__":
    main()
