"""Pairing by a code: what a person may mistype, what each side must know, and how often a stranger may guess."""

import contextlib

import pytest

from roost.core.errors import Busy, NotAdmitted, UsageError
from roost.security.crockford import ALPHABET
from roost.security.pairing import (
    ATTEMPT_S,
    ATTEMPTS_MAX,
    CODE_S,
    EVERY_S,
    FORGIVEN_S,
    PAUSE_MAX_S,
    Admitter,
    Bound,
    Guesses,
    JoinCode,
    Joiner,
)

BOUND = Bound(b"authority", b"leaf", b"request")
CERTIFICATE = b"certificate"


# -- the code --------------------------------------------------------------------------------------------------------


def test_a_code_has_35_bits_and_is_read_back_however_it_is_written() -> None:
    codes = {JoinCode.create().secret for _ in range(200)}
    assert len(codes) == 200
    for place in range(7):
        assert len({code[place] for code in codes}) > 20, "each character is drawn"
    code = JoinCode.create()
    text = code.format()
    assert [len(group) for group in text.split("-")] == [4, 4]
    for spelt in (text.lower(), text.replace("-", ""), f"  {text}\n", text.replace("-", " "), text.replace("0", "O")):
        assert JoinCode.parse(spelt) == code


def test_a_slip_is_told_before_it_costs_a_guess() -> None:
    """Each wrong character but one of 31, and each two neighbours that changed places."""
    text = JoinCode("K7Q4XMR").format()
    passed = 0
    for place in (i for i, c in enumerate(text) if c != "-"):
        for other in set(ALPHABET) - {text[place]}:
            with contextlib.suppress(UsageError):
                JoinCode.parse(text[:place] + other + text[place + 1 :])
                passed += 1
    assert passed <= 8
    plain = text.replace("-", "")
    for place in range(7):
        swapped = plain[:place] + plain[place + 1] + plain[place] + plain[place + 2 :]
        if swapped != plain:
            with pytest.raises(UsageError):
                JoinCode.parse(swapped)


@pytest.mark.parametrize("text", ["", "K7Q4-XMR", "K7Q4-XMR9-K", "K7Q4-XMRU", "K7Q4-XM\u00c4R"])
def test_what_is_no_code_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        JoinCode.parse(text)
    assert not text or text not in str(caught.value)


def test_a_code_is_in_no_representation() -> None:
    code = JoinCode.create()
    assert code.secret not in repr(code)


# -- the two sides ---------------------------------------------------------------------------------------------------


def test_who_used_the_same_code_proves_it_and_is_proved_to() -> None:
    code = JoinCode.create()
    joiner = Joiner(code)
    admitter = Admitter(code, joiner.message)
    assert admitter.is_proved(joiner.prove(admitter.message, BOUND), BOUND)
    joiner.check(admitter.confirm(BOUND, CERTIFICATE), BOUND, CERTIFICATE)
    with pytest.raises(NotAdmitted, match="does not know the join code"):
        joiner.check(admitter.confirm(BOUND, CERTIFICATE), BOUND, b"another certificate")


def test_another_code_proves_nothing_either_way() -> None:
    joiner = Joiner(JoinCode.create())
    admitter = Admitter(JoinCode.create(), joiner.message)
    assert not admitter.is_proved(joiner.prove(admitter.message, BOUND), BOUND)
    with pytest.raises(NotAdmitted):
        joiner.check(admitter.confirm(BOUND, CERTIFICATE), BOUND, CERTIFICATE)


@pytest.mark.parametrize(
    "other",
    [Bound(b"another", b"leaf", b"request"), Bound(b"authority", b"another", b"request"),
     Bound(b"authority", b"leaf", b"another")],
    ids=["authority", "leaf", "request"],
)  # fmt: skip
def test_one_in_the_middle_cannot_swap_what_is_bound(other: Bound) -> None:
    """He passes the messages on, but his TLS end has a certificate of his own, or he puts in a request of his own."""
    code = JoinCode.create()
    joiner = Joiner(code)
    admitter = Admitter(code, joiner.message)
    assert not admitter.is_proved(joiner.prove(admitter.message, other), BOUND)
    with pytest.raises(NotAdmitted):
        joiner.check(admitter.confirm(BOUND, CERTIFICATE), other, CERTIFICATE)


def test_a_proof_does_not_stand_for_the_other_sides() -> None:
    code = JoinCode.create()
    joiner = Joiner(code)
    admitter = Admitter(code, joiner.message)
    proof = joiner.prove(admitter.message, BOUND)
    with pytest.raises(NotAdmitted):
        joiner.check(proof, BOUND, CERTIFICATE)


def test_a_proof_replayed_to_another_attempt_proves_nothing() -> None:
    code = JoinCode.create()
    joiner = Joiner(code)
    heard = joiner.prove(Admitter(code, joiner.message).message, BOUND)
    assert not Admitter(code, joiner.message).is_proved(heard, BOUND)


@pytest.mark.parametrize("message", [b"", b"S", b"B" + bytes(32), b"A" + bytes(32), b"S" + b"\xff" * 32, bytes(64)])
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(NotAdmitted, match="no step of a pairing"):
        Admitter(JoinCode.create(), message)
    with pytest.raises(NotAdmitted, match="no step of a pairing"):
        Joiner(JoinCode.create()).prove(message, BOUND)


def test_an_own_message_sent_back_is_refused() -> None:
    joiner = Joiner(JoinCode.create())
    with pytest.raises(NotAdmitted, match="no step of a pairing"):
        joiner.prove(joiner.message, BOUND)


# -- guessing --------------------------------------------------------------------------------------------------------


def test_a_code_lets_in_any_number_for_ten_minutes() -> None:
    guesses = Guesses(0)
    code = guesses.code
    for n in range(20):
        attempt, used = guesses.begin(f"host {n}", 10.0 * n)
        assert used == code
        guesses.take(attempt, 10.0 * n + 1)
    assert guesses.left_s(CODE_S - 1) == 1
    assert guesses.left_s(CODE_S) == 0
    assert guesses.begin("late", CODE_S)[1] != code, "its time is over"


def test_a_wrong_one_ends_the_code_and_all_attempts_with_it() -> None:
    guesses = Guesses(0)
    code = guesses.code
    first, _ = guesses.begin("a", 0)
    second, _ = guesses.begin("b", 0)
    guesses.take(first, 1)
    assert "can be tried once" in guesses.wrong(1).message
    assert guesses.code != code
    with pytest.raises(NotAdmitted, match="over"):
        guesses.take(second, 1)
    with pytest.raises(Busy, match="wrong join code"):
        guesses.begin("c", 1.5)
    assert guesses.begin("c", 2.5)[1] == guesses.code


def test_a_stranger_has_few_guesses_however_long_he_tries() -> None:
    guesses = Guesses(0)
    now, made = 0.0, []
    while now < 10 * 3600:
        try:
            attempt, _ = guesses.begin("stranger", now)
        except Busy:
            now += 0.5
            continue
        guesses.take(attempt, now)
        guesses.wrong(now)
        made.append(now)
    assert len([at for at in made if at < 3600]) <= 15
    for hour in range(1, 10):
        assert len([at for at in made if hour * 3600 <= at < (hour + 1) * 3600]) <= 6


def test_a_typo_a_day_costs_a_second() -> None:
    guesses = Guesses(0)
    for day in range(3):
        now = day * (FORGIVEN_S + 1)
        attempt, _ = guesses.begin("person", now)
        guesses.take(attempt, now)
        guesses.wrong(now)
        assert guesses.opens_in_s(now) == 1
    assert PAUSE_MAX_S > 1


def test_beginning_and_not_proving_costs_the_code_nothing_and_is_bounded() -> None:
    guesses = Guesses(0)
    code = guesses.code
    for n in range(ATTEMPTS_MAX):
        guesses.begin(f"host {n}", 0)
    with pytest.raises(Busy, match="others are joining"):
        guesses.begin("one more", 0)
    with pytest.raises(Busy):
        guesses.begin("host 0", EVERY_S / 2)
    attempt, used = guesses.begin("one more", ATTEMPT_S)
    assert used == code
    with pytest.raises(NotAdmitted):
        guesses.take(attempt, 3 * ATTEMPT_S)
    with pytest.raises(NotAdmitted):
        guesses.take(b"never begun", 0)
