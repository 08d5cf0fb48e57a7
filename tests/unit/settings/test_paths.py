"""Which home is used, and what lies where in it."""

from pathlib import Path

import pytest

from roost.settings.paths import Home


def test_the_given_home_beats_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOST_HOME", str(tmp_path / "variable"))
    assert Home.find(tmp_path / "given").root == tmp_path / "given"
    assert Home.find().root == tmp_path / "variable"


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOST_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    root = Home.find().root
    assert root.is_absolute()
    assert root.name == "roost"


def test_a_relative_home_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Home.find("here").root == tmp_path / "here"


def test_local_nodes_have_homes_of_their_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.node(1).chunks == tmp_path / "nodes" / "1" / "chunks"
    for number in (0, -1, 65):
        with pytest.raises(ValueError):
            home.node(number)


def test_no_two_places_are_one(tmp_path: Path) -> None:
    home = Home(tmp_path)
    names = [name for name in dir(Home) if isinstance(getattr(Home, name), property)]
    assert len({getattr(home, name) for name in names}) == len(names)
    assert home.relative(home.identity / "key.pem") == "identity/key.pem"
    with pytest.raises(ValueError):
        home.relative(tmp_path.parent)
