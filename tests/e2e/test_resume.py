"""A training loses its process and its disk at any step, and goes on elsewhere as if nothing had happened.

The loss of every step is compared bit by bit with that of a training which was never interrupted.
"""

import importlib.util
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Cluster, spread_cluster
from e2e.training import training

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("trainers.py")
STEPS = 14
FIRST_SAVED = 3
LIMIT_S = 60.0
INSTALL = "is not installed; ./test.sh --all does, or: pip install -e '.[dev,frameworks]'"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes on four machines, and coordinators and clients beside them."""
    for module in ("torch", "transformers", "accelerate"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(reason=f"{module} {INSTALL}")
    with spread_cluster(tmp_path_factory.mktemp("resume") / "cluster") as cluster:
        yield cluster


def client(cluster: Cluster, home: Path) -> Path:
    """A machine that only stores and gathers."""
    token = cluster.done("token", "create", "--uses", "1")["token"]
    assert cluster.done("join", token, "--client", home=home)["paired"] is True
    return home


def stored(cluster: Cluster, name: str) -> list[str]:
    return [row["name"] for row in cluster.done("ls", f"{name}/")["checkpoints"]]


def losses(told: list[dict[str, Any]]) -> dict[int, str]:
    return {line["step"]: line["loss"] for line in told if "step" in line}


@pytest.mark.parametrize("kind", ["trainer", "loop"])
def test_a_training_that_lost_its_machine_goes_on_bit_by_bit(cluster: Cluster, tmp_path: Path, kind: str) -> None:
    seed = random.randrange(1_000_000)
    chance = random.Random(seed)
    lost_at = chance.randint(FIRST_SAVED + 1, STEPS - 1)
    victim = chance.choice(sorted(cluster.nodes))
    print(f"seed {seed}: {kind} loses its machine at step {lost_at} of {STEPS}, and the cluster the node {victim}")
    first = client(cluster, tmp_path / "first")
    options = ("--steps", STEPS, "--name")
    with training(cluster, PROGRAM, kind, tmp_path / "whole", *options, f"{kind}-whole", home=first) as one:
        whole = losses(one.end()[0])
    assert sorted(whole) == list(range(1, STEPS + 1))

    out = tmp_path / "out"
    with training(cluster, PROGRAM, kind, out, *options, kind, "--gated", home=first) as one:
        for step in range(1, lost_at + 1):
            one.go_on()
            begun = one.until(step=step)[-1]
            assert begun["loss"] == whole[step]
            deadline = time.monotonic() + LIMIT_S
            while step == FIRST_SAVED + 1 and not stored(cluster, kind):
                assert time.monotonic() < deadline, "nothing was ever stored"
        one.kill()
    shutil.rmtree(out)
    shutil.rmtree(first)
    cluster.nodes[victim].handle.kill()

    second = client(cluster, tmp_path / "second")
    fresh = tmp_path / "fresh"
    with training(cluster, PROGRAM, kind, fresh, *options, kind, "--resume", home=second) as one:
        told, errors = one.end()
    resumed = int(str(told[0]["resumed"]).rpartition("-")[2])
    print(f"resumed from step {resumed}")
    assert str(told[0]["resumed"]).startswith(str(fresh)), errors
    assert FIRST_SAVED <= resumed < lost_at
    assert losses(told) == {step: loss for step, loss in whole.items() if step > resumed}
    cluster.revive()
