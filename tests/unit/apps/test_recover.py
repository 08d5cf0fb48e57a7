"""`roost recover`: how the code is given, what is asked, and what is told."""

import io
import sys
from pathlib import Path

import pytest

from cli_stand_in import RunCommand
from roost.core.ids import NodeId
from roost.node import Recovered
from roost.settings.paths import Home
from roost.settings.schema import Settings

CODE = "CFM6B-3RWAM-N14MV-RD9X0-DH"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str, str | None]]:
    """Stands where recovery does: new with --at, a node's home without; what it was asked."""
    asked: list[tuple[Path, str, str | None]] = []

    async def recover(home: Home, settings: Settings, *, code: str, at: str | None) -> Recovered:
        asked.append((home.root, code, at))
        return Recovered("home", NodeId("a" * 32), new=at is not None, keeps=at is None, nodes=2, checkpoints=1)

    monkeypatch.setattr("roost.node.recover", recover)
    return asked


def test_groups_may_be_words_of_their_own(
    roost: RunCommand, asked: list[tuple[Path, str, str | None]], tmp_path: Path
) -> None:
    assert roost("recover", CODE).code == 0
    assert roost("recover", *CODE.split("-"), "--at", "10.0.0.1:7400").code == 0
    assert asked == [
        (tmp_path / "home", CODE, None),
        (tmp_path / "home", CODE.replace("-", ""), "10.0.0.1:7400"),
    ]


def test_the_code_can_come_by_standard_input(
    roost: RunCommand, asked: list[tuple[Path, str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{CODE}\nmore\n"))
    assert roost("recover", "-").code == 0
    assert asked[0][1].strip() == CODE


@pytest.mark.usefixtures("asked")
def test_what_was_brought_back_is_told(roost: RunCommand) -> None:
    new = roost("recover", CODE, "--at", "10.0.0.1:7400")
    assert "back in the cluster home, with 1 version of checkpoints listed" in new.out
    assert "token create" in new.out
    assert "beside" in new.out
    node = roost("recover", CODE)
    assert "back in" not in node.out
    assert "while the node runs" in node.out
    result = roost("recover", CODE, "--json").result
    assert result == {
        "type": "result", "cluster": "home", "node": "a" * 32, "new": False, "keeps": True, "nodes": 2,
        "checkpoints": 1,
    }  # fmt: skip
    assert CODE not in new.out + new.err


def test_what_cannot_be_is_told_before_anything_is_made(roost: RunCommand, tmp_path: Path) -> None:
    mistyped = roost("recover", CODE[:-1] + "J", "--json")
    assert (mistyped.code, mistyped.error["code"]) == (2, "usage")
    assert CODE[:5] not in mistyped.out
    nowhere = roost("recover", CODE, "--json")
    assert (nowhere.code, nowhere.error["code"]) == (2, "usage")
    assert "--at HOST:PORT" in nowhere.error["hint"]
    assert roost("recover").code == 2
    assert roost("recover", "--new-code", CODE).code == 2
    assert roost("recover", "--new-code").code == 7, "only where the key is"
    assert not (tmp_path / "home/identity").exists()
