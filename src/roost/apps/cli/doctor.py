"""`roost doctor`: what is wrong on this machine and its network, and the command that mends it."""

import os
import pwd
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from roost.apps.cli.frame import Frame
from roost.apps.cli.join import paired
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.ticker import shown
from roost.apps.cli.words import counted, printable
from roost.client.doctor.findings import Finding, Level, all_well
from roost.settings.paths import Home

if TYPE_CHECKING:
    from roost.apps.cli import service_manager

EXIT_TO_MEND = 3
MARKS = {Level.OK: "ok", Level.NOTE: "note", Level.WARNING: "WARNING", Level.PROBLEM: "PROBLEM"}
COLUMN = max(map(len, MARKS.values()))


def doctor(home: HomeOption = None, config: ConfigOption = None, json: JsonOption = False) -> int:
    """What is wrong on this machine and network, and the command that mends it.

    Exits with 3 when there is a warning or a problem. It mends nothing itself. A scratch file in the home, to measure
    the disk, is removed.
    """
    frame = Frame.of(home, config, json)
    return frame.run(_doctor(frame))


async def _doctor(frame: Frame) -> int:
    from roost.apps.cli.results_here import Examined, Found
    from roost.client import Progress
    from roost.client.doctor.examination import examine

    more = {"service": partial(look_at_service, frame.home)}
    async with shown(Progress("examining this machine, its network and its cluster"), frame.output):
        findings = await examine(frame.home, frame.settings, more=more)
    well = all_well(findings)
    told = tuple(Found(each.check, str(each.level), each.text, each.mend) for each in findings)
    frame.output.result(Examined(told, well), lines(findings))
    return 0 if well else EXIT_TO_MEND


def lines(findings: Iterable[Finding]) -> Iterator[str]:
    """A line for each finding, below it what mends it, and the verdict at the end."""
    counts = dict.fromkeys(Level, 0)
    for finding in findings:
        counts[finding.level] += 1
        yield f"{MARKS[finding.level]:<{COLUMN}}  {finding.check}: {printable(finding.text)}"
        if finding.mend:
            yield f"{'':<{COLUMN}}  -> {printable(finding.mend)}"
    yield ""
    bad = [counted(counts[level], str(level)) for level in (Level.PROBLEM, Level.WARNING) if counts[level]]
    yield f"{' and '.join(bad)} to mend" if bad else "all is well"


def look_at_service(home: Home) -> list[Finding]:
    """What the service manager of this machine says of the service of this home."""
    from roost.apps.cli.service_manager import installed
    from roost.apps.cli.service_systemd import lingers

    user = pwd.getpwuid(os.geteuid()).pw_name
    return list(judge_service(installed(home), serves=wants_service(home), lingers=lingers(user), user=user))


def wants_service(home: Home) -> bool:
    """Whether it is of use that something runs this home from every boot on: it keeps copies or admits machines, and no
    coordinator runs it as a local node."""
    local = home.root.parent.name == "nodes" and paired(Home(home.root.parent.parent))
    return paired(home) and not local and (home.chunks.exists() or home.authority.exists())


def judge_service(
    service: "tuple[service_manager.Found, service_manager.State] | None", *, serves: bool, lingers: bool, user: str
) -> Iterator[Finding]:  # fmt: skip
    """Whether this home is served from every boot on. `serves`: it should be; `lingers`: services of `user`
    run when nobody is logged in."""
    if service is None:
        if serves:
            text = "no service runs this home: it ends with its terminal, and does not come back after a boot"
            yield Finding("service", Level.NOTE, text, "roost service install")
        return
    found, state = service
    if not state.running:
        text = f"{found.unit} does not run: {state.detail}"
        yield Finding("service", Level.WARNING, text, "roost service logs; then: roost service install")
    elif not state.enabled:
        text = f"{found.unit} runs, but will not start at the next boot"
        yield Finding("service", Level.WARNING, text, "roost service install")
    elif not found.system and not lingers:
        text = f"{found.unit} ends when you log out, and does not start at boot"
        yield Finding("service", Level.WARNING, text, f"loginctl enable-linger {user}")
    else:
        yield Finding("service", Level.OK, f"{found.unit} ({found.manager}) runs, and starts at boot")
