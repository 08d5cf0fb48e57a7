"""The pace of the scrub: spread over half the period, within the rate, and said in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.checkpoints.scrub import PASS_S_MIN, Deed, Seen, Step, Terms, in_words, next_step, part_before

DAY = 86_400.0
MIB = 1024 * 1024
MONTHLY = Terms(30 * DAY, 10 * MIB)


def at(part: float) -> bytes:
    """The id with `part` of all ids before it."""
    return int(part * 256**8).to_bytes(8, "big") + bytes(24)


def step(elapsed_s: float, after: float, following: float | None, **more: float) -> Step:
    held = int(more.get("held", 1000 * MIB))
    rest = more.get("rest_s", 0.0)
    return next_step(MONTHLY, Seen(elapsed_s, at(after), None if following is None else at(following), held, rest))


def test_each_id_has_its_moment_in_half_of_the_period() -> None:
    assert step(0, 0, 0.5) == Step(Deed.WAIT, 7.5 * DAY, "on pace: 0 % read, 15 days left")
    assert step(7 * DAY, 0.41, 0.5) == Step(Deed.WAIT, 0.5 * DAY, "on pace: 41 % read, 8 days left")
    assert step(7.5 * DAY, 0.41, 0.5).deed is Deed.READ


def test_when_all_is_read_the_next_pass_waits_for_its_time() -> None:
    assert step(3 * DAY, 0.2, None) == Step(
        Deed.WAIT, 12 * DAY, "on pace: all is read, the next pass begins in 12 days"
    )
    assert step(15 * DAY, 0.2, None).deed is Deed.BEGIN


def test_a_small_store_is_not_read_in_a_tight_loop_however_short_the_period() -> None:
    terms = Terms(1.0, 0)
    assert terms.pass_s == PASS_S_MIN
    assert next_step(terms, Seen(2.0, at(0.1), None, 10)).wait_s == PASS_S_MIN - 2
    assert next_step(terms, Seen(2.0, b"", at(0.5), 10)).wait_s == PASS_S_MIN / 2 - 2


def test_the_rate_holds_also_when_the_pass_is_behind() -> None:
    late = step(7 * DAY, 0.1, 0.1, rest_s=3.0)
    assert (late.deed, late.wait_s) == (Deed.WAIT, 3.0)
    assert (
        late.reason == "behind: 10 % read, 6 days late; at the rate limit of 10MiB/s it is caught up within 2 minutes"
    )
    assert MONTHLY.taken_s(25 * MIB) == 2.5
    assert Terms(DAY, 0).taken_s(25 * MIB) == 0.0


def test_a_rate_that_cannot_make_it_is_told_from_the_beginning() -> None:
    held = 40 * 86_400 * 10 * MIB
    told = step(0, 0, 0, held=held)
    assert told.deed is Deed.READ
    assert told.reason == (
        "too slow: 0 % read; at the rate limit of 10MiB/s the rest takes 40 days, past scrub.every: raise scrub.rate"
    )
    assert "too slow" not in step(0, 0, 0, held=held * 29 // 40).reason


def test_without_a_rate_being_behind_is_told_too() -> None:
    seen = Seen(7 * DAY, at(0.1), at(0.1), 1 << 60)
    assert next_step(Terms(30 * DAY, 0), seen).reason == "behind: 10 % read, 6 days late; reading without a pause"


def test_a_period_of_nothing_is_never() -> None:
    assert next_step(Terms(0, 10 * MIB), Seen(1e9, b"", at(0.1), 10)) == Step(
        Deed.NOTHING, 0.0, "off: scrub.every is 0"
    )


@given(st.floats(0, 30 * DAY), st.binary(min_size=32, max_size=32), st.integers(0, 1 << 50), st.floats(-10, 10))
def test_a_step_is_a_read_or_a_wait_that_ends(elapsed_s: float, following: bytes, held: int, rest_s: float) -> None:
    told = next_step(MONTHLY, Seen(elapsed_s, b"", following, held, rest_s))
    assert (told.deed is Deed.READ) == (told.wait_s == 0)
    again = next_step(MONTHLY, Seen(elapsed_s + told.wait_s, b"", following, held, rest_s - told.wait_s))
    assert again.wait_s <= 1e-6 * DAY


def test_the_part_before_an_id() -> None:
    assert part_before(b"") == part_before(bytes(32)) == 0
    assert part_before(b"\x80" + bytes(31)) == 0.5
    assert part_before(b"\xff" * 32) == pytest.approx(1)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (12.4, "12 s"), (60, "1 minute"), (3600, "60 minutes"), (7200, "2 hours"), (86_400, "24 hours"),
     (1.1e6, "13 days"), (-3, "0 s")],
)  # fmt: skip
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
