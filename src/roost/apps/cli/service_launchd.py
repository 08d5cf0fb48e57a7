"""Services under launchd, as daemons of the system that run as a user: launchctl(1), launchd.plist(5)."""

import datetime
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from roost.apps.cli.service_manager import Found, State, ask, refuse_without_root, written
from roost.apps.cli.service_units import STOP_LIMIT_S, Role, Service, describe_plist, label, launchd_log, launchd_plist
from roost.core.errors import Failed

DAEMONS = Path("/Library/LaunchDaemons")
POLL_S = 0.25

_PID = re.compile(r"^\s*pid = (\d+)$", re.MULTILINE)
_STATE = re.compile(r"^\s*state = (.+)$", re.MULTILINE)
_EXIT = re.compile(r"^\s*last exit code = (\d+)", re.MULTILINE)
_ELAPSED = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)\Z")


@dataclass(frozen=True, slots=True)
class Launchd:
    """launchd's domain of the system; property lists lie in the folder `daemons`."""

    daemons: Path = DAEMONS
    system: bool = True
    name: str = "launchd"

    def check(self) -> None:
        if shutil.which("launchctl") is None:
            raise Failed("launchctl is not installed", hint="is this macOS? see: roost service --help")
        refuse_without_root()

    def file(self, role: Role) -> Path:
        return self.daemons / f"{label(role)}.plist"

    def text(self, service: Service) -> str:
        return launchd_plist(service).decode()

    def find(self, role: Role) -> Found | None:
        file = self.file(role)
        try:
            described = describe_plist(file.read_bytes())
        except FileNotFoundError:
            return None
        return Found(role, self.name, label(role), file, True, described.home, described.config, described.user)

    def put(self, service: Service, *, restart: bool) -> bool:
        target = _target(service.role)
        changed = written(self.file(service.role), self.text(service).encode())
        if changed:
            self._unload(service.role)
        ask("launchctl", "enable", target)
        printed = _print(service.role)
        if printed is None:
            ask("launchctl", "bootstrap", "system", str(self.file(service.role)))
        elif restart:
            ask("launchctl", "kickstart", "-k", target)
        elif _PID.search(printed) is None:
            ask("launchctl", "kickstart", target)
        return changed

    def remove(self, role: Role) -> None:
        self._unload(role)
        self.file(role).unlink(missing_ok=True)

    def state(self, role: Role) -> State:
        printed = _print(role)
        disabled = ask("launchctl", "print-disabled", "system", may_fail=True).out
        # "label" => disabled; before macOS 13: "label" => true
        enabled = re.search(rf'"{re.escape(label(role))}" => (disabled|true)\b', disabled) is None
        if printed is None:
            return State(enabled=enabled, running=False, pid=None, since=None, detail="not loaded")
        found = _PID.search(printed)
        state = _STATE.search(printed)
        left = _EXIT.search(printed)
        detail = state[1] if state else "unknown"
        if found is None:
            detail += f": exit {left[1]}" if left and left[1] != "0" else ""
            return State(enabled=enabled, running=False, pid=None, since=None, detail=detail)
        pid = int(found[1])
        return State(enabled=enabled, running=True, pid=pid, since=_since(pid), detail=detail)

    def log_command(self, found: Found, *, lines: int, follow: bool) -> list[str]:
        if found.home is None:
            raise Failed(f"{found.file} does not say where the home is", hint="install the service again")
        return ["tail", "-n", str(lines), *(["-F"] if follow else []), str(launchd_log(found.home))]

    def _unload(self, role: Role) -> None:
        """Stop it and take it out of launchd, which answers before it is done."""
        if _print(role) is None:
            return
        ask("launchctl", "bootout", _target(role), may_fail=True)
        deadline = time.monotonic() + STOP_LIMIT_S
        while _print(role) is not None:
            if time.monotonic() > deadline:
                raise Failed(
                    f"launchctl bootout {_target(role)} did not stop it within {STOP_LIMIT_S} s", hint="run it by hand"
                )
            time.sleep(POLL_S)


def _target(role: Role) -> str:
    return f"system/{label(role)}"


def _print(role: Role) -> str | None:
    """What launchd says of the service; None when it is not loaded."""
    said = ask("launchctl", "print", _target(role), may_fail=True)
    return said.out if said.code == 0 else None


def _since(pid: int) -> str | None:
    """When the process began, by the time that ps says it has been running."""
    elapsed = _ELAPSED.match(ask("ps", "-o", "etime=", "-p", str(pid), may_fail=True).out.strip())
    if elapsed is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in elapsed.groups())
    ago = datetime.timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    at = datetime.datetime.fromtimestamp(time.time(), datetime.UTC) - ago
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
