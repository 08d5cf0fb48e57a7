"""The history of a coordinator: numbered, bounded, followed, and without secrets."""

import asyncio

from roost.node.events import KEPT, SECRET, Event, History


def test_it_is_numbered_and_bounded() -> None:
    async def main() -> None:
        history = History(lambda: 5.0)
        for number in range(KEPT + 10):
            history.add(Event("stored", f"stored {number}"))
        kept = history.after(0)
        assert (len(kept), kept[0].number, kept[-1].number, kept[0].at) == (KEPT, 11, KEPT + 10, 5)
        assert [each.number for each in history.after(KEPT + 8)] == [KEPT + 9, KEPT + 10]

    asyncio.run(main())


def test_who_waits_hears_of_the_next_one() -> None:
    async def main() -> None:
        history = History(lambda: 5.0)
        waiting = [asyncio.create_task(history.wait(number)) for number in (0, 0, 1)]
        await asyncio.sleep(0)
        history.add(Event("ready", "ready"))
        await asyncio.wait_for(asyncio.gather(*waiting[:2]), 5)
        assert not waiting[2].done()
        history.add(Event("ready", "ready"))
        await asyncio.wait_for(waiting[2], 5)

    asyncio.run(main())


def test_what_only_the_one_before_the_machine_may_see_is_left_out() -> None:
    async def main() -> None:
        history = History(lambda: 5.0)
        for kind in sorted(SECRET):
            history.add(Event(kind, "words", {"recovery_code": "x", "token": "y", "code": "z"}))
        assert all(not told.event.data for told in history.after(0))

    asyncio.run(main())
