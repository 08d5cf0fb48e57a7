"""Checkpoints as the real libraries write them, into a watched folder: each is stored once, whole, and nothing else is.

`writers.py` holds the writers. They need what `pip install -e '.[dev,frameworks]'` installs, and are skipped without.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster
from e2e.installed import INSTALL, need

pytestmark = pytest.mark.slow

LIMIT_S = 90.0
PROGRAM = Path(__file__).with_name("writers.py")
OLDER = Path(sys.prefix, "older")
"""Where `scripts/environment.sh` puts the last safetensors that writes in place."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose coordinator watches a folder."""
    need("torch")
    root = tmp_path_factory.mktemp("writers")
    with local_cluster(root / "cluster", more="watch: [{path: watched}]") as cluster:
        yield cluster


class Run:
    """One writer and the folder that it writes into, which is watched: what it says is finished must be stored."""

    def __init__(self, cluster: Cluster, writer: str, *, own: str = "") -> None:
        self.cluster = cluster
        self.writer = writer
        self.own = own or writer
        self.out = cluster.root / "watched" / self.own
        self.out.mkdir()
        self.copies = cluster.root / f"{self.own}-copies"
        """Where a writer that does not wait keeps what it wrote."""
        self.told: Counter[str] = Counter()
        self.halves = 0
        self.references: dict[str, tuple[str, dict[str, trees.Entry]]] = {}
        """By name what was stored last, and the tree that it was on the disk then."""

    def run(self, *, path: Path | None = None) -> None:
        """Run it to its end."""
        environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
        process = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM), self.writer, str(self.out)], env=environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            for line in process.stdout:
                word = json.loads(line)
                if "half" in word:
                    self.check_half(word["half"])
                    process.stdin.write("\n")
                else:
                    process.stdin.write(f"{self.check_saved(word['saved'])}\n")
            assert process.wait(timeout=LIMIT_S) == 0, "the writer failed, or did not get back what it had written"
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
        self.check_nothing_else()

    def check_saved(self, paths: list[str]) -> Path:
        """Each of them becomes a new version, of what is on the disk now. Where they are gathered to."""
        to = self.cluster.root / "gathered" / f"{self.own}-{self.told.total()}"
        names = {self.name_of(path): path for path in paths}
        before = trees.tree_of(self.out)
        self.told.update(list(names))
        missing = dict(names)
        while missing:
            name, version = self.next_stored()
            reference = f"{name}@{version}"
            copy = self.copies / name.removeprefix(f"{self.own}/")
            if name not in missing and copy.exists():  # rotated away since
                self.told[name] += 1
                assert trees.tree_of(self.cluster.gathered(reference)) == trees.tree_of(copy)
                continue
            assert name in missing, f"{reference} was stored, and not only {sorted(missing)}"
            path = self.out / missing.pop(name)
            there = to / path.relative_to(self.out)
            self.cluster.done("gather", reference, "--to", there if path.is_dir() else there.parent)
            tree = trees.tree_of(path)
            assert trees.tree_of(there) == tree, f"{reference} is not what was written"
            self.references[name] = reference, tree
        assert trees.tree_of(self.out) == before, "something was changed in the watched folder"
        return to

    def check_half(self, path: str) -> None:
        """Of what is half written nothing is stored; it waits."""
        self.halves += 1
        self.look_twice()
        self.check_versions()
        deadline = time.monotonic() + LIMIT_S
        while not any(name.startswith(f"{self.own}/{path}") for name in self.pending()):
            assert time.monotonic() < deadline, f"{path} does not wait, though only half of it is there"

    def check_nothing_else(self) -> None:
        """Nothing waits any more, and all that it told of has as many versions, and nothing else any. What was rotated
        away since can be had."""
        before = trees.tree_of(self.out)
        self.look_twice()
        assert self.pending() == {}
        self.check_versions()
        assert trees.tree_of(self.out) == before
        for name, (reference, tree) in self.references.items():
            if not any(self.name_of(path.name) == name for path in self.out.iterdir()):
                assert trees.tree_of(self.cluster.gathered(reference)) == tree

    def check_versions(self) -> None:
        rows = self.cluster.done("ls", self.own)["checkpoints"]
        assert Counter(row["name"] for row in rows if row["name"].startswith(f"{self.own}/")) == self.told

    def name_of(self, path: str) -> str:
        return f"{self.own}/{path.removesuffix('.safetensors')}"

    def next_stored(self) -> tuple[str, str]:
        """The next that is stored of this writer's, or of what looks for it."""
        assert self.cluster.coordinator is not None
        while True:
            told = self.cluster.coordinator.until("stored", timeout_s=LIMIT_S)
            if told["name"].startswith((f"{self.own}/", f"looked-{self.own}-for")):
                return told["name"], told["version"]

    def look_twice(self) -> None:
        """Wait until the watcher has looked at all there is now: what is oldest is stored last."""
        for _ in range(2):
            name = f"looked-{self.own}-for-{time.monotonic_ns()}"
            data = trees.model([1000], seed=time.monotonic_ns())
            trees.write(self.cluster.root / f"watched/{name}.safetensors", data)
            assert self.next_stored()[0] == name

    def pending(self) -> dict[str, str]:
        [watching] = self.cluster.done("status")["watching"]
        return {row["name"]: row["reason"] for row in watching["pending"] if row["name"].startswith(f"{self.own}/")}


def test_safetensors_that_renames(cluster: Cluster) -> None:
    need("safetensors")
    run = Run(cluster, "safetensors")
    run.run()
    assert run.told["safetensors/last"] == 2
    assert (run.out / "last.safetensors").stat().st_mode & 0o777 == 0o600, "it was a temporary file, since 0.8"


def test_safetensors_that_writes_in_place(cluster: Cluster) -> None:
    if not OLDER.exists():
        pytest.skip(reason=f"safetensors 0.7 {INSTALL}, and: pip install --no-deps -t {OLDER} 'safetensors<0.8'")
    run = Run(cluster, "safetensors", own="safetensors-older")
    run.run(path=OLDER)
    assert run.told["safetensors-older/last"] == 2
    assert (run.out / "last.safetensors").stat().st_mode & 0o777 == 0o644


def test_torch_save(cluster: Cluster) -> None:
    run = Run(cluster, "torch-save")
    run.run()
    assert run.told["torch-save/ckpt.pt"] == 2


def test_save_pretrained_in_parts_and_again(cluster: Cluster) -> None:
    need("transformers")
    run = Run(cluster, "save-pretrained")
    run.run()
    assert run.told == {"save-pretrained/model": 2}


def test_the_trainer_and_what_it_rotates_away(cluster: Cluster) -> None:
    need("transformers", "accelerate")
    run = Run(cluster, "trainer")
    run.run()
    assert sorted(run.told) == [*(f"trainer/checkpoint-{step}" for step in range(1, 5)), "trainer/final"]
    assert not (run.out / "checkpoint-1").exists()


def test_the_trainer_starts_anew_over_its_old_checkpoint(cluster: Cluster) -> None:
    need("transformers", "accelerate")
    run = Run(cluster, "trainer-again")
    run.run()
    assert run.halves
    assert run.told == {"trainer-again/checkpoint-1": 2}


def test_accelerate_with_rotation_and_the_same_name_again(cluster: Cluster) -> None:
    need("accelerate")
    run = Run(cluster, "accelerate")
    run.run()
    assert run.halves == 3
    assert run.told["accelerate/epoch"] == 2


def test_lightning(cluster: Cluster) -> None:
    need("lightning")
    run = Run(cluster, "lightning")
    run.run()
    assert run.told["lightning/last.ckpt"] == 3


def test_torch_distributed_checkpoint(cluster: Cluster) -> None:
    run = Run(cluster, "distributed")
    run.run()
    assert run.told == {"distributed/step-1": 2, "distributed/step-2": 2, "distributed/alone": 1}


def test_the_trainer_that_does_not_wait_is_stored_whole_or_not_at_all(cluster: Cluster) -> None:
    need("transformers", "accelerate")
    run = Run(cluster, "trainer-that-runs-freely")
    run.run()
    assert len(list(run.copies.iterdir())) == 4
    assert {"checkpoint-3", "checkpoint-4", "final"} <= {name.rpartition("/")[2] for name in run.told}
