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
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("crash_subjects.py")
MEMORY = Path("/dev/shm")
USER = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
LIMIT_S = 240
AT_ONCE = 3
KILLS_MIN = 320
"""Of those that run every day; with the long ones there are more than 500."""

SUBJECTS: Mapping[str, int] = {
    "drain-client": 65,
    "store": 80,
    "drain-node": 32,
    "repair-target": 65,
    "storing": 35,
    "gathering": 64,
    "repair-source": 38,
    "repair-steward": 18,
    "exchange-asked": 50,
    "exchange-asking": 50,
    "put": 30,
    "collection": 15,
    "quarantine": 7,
}
"""What is killed, and at how many steps at least: those that take longest first."""
LONG = frozenset({"drain-client", "drain-node", "gathering", "repair-target"})
"""Those that take minutes, and run with everything only."""
DISK_STEPS = {"create", "write", "half written", "sync", "rename", "sync directory"}
FRAME_STEPS = {"send", "received"}
STEPS = {"frame": FRAME_STEPS, "send": {"send"}}
DISK_STEPS_OF = {"collection": DISK_STEPS | {"unlink"}, "quarantine": {"rename", "sync directory"}}
"""What those do to their disk that do more or less than the others."""

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
    assert [(step["kind"], step["died_at"], step["problems"]) for step in found if step["problems"]] == []
    kills = [step for step in found if step["died_at"]]
    assert len(kills) >= kills_min
    for hunt in {(step["what"], step["kind"]) for step in found}:
        of_it = [step for step in found if (step["what"], step["kind"]) == hunt]
        assert all(step["died_at"] for step in of_it[:-1])
        assert not of_it[-1]["died_at"], "every step was reached"
        assert of_it[-1]["acknowledged"], "and who is not killed ends well"
        what, kind = hunt
        wanted = DISK_STEPS_OF.get(what, DISK_STEPS) if kind == "disk" else STEPS[kind]
        assert {step["died_at"] for step in of_it[:-1]} >= wanted


@pytest.fixture(scope="module")
def hunts(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Steps]]:
    """Runs a subject. Where tests do not run beside each other anyway, those that are asked for run some at a time."""
    names = [item.name for item in request.session.items if item.path == request.path]
    wanted = [subject for subject in SUBJECTS if any(f"[{subject}]" in name for name in names)]
    beside = "PYTEST_XDIST_WORKER" not in os.environ
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        begun = {subject: pool.submit(steps, subject, become=[]) for subject in wanted} if beside else {}
        yield lambda subject: begun[subject].result() if beside else steps(subject, become=[])


@pytest.fixture(scope="session")
def kills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes that run the tests: a file for each subject that was run, its kills in its name."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kills"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize(
    "subject", [pytest.param(one, marks=[pytest.mark.slow] if one in LONG else []) for one in SUBJECTS]
)
def test_a_process_killed_at_any_step_breaks_no_promise(
    hunts: Callable[[str], Steps], kills: Path, subject: str
) -> None:
    found = hunts(subject)
    check(found, kills_min=SUBJECTS[subject])
    (kills / f"{subject} {sum(bool(step['died_at']) for step in found)}").touch()
    counted = {path.name.split()[0]: int(path.name.split()[1]) for path in kills.iterdir()}
    everyday = SUBJECTS.keys() - LONG
    assert not everyday <= counted.keys() or sum(counted[one] for one in everyday) >= KILLS_MIN, (
        "whoever ends last sees"
    )
    if subject == "store":
        failed = [step["died_at"] for step in found if not step["acknowledged"]]
        assert failed == [], "two other nodes are there to take its part"
    if subject == "put":
        assert any(step["left"] for step in found), "kills leave something to clean up, or all this shows little"


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="becoming an ordinary user takes root on Linux, and `setpriv`",
)
def test_the_same_as_an_ordinary_user() -> None:
    probe = subprocess.run([*USER, sys.executable, "-c", "import roost.node.node"], check=False, timeout=60)
    if probe.returncode != 0:
        pytest.skip("an ordinary user may not read this checkout")
    check(steps("put", become=USER), kills_min=SUBJECTS["put"])
