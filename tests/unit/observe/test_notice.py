"""The words say what is wrong, since when and what to do, and no name smuggles a line in."""

from roost.observe.firing import Alert, Notice
from roost.observe.notice import TITLE_CHARACTERS_MAX, TOLD_MAX, text_of, title_of

WALL = 1_800_000_000.0


def alert(name: str = "pi-1", *, critical: bool = False) -> Alert:
    severity = "critical" if critical else "warning"
    return Alert("RoostNodeDown", (), severity, f"{name} does not answer", "roost doctor", WALL - 600)  # type: ignore[arg-type]


def test_a_title_says_the_first_and_how_many_more() -> None:
    assert title_of(Notice((alert(),)), cluster="home") == "home: warning: pi-1 does not answer"
    both = Notice((alert(critical=True),), (alert("pi-2"),))
    assert title_of(both, cluster="home") == "home: CRITICAL: pi-1 does not answer (and 1 more)"
    assert title_of(Notice((), (alert(),)), cluster="home") == "home: still warning: pi-1 does not answer"
    assert title_of(Notice(over=(alert(),)), cluster="home") == "home: over: pi-1 does not answer"
    long = title_of(Notice((alert("x" * 500), alert())), cluster="home")
    assert len(long) == TITLE_CHARACTERS_MAX
    assert long.endswith("... (and 1 more)")


def test_the_text_says_what_to_do_and_since_when() -> None:
    text = text_of(Notice((alert(),), over=(alert("pi-2"),)), wall_s=WALL, machine="mac")
    assert "warning: pi-1 does not answer\n  What to do: roost doctor\n" in text
    assert "RoostNodeDown, since 2027-01-15 07:50 UTC (for 10 minutes)" in text
    assert "Over:\n\npi-2 does not answer\n  That is over." in text
    assert "Told by Roost on mac, 2027-01-15 08:00 UTC" in text


def test_nothing_in_a_name_ends_a_line() -> None:
    bad = alert("pi\r\nBcc: x@y")
    assert title_of(Notice((bad,)), cluster="ho\nme") == "ho?me: warning: pi??Bcc: x@y does not answer"
    assert "\nBcc" not in text_of(Notice((bad,)), wall_s=WALL, machine="mac")


def test_of_very_many_only_the_first_are_spelled_out() -> None:
    many = tuple(alert(f"pi-{number}") for number in range(TOLD_MAX + 30))
    text = text_of(Notice(many), wall_s=WALL, machine="mac")
    assert text.count("does not answer") == TOLD_MAX
    assert "and 30 more" in text
