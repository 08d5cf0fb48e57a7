"""The five-minute start: every command of docs/start.md, in its order, as a person would type them in a fresh clone;
and there, what the guide to Python shows."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from e2e.processes import Program
from tidy.blocks import blocks

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/start.md").read_text(encoding="utf-8")
OURS = PAGE.partition("## With real machines")[0]
"""What comes after that takes several machines; `tests/lab` has them."""
ALONE = """
node: {listen: "127.0.0.1:0", reserve: 16MiB}
api: {listen: "127.0.0.1:0"}
discovery: {mdns: false, broadcast: false}
"""
"""What the test adds to the settings of the clone, so that nothing of it reaches the network."""
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `./launch.sh` is this very Roost, without the environment that the real one makes first."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "roost.yaml").write_text((ROOT / "roost.yaml").read_text() + ALONE)
    launch = folder / "launch.sh"
    launch.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m roost "$@"\n')
    launch.chmod(0o755)
    (folder / "home").mkdir()
    return folder


@pytest.fixture(scope="module")
def environment(clone: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ROOST_")}
    return {**clean, "ROOST_HOME": str(clone / "home")}


@pytest.fixture(scope="module")
def running(clone: Path, environment: dict[str, str]) -> Iterator[Program]:
    """What `./launch.sh` alone runs, until the tests are over."""
    program = Program(
        ["start", "--config", str(clone / "roost.yaml"), "--json"], environment, clone, clone / "home/errors"
    )
    try:
        assert program.until("ready", timeout_s=LIMIT_S)["nodes"] == 4
        yield program
    finally:
        program.handle.signal(signal.SIGTERM)
        program.wait(LIMIT_S)
        program.end()


def test_every_command_of_the_five_minute_start_works(
    clone: Path, environment: dict[str, str], running: Program
) -> None:
    shown = [block.text for block in blocks(OURS) if block.language == "sh"]
    assert shown[:2] == ["./launch.sh demo\n", "./launch.sh\n"]  # continuous integration runs the demo
    said = ""
    for commands in shown[2:]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=clone, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        said += done.stdout
    for promised in ("stored as version 1-", "ALL COPIES ARE ON ONE MACHINE", "unchanged since version", "version 2-"):
        assert promised in said
    assert "model.bin" in said, "it waits in the watched folder"
    running.until("stored", timeout_s=LIMIT_S)


@pytest.mark.usefixtures("running")
def test_the_first_example_of_the_guide_to_python_runs(clone: Path, environment: dict[str, str]) -> None:
    guide = (ROOT / "docs/guides/python.md").read_text(encoding="utf-8")
    example = next(block.text for block in blocks(guide) if block.language == "python")
    here = clone / "python"
    folder = here / "out/step-1000"
    folder.mkdir(parents=True)
    (here / "roost.yaml").write_text((clone / "roost.yaml").read_text())
    (folder / "config.json").write_text("{}")
    save_file({"lm_head.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, folder / "model.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", f"{example}\nprint(weight.shape, weight.sum())"],
        cwd=here, env=environment, text=True, capture_output=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.stdout.split("\n")[-2:] == ["(2, 3) 15.0", ""], done.stderr
    assert (here / "restored/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
