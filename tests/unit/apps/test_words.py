"""Sizes, times, counts and tables read as people write them, whatever the numbers and names."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli_stand_in import row
from roost.apps.cli.selection import Selection, SortKey, parse_time
from roost.apps.cli.words import counted, duration, listed, moment, printable, rate, size, table
from roost.core.errors import UsageError


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (8 << 20, "8.00 MiB"),
        (942_000_000, "898 MiB"),
        (1023 << 20, "1.00 GiB"),
        (16 << 40, "16.0 TiB"),
        (2**63, "8.00 EiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text
    assert rate(count) == f"{text}/s"


@given(st.integers(0, 2**80))
def test_every_size_has_a_number_and_a_unit(count: int) -> None:
    number, unit = size(count).split()
    assert float(number) >= 0
    assert unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.00 s"),
        (0.42, "0.42 s"),
        (3.14, "3.1 s"),
        (12.4, "12 s"),
        (60, "1 min"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_and_lists() -> None:
    assert [counted(n, "node") for n in (0, 1, 1000)] == ["0 nodes", "1 node", "1,000 nodes"]
    assert counted(2, "copy", "copies") == "2 copies"
    assert [listed(x) for x in ((), ("a",), ("a", "b"), ("a", "b", "c"))] == ["", "a", "a and b", "a, b and c"]
    assert listed("abcdefghijk", most=3) == "a, b, c and 8 more"


def test_moments() -> None:
    assert moment(None) == "never"
    assert len(moment("2025-01-31T12:00:00Z")) == len("2025-01-31 12:00")
    assert moment("no time") == "no time"


def test_tables_align_wide_letters() -> None:
    lines = table(("NAME", "N"), [("日本", "1"), ("é", "22"), ("abcdef", "3")], right=(1,))
    assert lines == ["NAME     N", "日本     1", "é       22", "abcdef   3"]


@given(st.text())
def test_what_is_printed_is_printable(text: str) -> None:
    assert printable(text).isprintable()
    printable(text).encode()


NOW = datetime.datetime(2025, 2, 1, tzinfo=datetime.UTC)


def test_times_are_dates_or_ages() -> None:
    assert parse_time("7d", now=NOW) == NOW - datetime.timedelta(days=7)
    assert parse_time("2025-01-31T12:00:00Z") == datetime.datetime(2025, 1, 31, 12, tzinfo=datetime.UTC)
    assert parse_time("2025-01-31").tzinfo is not None
    for wrong in ("", "yesterday", "7x", "2025-13-01", "99999999w"):
        with pytest.raises(UsageError):
            parse_time(wrong)


def test_a_selection_is_inclusive() -> None:
    rows = [row(f"a/step-{i}", stored_at=f"2025-01-0{i}T00:00:00Z") for i in range(1, 6)]
    since, until = parse_time("2025-01-02T00:00:00Z"), parse_time("2025-01-04T00:00:00Z")
    assert Selection(since=since, until=until).of(rows) == rows[1:4]
    assert Selection(step_min=2, step_max=4).of(rows) == rows[1:4]
    assert Selection(limit=2).of(rows) == rows[3:]


def test_a_selection_orders() -> None:
    rows = [row("b/step-10", count=1), row("a/step-9", count=2, health="lost"), row("c", count=0, health="at-risk")]
    order = {key: [r.name for r in Selection(sort=key).of(rows)] for key in SortKey}
    assert order[SortKey.NAME] == ["b/step-10", "a/step-9", "c"]
    assert order[SortKey.STEP] == ["c", "a/step-9", "b/step-10"]
    assert order[SortKey.SIZE] == ["c", "b/step-10", "a/step-9"]
    assert order[SortKey.HEALTH] == ["b/step-10", "c", "a/step-9"]
