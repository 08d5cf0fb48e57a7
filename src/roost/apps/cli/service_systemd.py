"""Services under systemd: of the system when root asks, else of the user's own service manager."""

import datetime
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from roost.apps.cli.service_manager import Found, State, ask, refuse_without_root, written
from roost.apps.cli.service_units import Role, Service, describe_unit, systemd_unit, unit_name
from roost.core.errors import Failed

SYSTEM_UNITS = Path("/etc/systemd/system")
RUNNING = Path("/run/systemd/system")
"""There when systemd runs this machine: sd_booted(3)."""
LINGERING = Path("/var/lib/systemd/linger")

_PROPERTIES = (
    "UnitFileState", "ActiveState", "SubState", "Result", "ExecMainStatus", "MainPID", "NeedDaemonReload",
    "ActiveEnterTimestampMonotonic",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Systemd:
    """systemd for the whole system, or one user's; units lie in the folder `units`."""

    system: bool
    units: Path
    name: str

    @classmethod
    def for_system(cls) -> "Systemd":
        return cls(True, SYSTEM_UNITS, "systemd")

    @classmethod
    def for_user(cls) -> "Systemd":
        """That of the user who runs this."""
        settings = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        return cls(False, Path(settings) / "systemd" / "user", "systemd --user")

    def check(self) -> None:
        if shutil.which("systemctl") is None or not RUNNING.is_dir():
            raise Failed(
                f"systemd does not run here ({RUNNING} is not there), and nothing else that roost knows keeps services",
                hint="in a container make `roost join` or `roost start` its command, with a restart policy; elsewhere "
                "use what starts programs there",
            )
        if self.system:
            refuse_without_root()

    def file(self, role: Role) -> Path:
        return self.units / unit_name(role)

    def text(self, service: Service) -> str:
        return systemd_unit(service, system=self.system)

    def find(self, role: Role) -> Found | None:
        file = self.file(role)
        try:
            described = describe_unit(file.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return None
        return Found(
            role, self.name, file.name, file, self.system, described.home, described.config, described.user
        )  # fmt: skip

    def put(self, service: Service, *, restart: bool) -> bool:
        unit = unit_name(service.role)
        changed = written(self.file(service.role), self.text(service).encode())
        before = self._show(unit)
        if changed or before.get("NeedDaemonReload") == "yes":
            self._ask("daemon-reload")
        self._ask("enable", unit)
        if changed or restart or before.get("ActiveState") != "active":
            # One that failed too often is started again only after this; it is of no matter to any other.
            self._ask("reset-failed", unit, may_fail=True)
            self._ask("restart", unit)
        return changed

    def remove(self, role: Role) -> None:
        unit = unit_name(role)
        self._ask("disable", "--now", unit)
        self.file(role).unlink(missing_ok=True)
        self._ask("daemon-reload")
        self._ask("reset-failed", unit, may_fail=True)

    def state(self, role: Role) -> State:
        shown = self._show(unit_name(role))
        running = shown.get("ActiveState") == "active"
        pid = int(shown.get("MainPID") or 0) or None
        return State(
            enabled=shown.get("UnitFileState") == "enabled",
            running=running,
            pid=pid if running else None,
            since=_since(shown.get("ActiveEnterTimestampMonotonic")) if running else None,
            detail=_detail(shown),
        )

    def log_command(self, found: Found, *, lines: int, follow: bool) -> list[str]:
        whose = [] if self.system else ["--user"]
        ending = ["--follow"] if follow else []
        return [
            "journalctl", *whose, "--unit", found.unit, "--lines", str(lines), "--no-pager", "--output", "short-iso",
            *ending,
        ]  # fmt: skip

    def _ask(self, *words: str, may_fail: bool = False) -> str:
        whose = [] if self.system else ["--user"]
        return ask("systemctl", *whose, "--no-ask-password", *words, may_fail=may_fail).out

    def _show(self, unit: str) -> dict[str, str]:
        out = self._ask("show", f"--property={','.join(_PROPERTIES)}", unit)
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)


def lingers(user: str) -> bool:
    """Whether the user's services run without the user being logged in: loginctl(1), enable-linger."""
    return (LINGERING / user).exists()


def _since(monotonic: str | None) -> str | None:
    """The time of an event that systemd tells in microseconds of the monotonic clock, which a set clock never moves."""
    if not monotonic or not monotonic.isdecimal() or monotonic == "0":
        return None
    ago_s = time.monotonic() - int(monotonic) / 1e6
    at = datetime.datetime.fromtimestamp(time.time() - ago_s, datetime.UTC)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _detail(shown: dict[str, str]) -> str:
    active, sub = shown.get("ActiveState", "unknown"), shown.get("SubState", "")
    parts = [f"{active} ({sub})" if sub else active]
    if shown.get("Result", "success") != "success":
        parts.append(f"{shown['Result']}, exit {shown.get('ExecMainStatus', '?')}")
    return ": ".join(parts)
