"""``roost://``: fsspec on a real cluster; what programs list, read in ranges, write, copy and remove by URL."""

import io
import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy
import pytest

import roost
from e2e import trees
from e2e.cluster import Cluster, local_cluster
from roost.core.errors import Unreachable


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with local_cluster(tmp_path_factory.mktemp("filesystem") / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def options(cluster: Cluster) -> dict[str, str]:
    return {"home": str(cluster.home), "config": str(cluster.config)}


@pytest.fixture(scope="module")
def fs(options: dict[str, str]) -> Any:
    return fsspec.filesystem("roost", **options)


@pytest.fixture(scope="module")
def model(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is stored as ``qwen/step-1``."""
    folder = tmp_path_factory.mktemp("model") / "step-1"
    (folder / "sub").mkdir(parents=True)
    trees.write(folder / "model.safetensors", trees.model([400_000, 300_000], seed=1))
    (folder / "sub/config.json").write_text('{"layers": 2}')
    (folder / "empty").write_bytes(b"")
    cluster.done("store", folder, "--name", "qwen/step-1")
    return folder


def test_checkpoints_are_files_and_folders(fs: Any, model: Path, cluster: Cluster) -> None:
    cluster.done("store", model / "model.safetensors", "--name", "qwen/alone.safetensors")
    size = (model / "model.safetensors").stat().st_size
    assert {"qwen"} <= set(fs.ls("roost://", detail=False))
    assert fs.ls("roost://qwen", detail=False) == ["qwen/alone.safetensors", "qwen/step-1"]
    kinds = {each["name"]: (each["type"], each["size"]) for each in fs.ls("qwen")}
    assert kinds == {"qwen/alone.safetensors": ("file", size), "qwen/step-1": ("directory", 0)}
    inside = fs.ls("roost://qwen/step-1/", detail=False)
    assert inside == ["qwen/step-1/empty", "qwen/step-1/model.safetensors", "qwen/step-1/sub"]
    assert fs.find("qwen/step-1") == [
        "qwen/step-1/empty", "qwen/step-1/model.safetensors", "qwen/step-1/sub/config.json",
    ]  # fmt: skip
    assert fs.glob("qwen/*/*.safetensors") == ["qwen/step-1/model.safetensors"]
    info = fs.info("roost://qwen/step-1/model.safetensors")
    assert (info["size"], info["sha256"]) == (size, trees.sha256_of(model / "model.safetensors"))
    assert [fs.isdir(each) for each in ("", "qwen", "qwen/step-1", "qwen/step-1/sub", "qwen/step-1/empty")] == [
        True, True, True, True, False,
    ]  # fmt: skip
    assert not fs.isfile("qwen/step-1")
    assert fs.isfile("qwen/alone.safetensors")
    assert not fs.exists("qwen/step-1/other")
    assert not fs.exists("qwe")
    for missing in ("qwe", "qwen/step-1/sub/other", "qwen/alone.safetensors/x"):
        with pytest.raises(FileNotFoundError):
            fs.ls(missing)
        with pytest.raises(FileNotFoundError):
            fs.open(missing)
    with pytest.raises(IsADirectoryError):
        fs.open("qwen/step-1/sub")


def test_what_is_read_is_what_was_stored_in_any_range(fs: Any, model: Path, options: dict[str, str]) -> None:
    content = (model / "model.safetensors").read_bytes()
    with fsspec.open("roost://qwen/step-1/model.safetensors", "rb", **options) as file:
        assert file.read() == content
        file.seek(-10, os.SEEK_END)
        assert file.read(100) == content[-10:]
        file.seek(500_000)
        assert file.read(7) == content[500_000:500_007]
    assert fs.cat_file("qwen/step-1/model.safetensors", 3, 9) == content[3:9]
    assert fs.cat_file("qwen/step-1/model.safetensors", -5) == content[-5:]
    assert fs.cat("qwen/step-1/empty") == b""
    with fsspec.open("roost://qwen/step-1/sub/config.json", "rt", **options) as file:
        assert json.load(file) == {"layers": 2}


def test_only_what_is_needed_is_fetched(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "big.safetensors", trees.model([1_000_000] * 12, seed=9))
    cluster.done("store", path, "--name", "big/step-1")
    with roost.connect(home=cluster.home, config=cluster.config) as front:
        opened = front.open("big/step-1")
        assert len(opened.keys()) == 12
        key = opened.keys()[5]
        array = opened.tensor(key)
        span = opened.raw(key)
        assert array.tobytes() == bytes(span.data)
        assert bytes(span.data) in path.read_bytes()
        fetcher = opened._opened._reading._fetcher
        assert fetcher is not None
        assert fetcher.received < 3_000_000, "its chunk and the header's, of 12 MB"


def test_what_is_written_is_a_checkpoint_when_it_is_closed_and_not_before(fs: Any, cluster: Cluster) -> None:
    array = numpy.arange(100_000, dtype=numpy.float32)
    with fs.open("roost://arrays/a.npy", "wb") as file:
        numpy.save(file, array)
        file.flush()
        assert not fs.exists("arrays/a.npy")
    with fs.open("arrays/a.npy") as file:
        assert (numpy.load(io.BytesIO(file.read())) == array).all()
    back = cluster.gathered("arrays/a.npy")
    assert (numpy.load(back / "a.npy" if back.is_dir() else back) == array).all()
    first = cluster.done("ls", "arrays/a.npy")["checkpoints"][0]["version"]
    fs.pipe_file("arrays/a.npy", b"another")
    assert fs.cat("arrays/a.npy") == b"another"
    assert len(fs.cat(f"arrays/a.npy@{first}")) > 400_000, "the version before is there still"
    with pytest.raises(RuntimeError), fs.open("arrays/b.npy", "wb") as file:
        file.write(b"half of it")
        raise RuntimeError
    assert not fs.exists("arrays/b.npy"), "what an error ended is not stored"
    with pytest.raises(FileExistsError):
        fs.open("arrays/a.npy", "xb")
    with pytest.raises(ValueError, match="never changed"):
        fs.open("arrays/a.npy", "ab")


def test_a_transaction_stores_all_or_nothing(fs: Any) -> None:
    with fs.transaction, fs.open("batch/one", "wb") as file:
        file.write(b"1")
    assert fs.cat("batch/one") == b"1"
    with pytest.raises(RuntimeError), fs.transaction:
        with fs.open("batch/two", "wb") as file:
            file.write(b"2")
        raise RuntimeError
    assert not fs.exists("batch/two")


def test_copied_moved_put_and_removed(fs: Any, model: Path, cluster: Cluster, tmp_path: Path) -> None:
    local = trees.write(tmp_path / "local.bin", trees.noise(300_000, seed=4))
    fs.put_file(str(local), "moved/a.bin")
    fs.copy("moved/a.bin", "moved/b.bin")
    fs.rename("moved/b.bin", "moved/c.bin")
    assert fs.ls("moved", detail=False) == ["moved/a.bin", "moved/c.bin"]
    assert fs.cat("moved/c.bin") == local.read_bytes()
    fs.get("moved/c.bin", str(tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == local.read_bytes()
    with pytest.raises(PermissionError, match="a part of a checkpoint"):
        fs.rm("qwen/step-1/sub/config.json")
    with pytest.raises(PermissionError, match="never changed"):
        fs.open("qwen/step-1/new.json", "wb")
    with pytest.raises(IsADirectoryError):
        fs.rm("moved")
    fs.rm("moved", recursive=True)
    assert not fs.exists("moved")
    removed = cluster.done("ls", "moved", "--removed")["checkpoints"]
    assert {row["name"] for row in removed} == {"moved/a.bin", "moved/b.bin", "moved/c.bin"}
    assert fs.exists("qwen/step-1/sub/config.json")


def read_elsewhere(file: Any, fs: Any, said: Any) -> None:
    said.put((file.read(), fs.ls("qwen/step-1", detail=False)[0]))


def test_a_forked_process_reads_on(fs: Any, model: Path) -> None:
    """As the workers of a DataLoader do, with a dataset that was opened before."""
    context = multiprocessing.get_context("fork")
    said = context.Queue()
    with fs.open("qwen/step-1/model.safetensors", block_size=1000) as file:
        head = file.read(10)
        worker = context.Process(target=read_elsewhere, args=(file, fs, said), daemon=True)
        worker.start()
        rest, first = said.get(timeout=60)
        worker.join(60)
        content = (model / "model.safetensors").read_bytes()
        assert head + rest == content
        assert first == "qwen/step-1/empty"
        assert head + file.read() == content, "and nothing of that is felt here"


@pytest.mark.slow
def test_nobody_is_told_that_it_is_not_there_when_nobody_can_tell(tmp_path: Path) -> None:
    """A training that asks whether there is something to go on from must not begin anew."""
    with local_cluster(tmp_path / "cluster") as cluster:
        path = trees.write(tmp_path / "a.bin", trees.noise(100_000, seed=1))
        cluster.done("store", path, "--name", "run/a")
        fs = fsspec.filesystem("roost", home=str(cluster.home), config=str(cluster.config), skip_instance_cache=True)
        assert fs.exists("run/a")
        assert not fs.exists("run/b")
        for node in list(cluster.nodes.values())[:3]:
            node.handle.kill()
        with pytest.raises(Unreachable, match="on those that do not"):
            fs.exists("run/b")
        with pytest.raises(Unreachable):
            fs.isfile("run/b")
