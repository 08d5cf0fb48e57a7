"""A version opened at the front door: its tensors by name, as arrays, of one file and of several."""

from pathlib import Path

import ml_dtypes
import numpy
import pytest
import safetensors.numpy

from checkpoint_kits import Kit
from roost.client.cluster import AsyncCluster
from roost.core.errors import Failed, NotFound, UsageError
from unit.client.test_cluster import with_cluster

ARRAYS = {
    "embed": numpy.arange(600, dtype=numpy.float32).reshape(20, 30),
    "head": numpy.arange(64, dtype=ml_dtypes.bfloat16).reshape(8, 8),
    "scale": numpy.array(2.5, dtype=numpy.float64),
    "none": numpy.zeros((0, 4), dtype=numpy.float16),
    "step": numpy.array([7], dtype=numpy.int64),
}


def write(path: Path, arrays: dict[str, numpy.ndarray]) -> None:
    safetensors.numpy.save_file(arrays, path)


def test_tensors_come_by_name_whatever_their_dtype(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors", ARRAYS)

    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(tmp_path / "model.safetensors", name="run/step-1")
        opened = await cluster.read("run/step-1")
        assert (opened.name, opened.complete, opened.shape) == ("run/step-1", True, "file")
        assert sorted(await opened.keys()) == sorted(ARRAYS)
        for key, array in ARRAYS.items():
            found = await opened.tensor(key)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert found.tobytes() == array.tobytes()
            found.flat[:] = 0  # it is the caller's own
        assert (await opened.tensor("step")).tolist() == [7]
        with pytest.raises(NotFound, match="no tensor 'other'"):
            await opened.tensor("other")

    with_cluster(scenario)


def test_parts_are_one_model_and_a_name_in_two_files_must_be_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder / "model-1.safetensors", {"a": ARRAYS["embed"], "both": ARRAYS["step"]})
    write(folder / "model-2.safetensors", {"b": ARRAYS["head"], "both": ARRAYS["scale"]})
    (folder / "config.json").write_text("{}")

    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(folder, name="run/step-2")
        opened = await cluster.read("run/step-2")
        assert set(await opened.keys()) == {"a", "b", "both"}
        assert (await opened.tensor("b")).shape == (8, 8)
        with pytest.raises(UsageError, match=r"model-1.safetensors, model-2.safetensors each have"):
            await opened.tensor("both")
        assert (await opened.tensor("both", file="model-2.safetensors")).item() == 2.5
        assert bytes(await opened.read("config.json")) == b"{}"
        with pytest.raises(NotFound):
            await opened.tensor("a", file="model-2.safetensors")

    with_cluster(scenario)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x10\0\0\0\0\0\0\0{not json at al}"])
def test_a_file_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)

    async def scenario(kit: Kit, cluster: AsyncCluster) -> None:
        await cluster.store(tmp_path / "x.safetensors", name="run/bad")
        opened = await cluster.read("run/bad")
        with pytest.raises(Failed, match="not a valid safetensors file"):
            await opened.keys()
        assert bytes(await opened.read("x.safetensors")) == content

    with_cluster(scenario)
