"""What `roost service install` is about to install: for whom, in which role, and what must be true of the home."""

import contextlib
import os
import pwd
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roost.apps.cli.join import TOKEN_VARIABLE, paired
from roost.apps.cli.service_manager import ServiceManager, all_found
from roost.apps.cli.service_units import Role, Service
from roost.apps.replacing import replace_file
from roost.core.errors import Busy, Failed, NotAdmitted, UsageError
from roost.settings.load import Loaded
from roost.settings.paths import VARIABLE, Home

TOKEN_FILE = "service.env"  # noqa: S105  # its name, not its value
_STORE = "store"
_AUTHORITY_KEY = "key.pem"
_TOKEN = re.compile(r"[A-Za-z0-9._:/@+=-]{1,8192}\Z")
"""What neither systemd nor a shell could read as anything but itself."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whose service it is: the account behind sudo, or the one that runs this."""

    name: str
    uid: int
    gid: int
    directory: str
    by_sudo: bool

    @classmethod
    def installing(cls) -> "Person":
        """Who installs. Failed when the account is not known here."""
        sudo = os.environ.get("SUDO_USER") if os.geteuid() == 0 else None
        try:
            entry = pwd.getpwnam(sudo) if sudo else pwd.getpwuid(os.geteuid())
        except KeyError:
            who = sudo or f"number {os.geteuid()}"
            raise Failed(f"there is no account {who} on this machine", hint="install it from one that is") from None
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, bool(sudo))

    @contextlib.contextmanager
    def acting(self) -> Iterator[None]:
        """Do what follows with this person's rights, so that root writes nothing where they could not."""
        if os.geteuid() != 0 or self.uid == 0:
            yield
            return
        group = os.getegid()
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(group)


def find_home(given: str | None, person: Person) -> Home:
    """The home as `person` would find it: sudo changes whose data directory is the usual one."""
    if not given and not os.environ.get(VARIABLE) and person.by_sudo:
        os.environ["HOME"] = person.directory
    return Home.find(given)


def role_of(home: Home, asked: Role | None, *, token: str | None) -> Role:
    """The role that this home has: a storage node's, or one that admits or is paired.

    NotAdmitted when it is not paired and no `token` could pair it; UsageError when it has the other role than `asked`.
    """
    keeps = (home.identity / _STORE).exists()
    admits = (home.authority / _AUTHORITY_KEY).exists()
    role = asked or ("node" if keeps or home.chunks.exists() else "coordinator" if admits or paired(home) else None)
    if role is None and token:
        role = "node"
    if role == "coordinator" and keeps:
        raise UsageError(
            f"{home.root} is the home of a storage node, not of a coordinator",
            hint="leave --role out to install the node, or give the coordinator a home of its own with --home",
        )
    if role == "node" and admits and not keeps:
        raise UsageError(
            f"{home.root} is the home of a coordinator, which keeps no chunks",
            hint="leave --role out to install the coordinator; a node has a home of its own: --home DIR",
        )
    if role == "coordinator" and not admits and not paired(home):
        raise NotAdmitted(
            f"{home.root} belongs to no cluster yet, and its recovery code is told only once, to whoever starts it",
            hint=f"{spelled('start', home)}    once by hand; write the code down, Ctrl-C, then this again",
        )
    if role is None or (role == "node" and not paired(home) and not token):
        raise NotAdmitted(
            f"{home.root} belongs to no cluster yet",
            hint=f"{spelled('join TOKEN', home)}    or, to make a cluster, {spelled('start', home)}    once by hand, "
            f"then Ctrl-C and this again; a node is also installed unpaired, with {TOKEN_VARIABLE}=TOKEN before this",
        )
    return role


def token_given(home: Home) -> str | None:
    """The join token in the environment, if this home still has a use for it. UsageError when it cannot be one."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token or paired(home):
        return None
    if not _TOKEN.match(token):
        raise UsageError(f"{TOKEN_VARIABLE} holds no join token", hint="copy the word that roost token create printed")
    return token


def plan(home: Home, loaded: Loaded, person: Person, *, role: Role | None) -> tuple[Service, str | None]:
    """The service to install, and the join token that it still needs. Writes nothing."""
    with person.acting():
        token = token_given(home)
        found = role_of(home, role, token=token)
        _check_owner(home, person)
    service = Service(
        role=found,
        home=home.root,
        config=loaded.file,
        user=person.name,
        python=sys.executable,
        token_file=token_file(home) if token else None,
        reads=tuple(Path(folder.path) for folder in loaded.settings.watch) if found == "coordinator" else (),
    )
    service.check()
    return service, token


def _check_owner(home: Home, person: Person) -> None:
    """Failed when the service would leave files in the home that the home's own user cannot change."""
    if os.geteuid() != 0 and person.uid != 0:
        return
    with contextlib.suppress(FileNotFoundError):
        owner = home.root.stat().st_uid
        if owner != person.uid:
            try:
                name = pwd.getpwuid(owner).pw_name
            except KeyError:
                name = f"user {owner}"
            raise Failed(
                f"{home.root} belongs to {name}, but the service would run as {person.name}",
                hint=f"as {name} run: sudo {spelled('service install', home)}",
            )


def check_free(manager: ServiceManager, service: Service, person: Person) -> None:
    """Failed when another service has this home or this name; Busy when the home is served, but not by a service."""
    runs = False
    for other, found in all_found():
        same = found.file == manager.file(service.role)
        if same and found.home in (None, service.home):
            runs = other.state(found.role).running
        elif same or found.home == service.home:
            raise Failed(
                f"{found.file} is installed already, for {found.home}",
                hint="remove it first, with --home if that is another one: roost service uninstall",
            )
    if runs:
        return
    from roost.client.run_state import serving

    with person.acting():
        state = serving(Home(service.home)) if service.home.exists() else None
    if state is not None:
        raise Busy(
            f"{service.home} is served by process {state.pid}, which is no service",
            hint="stop it first: Ctrl-C where it runs, or kill its process; then run this again",
        )


def prepare(service: Service, token: str | None, person: Person) -> bool:
    """Make the home, and put the token where only its user reads it. Whether a new token was put there."""
    home = Home(service.home)
    with person.acting():
        home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.logs.mkdir(exist_ok=True, mode=0o700)
        if token is None:
            forget_token(home)
            return False
        data = f"{TOKEN_VARIABLE}={token}\n".encode()
        path = token_file(home)
        if path.exists() and path.read_bytes() == data:
            return False
        replace_file(path, data, mode=0o600)
        return True


def token_file(home: Home) -> Path:
    """Where a join token waits until the node is paired."""
    return home.root / TOKEN_FILE


def forget_token(home: Home) -> None:
    """Remove the token; it is of no use to a node that is paired."""
    token_file(home).unlink(missing_ok=True)


def spelled(command: str, home: Home) -> str:
    """A command as it can be typed on this machine, whoever types it."""
    program = Path(sys.executable).with_name("roost")
    name = shlex.quote(str(program)) if program.exists() else f"{shlex.quote(sys.executable)} -m roost"
    return f"{name} {command} --home {shlex.quote(str(home.root))}"
