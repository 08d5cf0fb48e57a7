"""Sizes, rates and durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.core.errors import UsageError
from roost.settings.units import (
    DURATION_S_MAX,
    SIZE_MAX,
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1048576", 1048576), ("8MiB", 8 << 20), ("1 GiB", 1 << 30), ("64kib", 65536), ("7B", 7)],
)
def test_a_size(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5GiB", "8MB", "8 M iB", "1e6", "٣", "9" * 19 + "PiB", "8MiB/s"])
def test_not_a_size(text: str) -> None:
    with pytest.raises(UsageError, match="not a size") as caught:
        parse_size(text)
    assert "8MiB" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("90", 90), ("90s", 90), ("10m", 600), ("1h", 3600), ("7d", 604_800), ("2w", 1209600)],
)
def test_a_duration(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "1.5h", "1h30m", "10min", "999999d"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        parse_duration(text)


def test_a_rate_may_say_that_it_is_one() -> None:
    assert parse_rate("20MiB/s") == parse_rate("20MiB") == 20 << 20
    with pytest.raises(UsageError, match="not a rate"):
        parse_rate("20Mbit/s")


@given(st.integers(0, SIZE_MAX))
def test_sizes_and_rates_are_shown_as_they_are_read(count: int) -> None:
    assert parse_size(format_size(count)) == count
    assert parse_rate(format_rate(count)) == count


@given(st.integers(0, DURATION_S_MAX))
def test_durations_are_shown_as_they_are_read(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_shown_short() -> None:
    assert (format_size(8 << 20), format_size(1000), format_rate(20 << 20), format_duration(604_800)) == (
        "8MiB",
        "1000",
        "20MiB/s",
        "7d",
    )
