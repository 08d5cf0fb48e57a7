"""Sections fitted into a screen: nothing is cut that fits, all that is left out is counted, and no row is wasted."""

import itertools

import pytest

from roost.apps.cli.sections import Section, everything, fitted

SECTIONS = [
    Section(("All is not well.",)),
    Section((), tuple(f"  ! problem {number}" for number in range(30))),
    Section(("", "NODE"), tuple(f"node-{number}" for number in range(4))),
    Section(("", "watching: nothing waits")),
    Section(("", "watching"), tuple(f"  step-{number}" for number in range(3))),
]


def test_everything_is_everything() -> None:
    assert len(list(everything(SECTIONS))) == 1 + 30 + 6 + 2 + 5


@pytest.mark.parametrize("rows", [12, 14, 18, 23, 40, 44, 100])
def test_it_fits_and_counts_what_is_left_out(rows: int) -> None:
    lines = list(fitted(SECTIONS, "roost status --all", rows=rows, columns=80))
    assert len(lines) == min(rows, 44), "no row is wasted"
    assert {line for section in SECTIONS for line in section.head} <= set(lines)
    counted = [int(line.split()[1]) for line in lines if "..." in line]
    shown = sum(1 for line in lines if line in itertools.chain(*(section.items for section in SECTIONS)))
    assert shown + sum(counted) == 37
    assert sum("roost status --all" in line for line in lines) == (1 if counted else 0)


def test_the_rows_go_to_the_sections_in_turn() -> None:
    lines = list(fitted(SECTIONS, "more", rows=22, columns=80))
    assert {"node-0", "node-3", "  step-0", "  step-2"} <= set(lines), "many problems leave room for the others"
    assert sum("problem" in line for line in lines) >= 4


def test_long_items_are_cut_and_long_heads_take_their_rows() -> None:
    sections = [Section(("v" * 100,)), Section((), ("i" * 100, "日本" * 40, "short"))]
    lines = list(fitted(sections, "more", rows=5, columns=80))
    assert lines == ["v" * 100, "i" * 77 + "...", "日本" * 19 + "...", "short"]


def test_heads_alone_that_do_not_fit_are_told_all_the_same() -> None:
    lines = list(fitted(SECTIONS, "more", rows=3, columns=80))
    assert [line for line in lines if line] == [
        "All is not well.", "  ... 30 in all: more", "NODE", "  ... 4 in all", "watching: nothing waits", "watching",
        "  ... 3 in all",
    ]  # fmt: skip
