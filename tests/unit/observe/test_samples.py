"""Counters grow from what was seen, over restarts of either side; samples are read from the text of a scrape."""

import pytest

from roost.observe.samples import STEPS_MAX, Growth, Sample, parse_samples

SOURCE = {"instance": "pi-1", "role": "node"}


def bad(value: float, peer: str = "pi-2") -> Sample:
    return Sample("bad_total", {**SOURCE, "peer": peer}, value)


def something() -> Sample:
    return Sample("other", SOURCE, 1.0)


def growth() -> Growth:
    return Growth(["bad_total"], kept_s=3600)


def test_a_scrape_is_read_with_the_labels_it_adds() -> None:
    text = '# TYPE a counter\na_total{peer="x\\"y",instance="own"} 3.5\nb 1e3\n'
    assert parse_samples(text, instance="pi-1", role="node") == [
        Sample("a_total", {"peer": 'x"y', **SOURCE}, 3.5),
        Sample("b", SOURCE, 1000.0),
    ]
    assert parse_samples(text, {"b"}, instance="pi-1", role="node") == [Sample("b", SOURCE, 1000.0)]
    assert parse_samples(text, {"a"}) == []
    with pytest.raises(ValueError):
        parse_samples("{{{ no\n")


def test_only_steps_within_the_window_count() -> None:
    seen = growth()
    for at, value in ((0, 5), (100, 6), (200, 6), (300, 8)):
        seen.observe([bad(value)], at)
    assert seen.increase(bad(8), 1000, 300) == 3
    assert seen.increase(bad(8), 200, 300) == 2
    assert seen.increase(bad(8), 100, 450) == 0


def test_what_a_new_source_shows_is_old_and_what_a_known_one_shows_anew_is_new() -> None:
    seen = growth()
    seen.observe([bad(5)], 0)
    assert seen.increase(bad(5), 1000, 0) == 0
    seen.observe([bad(5), bad(2, "pi-3")], 10)
    assert seen.increase(bad(2, "pi-3"), 1000, 10) == 2
    known = growth()
    known.observe([something()], 0)
    known.observe([something(), bad(1)], 10)
    assert known.increase(bad(1), 1000, 10) == 1


def test_a_counter_that_begins_again_counts_on() -> None:
    seen = growth()
    for at, value in ((0, 5), (10, 7), (20, 1)):
        seen.observe([bad(value)], at)
    assert seen.increase(bad(1), 1000, 20) == 3


def test_what_was_kept_goes_on_at_another_time() -> None:
    seen = growth()
    seen.observe([bad(5)], 0)
    seen.observe([bad(6)], 100)
    seen.observe([bad(8)], 150)
    again = growth()
    again.restore(seen.kept(160), 7)
    again.observe([bad(9)], 7)
    assert again.increase(bad(9), 1000, 7) == 4
    assert again.increase(bad(9), 60, 7) == 3
    assert again.increase(bad(9), 5, 7) == 1


def test_what_is_away_for_long_is_forgotten() -> None:
    seen = growth()
    seen.observe([bad(5)], 0)
    seen.observe([], 4000)
    seen.observe([bad(9)], 4010)
    assert seen.increase(bad(9), 3600, 4010) == 0


def test_many_steps_take_bounded_room_and_none_is_lost() -> None:
    seen = growth()
    for step in range(STEPS_MAX * 3):
        seen.observe([bad(step)], step)
    assert len(seen.kept(0)[0][4]) == STEPS_MAX
    assert seen.increase(bad(0), 3600, STEPS_MAX * 3) == STEPS_MAX * 3 - 1
