"""The benchmark: its checkpoint has the size and ratio that it says, its table tells what was measured."""

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from roost.apps.cli import bench_checkpoint
from roost.apps.cli.bench_checkpoint import WHOLE_BYTES, make_crumbs, make_model
from roost.apps.cli.bench_process import measure
from roost.apps.cli.bench_repair import RepairBench
from roost.apps.cli.bench_runs import Figure, rows
from roost.codec.planes import Scratch, encode
from roost.core.errors import Failed


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
