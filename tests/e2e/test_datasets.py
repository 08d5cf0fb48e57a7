"""pandas and datasets on ``roost://``: tables are written to the cluster, and read from it with no local copy."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import Cluster, local_cluster
from e2e.installed import need

LIMIT_S = 180

pytestmark = pytest.mark.slow

PANDAS = """
import pandas
table = pandas.DataFrame({"step": range(1000), "loss": [1 / (n + 1) for n in range(1000)]})
table.to_parquet("roost://tables/train.parquet")
table.to_csv("roost://tables/train.csv", index=False)
assert pandas.read_parquet("roost://tables/train.parquet", columns=["loss"])["loss"].equals(table["loss"])
assert (pandas.read_csv("roost://tables/train.csv")["step"] == table["step"]).all()
"""
DATASETS = """
import datasets
rows = datasets.load_dataset("parquet", data_files="roost://tables/train.parquet", split="train", streaming=True)
assert [row["step"] for row in rows] == list(range(1000))
whole = datasets.Dataset.from_dict({"text": [f"line {n}" for n in range(100)]})
whole.save_to_disk("roost://tables/saved")
assert datasets.load_from_disk("roost://tables/saved")["text"][99] == "line 99"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need("pandas", "pyarrow", "datasets")
    with local_cluster(tmp_path_factory.mktemp("datasets") / "cluster") as cluster:
        yield cluster


@pytest.mark.parametrize("program", [PANDAS, DATASETS], ids=["pandas", "datasets"])
def test_tables_live_on_the_cluster(cluster: Cluster, tmp_path: Path, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PANDAS + program],
        env={
            **os.environ, "ROOST_HOME": str(cluster.home), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
        },
        cwd=cluster.config.parent, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert not list(tmp_path.rglob("*.parquet")), "no local copy"
