"""The demo's parts: its checkpoint is a real one, what it damages can be spared, and it leaves nothing behind."""

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from cli_stand_in import RunCommand
from roost.apps.cli import demo, demo_checkpoint
from roost.apps.cli.demo_cluster import DemoCluster
from roost.core.errors import Failed


def test_the_checkpoint_is_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_checkpoint, "VOCABULARY", 10)
    monkeypatch.setattr(demo_checkpoint, "LAYERS", 1)
    folder = tmp_path / "made" / "step-1"
    total = demo_checkpoint.make_checkpoint(folder)
    assert total == sum(file.stat().st_size for file in folder.iterdir())
    with safe_open(folder / "model.safetensors", "numpy") as opened:
        shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
        assert opened.get_slice("model.norm.weight").get_dtype() == "BF16"
    assert shapes == dict(demo_checkpoint.shapes())
    assert {file.name for file in folder.iterdir()} >= {"config.json", "tokenizer.json", "model.safetensors"}


def test_its_weights_are_as_those_of_a_model() -> None:
    numpy = pytest.importorskip("numpy")
    raw = numpy.frombuffer(demo_checkpoint.weights(100_000), dtype="<u2")
    values = (raw.astype("<u4") << 16).view("<f4")
    assert numpy.isfinite(values).all()
    assert 0.015 < values.std() < 0.03
    assert abs(values.mean()) < 0.001


def chunk(name: str, *nodes: str, count: int = 1) -> dict[str, Any]:
    return {"id": name, "bytes": count, "nodes": list(nodes)}


def test_what_is_killed_and_damaged_leaves_a_good_copy_of_all() -> None:
    chunks = [chunk("1", "a", "b"), chunk("2", "a", "c"), chunk("3", "b", "c"), chunk("4", "c", "d", count=9)]
    victim, damaged, where = demo.choose(chunks)
    for each in chunks:
        left = set(each["nodes"]) - {victim} - ({where} if each["id"] == damaged else set())
        assert left
    assert where in next(c["nodes"] for c in chunks if c["id"] == damaged)


def test_nothing_is_damaged_that_could_not_be_spared() -> None:
    for chunks in ([], [chunk("1", "a")], [chunk("1", "a", "b")], [chunk("1", "a", "b"), chunk("2", "c")]):
        with pytest.raises(Failed):
            demo.choose(chunks)


def test_a_flip_changes_one_bit_and_no_times(tmp_path: Path) -> None:
    path = tmp_path / "chunk"
    path.write_bytes(bytes(101))
    os.chmod(path, 0o400)
    os.utime(path, ns=(1, 2))
    demo.flip(path)
    assert sum(byte.bit_count() for byte in path.read_bytes()) == 1
    assert (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_mode & 0o777) == (101, 2, 0o400)


def test_digests_are_those_of_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_bytes(b"x")
    assert demo.digests(tmp_path) == {"a/b": hashlib.sha256(b"x").hexdigest()}


@pytest.mark.parametrize("how", ["failure", "interrupt", "sigterm"])
def test_however_it_ends_nothing_is_left(
    roost: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stopped = []

    def make_checkpoint(folder: Path) -> int:
        folder.mkdir(parents=True)
        return 1

    def start(self: DemoCluster) -> None:
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "sigterm":
            os.kill(os.getpid(), signal.SIGTERM)
        raise Failed("no cluster today")

    monkeypatch.setattr(demo, "make_checkpoint", make_checkpoint)
    monkeypatch.setattr(DemoCluster, "start", start)
    monkeypatch.setattr(DemoCluster, "stop", lambda self: stopped.append(self))
    before = signal.getsignal(signal.SIGTERM)
    ran = roost("demo", "--json")
    assert (ran.code, ran.error["code"]) == ((1, "failed") if how == "failure" else (130, "interrupted"))
    assert ran.error["hint"]
    assert len(stopped) == 1
    assert not list(tmp_path.glob("roost-demo-*"))
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_cluster_that_does_not_start_is_explained_and_cleared_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cluster = DemoCluster(tmp_path, 1)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(Failed, match="the coordinator ended"):
        cluster.start()
    cluster.stop()


def test_a_process_that_is_not_its_own_is_never_killed(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="not a node of the demo"):
        DemoCluster(tmp_path, 1).kill(os.getpid())
