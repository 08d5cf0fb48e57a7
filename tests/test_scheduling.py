"""Tests that share a cluster stay together, and in their order, when several processes run them."""

import os
import re
import subprocess
import sys
from pathlib import Path

FOUR = """\
import pytest

@pytest.mark.parametrize("number", range(4))
def test_one(number: int) -> None:
    assert number < 4
"""
TESTS = Path(__file__).parent


def test_the_tests_of_a_file_with_a_cluster_stay_together(tmp_path: Path) -> None:
    for name in ("tests/e2e/test_a.py", "tests/e2e/test_b.py", "tests/unit/test_c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(FOUR)
    (tmp_path / "pytest.ini").touch()
    words = ["-n", "2", "--dist", "loadgroup", "-v", "-p", "scheduling", "-p", "no:cacheprovider", "tests"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, f"--basetemp={tmp_path / 'temporary'}"],
        cwd=tmp_path, env={**environment, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"\[(gw\d)\].*PASSED tests/\w+/test_(\w)\.py::test_one\[(\d)\]", done.stdout)
    assert len(ran) == 12
    for file in "ab":
        assert len({worker for worker, name, _ in ran if name == file}) == 1
        assert [number for _, name, number in ran if name == file] == ["0", "1", "2", "3"]
