"""The demo's last act: a training is killed, its disk is lost, and it goes on from the cluster all the same."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from roost.apps.cli.demo_cluster import DemoCluster, environment
from roost.core.errors import Damaged, Failed

RUN = "demo/training"
STORED_MIN = 3
"""The training is killed when so many of its checkpoints are stored."""
ENDLESS = 10**9
"""However fast a machine is, the training does not end before it is killed."""
MORE = 100
SAID_CHARACTERS = 600


@dataclass(slots=True)
class Ran:
    """What a training said: the step that it began after, the loss of each step, and what was stored."""

    begun: int = 0
    losses: dict[int, float] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The last step that it made."""
        return max(self.losses, default=0)


def train(cluster: DemoCluster, folder: Path, run: str, *, steps: int, stored_max: int | None = None) -> Ran:
    """Run the training in a process of its own, up to step number `steps`; or ``kill -9`` it when `stored_max` of its
    checkpoints are stored. Failed when it ends badly."""
    process = subprocess.Popen(
        [sys.executable, "-m", "roost.apps.cli.demo_training", str(folder), run, str(steps)],
        cwd=cluster.folder, env={**environment(), "ROOST_HOME": str(cluster.home.root)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    ran = Ran()
    try:
        for said in _said(process.stdout):
            ran.begun = int(said.get("begun", ran.begun))
            if "step" in said:
                ran.losses[int(said["step"])] = float(said["loss"])
            if "stored" in said:
                ran.stored.append(str(said["stored"]))
            if stored_max is not None and len(ran.stored) >= stored_max:
                process.kill()
                return ran
        why = process.stderr.read().strip()[-SAID_CHARACTERS:]
        if process.wait() != 0:
            raise Failed(f"the training ended with exit code {process.returncode}: {why}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    return ran


def _said(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    for line in lines:
        yield json.loads(line)


def lose_and_resume(cluster: DemoCluster, folder: Path) -> tuple[Ran, Ran, float]:
    """Train and be killed, lose all that is on the disk, train on in another folder; both, and the last loss. Damaged
    when a single loss differs from that of a training which nobody stopped."""
    first = train(cluster, folder / "disk", RUN, steps=ENDLESS, stored_max=STORED_MIN)
    steps = first.last + MORE
    shutil.rmtree(folder / "disk")
    second = train(cluster, folder / "another-disk", RUN, steps=steps)
    whole = train(cluster, folder / "undisturbed", "", steps=steps)
    if not second.begun:
        raise Failed("the training began anew although checkpoints of it are stored")
    wrong = [step for ran in (first, second) for step, loss in ran.losses.items() if loss != whole.losses[step]]
    if wrong or second.last != whole.last:
        at = min(wrong, default=whole.last)
        raise Damaged(f"the loss of step {at} is not that of a training that nobody stopped")
    return first, second, whole.losses[whole.last]
