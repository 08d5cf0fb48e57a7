"""Faults of disks: bytes that flip, a disk that is full, one that is read-only. What is stored stays whole.

The numbers are those of the table of faults. A power cut (17 too) cannot be had here: what it may leave of a disk is
tried in tests/crash and tests/sim, and that all processes end at once in `test_restarts.py`.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e import trees
from e2e.cluster import Cluster, Node, flip, spread_cluster

REPAIRED_S = 60.0
SMALL_BYTES = 24 * 1024 * 1024
SMALL = """\
cluster: test
node: {listen: "127.0.0.1:0", reserve: 2MiB, capacity: 256GiB}
"""
KEPT = ("chunks", "records", "state")
WITHIN = """\
mount -t tmpfs -o size=24m,mode=700 tmpfs "$0" || exit 77
for folder in chunks records state; do
    mkdir -m 700 "$0/$folder" && mount --bind "$0/$folder" "$0/$folder" || exit 77
done
exec "$@"
"""
"""A mount of each of its own, since a file system on which a file is open for writing, as the home's lock is, does not
let itself be made read-only."""
MOUNTS = sys.platform == "linux" and os.geteuid() == 0 and all(map(shutil.which, ("unshare", "nsenter", "mount")))


def some(folder: Path, *, seed: int) -> Path:
    return trees.write(folder / "some.safetensors", trees.model([2_000_000] * 5, seed=seed))


def damaged(cluster: Cluster) -> int:
    """How many bad copies all nodes have found so far, as `status` tells."""
    return sum(row["damaged_total"] for row in cluster.done("status")["nodes"])


# -- 5, 6: bytes that flip on the disk -------------------------------------------------------------------------------


def test_fault_05_a_flipped_copy_is_put_away_counted_and_repaired_by_itself(spread: Cluster, tmp_path: Path) -> None:
    path = some(tmp_path, seed=550)
    spread.done("store", path, "--name", "faults/flipped")
    before = damaged(spread)
    harmed = {}
    for chunk in spread.done("show", "faults/flipped")["chunks"][:3]:
        name, file = next(iter(spread.copies(chunk["id"]).items()))
        flip(file, offset=chunk["bytes"] // 2)
        harmed[chunk["id"]] = name
    deep = spread.cli("verify", "--deep", "faults/flipped")
    assert deep.code == 5
    assert {row["chunk"]: row["node"] for row in deep.result["checkpoints"][0]["damaged"]} == harmed
    for chunk_id, name in harmed.items():
        assert list(spread.nodes[name].home.glob(f"quarantine/{chunk_id}*"))
    assert damaged(spread) == before + len(harmed)
    assert trees.tree_of(spread.gathered("faults/flipped")) == trees.tree_of(path)
    spread.until_healthy("faults/flipped", within_s=REPAIRED_S)
    assert spread.cli("verify", "--deep", "faults/flipped").code == 0


@pytest.mark.slow
def test_fault_05_flipped_copies_are_repaired_as_they_are_read_and_scrub_finds_the_others(
    spread: Cluster, tmp_path: Path
) -> None:
    """Of three copies of each chunk two are bad: a gather meets some of them, and a scrub all others."""
    path = trees.write(tmp_path / "many.safetensors", trees.model([1_200_000] * 12, seed=560))
    spread.done("store", path, "--name", "faults/unread", "--redundancy", "3")
    chunks = spread.done("show", "faults/unread")["chunks"]
    before = damaged(spread)
    for chunk in chunks:
        for _, file in sorted(spread.copies(chunk["id"]).items())[:2]:
            flip(file, offset=chunk["bytes"] // 3)
    to = tmp_path / "to"
    gathered = spread.done("gather", "faults/unread", "--to", to)
    assert trees.tree_of(to / "many.safetensors") == trees.tree_of(path)
    met = damaged(spread) - before
    assert 0 < gathered["repaired"] <= met, "every one that was met is made again"
    assert gathered["failovers"] >= gathered["repaired"]
    scrub = spread.cli("scrub")
    assert scrub.code == 0, scrub
    assert damaged(spread) - before == 2 * len(chunks), "each bad copy was found, and found once"
    assert all(len(chunk["nodes"]) >= 3 for chunk in spread.done("show", "faults/unread")["chunks"])
    assert spread.cli("verify", "--deep", "faults/unread").code == 0


def test_fault_06_flipped_in_all_copies(spread: Cluster, tmp_path: Path) -> None:
    path = some(tmp_path, seed=570)
    good = spread.done("store", path, "--name", "faults/lost")["version"]
    to = tmp_path / "to"
    spread.done("gather", "faults/lost", "--to", to)
    before = trees.tree_of(to)

    trees.write(path, trees.model([2_000_000] * 5, seed=580))
    lost = spread.done("store", path, "--name", "faults/lost")["version"]
    chunk = spread.done("show", f"faults/lost@{lost}")["chunks"][2]
    for file in spread.copies(chunk["id"]).values():
        flip(file, offset=chunk["bytes"] - 1)

    answer = spread.cli("gather", "faults/lost", "--to", to, "--force")
    assert (answer.code, answer.result["code"]) == (5, "integrity")
    assert chunk["id"][:12] in answer.result["message"]
    assert "some.safetensors" in answer.result["message"]
    assert "tensor layer.1.weight" in answer.result["message"]
    assert {name: entry for name, entry in trees.tree_of(to).items() if "roost-" not in name and name} == {
        name: entry for name, entry in before.items() if name
    }
    verdict = spread.cli("verify", f"faults/lost@{lost}")
    assert (verdict.code, verdict.result["checkpoints"][0]["health"]) == (5, "lost")
    assert spread.gathered(f"faults/lost@{good}").read_bytes() == (to / "some.safetensors").read_bytes()
    spread.done("rm", f"faults/lost@{lost}")  # so that nobody else finds it lost


# -- 17: full, and read-only -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Small:
    """Two nodes with room, and `node` on a disk of 24 MiB, which only its process sees."""

    cluster: Cluster
    node: Node

    @property
    def home(self) -> Path:
        """Its home as it sees it."""
        return Path(f"/proc/{self.node.handle.pid}/root{self.node.home}")

    def files(self, folder: str) -> Iterator[Path]:
        """The files below a folder of its home."""
        return (path for path in (self.home / folder).rglob("*") if path.is_file())

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """What it keeps lies on a disk that does not let itself be written, while the block runs."""
        self._mount("ro")
        try:
            yield
        finally:
            self._mount("rw")

    def _mount(self, mode: str) -> None:
        words = ["nsenter", "-t", str(self.node.handle.pid), "-m", "mount", "-o", f"remount,{mode},bind"]
        for folder in KEPT:
            done = [subprocess.run([*words, str(self.node.home / folder)], check=False) for _ in range(2)]
            assert done[-1].returncode == 0, "it was busy twice"

    def row(self) -> dict[str, Any]:
        rows: list[dict[str, Any]] = self.cluster.done("status")["nodes"]
        return next(row for row in rows if row["id"] == self.node.id)


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    if not MOUNTS:
        pytest.skip("mounting a tmpfs takes root on Linux, `unshare` and `nsenter`")
    with spread_cluster(tmp_path_factory.mktemp("small") / "cluster", nodes=2) as cluster:
        home = cluster.root / "small"
        home.mkdir()
        config = cluster.root / "small.yaml"
        config.write_text(SMALL)
        token = cluster.done("token", "create")["token"]
        program = cluster.begin(
            "join", token, "--name", "small", home=home, config=config, machine=9,
            prefix=["unshare", "-m", "sh", "-c", WITHIN, str(home)],
        )  # fmt: skip
        if program.handle.ended(0.5) and program.wait().code == 77:
            pytest.skip("this machine does not let us mount")
        told = program.until("listening", timeout_s=60)
        yield Small(cluster, Node("small", told["node"], home, program.handle, program))


def test_fault_17_a_disk_that_turns_read_only_sends_copies_elsewhere_and_keeps_what_it_has(
    small: Small, tmp_path: Path
) -> None:
    cluster = small.cluster
    before = trees.write(tmp_path / "before.bin", trees.noise(1_000_000, seed=630))
    assert cluster.done("store", before, "--name", "faults/before", "--redundancy", "3")["copies"] == 3
    after = trees.write(tmp_path / "after.safetensors", trees.model([1_100_000] * 4, seed=640))
    with small.read_only():
        receipt = cluster.done("store", after, "--name", "faults/after")
        assert (receipt["copies"], sorted(receipt["nodes"])) == (2, ["a", "b"])
        assert "Read-only" in str(receipt["notes"])
        for node in ("a", "b"):
            cluster.nodes[node].handle.kill()
        assert trees.tree_of(cluster.gathered("faults/before")) == trees.tree_of(before), "it still gives what it has"
        cluster.restart(cluster.nodes["a"], cluster.nodes["b"])
    assert cluster.cli("scrub", "small").code == 0, "a clean pass clears it"
    again = trees.write(tmp_path / "again.bin", trees.noise(1_000_000, seed=650))
    assert cluster.done("store", again, "--name", "faults/again", "--redundancy", "3")["copies"] == 3


def test_fault_17_a_full_disk_sends_copies_elsewhere_and_keeps_what_it_has(small: Small, tmp_path: Path) -> None:
    cluster, sources = small.cluster, {}
    for number in range(8):
        name = f"faults/full-{number}"
        sources[name] = trees.write(tmp_path / f"{number}.bin", trees.noise(5_000_000, seed=600 + number))
        receipt = cluster.done("store", sources[name], "--name", name)
        assert (receipt["copies"], receipt["degraded"]) == (2, False)
    assert small.row()["bytes_used"] > SMALL_BYTES / 2, "it took what it could"
    assert small.row()["bytes_free"] < 2_000_000
    free = os.statvfs(small.home)
    records = sum(file.stat().st_blocks * 512 for folder in ("records", "state") for file in small.files(folder))
    assert free.f_bavail * free.f_frsize + records >= 2 * 1024 * 1024, "chunks leave the reserve to what must be kept"
    with (small.home / "filler").open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(64 * 1024))
            file.flush()
    more = trees.write(tmp_path / "more.bin", trees.noise(3_000_000, seed=620))
    assert cluster.done("store", more, "--name", "faults/full-more")["copies"] == 2
    cluster.nodes["a"].handle.kill()
    for name, path in {**sources, "faults/full-more": more}.items():
        assert trees.tree_of(cluster.gathered(name)) == trees.tree_of(path), "b and the full one have all of it"
    cluster.restart(cluster.nodes["a"])
    (small.home / "filler").unlink()
