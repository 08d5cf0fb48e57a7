"""Which machine this is."""

import re
import sys
from pathlib import Path

import pytest

from roost.core.errors import Failed
from roost.security import machine
from roost.security.machine import machine_id, parse_machine_id

ID = "0123456789abcdef0123456789abcdef"


def card(cards: Path, name: str, *, index: int, address: str, hardware: bool = True) -> None:
    (cards / name).mkdir(parents=True)
    (cards / name / "address").write_text(f"{address}\n")
    (cards / name / "ifindex").write_text(f"{index}\n")
    if hardware:
        (cards / name / "device").mkdir()


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A made-up Linux below the path returned, with neither machine id nor card."""
    monkeypatch.delenv("ROOST_MACHINE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(machine, "_LINUX_FILES", (tmp_path / "machine-id", tmp_path / "dbus-id"))
    monkeypatch.setattr(machine, "_LINUX_CARDS", tmp_path / "net")
    return tmp_path


def test_this_machine_has_one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOST_MACHINE", raising=False)
    try:
        first = machine_id()
    except Failed:
        pytest.skip("this machine has neither a machine id nor a network card")
    assert first == machine_id()
    assert re.fullmatch("[0-9a-f]{32}", first)


def test_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_MACHINE", ID)
    assert machine_id() == ID
    monkeypatch.setenv("ROOST_MACHINE", "attic")
    attic = machine_id()
    assert re.fullmatch("[0-9a-f]{32}", attic)
    monkeypatch.setenv("ROOST_MACHINE", " attic ")
    assert machine_id() == attic
    monkeypatch.setenv("ROOST_MACHINE", "cellar")
    assert machine_id() != attic


def test_one_image_on_two_boards_makes_two_machines(linux: Path) -> None:
    (linux / "machine-id").write_text(f"{ID}\n")
    card(linux / "net", "eth0", index=2, address="dc:a6:32:00:00:01")
    first = machine_id()
    (linux / "net" / "eth0" / "address").write_text("dc:a6:32:00:00:02\n")
    assert machine_id() != first
    assert ID not in first


def test_only_the_first_real_card_counts(linux: Path) -> None:
    (linux / "dbus-id").write_text(ID)
    card(linux / "net", "eth0", index=2, address="dc:a6:32:00:00:01")
    first = machine_id()
    card(linux / "net", "docker0", index=1, address="02:42:00:00:00:01", hardware=False)
    card(linux / "net", "ax0", index=7, address="00:00:5e:00:53:01")
    card(linux / "net", "ib0", index=1, address="80:00:02:08:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1")
    assert machine_id() == first


def test_a_machine_known_by_nothing_is_refused(linux: Path) -> None:
    (linux / "machine-id").write_text("uninitialized\n")
    with pytest.raises(Failed) as caught:
        machine_id()
    assert "ROOST_MACHINE" in caught.value.hint
    card(linux / "net", "eth0", index=2, address="dc:a6:32:00:00:01")
    assert machine_id()


def test_only_an_id_is_read_as_one() -> None:
    assert parse_machine_id(ID) == ID
    for text in ("", ID[:-1], ID.upper(), f"{ID}\n", "g" * 32):
        with pytest.raises(Failed):
            parse_machine_id(text)
