"""kill -9 of real processes at every step of what they do: a put, a commit, passing on, a store, a gather, a repair, an
exchange of records, a quarantine, a collection, a drain. Nothing half is ever under a name, what was acknowledged is
there after the restart, leftovers go, and the same is done again without trouble.

The steps are enumerated, not timed: see `crash_processes.py`. This shows that a start cleans up; it cannot show a
missing fsync, because the page cache outlives a process. That is `test_put_states.py` and its like.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("crash_subjects.py")
MEMORY = Path("/dev/shm")
USER = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
LIMIT_S = 240
AT_ONCE = 3
KILLS_MIN = 500

SUBJECTS: Mapping[str, int] = {
    "drain-client": 50,
    "store": 70,
    "drain-node": 25,
    "repair-target": 55,
    "storing": 30,
    "gathering": 50,
    "repair-source": 35,
    "repair-steward": 15,
    "exchange-asked": 45,
    "exchange-asking": 45,
    "put": 30,
    "collection": 12,
    "quarantine": 7,
}
"""What is killed, and at how many steps at least: those that take longest first."""
DISK_STEPS = {"create", "write", "half written", "sync", "rename", "sync directory"}
FRAME_STEPS = {"send", "received"}
STEPS = {"disk": DISK_STEPS, "frame": FRAME_STEPS, "send": {"send"}}

Steps = list[dict[str, Any]]


def steps(subject: str, *, become: list[str]) -> Steps:
    """What the fork server says of each step. The homes are in memory, where fsync costs nothing: it proves nothing
    here."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as text:
        if become:
            os.chown(text, 65534, 65534)
        done = subprocess.run(
            [*become, sys.executable, str(PROGRAM), text, subject],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env={**os.environ, "PYTHONPATH": str(PROGRAM.parent.parent), "OPENBLAS_NUM_THREADS": "1"},
        )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found: Steps, *, kills_min: int) -> None:
    """Check one subject: nothing was wrong at any step, all that it does can be killed, and it ended well at last."""
    assert [step for step in found if step["problems"]] == []
    kills = [step for step in found if step["died_at"]]
    assert len(kills) >= kills_min
    for hunt in {(step["what"], step["kind"]) for step in found}:
        of_it = [step for step in found if (step["what"], step["kind"]) == hunt]
        assert all(step["died_at"] for step in of_it[:-1])
        assert not of_it[-1]["died_at"], "every step was reached"
        assert of_it[-1]["acknowledged"], "and who is not killed ends well"
        died_at = {step["died_at"] for step in of_it[:-1]}
        assert died_at >= ({"rename", "sync directory"} if hunt == ("quarantine", "disk") else STEPS[hunt[1]])


@pytest.fixture(scope="module")
def hunts(request: pytest.FixtureRequest) -> Iterator[Mapping[str, "Future[Steps]"]]:
    """The subjects that are asked for, some at a time: they wait more than they work."""
    names = {item.name for item in request.session.items if item.path == request.path}
    wanted = [subject for subject in SUBJECTS if any(f"[{subject}]" in name for name in names)]
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        yield {subject: pool.submit(steps, subject, become=[]) for subject in wanted}


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_process_killed_at_any_step_breaks_no_promise(hunts: Mapping[str, "Future[Steps]"], subject: str) -> None:
    check(hunts[subject].result(), kills_min=SUBJECTS[subject])


def test_the_kills_are_many(hunts: Mapping[str, "Future[Steps]"]) -> None:
    if len(hunts) < len(SUBJECTS):
        pytest.skip("this counts what all the tests of this file found")
    assert sum(bool(step["died_at"]) for hunt in hunts.values() for step in hunt.result()) >= KILLS_MIN


def test_a_store_loses_no_copy_by_a_node_that_dies(hunts: Mapping[str, "Future[Steps]"]) -> None:
    if "store" not in hunts:
        pytest.skip("this looks at what the test of `store` found")
    found = hunts["store"].result()
    assert [step["died_at"] for step in found if not step["acknowledged"]] == [], "two others are there to take it"


def test_kills_leave_something_to_clean_up(hunts: Mapping[str, "Future[Steps]"]) -> None:
    if "put" not in hunts:
        pytest.skip("this looks at what the test of `put` found")
    assert any(step["left"] for step in hunts["put"].result()), "or the tests above show little"


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="becoming an ordinary user takes root on Linux, and `setpriv`",
)
def test_the_same_as_an_ordinary_user() -> None:
    probe = subprocess.run([*USER, sys.executable, "-c", "import roost.node.node"], check=False, timeout=60)
    if probe.returncode != 0:
        pytest.skip("an ordinary user may not read this checkout")
    check(steps("put", become=USER), kills_min=SUBJECTS["put"])
