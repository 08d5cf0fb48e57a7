"""The command line's tests run commands in this process, in a home of their own."""

from pathlib import Path

import pytest

from cli_stand_in import RunCommand, runner


@pytest.fixture
def roost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> RunCommand:
    """Runs a command: ``roost("ls", "--json", cluster=...)``."""
    return runner(monkeypatch, capsys, tmp_path / "home")
