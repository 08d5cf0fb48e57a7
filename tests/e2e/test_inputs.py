"""Every kind of checkpoint that people have comes back byte for byte, with its names, modes and times."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e import trees
from e2e.cluster import Cluster
from e2e.processes import Answer

Make = Callable[[Path], Path]


def one_safetensors(folder: Path) -> Path:
    return trees.write(folder / "m.safetensors", trees.model([3_000_000, 5_000, 1_100_000, 12], seed=1), mode=0o640)


def header_written_by_hand_fault_16(folder: Path) -> Path:
    odd = trees.safetensors({"ü/π": ("F32", trees.noise(400, seed=2)), "a": ("I64", bytes(16)), "none": ("U8", b"")})
    return trees.write(folder / "odd.safetensors", odd)


def one_tensor_fault_15(folder: Path) -> Path:
    return trees.write(folder / "tiny.safetensors", trees.safetensors({"w": ("F16", b"\1\2")}))


def no_tensor_fault_15(folder: Path) -> Path:
    return trees.write(folder / "none.safetensors", trees.safetensors({}))


def not_safetensors_after_all_fault_15(folder: Path) -> Path:
    return trees.write(folder / "torn.safetensors", trees.model([2_000_000], seed=3)[:-1])


def empty_file_fault_15(folder: Path) -> Path:
    return trees.write(folder / "empty.ckpt", b"", mode=0o400)


def empty_folder_fault_15(folder: Path) -> Path:
    made = folder / "nothing"
    made.mkdir(parents=True, mode=0o750)
    os.utime(made, ns=(1_600_000_000_000_000_001, 1_600_000_000_000_000_001))
    return made


def two_safetensors_in_one_folder_fault_15(folder: Path) -> Path:
    trees.write(folder / "pair/adapter.safetensors", trees.model([1_200_000], seed=4))
    trees.write(folder / "pair/base.safetensors", trees.model([1_200_000, 900_000], seed=5))
    return folder / "pair"


def gguf_fault_15(folder: Path) -> Path:
    return trees.write(folder / "q4.gguf", b"GGUF\x03\0\0\0" + trees.noise(5_000_001, seed=6))


def torch_pt(folder: Path) -> Path:
    return trees.torch_zip(folder / "net.pt", {"0": trees.weights(2_500_000, seed=7), "1": trees.noise(70_000, seed=8)})


def lightning_ckpt(folder: Path) -> Path:
    return trees.write(folder / "last.ckpt", trees.noise(1_000, seed=9) + bytes(3_000_000), mode=0o444)


def hugging_face_sharded(folder: Path) -> Path:
    return trees.sharded(folder / "sharded", seed=200)


def trainer_checkpoint(folder: Path) -> Path:
    return trees.trainer(folder / "checkpoint-1000")


def distributed_checkpoint(folder: Path) -> Path:
    return trees.distributed(folder / "dcp")


def unicode_names(folder: Path) -> Path:
    made = folder / "模型 é"
    for name in ("größe.bin", "e\u0301 is not é", "é", "🐔/nest egg", " leading and trailing ", "new\nline", "-rf"):
        trees.write(made / name, name.encode())
    return made


def folders_within(folder: Path) -> Path:
    made = folder / "deep"
    trees.write(made / "a/b/c/file", b"x", mode=0o755)
    (made / "empty/inside").mkdir(parents=True)
    (made / "empty").chmod(0o700)
    for path, time in ((made / "a/b", 1_500_000_000), (made, 1_400_000_000)):
        os.utime(path, ns=(time * 10**9 + 7, time * 10**9 + 7))
    return made


def links_inside(folder: Path) -> Path:
    made = folder / "linked"
    trees.write(made / "blobs/abc", trees.noise(10_000, seed=11))
    (made / "model.bin").symlink_to("blobs/abc")
    (made / "snapshots").mkdir()
    (made / "snapshots/latest").symlink_to("../blobs")
    (made / "absent").symlink_to("blobs/not there")
    return made


INPUTS: list[Make] = [
    one_safetensors, header_written_by_hand_fault_16, one_tensor_fault_15, no_tensor_fault_15,
    not_safetensors_after_all_fault_15, empty_file_fault_15, empty_folder_fault_15,
    two_safetensors_in_one_folder_fault_15, gguf_fault_15, torch_pt, lightning_ckpt, hugging_face_sharded,
    trainer_checkpoint, distributed_checkpoint, unicode_names, folders_within, links_inside,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trip:
    """One checkpoint's way there and back."""

    path: Path
    before: dict[str, trees.Entry]
    stored: Answer
    gathered: Answer


@pytest.fixture(scope="module")
def trips(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trip]:
    """All inputs, made, stored and gathered, several at a time."""
    names = [make.__name__ for make in INPUTS]
    paths = [make(tmp_path_factory.mktemp("input")) for make in INPUTS]
    before = [trees.tree_of(path) for path in paths]
    stored = cluster.together(("store", path, "--name", f"inputs/{n}") for path, n in zip(paths, names, strict=True))
    to = tmp_path_factory.mktemp("gathered")
    gathered = cluster.together(("gather", f"inputs/{n}", "--to", to / n) for n in names)
    return {n: Trip(*rest) for n, rest in zip(names, zip(paths, before, stored, gathered, strict=True), strict=True)}


@pytest.mark.parametrize("name", [make.__name__ for make in INPUTS])
def test_comes_back_as_it_was(trips: dict[str, Trip], name: str) -> None:
    trip = trips[name]
    assert trip.stored.code == 0, trip.stored
    assert trip.stored.result["copies"] == 2
    files = [p for p in (trip.path, *trip.path.rglob("*")) if p.is_file() and not p.is_symlink()]
    assert trip.stored.result["bytes"] == sum(p.stat().st_size for p in files)
    assert trip.gathered.code == 0, trip.gathered
    assert trees.tree_of(Path(trip.gathered.result["path"])) == trip.before
    assert trees.tree_of(trip.path) == trip.before


def test_a_thousand_small_files_come_back_as_they_were(cluster: Cluster, tmp_path: Path) -> None:
    for number in range(1_000):
        trees.write(tmp_path / "many" / f"{number % 10}" / f"{number}.json", trees.noise(1_024, seed=number))
    stored = cluster.done("store", tmp_path / "many")
    assert stored["chunks"] <= 3, "small files are packed"
    assert trees.tree_of(cluster.gathered(stored["name"])) == trees.tree_of(tmp_path / "many")


@pytest.mark.slow
def test_fault_15_a_file_over_4_gib_comes_back_as_it_was(cluster: Cluster, tmp_path: Path) -> None:
    holes = 4 * 1024**3
    path = trees.write(tmp_path / "huge.bin", b"begin")
    with path.open("r+b") as file:
        file.seek(holes)
        file.write(b"end")
    stored = cluster.done("store", path, "--name", "inputs/huge", timeout_s=120)
    assert stored["bytes"] == holes + 3
    back = cluster.gathered("inputs/huge")
    try:
        assert (back.stat().st_size, back.stat().st_mtime_ns) == (holes + 3, path.stat().st_mtime_ns)
        zeros = bytes(1024 * 1024)
        with back.open("rb") as file:
            assert file.read(len(zeros)) == b"begin" + zeros[5:]
            assert all(file.read(len(zeros)) == zeros for _ in range(holes // len(zeros) - 1))
            assert file.read() == b"end"
    finally:
        back.unlink()


def test_a_link_that_leaves_is_refused_by_name_and_followed_when_asked(cluster: Cluster, tmp_path: Path) -> None:
    outside = trees.write(tmp_path / "outside.bin", trees.noise(5_000, seed=12))
    trees.write(tmp_path / "folder/inside.bin", b"in")
    (tmp_path / "folder/away.bin").symlink_to("../outside.bin")
    refused = cluster.cli("store", tmp_path / "folder", "--name", "inputs/away")
    assert refused.code == 2
    assert "away.bin" in refused.result["message"]
    assert "--follow" in refused.result["hint"]
    cluster.done("store", tmp_path / "folder", "--name", "inputs/away", "--follow")
    back = cluster.gathered("inputs/away")
    assert not (back / "away.bin").is_symlink()
    assert (back / "away.bin").read_bytes() == outside.read_bytes()


def test_what_is_no_file_is_refused_by_name(cluster: Cluster, tmp_path: Path) -> None:
    trees.write(tmp_path / "a/model.bin", b"fine")
    trees.write(tmp_path / "b/model.bin", b"fine")
    pipe, bound = tmp_path / "a/the pipe", tmp_path / "b/the socket"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(bound))
    for odd, answer in zip(
        (pipe, pipe, bound, bound),
        cluster.together(("store", path) for path in (pipe, pipe.parent, bound, bound.parent)),
        strict=True,
    ):
        assert answer.code == 2, answer
        assert odd.name in answer.result["message"]
    assert not cluster.done("ls", tmp_path.name)["checkpoints"]


def test_a_name_that_is_not_unicode_is_refused_by_name(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    try:
        with open(os.fsencode(tmp_path / "folder") + b"/bad-\xff.bin", "wb"):
            pass
    except OSError:
        pytest.skip("this file system has Unicode names only")
    refused = cluster.cli("store", tmp_path / "folder")
    assert refused.code == 2, refused
    assert "bad-" in refused.result["message"]


def test_three_copies_when_three_are_asked(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "three.safetensors", trees.model([2_000_000], seed=13))
    stored = cluster.done("store", path, "--name", "inputs/three", "--redundancy", "3")
    assert stored["copies"] == 3
    shown = cluster.done("show", "inputs/three")
    assert {len(chunk["nodes"]) for chunk in shown["chunks"]} == {3}
    assert trees.tree_of(cluster.gathered("inputs/three")) == trees.tree_of(path)


def test_a_redundancy_that_is_not_built_is_refused_clearly(cluster: Cluster, tmp_path: Path) -> None:
    path = trees.write(tmp_path / "x", b"x")
    asked = ("2+1", "4+2", "1", "many")
    answers = cluster.together(("store", path, "--redundancy", redundancy) for redundancy in asked)
    for redundancy, answer in zip(asked, answers, strict=True):
        assert answer.code == 2, answer
        assert redundancy in answer.result["message"]
        assert "two copies" in answer.result["hint"]
