"""`roost service`: let systemd or launchd run this machine's node or coordinator, from every boot on."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.join import paired
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.output import Output
from roost.apps.cli.results import (
    ServiceInstalled,
    ServiceLogs,
    ServicePlan,
    ServiceRemoved,
    ServiceRow,
    Services,
    ServicesRemoved,
)
from roost.apps.cli.service_manager import Found, ServiceManager, State, all_found, managers, output_of, state_of
from roost.apps.cli.service_plan import (
    Person,
    check_free,
    find_home,
    forget_token,
    plan,
    prepare,
    spelled,
    token_file,
)
from roost.apps.cli.service_units import Service
from roost.apps.cli.words import listed, moment, printable
from roost.core.errors import NotFound, UsageError
from roost.settings.paths import VARIABLE, Home

EXIT_NOT_RUNNING = 3
PAIR_LIMIT_S = 30.0
POLL_S = 0.2
LINES_MAX = 100_000

RoleOption = Annotated[
    Literal["node", "coordinator"] | None,
    typer.Option("--role", help="Which of the two. [default: what the home is for]"),
]


def install(
    role: RoleOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the file that would be installed, and where.")
    ] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Let systemd or launchd run the node or coordinator of this home, now and from every boot on.

    With root's rights (sudo) it is a service of the system that runs as you; without, on Linux, one of your own. Run
    again it changes nothing, or what has changed. $ROOST_TOKEN lets it pair a new node by itself.
    """
    person = Person.installing()
    frame = Frame.of(str(find_home(home, person).root), config, json)
    with frame.watched():
        service, token = plan(frame.home, frame.loaded, person, role=role)
        manager = managers()[0]
        if dry_run:
            text = manager.text(service)
            told = ServicePlan(**_service_fields(service, manager), text=text)
            frame.output.result(told, [f"{manager.file(service.role)} would be:", "", *text.splitlines()])
            return 0
        manager.check()
        return _install(frame, manager, service, token, person)


def _install(frame: Frame, manager: ServiceManager, service: Service, token: str | None, person: Person) -> int:
    check_free(manager, service, person)
    fresh = prepare(service, token, person)
    changed = manager.put(service, restart=fresh)
    joined = token is None or _until_paired(frame.home, person)
    state = manager.state(service.role)
    hint = _linger_hint(manager, person)
    told = ServiceInstalled(
        **_service_fields(service, manager), **_state_fields(state), changed=changed, paired=joined, hint=hint
    )
    frame.output.result(told, _installed_lines(frame.home, service, manager, changed, state))
    if not joined:
        frame.output.warn(
            f"it is not paired yet; the token waits in {token_file(frame.home)}. What it says: "
            + spelled("service logs", frame.home)
        )
    if hint:
        frame.output.warn(hint)
    return 0 if state.running and joined else EXIT_NOT_RUNNING


def uninstall(
    role: RoleOption = None, home: HomeOption = None, config: ConfigOption = None, json: JsonOption = False
) -> int:
    """Stop the service and remove it. The home and all that it keeps stay."""
    output = Output(json=json)
    chosen = _choose(role, home)
    removed = []
    for manager, found in chosen:
        manager.check()
        manager.remove(found.role)
        if found.home is not None:
            forget_token(Home(found.home))
        removed.append(found)
    told = ServicesRemoved(tuple(ServiceRemoved(found.role, found.unit, _text(found.home)) for found in removed))
    lines = [f"removed {found.unit}; {found.home} stays as it is" for found in removed]
    output.result(told, [printable(line) for line in lines] or ["no service is installed"])
    return 0


def status(
    role: RoleOption = None, home: HomeOption = None, config: ConfigOption = None, json: JsonOption = False
) -> int:
    """Whether a service is installed, enabled and running, since when, and with which home.

    Exits with 3 when it is not.
    """
    output = Output(json=json)
    every = [(found, state_of(manager, found)) for manager, found in _choose(role, home)]
    well = bool(every) and all(state.enabled and state.running for _, state in every)
    told = Services(
        installed=bool(every),
        enabled=bool(every) and all(state.enabled for _, state in every),
        running=bool(every) and all(state.running for _, state in every),
        services=tuple(ServiceRow(**_found_fields(found), **_state_fields(state)) for found, state in every),
    )
    lines = [line for found, state in every for line in _status_lines(found, state)]
    output.result(told, lines or ["no service is installed: roost service install"])
    return 0 if well else EXIT_NOT_RUNNING


def logs(
    lines: Annotated[int, typer.Option("-n", metavar="N", min=1, max=LINES_MAX, help="How many lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what it says, until Ctrl-C.")] = False,
    role: RoleOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """What the service said last."""
    output = Output(json=json)
    chosen = _choose(role, home)
    if not chosen:
        raise NotFound("no service is installed", hint="roost service install")
    if len(chosen) > 1:
        names = listed([found.unit for _, found in chosen])
        raise UsageError(f"{names} are installed", hint="say which: --role node, or --role coordinator")
    manager, found = chosen[0]
    count = 0
    try:
        for line in output_of(manager.log_command(found, lines=lines, follow=follow)):
            count += 1
            output.progress("line", {"text": line})
            output.say(printable(line))
    except KeyboardInterrupt:
        if not follow:
            raise
    output.result(ServiceLogs(found.unit, count))
    if not count and found.home is not None:
        output.tell(f"nothing is said there; its own log is in {printable(str(Home(found.home).logs))}")
    return 0


def _choose(role: str | None, home: str | None) -> list[tuple[ServiceManager, Found]]:
    """The installed services that are meant: of this role, of this home, as far as either was said."""
    meant = Home.find(home).root if home or os.environ.get(VARIABLE) else None
    every = all_found()
    return [
        (manager, found)
        for manager, found in every
        if role in (None, found.role) and (meant is None or found.home in (None, meant))
    ]


def _until_paired(home: Home, person: Person) -> bool:
    """Wait until the node that was started is paired, and remove the token then. False when that takes too long."""
    deadline = time.monotonic() + PAIR_LIMIT_S
    with person.acting():
        while not paired(home):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        forget_token(home)
    return True


def _linger_hint(manager: ServiceManager, person: Person) -> str:
    """What a service of a user still needs to run when that user is not logged in; empty when nothing."""
    if manager.system:
        return ""
    from roost.apps.cli.service_systemd import lingers

    if lingers(person.name):
        return ""
    return (
        f"it ends when you log out, and does not start at boot, until this was run once: loginctl enable-linger "
        f"{person.name}"
    )


def _installed_lines(
    home: Home, service: Service, manager: ServiceManager, changed: bool, state: State
) -> Iterator[str]:
    what = "installed" if changed else "unchanged:"
    doing = "runs" if state.running else f"does not run ({state.detail})"
    yield printable(
        f"{what} {manager.file(service.role)}: the {service.role} of {home.root}, as {service.user}, {doing}"
    )
    yield f"  look    {spelled('service status', home)}"
    yield f"  read    {spelled('service logs --follow', home)}"
    yield f"  remove  {'sudo ' if manager.system else ''}{spelled('service uninstall', home)}"


def _status_lines(found: Found, state: State) -> Iterator[str]:
    yield printable(f"{found.unit} ({found.manager}): {state.detail}")
    yield printable(f"  home     {found.home or 'unknown: the file was changed by hand'}")
    if found.config is not None:
        yield printable(f"  config   {found.config}")
    yield printable(f"  user     {found.user or 'unknown'}")
    yield f"  at boot  {'yes' if state.enabled else 'no: roost service install'}"
    if state.running:
        yield f"  since    {moment(state.since, never='unknown')}, process {state.pid}"
    else:
        yield "  why      roost service logs"


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None


def _service_fields(service: Service, manager: ServiceManager) -> dict[str, Any]:
    return {
        "role": service.role, "manager": manager.name, "file": str(manager.file(service.role)),
        "home": str(service.home),
        "config": _text(service.config), "user": service.user,
    }  # fmt: skip


def _found_fields(found: Found) -> dict[str, Any]:
    return {
        "role": found.role, "manager": found.manager, "unit": found.unit, "file": str(found.file),
        "home": _text(found.home),
        "config": _text(found.config), "user": found.user,
    }  # fmt: skip


def _state_fields(state: State) -> dict[str, Any]:
    return {
        "enabled": state.enabled, "running": state.running, "pid": state.pid, "since": state.since,
        "detail": state.detail,
    }  # fmt: skip
