"""A training process as a test sees it: it says JSON lines, waits for a word if it is to, and may be killed."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from e2e.cluster import Cluster

LIMIT_S = 300.0


class Training:
    """A Python process with the cluster's settings, and its home or another, as a training script finds them."""

    def __init__(self, cluster: Cluster, *arguments: object, home: Path | None = None) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ROOST_")}
        self.process = subprocess.Popen(
            [sys.executable, "-P", *map(str, arguments)], cwd=cluster.root, text=True,
            env={**environment, "ROOST_HOME": str(home or cluster.home)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def told(self) -> dict[str, Any]:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=LIMIT_S)[1]
        told: dict[str, Any] = json.loads(line)
        return told

    def until(self, **fields: object) -> list[dict[str, Any]]:
        """Its lines up to the first one with these fields."""
        lines = [self.told()]
        while any(lines[-1].get(key) != value for key, value in fields.items()):
            lines.append(self.told())
        return lines

    def go_on(self) -> None:
        """Let it read a line."""
        assert self.process.stdin is not None
        self.process.stdin.write("go on\n")
        self.process.stdin.flush()

    def end(self) -> tuple[list[dict[str, Any]], str]:
        """What it said until its end, which must be a good one, and its words on standard error."""
        out, errors = self.process.communicate(timeout=LIMIT_S)
        assert self.process.returncode == 0, errors
        return [json.loads(line) for line in out.splitlines()], errors

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def training(cluster: Cluster, *arguments: object, home: Path | None = None) -> Iterator[Training]:
    """It, ended in any case."""
    one = Training(cluster, *arguments, home=home)
    try:
        yield one
    finally:
        one.kill()
