"""The service manager of this machine, whichever it is: what is asked of it, and which services of ours it knows."""

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from roost.apps.cli.service_units import ROLES, Role, Service
from roost.apps.replacing import replace_file
from roost.core.errors import Failed, RoostError
from roost.settings.paths import Home

COMMAND_LIMIT_S = 180.0
"""More than stopping a service may take."""


@dataclass(frozen=True, slots=True)
class Found:
    """A service whose `file` is there. `manager` is who runs it; `system` says that only root may change it."""

    role: Role
    manager: str
    unit: str
    file: Path
    system: bool
    home: Path | None
    config: Path | None
    user: str | None


@dataclass(frozen=True, slots=True)
class State:
    """How a service is now: `since` is an RFC 3339 time, or None when it does not run; `detail` is in words."""

    enabled: bool
    running: bool
    pid: int | None
    since: str | None
    detail: str


class ServiceManager(Protocol):
    """One place where services are kept. Every method may raise Failed, which names the command that failed."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def system(self) -> bool:
        """Whether its services are the whole machine's, so that only root may change them."""

    def check(self) -> None:
        """Failed when it does not run here, or does not let this user change anything."""

    def file(self, role: Role) -> Path:
        """Where the service of a role is told of; the file need not exist."""

    def text(self, service: Service) -> str:
        """What that file says of `service`."""

    def find(self, role: Role) -> Found | None:
        """The service of a role that is installed; asks nobody, reads the file alone."""

    def put(self, service: Service, *, restart: bool) -> bool:
        """Write and enable it, and see that it runs; it is restarted when the file changed, or if `restart`. Whether
        the file changed."""

    def remove(self, role: Role) -> None:
        """Stop it, disable it, and remove its file."""

    def state(self, role: Role) -> State:
        """How it is now."""

    def log_command(self, found: Found, *, lines: int, follow: bool) -> list[str]:
        """The command that prints its last words."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command of the service manager printed, and its exit code."""

    code: int
    out: str


def ask(*words: str, may_fail: bool = False) -> Said:
    """Run a command of the service manager. Failed, with the command and its words, when it fails and not `may_fail`,
    when it is not there, or when it does not end."""
    command = shlex.join(words)
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_LIMIT_S, check=False,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError as error:
        raise Failed(f"{words[0]} is not installed", hint=f"needed for: {command}") from error
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{command} did not end within {COMMAND_LIMIT_S:.0f} s", hint="run it by hand") from error
    said = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
    if done.returncode and not may_fail:
        why = said or f"exit {done.returncode}"
        raise Failed(f"{command} failed: {why}", hint="mend what it says, and run this again")
    return Said(done.returncode, done.stdout.decode(errors="replace"))


def refuse_without_root() -> None:
    """Failed, with the command that works, unless root runs this."""
    if os.geteuid() != 0:
        again = shlex.join(["sudo", sys.executable, "-m", "roost", *sys.argv[1:]])
        raise Failed("this is a service of the system, which only root may change", hint=f"run: {again}")


def managers() -> list[ServiceManager]:
    """Where services of ours can be on this machine, as far as this user sees; the first is where `install` puts one.

    Failed on a system that has neither systemd nor launchd.
    """
    if sys.platform == "darwin":
        from roost.apps.cli.service_launchd import Launchd

        return [Launchd()]
    if sys.platform.startswith("linux"):
        from roost.apps.cli.service_systemd import Systemd

        system = Systemd.for_system()
        return [system] if os.geteuid() == 0 else [Systemd.for_user(), system]
    raise Failed(
        f"services are for Linux with systemd and for macOS, not for {sys.platform}",
        hint="let this system's own way of starting programs run: roost join, or roost start",
    )


def all_found() -> list[tuple[ServiceManager, Found]]:
    """Every service of ours that is installed on this machine and that this user sees."""
    return [(manager, found) for manager in managers() for role in ROLES if (found := manager.find(role)) is not None]


def installed(home: Home) -> tuple[Found, State] | None:
    """The service that serves `home`, and how it is; None when there is none. Never raises: of what cannot be asked
    the state says why."""
    try:
        for manager, found in all_found():
            if found.home == home.root:
                return found, state_of(manager, found)
    except (RoostError, OSError):
        return None
    return None


def state_of(manager: ServiceManager, found: Found) -> State:
    """How a service is; when its manager does not answer, that is its detail."""
    try:
        return manager.state(found.role)
    except RoostError as error:
        return State(enabled=False, running=False, pid=None, since=None, detail=error.message)


def written(path: Path, data: bytes) -> bool:
    """Make `path` hold `data`, whole and readable for all; False when it did already."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data, mode=0o644)
    return True


def output_of(command: Sequence[str]) -> Iterator[str]:
    """The lines that a command prints, as it prints them, until it ends; it is ended when nobody asks any more."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except FileNotFoundError as error:
        raise Failed(f"{command[0]} is not installed", hint=f"needed for: {shlex.join(command)}") from error
    assert process.stdout is not None
    try:
        for line in process.stdout:
            yield line.decode(errors="replace").rstrip("\n")
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    if code:
        raise Failed(f"{shlex.join(command)} failed: exit {code}", hint="what it said is above")
