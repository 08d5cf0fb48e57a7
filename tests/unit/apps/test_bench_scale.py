"""The page of how the work grows: its tables and charts say what was measured, and what is written by hand stays."""

import getpass
import platform
from pathlib import Path

import pytest
from bench import many, scale
from bench.scale_page import EMPTY_PAGE, MACHINE, Column, Row, Series, number, place, replaced, section

SERIES = Series(
    "sizes",
    "GB",
    (Column("store", "s", chart=True), Column("memory of a node", "MB")),
    (Row(0.1, (1.23456, 52.0)), Row(0.94, (5.5, None)), Row(4.0, (1234.5, 60.04))),
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (0.942, "0.942"), (1.5, "1.5"), (2.0, "2"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_table_has_a_line_for_each_step_and_an_empty_cell_for_what_was_not_to_be_had() -> None:
    assert section(SERIES).splitlines()[:5] == [
        "| GB | store, s | memory of a node, MB |",
        "|---:|---:|---:|",
        "| 0.1 | 1.23 | 52 |",
        "| 0.94 | 5.5 |  |",
        "| 4 | 1,234 | 60 |",
    ]


def test_a_ratio_is_told_to_the_thousandth() -> None:
    text = section(Series("x", "n", (Column("sent against one copy", "x"),), (Row(1, (1.0019,)),)))
    assert "| 1 | 1.002 |" in text


def test_a_chart_shows_a_column_that_is_to_have_one_and_no_other() -> None:
    text = section(SERIES)
    assert text.count("```mermaid\nxychart-beta\n") == 1
    assert 'title "store, s"' in text
    assert 'x-axis "GB" ["0.1", "0.94", "4"]' in text
    assert 'y-axis "s" 0 --> 1358\n' in text, "a chart does not read 1.36e+03"
    assert "bar [1.235, 5.5, 1234]" in text


def test_a_chart_leaves_out_what_was_not_to_be_had_and_needs_two_points() -> None:
    columns = (Column("a", "s", chart=True), Column("b", "s", chart=True))
    text = section(Series("x", "n", columns, (Row(1, (1, None)), Row(2, (None, None)), Row(3, (3, 5)))))
    assert 'x-axis "n" ["1", "3"]' in text
    assert "bar [1, 3]" in text
    assert text.count("xychart-beta") == 1


def test_what_is_measured_anew_is_replaced_and_all_else_stays() -> None:
    page = f"{EMPTY_PAGE}\nfive cats\n"
    once = replaced(page, "sizes", "first")
    twice = replaced(replaced(once, "nodes", "other"), "sizes", "second")
    assert "first" in once
    assert "first" not in twice
    assert twice.index("second") < twice.index("other") < twice.index("five cats")
    assert replaced(twice, "sizes", "first") == replaced(once, "nodes", "other")
    assert "five cats" in twice


def test_a_page_without_the_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="no place for 'sizes'"):
        replaced("# Another page\n", "sizes", "measured")


def test_every_series_has_its_place_on_a_new_page() -> None:
    for key in (MACHINE, *scale.SERIES):
        assert place(key) in EMPTY_PAGE


def test_the_machine_is_named_without_whose_it_is() -> None:
    said = scale.machine()
    assert f"Python {platform.python_version()}" in said
    assert " cores of " in said
    for personal in (str(Path.home()), getpass.getuser(), platform.node()):
        assert personal not in said.split()


def test_bytes_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_bytes(b"123")
    (tmp_path / "d").write_bytes(b"45")
    assert scale.bytes_below(tmp_path) == 5


def test_checkpoints_of_other_numbers_are_others(tmp_path: Path) -> None:
    assert many.make_checkpoint(tmp_path, 1).read_bytes() != many.make_checkpoint(tmp_path, 2).read_bytes()
