"""The benchmark: its checkpoint has the size and ratio that it says, its table tells what was measured."""

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from roost.apps.cli import bench_checkpoint
from roost.apps.cli.bench_bottleneck import Probing
from roost.apps.cli.bench_checkpoint import WHOLE_BYTES, make_crumbs, make_model
from roost.apps.cli.bench_process import measure
from roost.apps.cli.bench_repair import RepairBench
from roost.apps.cli.bench_runs import FLOOR_BOUND, Bench, rows
from roost.apps.cli.results_here import Figure, Measured
from roost.client.bottleneck import Bottleneck, NodeSpeed, Verdict
from roost.client.floor.reckoning import Cost, Costs
from roost.client.probe import Probed
from roost.codec.planes import Scratch, encode
from roost.core.errors import Failed
from roost.core.ids import NodeId


def test_the_model_has_the_tensors_and_the_bytes_of_the_issue() -> None:
    shapes = list(bench_checkpoint._shapes(WHOLE_BYTES))
    total = sum(bench_checkpoint._bytes_of(shape) for _, shape in shapes)
    assert len(shapes) == 290
    assert 0 <= WHOLE_BYTES - total < 2 * bench_checkpoint.HIDDEN


def test_a_model_is_a_safetensors_file_of_weights_that_compress_as_real_ones(tmp_path: Path) -> None:
    wanted = 5_000_000
    size = make_model(tmp_path / "model.safetensors", bytes_wanted=wanted)
    data = (tmp_path / "model.safetensors").read_bytes()
    (header,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + header])
    ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    assert size == len(data) == 8 + header + max(ends)
    weights = memoryview(data)[8 + header :]
    assert 0 <= wanted - len(weights) < 2 * bench_checkpoint.HIDDEN
    assert 1.46 < len(weights) / encode(weights, width=2, scratch=Scratch()).length < 1.51


def test_crumbs_are_all_different(tmp_path: Path) -> None:
    assert make_crumbs(tmp_path / "crumbs", files=5, each_bytes=1024) == 5 * 1024
    digests = {hashlib.sha256(file.read_bytes()).digest() for file in (tmp_path / "crumbs").iterdir()}
    assert len(digests) == 5


MEASURES = """
import json, sys
from pathlib import Path
from roost.apps.cli.bench_process import measure
run = measure([sys.executable, "-c", sys.argv[1]], folder=Path(sys.argv[2]))
print(json.dumps([run.result, run.seconds, run.rss_bytes, run.written_bytes]))
"""


def test_a_process_is_measured(tmp_path: Path) -> None:
    # In a small process of its own, as the benchmark is: Linux counts a parent's memory as its child's peak.
    code = "import sys; b = bytearray(60_000_000); b[::4096] = b'x' * len(b[::4096]); print('{\"answer\": 42}')"
    told = subprocess.run(
        [sys.executable, "-c", MEASURES, code, str(tmp_path)], check=True, capture_output=True, timeout=60
    ).stdout
    result, seconds, rss_bytes, written_bytes = json.loads(told)
    assert result == {"answer": 42}
    assert seconds > 0
    assert 60_000_000 < rss_bytes < 200_000_000
    assert written_bytes is None or written_bytes >= len('{"answer": 42}\n')


def test_a_process_that_fails_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="exit code 3 and said: no such thing"):
        measure([sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"], folder=tmp_path)


def test_the_table_tells_the_bound_and_how_much_of_it_is_used() -> None:
    figures = [Figure("store", 3.0, "s", 4.0), Figure("memory", 143.21, "MB"), Figure("sent", 1.0031, "x", 1.02)]
    assert rows(figures) == [
        ("store", "3 s", "4 s", "0.75"), ("memory", "143 MB", "", ""), ("sent", "1.003 x", "1.02 x", "0.98"),
    ]  # fmt: skip


class StandIn:
    """A cluster whose commands only answer."""

    def __init__(self, *, repaired: int) -> None:
        self.answers = {
            "nodes": {
                "nodes": [
                    {"name": name, "bytes_used": used, "pid": pid}
                    for name, used, pid in zip("ab", (2_000_000, 4_000_000), self.node_pids(), strict=True)
                ]
            },
            "store": {}, "scrub": {}, "repair": {"bytes": repaired},
        }  # fmt: skip
        self.asked: list[tuple[str, ...]] = []
        self.killed: list[int] = []

    def command(self, *arguments: str) -> list[str]:
        self.asked.append(arguments)
        return [sys.executable, "-c", f"print({json.dumps(json.dumps(self.answers[arguments[0]]))})"]

    def node_pids(self) -> list[int]:
        return [(1 << 30) + 1, (1 << 30) + 2]

    def kill(self, pid: int) -> None:
        self.killed.append(pid)


def test_repair_and_scrub_are_told_in_mb_a_second_of_the_whole_command(tmp_path: Path) -> None:
    cluster = StandIn(repaired=1_000_000)
    bench = RepairBench(cluster, tmp_path, lambda text: None)
    bench.run(bytes_wanted=1_500_000)
    assert [words[0] for words in cluster.asked] == ["store", "nodes", "scrub", "scrub", "repair"]
    assert cluster.asked[2] == ("scrub", "b"), "the one that has most"
    assert cluster.killed == [(1 << 30) + 2]
    told = {figure.figure: (figure.value, figure.unit) for figure in bench.figures}
    assert told["scrub, one node, moved"] == (4.0, "MB")
    assert told["scrub, 4 nodes at once, moved"] == (6.0, "MB")
    assert told["repair, from node to node, moved"] == (1.0, "MB")
    for figure in ("scrub, one node", "scrub, 4 nodes at once", "repair, from node to node"):
        assert told[figure][0] > 0
        assert told[figure][1] == "MB/s"


def test_a_repair_that_did_nothing_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="nothing to do"):
        RepairBench(StandIn(repaired=0), tmp_path, lambda text: None).run(bytes_wanted=1_500_000)


class Storing:
    """A cluster that keeps a model of 30 GB at rest in 20 GB, as it says."""

    def command(self, *arguments: str) -> list[str]:
        answers = {
            "store": {"bytes": 30_000_000_000, "copies": 2, "bytes_sent": 20_000_000_000},
            "show": {"chunks": [{"id": "a", "bytes": 15_000_000_000}, {"id": "b", "bytes": 5_000_000_000}] * 2},
        }
        code = f"print({json.dumps(json.dumps(answers.get(arguments[0], {})))})"
        if arguments[0] == "gather":
            code += f"; import pathlib; to = pathlib.Path({arguments[3]!r}); to.mkdir()"
            code += f"; (to / {arguments[1].rpartition('/')[2] + '.safetensors'!r}).touch()"
        return [sys.executable, "-c", code]

    def node_pids(self) -> list[int]:
        return []


COSTS = Costs(*(Cost(1.0, 0.0) for _ in range(7)))


def figures_of(folder: Path, *, floor: bool) -> dict[str, Figure]:
    bench = Bench(Storing(), folder, "bench", lambda text: None, costs=(lambda _: COSTS) if floor else None, cores=2)
    bench._model(2_000_000, bounded=True)
    return {figure.figure.replace(" 0.002 GB", ""): figure for figure in bench.figures}


def test_a_store_and_a_gather_are_held_against_the_floor(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, floor=True)
    # Each GB of a step takes a second: 4 of 30 plain, 1 at rest, 3 for each of two copies, 2 to pass one on; two cores.
    store, gather = (4 * 30 + (1 + 2 * 3 + 2) * 20) / 2, (4 * 20 + 3 * 30) / 2
    for step, least in (("store", store), ("gather", gather)):
        assert figures[f"{step}, floor of this machine"].value == least
        assert figures[f"{step}, floor of this machine"].unit == "s"
        against = figures[f"{step} against the floor"]
        assert against.value == pytest.approx(figures[step].value / least, abs=0.001)
        assert against.unit == "x"
        assert against.bound is None, "starting counts below the full size"


def test_the_bounds_are_those_of_the_targets(tmp_path: Path) -> None:
    figures = figures_of(tmp_path, floor=True)
    bounds = {name: figures[name].bound for name in ("store", "gather", "store, memory of the command")}
    assert bounds == {"store": 2.8, "gather": 2.1, "store, memory of the command": 150}
    assert FLOOR_BOUND == 1.3


def test_another_cluster_than_this_machines_has_no_floor(tmp_path: Path) -> None:
    assert not [name for name in figures_of(tmp_path, floor=False) if "floor" in name]


def speed(name: str, put: float | None, get: float | None, problem: str = "") -> NodeSpeed:
    return NodeSpeed(NodeId("0" * 32), name, name, 1, put, get, problem)


def told_of(probing: Probing) -> dict[str, object]:
    """What a script reads of it, beside the figures."""
    told = msgspec.json.decode(msgspec.json.encode(probing.told(Measured((), 1.0))))
    return {key: told[key] for key in ("bottleneck", "nodes")}


def test_the_bottleneck_is_told_to_people_and_to_scripts() -> None:
    found = Bottleneck("pi-3", "disk", 9.04, 1.811, "pi-3's disk writes 9 MB/s")
    nodes = (speed("pi-1", 52.36e6, 80e6), speed("pi-2", None, None, "it is full"), speed("pi-3", 9.04e6, 40e6))
    probing = Probing(Probed(nodes, 60e6, only=False), Verdict(found, found.text))
    assert told_of(probing) == {
        "bottleneck": {"node": "pi-3", "what": "disk", "mb_per_s": 9.0, "without": 1.81, "text": found.text},
        "nodes": [
            {"name": "pi-1", "put_mb_per_s": 52.4, "get_mb_per_s": 80.0},
            {"name": "pi-2", "put_mb_per_s": None, "get_mb_per_s": None, "problem": "it is full"},
            {"name": "pi-3", "put_mb_per_s": 9.0, "get_mb_per_s": 40.0},
        ],
    }
    assert probing.lines()[1].split() == ["pi-1", "52.4", "MB/s", "80", "MB/s"]
    assert probing.lines()[2].split() == ["pi-2", "-", "-"]
    assert "pi-2: it is full" in probing.lines()
    assert probing.lines()[-1] == "bottleneck: pi-3's disk writes 9 MB/s"


def test_no_bottleneck_is_null_for_scripts_and_words_for_people() -> None:
    probing = Probing(Probed((speed("pi-1", 5e6, 5e6),), None, only=False), Verdict(None, "no single node stands out"))
    assert told_of(probing)["bottleneck"] is None
    assert probing.lines()[-1] == "bottleneck: no single node stands out"
