"""A node's presence: its own member record kept true while it runs, and its end when it is no member any more."""

import asyncio
from collections.abc import Awaitable, Callable

from roost.cluster.membership import Membership
from roost.cluster.records import RecordSet
from roost.codec.records import MemberRecord, encode_record
from roost.core.errors import DiskFault, NoSpace, NotAdmitted, RoostError
from roost.core.ids import NodeId
from roost.core.runtime import Runtime

LOOK_EVERY_S = 5.0
"""How often we look whether our addresses are still those that we tell."""
PAUSE_S = 5.0
PAUSE_MAX_S = 3600.0
CALM_S = 2 * PAUSE_MAX_S
"""A record that says something else of us than we do is answered with a newer one: at once, then after 5 s, 10 s and
so on up to an hour, so that two processes with one key do not fill the record set. After two calm hours it begins
anew."""

Describe = Callable[[], Awaitable[MemberRecord]]


class Presence:
    """`describe` makes the member record that is true now: the newest known one if that is. Tell `view_changed`."""

    def __init__(
        self, runtime: Runtime, membership: Membership, records: RecordSet, *, own: NodeId, fingerprint: bytes,
        describe: Describe,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._membership = membership
        self._records = records
        self._own = own
        self._fingerprint = fingerprint
        self._describe = describe
        self._ended = asyncio.Event()
        self._stale = asyncio.Event()

    def view_changed(self) -> None:
        """The view is another one: we may be told wrongly in it, or not be in it."""
        self._stale.set()
        self._ended.set()

    def require_member(self) -> None:
        """Raises NotAdmitted when we have left, or were struck off."""
        if self._membership.is_revoked(self._fingerprint):
            raise NotAdmitted(
                "this node was struck off the cluster",
                hint="join again with a token, in a new home: roost join TOKEN --home DIR",
            )
        standing = self._membership.standing(self._own)
        if standing is not None and standing.state == "left":
            raise NotAdmitted(
                "this node has left the cluster: what it kept is kept elsewhere",
                hint="to bring it back: roost join TOKEN    (a token: roost token create, on the coordinator)",
            )

    async def watch(self) -> None:
        """Wait until we are no member any more, for ever if need be; raises NotAdmitted then."""
        while True:
            self.require_member()
            self._ended.clear()
            await self._ended.wait()

    async def say(self) -> bool:
        """Tell who and where we are, when that changed; whether it did. What the disk does not take now is said later,
        by `keep`."""
        try:
            record = await self._describe()
            return await self._records.add(encode_record(record))
        except (NoSpace, DiskFault):
            return False

    async def _said(self) -> bool:
        try:
            return await self.say()
        except RoostError:
            return False

    async def keep(self) -> None:
        """Say it again whenever something else is told of us, or our addresses changed, for ever. What cannot be
        written now is tried again later."""
        pause, said_s = 0.0, self._runtime.now() - CALM_S
        while True:
            self._stale.clear()
            if await self._said():
                now = self._runtime.now()
                pause = 0.0 if now - said_s >= CALM_S else min(PAUSE_MAX_S, max(PAUSE_S, 2 * pause))
                said_s = now
                await self._runtime.sleep(pause)
            try:
                async with self._runtime.timeout(LOOK_EVERY_S):
                    await self._stale.wait()
            except TimeoutError:
                continue
