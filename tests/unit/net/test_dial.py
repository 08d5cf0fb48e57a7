"""Dialling at several addresses: who decides when all fail, and that no connection is left over. `test_links.py` has
the rest, over the network."""

import asyncio
from collections.abc import Mapping

import pytest

from net_kits import Pair, address, play
from roost.core.cluster import Address
from roost.core.errors import NotAdmitted, Refused, RoostError, Stalled, Unreachable
from roost.net.dial import STAGGER_S, first_to_answer
from roost.net.link import Link

Said = RoostError | Link


async def dial(*said: tuple[float, Said], refused: frozenset[int] = frozenset()) -> tuple[Link, Address]:
    """Dial addresses of which each says something after so many seconds; those `refused` belong to a copy."""
    answers: Mapping[Address, tuple[float, Said]] = {address(n): answer for n, answer in enumerate(said)}
    copies = [answers[address(n)][1] for n in refused]

    async def open_link(at: Address) -> Link:
        seconds, answer = answers[at]
        await asyncio.sleep(seconds)
        if isinstance(answer, RoostError):
            raise answer
        return answer

    def accept(link: Link) -> None:
        if link in copies:
            raise Refused("a copy")

    return await first_to_answer(answers, open_link, accept)


SILENT, NOBODY, STRANGER = Stalled("silent"), Unreachable("nobody"), NotAdmitted("a stranger")
LONG_S = 2.5 * STAGGER_S


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ([(0, NOBODY), (0, NOBODY)], Unreachable),
        ([(0, SILENT), (0, NOBODY)], Stalled),
        ([(0, NOBODY), (0, SILENT)], Stalled),
        ([(STAGGER_S / 2, SILENT), (LONG_S, NOBODY)], Stalled),
        ([(LONG_S, SILENT), (0, STRANGER), (0, NOBODY)], NotAdmitted),
        ([], Unreachable),
    ],
)
def test_who_was_silent_decides_when_nobody_answers(said: list[tuple[float, Said]], kind: type[RoostError]) -> None:
    async def scenario(pair: Pair) -> None:
        with pytest.raises(RoostError) as caught:
            await dial(*said)
        assert type(caught.value) is kind

    play(scenario)


def test_a_copy_at_one_address_does_not_hide_the_right_one_and_is_named_when_there_is_none() -> None:
    async def scenario(pair: Pair) -> None:
        copy, right = await pair.link(), await pair.link()
        assert await dial((0, copy), (0, right), refused=frozenset({0})) == (right, address(1))
        assert not copy.usable
        for rest in (NOBODY, SILENT):
            with pytest.raises(NotAdmitted, match="a copy"):
                await dial((0, await pair.link()), (0, rest), refused=frozenset({0}))

    play(scenario)


def test_a_stranger_at_an_old_address_does_not_hide_the_right_one() -> None:
    async def scenario(pair: Pair) -> None:
        right = await pair.link()
        assert await dial((0, STRANGER), (0, right)) == (right, address(1))
        another = await pair.link()
        assert await dial((LONG_S, another), (0, STRANGER)) == (another, address(0))

    play(scenario)


@pytest.mark.parametrize("late_s", [STAGGER_S, STAGGER_S + 0.5])
def test_of_two_that_answer_one_is_kept(late_s: float) -> None:
    """The second is begun after a second: both answer in the same moment, or the first one later."""

    async def scenario(pair: Pair) -> None:
        first, second = await pair.link(), await pair.link()
        kept, _ = await dial((late_s, first), (0, second))
        assert kept.usable
        if late_s == STAGGER_S:
            assert [first.usable, second.usable].count(True) == 1

    play(scenario)


def test_being_cancelled_leaves_no_task() -> None:
    async def scenario(pair: Pair) -> None:
        before = asyncio.all_tasks()
        task = asyncio.get_running_loop().create_task(dial((60, SILENT), (60, SILENT)))
        await asyncio.sleep(LONG_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == before

    play(scenario)
