"""kill -9 of a real process at every step of a put and its commit: nothing partial is ever visible, what was said is
true, leftovers go, the next put works.

This shows that a start cleans up; it cannot show a missing fsync, because the page cache outlives a process. That is
`test_put_states.py`.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

SERVER = Path(__file__).with_name("put_processes.py")
USER = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


def steps(root: Path, *, become: list[str]) -> list[dict[str, Any]]:
    """What the fork server says of each step."""
    done = subprocess.run(
        [*become, sys.executable, str(SERVER), str(root)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SERVER.parent.parent)},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


PUT_STEPS = ["create", "half a slice", "a slice", "half a slice", "a slice", "sync", "rename", "directory", "directory"]
COMMIT_STEPS = ["create", "half", "all", "sync", "rename", "directory"]


def check(found: list[dict[str, Any]]) -> None:
    *killed, last = found
    putting, committing = killed[: len(PUT_STEPS)], killed[len(PUT_STEPS) :]
    assert len(committing) == len(COMMIT_STEPS)
    assert all(step["killed"] for step in killed)
    assert not any(step["put"] for step in putting)
    assert all(step["put"] and step["before"] and not step["committed"] for step in committing)
    assert last["committed"]
    assert last["listed"]
    assert last["before"]
    assert last["new"] is False
    for step in found:
        assert step["whole"]
        assert step["new"] is not step["before"]
        assert step["before"] or not step["listed"], "what is listed was durable before"
        assert step["temporaries"] == 0
        assert step["damaged"] == 0
        assert step["earlier"] == [0] * step["step"], "what earlier processes put is good"
    renamed = PUT_STEPS.index("rename") + 1
    assert [step["before"] for step in putting] == [number >= renamed for number in range(len(PUT_STEPS))]
    assert [step["listed"] for step in committing] == [False] * 5 + [True], "listed from the rename on"
    assert any(step["left"] for step in killed), "a kill did leave a temporary to remove"


def test_a_put_killed_at_any_step_leaves_a_store_that_works(tmp_path: Path) -> None:
    check(steps(tmp_path, become=[]))


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="becoming an ordinary user takes root on Linux, and `setpriv`",
)
def test_the_same_as_an_ordinary_user() -> None:
    # Not below pytest's own directory, which only root may search.
    with tempfile.TemporaryDirectory() as text:
        root = Path(text)
        os.chown(root, 65534, 65534)
        probe = subprocess.run([*USER, sys.executable, "-c", "import roost.chunks.disk"], check=False, timeout=60)
        if probe.returncode != 0:
            pytest.skip("an ordinary user may not read this checkout")
        check(steps(root, become=USER))
