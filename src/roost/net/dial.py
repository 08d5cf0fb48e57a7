"""Dialling one peer at several addresses: in order, the next one beside those that are silent.

A peer may have several addresses of which some lead nowhere: that of a network it left, or of another card. One that is
refused costs nothing, one that is silent would cost 5 s, so after a second the next is tried as well (RFC 8305).
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from roost.core.cluster import Address
from roost.core.errors import NotAdmitted, Refused, RoostError, Stalled, Unreachable
from roost.net.link import Link

STAGGER_S = 1.0

Open = Callable[[Address], Coroutine[Any, Any, Link]]
Accept = Callable[[Link], None]


async def first_to_answer(addresses: Iterable[Address], open_link: Open, accept: Accept) -> tuple[Link, Address]:
    """The link to the first address that answers, opened by `open_link`, and that `accept` takes; and that address.

    `accept` raises Refused when another may be the right one, any other error when it is of no use to go on. Raises
    that; when no address is left, NotAdmitted if a machine of another cluster or a copy was at one (an old address may
    be anybody's by now, and a false one may be told by anybody), Stalled when one was silent, and else Unreachable.
    """
    waiting = iter(addresses)
    address = next(waiting, None)
    under_way: dict[asyncio.Task[Link], Address] = {}
    problem: RoostError = Unreachable("no address of it is known", hint="see: roost nodes")
    chosen: Link | None = None
    try:
        while address is not None or under_way:
            if address is not None:
                under_way[asyncio.get_running_loop().create_task(open_link(address))] = address
                address = next(waiting, None)
            limit_s = STAGGER_S if address is not None else None
            done, _ = await asyncio.wait(under_way, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in under_way if task in done]:
                at = under_way.pop(task)
                try:
                    link = task.result()
                except RoostError as error:
                    problem = _worse(problem, error)
                    continue
                try:
                    accept(link)
                except Refused as refused:
                    link.abort()
                    problem = NotAdmitted(refused.message, hint=refused.hint)
                except BaseException:
                    link.abort()
                    raise
                else:
                    chosen = link
                    return link, at
        raise problem
    finally:
        for task in under_way:
            task.add_done_callback(_abort)
            task.cancel()
        try:
            await asyncio.gather(*under_way, return_exceptions=True)
        except asyncio.CancelledError:
            if chosen is not None:
                chosen.abort()
            raise


def _abort(task: asyncio.Task[Link]) -> None:
    """Give up what was dialled beside the link that is taken, if it answers all the same."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


def _worse(known: RoostError, fresh: RoostError) -> RoostError:
    """The one that decides what is tried next: who is silent will be so again in a moment, and a copy stays one."""
    if isinstance(known, NotAdmitted) or (isinstance(known, Stalled) and not isinstance(fresh, NotAdmitted)):
        return known
    return fresh
