"""Inviting: what a coordinator shows a person who wants other machines to join: a token once, for a camera, and a join
code that is always a fresh one."""

from functools import partial

from roost.core.runtime import Runtime
from roost.disk.posix import PosixDisk
from roost.net.server import Handlers
from roost.node.admission import Door
from roost.node.events import Event, Say
from roost.node.tokens import create_token
from roost.security.authority import Authority, cluster_name_of
from roost.security.identity import Identity
from roost.security.pairing import JoinCode
from roost.settings.paths import Home
from roost.settings.schema import Settings

TOKEN_S = 600.0


class Inviting:
    """The invitations of the coordinator `identity`, whose home holds the authority's key."""

    def __init__(
        self, runtime: Runtime, disk: PosixDisk, home: Home, settings: Settings, identity: Identity, say: Say
    ) -> None:
        self._runtime = runtime
        self._home = home
        self._settings = settings
        self._identity = identity
        self._say = say
        self._door = Door(
            runtime, shown=identity.certificate, authority=partial(Authority.load, disk), tried=self._tried
        )

    def handlers(self) -> Handlers:
        """What is served to strangers while a code is shown."""
        return self._door.handlers()

    async def run(self) -> None:
        """Show the token, then each code when it is good, for ever."""
        token, expires_at = await create_token(self._home, self._settings, ttl_s=TOKEN_S, uses=None)
        name = cluster_name_of(self._identity.authority)
        data: dict[str, object] = {"cluster": name, "token": token, "expires_at": expires_at}
        self._say(Event("invitation", f"the cluster {name!r} admits machines", data))
        await self._door.run(self._show)

    def _show(self, code: JoinCode, good_for_s: float) -> None:
        data: dict[str, object] = {"join_code": code.format(), "good_for_s": int(good_for_s)}
        self._say(Event("join-code", "another machine joins with this code", data))

    def _tried(self, host: str) -> None:
        wait = self._door.guesses.opens_in_s(self._runtime.now())
        text = f"a wrong join code was tried from {host}; another is shown in {wait:.0f} s"
        self._say(Event("warning", text, {"host": host}))
