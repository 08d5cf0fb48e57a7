"""What a service is, and the file that tells systemd or launchd of it: pure text, nothing is looked up or written here.

systemd's rules of quoting differ from key to key (systemd.syntax(7), systemd.service(5)): commands and lists of paths
are words, which quotes hold together and in which a backslash escapes; some keys take the rest of the line as it
stands. ``%`` begins a specifier in all of them, and ``$`` a variable in commands alone.
"""

import json
import plistlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias
from xml.parsers.expat import ExpatError

from roost.core.errors import NotAdmitted, UsageError

Role: TypeAlias = Literal["node", "coordinator"]
ROLES: tuple[Role, ...] = ("node", "coordinator")

RESTART_S = 15
START_WINDOW_S = 3600
STARTS_MAX = 120
"""Starts within the window, after which systemd gives up: half an hour of failing at once, hours of failing slowly."""
STOP_LIMIT_S = 90
FILES_MAX = 65536
MARK = "# roost: "

_COMMANDS: dict[Role, str] = {"node": "join", "coordinator": "start"}
_HOPELESS = (UsageError.exit_code, NotAdmitted.exit_code)
"""Exit codes that another start cannot change."""
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108  # what PrivateTmp= hides
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,=-]+\Z")
_WITH_TOKEN = 'set -a; if [ -r "$0" ]; then . "$0"; fi; set +a; exec "$@"'  # noqa: S105  # a script, not a secret


@dataclass(frozen=True, slots=True)
class Service:
    """A node or the coordinator as this machine is to run it. Every path is absolute; `user` is an account's name.

    `config` None leaves the settings to the home. `token_file` is where a join token waits for a node that is not
    paired yet. `reads` are the folders that it watches.
    """

    role: Role
    home: Path
    config: Path | None
    user: str
    python: str
    token_file: Path | None = None
    reads: tuple[Path, ...] = ()

    def command(self) -> list[str]:
        """The words that run it."""
        config = ["--config", str(self.config)] if self.config else []
        return [self.python, "-m", "roost", _COMMANDS[self.role], "--home", str(self.home), *config]

    def check(self) -> None:
        """UsageError when a path is such that neither systemd nor launchd could be told of it."""
        for path in (self.python, self.home, self.config, self.token_file):
            text = str(path or "")
            if any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) < 0xE000 for letter in text):
                raise UsageError(
                    f"the path {text!r} has control characters or is not UTF-8; no service can be told of it",
                    hint="rename it, or use another home with --home",
                )


@dataclass(frozen=True, slots=True)
class Described:
    """What an installed file says of its service. None: unknown, for somebody else wrote or changed the file."""

    home: Path | None
    config: Path | None
    user: str | None


# -- systemd ---------------------------------------------------------------------------------------------------------


def unit_name(role: Role) -> str:
    """The systemd unit of a role."""
    return f"roost-{role}.service"


def systemd_unit(service: Service, *, system: bool) -> str:
    """The text of a unit for the system (`system`), or for the service manager of its user, which may do less."""
    described = {"config": _text(service.config), "home": str(service.home), "user": service.user}
    sections = [
        [
            "# Written by `roost service install`, which replaces it. Changes of yours belong into a drop-in:",
            f"# systemctl {'' if system else '--user '}edit {unit_name(service.role)}",
            MARK + json.dumps(described, sort_keys=True),
        ],
        ["[Unit]", *_about(service, system)],
        ["[Service]", *_running(service, system), *_confinement(service, system)],
        ["[Install]", f"WantedBy={'multi-user' if system else 'default'}.target"],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _about(service: Service, system: bool) -> Iterator[str]:
    yield f"Description=Roost {service.role}"
    if system:  # a user's service manager knows neither the network's target nor how to mount
        yield "Wants=network-online.target"
        yield "After=network-online.target"
        yield f"RequiresMountsFor={_word(str(service.home))}"
    yield f"StartLimitIntervalSec={START_WINDOW_S}"
    yield f"StartLimitBurst={STARTS_MAX}"


def _running(service: Service, system: bool) -> Iterator[str]:
    yield "Type=exec"
    if system:
        yield f"User={service.user.replace('%', '%%')}"
    yield "WorkingDirectory=/"
    yield f"ExecStart={exec_start(service.command())}"
    if service.token_file is not None:
        yield f"EnvironmentFile=-{str(service.token_file).replace('%', '%%')}"
    yield "Restart=on-failure"
    yield f"RestartSec={RESTART_S}"
    yield f"RestartPreventExitStatus={' '.join(map(str, _HOPELESS))}"
    yield "KillMode=mixed"
    yield "KillSignal=SIGTERM"
    yield f"TimeoutStopSec={STOP_LIMIT_S}"
    yield f"LimitNOFILE={FILES_MAX}"
    yield "UMask=0077"


def _confinement(service: Service, system: bool) -> Iterator[str]:
    yield "NoNewPrivileges=yes"
    yield "LockPersonality=yes"
    yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"
    yield "RestrictRealtime=yes"
    yield "RestrictSUIDSGID=yes"
    yield "SystemCallArchitectures=native"
    if not system:  # what follows needs mounts, which an unprivileged service manager may not make everywhere
        return
    yield "ProtectSystem=strict"
    yield f"ReadWritePaths={_word(str(service.home))}"
    if not _uses_temporary(service):
        yield "PrivateTmp=yes"
    yield "PrivateDevices=yes"
    yield "ProtectClock=yes"
    yield "ProtectControlGroups=yes"
    yield "ProtectKernelLogs=yes"
    yield "ProtectKernelModules=yes"
    yield "ProtectKernelTunables=yes"
    yield "RestrictNamespaces=yes"


def _uses_temporary(service: Service) -> bool:
    """Whether it needs something that lies where temporary files do, and that a private /tmp would hide."""
    needed = [service.home, Path(service.python), *service.reads, *([service.config] if service.config else [])]
    return any(path.is_relative_to(place) for path in needed for place in _TEMPORARY)


def exec_start(words: Sequence[str]) -> str:
    """A command for ``ExecStart=``. With ``:`` before it no ``$`` means a variable (systemd 244 and newer)."""
    literal = ":" if any("$" in word for word in words) else ""
    return literal + " ".join(_word(word) for word in words)


def _word(text: str) -> str:
    if _PLAIN.match(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def describe_unit(text: str) -> Described:
    """What a unit that `systemd_unit` made says of its service."""
    for line in text.splitlines():
        if line.startswith(MARK):
            try:
                told = json.loads(line.removeprefix(MARK))
                return Described(Path(told["home"]), _path(told["config"]), str(told["user"]))
            except (ValueError, KeyError, TypeError):
                break
    return Described(None, None, None)


# -- launchd ---------------------------------------------------------------------------------------------------------


def label(role: Role) -> str:
    """The launchd label of a role."""
    return f"local.roost.{role}"


def launchd_log(home: Path) -> Path:
    """Where launchd puts what the service says."""
    return home / "logs" / "service.log"


def launchd_plist(service: Service) -> bytes:
    """The property list of a LaunchDaemon (launchd.plist(5))."""
    log = str(launchd_log(service.home))
    command = service.command()
    if service.token_file is not None:  # launchd reads no variables from a file, and everybody may read the plist
        command = ["/bin/sh", "-c", _WITH_TOKEN, str(service.token_file), *command]
    return plistlib.dumps(
        {
            "Label": label(service.role),
            "UserName": service.user,
            "ProgramArguments": command,
            "WorkingDirectory": "/",
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": RESTART_S,
            "ExitTimeOut": STOP_LIMIT_S,
            "Umask": 0o077,
            "SoftResourceLimits": {"NumberOfFiles": FILES_MAX},
            "StandardOutPath": log,
            "StandardErrorPath": log,
        }
    )


def describe_plist(data: bytes) -> Described:
    """What a property list that `launchd_plist` made says of its service."""
    try:
        told = plistlib.loads(data)
        words = [str(word) for word in told["ProgramArguments"]]
        after = dict(pairwise(words))
        return Described(_path(after.get("--home")), _path(after.get("--config")), str(told["UserName"]))
    except (plistlib.InvalidFileException, ExpatError, ValueError, KeyError, TypeError, AttributeError):
        return Described(None, None, None)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
