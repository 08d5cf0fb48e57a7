"""Watched folders, with real writers that write as training scripts do, well and badly: what is stored is whole."""

import contextlib
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster, local_cluster
from e2e.processes import Program

LIMIT_S = 45.0
QUIET_S = 10.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose coordinator watches a folder."""
    root = tmp_path_factory.mktemp("watching")
    with local_cluster(root / "cluster", more="watch: [{path: watched}]") as cluster:
        yield cluster


@contextlib.contextmanager
def writer(script: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """A process that runs `script`: it says on its output when it has come somewhere, and goes on at each line of its
    input."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def come_to(process: "subprocess.Popen[str]", where: str) -> None:
    """Wait until the writer is there."""
    assert process.stdout is not None
    assert process.stdout.readline().strip() == where


def go_on(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")


def stored(program: Program | None, name: str) -> str:
    """Wait until a version of `name` is stored, and return what gathers it; others may be stored before it."""
    assert program is not None
    while True:
        told = program.until("stored", timeout_s=LIMIT_S)
        if told["name"] == name:
            return f"{name}@{told['version']}"


def waits_for(cluster: Cluster, name: str, reason: str) -> None:
    """Ask until the status says that `name` waits for that."""
    deadline = time.monotonic() + LIMIT_S
    said: dict[str, str] = {}
    while reason not in said.get(name, ""):
        assert time.monotonic() < deadline, f"{name} does not wait for {reason!r}: {said}"
        [watching] = cluster.done("status")["watching"]
        said = {row["name"]: row["reason"] for row in watching["pending"]}


def remembered(cluster: Cluster, path: str) -> None:
    """Look until the home says that the file was stored: the next start would not store it again."""
    deadline = time.monotonic() + LIMIT_S
    while not any(path in json.loads(file.read_text()) for file in cluster.home.glob("watched/*.json")):
        assert time.monotonic() < deadline, f"{path} is not remembered"
        cluster.done("status")


def versions(cluster: Cluster, name: str) -> int:
    return sum(1 for row in cluster.done("ls", name)["checkpoints"] if row["name"] == name)


def same(cluster: Cluster, reference: str, path: Path) -> bool:
    return trees.tree_of(cluster.gathered(reference)) == trees.tree_of(path)


ALLOCATED = """
    import pathlib, sys
    path, source = map(pathlib.Path, sys.argv[1:])
    data = source.read_bytes()
    with path.open("wb") as file:
        file.truncate(len(data))
        head = 8 + int.from_bytes(data[:8], "little")
        file.write(data[:head])
        file.flush()
        print("allocated")
        input()
        file.write(data[head:])
"""


def test_a_file_of_its_full_size_whose_writer_stalls_is_not_stored_with_holes(cluster: Cluster) -> None:
    model = trees.write(cluster.root / "model.safetensors", trees.model([2_000_000], seed=1))
    path = cluster.root / "watched/stalls.safetensors"
    with writer(ALLOCATED, path, model) as process:
        come_to(process, "allocated")
        waits_for(cluster, "stalls.safetensors", "open for writing")
        assert versions(cluster, "stalls") == 0
        go_on(process)
        reference = stored(cluster.coordinator, "stalls")
    assert same(cluster, reference, path)
    assert trees.sha256_of(path) == trees.sha256_of(model)


def test_the_library_of_safetensors_writes_and_overwrites(cluster: Cluster) -> None:
    script = """
        import pathlib, sys
        import numpy
        from safetensors.numpy import save_file
        path = pathlib.Path(sys.argv[1])
        path.parent.mkdir(exist_ok=True)
        for seed in (1, 2):
            save_file({"w": numpy.random.default_rng(seed).standard_normal(300_000)}, path)
            print("saved")
            input()
    """
    path = cluster.root / "watched/run/latest.safetensors"
    with writer(script, path) as process:
        for _ in range(2):
            come_to(process, "saved")
            assert same(cluster, stored(cluster.coordinator, "run/latest"), path)
            go_on(process)
    assert versions(cluster, "run/latest") == 2


def test_a_file_that_is_appended_to_slowly_is_stored_once_and_whole(cluster: Cluster) -> None:
    script = """
        import sys, time
        for number in range(3):
            with open(sys.argv[1], "ab") as file:
                file.write(bytes([number]) * 100_000)
            time.sleep(3)
    """
    path = cluster.root / "watched/slow.bin"
    with writer(script, path) as process:
        reference = stored(cluster.coordinator, "slow.bin")
        assert process.poll() is not None, "it was stored between two pieces"
    assert same(cluster, reference, path)
    assert versions(cluster, "slow.bin") == 1


def test_a_writer_that_is_killed_half_way_leaves_what_waits_and_delays_nobody(cluster: Cluster) -> None:
    script = """
        import sys, zipfile
        with zipfile.ZipFile(sys.argv[1], "w") as file:
            file.writestr("archive/data.pkl", b"x" * 1000)
            with file.open("archive/data/0", "w") as member:
                member.write(b"y" * 500_000)
                file.fp.flush()
                print("half")
                input()
    """
    path = cluster.root / "watched/killed.pt"
    with writer(script, path) as process:
        come_to(process, "half")
    waits_for(cluster, "killed.pt", "archive is not there yet")
    good = trees.torch_zip(cluster.root / "good.pt", {"archive/data/0": trees.noise(200_000, seed=3)})
    good = good.rename(cluster.root / "watched/good.pt")
    assert same(cluster, stored(cluster.coordinator, "good.pt"), good)
    assert versions(cluster, "killed.pt") == 0


TRAINER = """
    import json, os, pathlib, shutil, sys, zipfile
    import numpy
    from safetensors.numpy import save_file
    out, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    for step in range(1, steps + 1):
        here = out / f"checkpoint-{step}"
        here.mkdir(parents=True)
        weights = numpy.random.default_rng(step).standard_normal(400_000)
        save_file({"w": weights}, here / "model.safetensors")
        with zipfile.ZipFile(here / "rng_state.pth", "w") as file:
            file.writestr("archive/data.pkl", os.urandom(3000))
        print("half")
        input()
        (here / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        print("saved")
        input()
        if step > 1:
            shutil.rmtree(out / f"checkpoint-{step - 1}")
"""


def test_a_trainers_folders_are_stored_whole_though_it_rotates_them_away(cluster: Cluster) -> None:
    out, steps = cluster.root / "watched/sft", 3
    with writer(TRAINER, out, steps) as process:
        for step in range(1, steps + 1):
            come_to(process, "half")
            if step == 1:
                waits_for(cluster, "sft/checkpoint-1", "trainer_state.json is not there yet")
            go_on(process)
            come_to(process, "saved")
            reference = stored(cluster.coordinator, f"sft/checkpoint-{step}")
            assert same(cluster, reference, out / f"checkpoint-{step}")
            go_on(process)
        assert process.wait(timeout=LIMIT_S) == 0
    assert not (out / "checkpoint-1").exists()
    back = cluster.gathered("sft/checkpoint-1")
    assert json.loads((back / "trainer_state.json").read_text()) == {"global_step": 1}


def test_a_new_start_stores_what_came_meanwhile_and_reads_nothing_again(cluster: Cluster) -> None:
    assert cluster.coordinator is not None
    before = trees.write(cluster.root / "watched/before.safetensors", trees.model([500_000], seed=5))
    stored(cluster.coordinator, "before")
    remembered(cluster, "before.safetensors")
    cluster.coordinator.handle.kill()
    after = trees.write(cluster.root / "watched/after.safetensors", trees.model([500_000], seed=6))
    before.chmod(0)  # whoever reads it again, and is not root, would say so
    try:
        cluster.start()
        assert same(cluster, stored(cluster.coordinator, "after"), after)
        [watching] = cluster.done("status")["watching"]
        assert "before.safetensors" not in {row["name"] for row in watching["pending"]}
    finally:
        before.chmod(0o600)
    assert versions(cluster, "before") == 1


@pytest.mark.slow
def test_alone_it_waits_for_a_cluster_that_is_away_and_catches_up(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    for node in cluster.nodes.values():
        node.handle.freeze()
    watching = cluster.begin("watch", folder, "--name", "own")
    try:
        watching.until("watched", timeout_s=LIMIT_S)
        model = trees.write(folder / "step-1.safetensors", trees.model([500_000], seed=7))
        failed = watching.until("warning", timeout_s=LIMIT_S)
        assert failed["name"] == "own/step-1"
    finally:
        for node in cluster.nodes.values():
            node.handle.resume()
    assert same(cluster, stored(watching, "own/step-1"), model)
    watching.handle.signal(signal.SIGINT)
    answer = watching.wait(LIMIT_S)
    assert (answer.code, answer.result["stopped"]) == (0, True)


def test_it_needs_a_folder_that_is_there_and_a_name_that_can_be_one(cluster: Cluster, tmp_path: Path) -> None:
    answer = cluster.cli("watch", tmp_path / "nowhere")
    assert answer.code == 4
    assert "there is no folder" in answer.result["message"]
    answer = cluster.cli("watch", tmp_path, "--name", "../out")
    assert answer.code == 2
