"""The rows of the live view: what is shown of a snapshot, in which order and words."""

from msgspec.structs import replace

from cli_stand_in import NODE, row
from roost.apps.tui.rows import (
    MORE,
    SHOWN_MAX,
    Row,
    checkpoint_rows,
    event_rows,
    node_facts,
    node_rows,
    transfer_rows,
    waiting_rows,
)
from roost.apps.tui.source import Snapshot
from unit.apps.tui.showing import AT, ENDED, HEALTHY, RUNNING


def texts(rows: list[Row]) -> list[str]:
    return [" ".join(cell.text.strip() for cell in row.cells if cell.text) for row in rows]


def of(*names: str, **health: str) -> Snapshot:
    return Snapshot(HEALTHY.status, [row(name, health=health.get(name, "healthy")) for name in names], AT)


def test_many_runs_are_closed_at_first_and_the_newest_come_first() -> None:
    old, new = "2025-01-30T12:00:00Z", "2025-01-31T12:00:00Z"
    rows = [row(f"{run}/step-1", stored_at=new if run == "c" else old) for run in "abcd"]
    shown = texts(checkpoint_rows(Snapshot(HEALTHY.status, rows, AT), set(), ""))
    assert len(shown) == 4
    assert shown[0].endswith("+ c (1 checkpoint)")
    opened = texts(checkpoint_rows(Snapshot(HEALTHY.status, rows, AT), {"b"}, ""))
    assert [text.rpartition(" ")[2] for text in opened if "step" in text] == ["step-1"]


def test_a_run_is_as_bad_as_its_worst() -> None:
    rows = [row("a/step-1"), row("a/step-2", health="lost"), row("a/step-3", health="degraded")]
    run = checkpoint_rows(Snapshot(HEALTHY.status, rows, AT), set(), "")[0]
    assert (run.cells[0].text, run.cells[0].tone) == ("LOST", "bad")


def test_a_run_of_thousands_shows_some_and_says_how_many_more() -> None:
    rows = [row(f"a/step-{step}") for step in range(SHOWN_MAX + 7)]
    shown = checkpoint_rows(Snapshot(HEALTHY.status, rows, AT), set(), "")
    assert len(shown) == 1 + SHOWN_MAX + 1
    assert shown[-1].key.startswith(MORE)
    assert shown[-1].cells[-1].text.strip() == "and 7 older ones: / finds them"
    assert len(checkpoint_rows(Snapshot(HEALTHY.status, rows, AT), set(), "step-206")) == 2


def test_no_name_writes_to_the_terminal() -> None:
    shown = checkpoint_rows(of("evil\x1b[31m", "also/evil\x1b[31m"), set(), "")
    assert not any("\x1b" in cell.text for row in shown for cell in row.cells)


def test_nodes_with_and_without_rates() -> None:
    first, second = texts(node_rows(HEALTHY, ""))
    assert first == "pi-1 alive 10 B 20 B 1.00 MiB/s 2.00 MiB/s 51 °C"
    assert second == "pi-2 alive 10 B 20 B ? ?"
    status = replace(HEALTHY.status, nodes=(replace(NODE, state="down", bytes_used=None, problem="silent"),))
    assert texts(node_rows(Snapshot(status, (), AT), "")) == ["pi-1 DOWN ? 20 B ? ? silent"]
    assert node_rows(HEALTHY, "PI-2")[0].cells[0].text == "pi-2"


def test_all_that_is_known_of_a_node() -> None:
    facts = dict(node_facts(replace(NODE, damaged_total=1, quarantined=2, home="/there", pid=7)))
    assert facts["damage"] == "1 bad copy since it started, 2 files in quarantine"
    assert facts["home"] == "/there, process 7"
    assert facts["problem"] == "none"


def test_what_runs_and_what_ended() -> None:
    running, failed = texts(transfer_rows(HEALTHY, ""))
    assert running == "store 50 % of 0.98 KiB 50 B/s 10 s qwen/step-5 pi-2 desk"
    assert failed == "gather FAILED gpt/step-1 pi-1 does not answer lab"
    unsized = replace(
        RUNNING, id="3", kind="verify", name="", bytes_done=2048, bytes_total=None, rate=None, waits_for="the nodes"
    )
    degraded = replace(ENDED, state="degraded", message="")
    assert texts(transfer_rows(Snapshot(HEALTHY.status, (), AT, (degraded,)), "")) == [
        "gather degraded gpt/step-1 took 3.0 s lab"
    ]
    assert texts(transfer_rows(Snapshot(HEALTHY.status, (), AT, (unsized,)), "")) == ["verify 2.00 KiB the nodes desk"]


def test_what_waits_and_what_happened() -> None:
    assert texts(waiting_rows(HEALTHY, "")) == ["step-6 is still being written /runs"]
    assert waiting_rows(HEALTHY, "nothing like it") == []
    first, second = event_rows(HEALTHY, "")
    assert [cell.text for cell in first.cells][1:] == ["stored", "qwen/step-4 is stored"]
    assert second.cells[1].tone == "fair"
    twice = Snapshot(HEALTHY.status, (), AT, (), (HEALTHY.events[0], HEALTHY.events[0]))
    assert len({row.key for row in event_rows(twice, "")}) == 2
