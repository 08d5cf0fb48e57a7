"""`roost monitoring export DIR`: Prometheus, Alertmanager, Grafana and Loki for this cluster, as one compose file."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from roost.apps.cli.frame import Frame
from roost.apps.cli.options import ConfigOption, HomeOption, JsonOption
from roost.apps.cli.results_watching import MonitoringExported
from roost.apps.cli.words import counted, printable
from roost.core.errors import UsageError
from roost.settings.units import parse_duration

if TYPE_CHECKING:
    from roost.apps.monitoring.plan import Plan


def export(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A new folder, or an earlier export.")],
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="HOST:PORT", help="Where the coordinator answers HTTP. [default: as it runs here]"
        ),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port", metavar="NAME=PORT", help="Another port for prometheus, alertmanager, grafana, loki or alloy."
        ),
    ] = None,
    every: Annotated[
        str, typer.Option("--every", metavar="TIME", help="How often everything is measured and judged.")
    ] = "15s",
    no_tell: Annotated[
        bool, typer.Option("--no-tell", help="Let Alertmanager tell nobody; the coordinator does so by itself.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds other things, too.")] = False,
    home: HomeOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> int:
    """Write what watches this cluster into a folder: `docker compose up -d` there runs it.

    Dashboards, alert rules and who is told of alerts come with it, from the settings in force. Run it on the
    coordinator's machine, as who runs it there, and again when the settings change; what was measured stays.
    """
    frame = Frame.of(home, config, json)
    with frame.watched():
        from roost.apps.monitoring.export import write

        plan = _planned(frame, at, port or [], every, tell=not no_tell)
        place = Path(folder).expanduser().absolute()
        names = write(place, plan, force=force)
    urls = {name: plan.url(name) for name in ("grafana", "prometheus", "alertmanager")}
    notes = list(_notes(frame, plan))
    frame.output.result(
        MonitoringExported(
            path=str(place), files=tuple(names), coordinator=str(plan.coordinator), urls=urls, notes=tuple(notes)
        ),
        _lines(place, plan, names, urls),
    )  # fmt: skip
    for note in notes:
        frame.output.tell(f"note: {printable(note)}")
    return 0


def _planned(frame: Frame, at: str | None, ports: list[str], every: str, *, tell: bool) -> "Plan":
    from roost.apps.monitoring import plan

    every_s = parse_duration(every)
    if not 1 <= every_s <= plan.EVERY_S_MAX:
        raise UsageError(f"out of range: --every {every[:80]}", hint=f"from 1s to {plan.EVERY_S_MAX}s")
    address = plan.coordinator_address(frame.home, frame.settings, at)
    password, secret = plan.secrets_of(frame.home, frame.settings) if tell else ("", "")
    return plan.Plan(
        coordinator=address, token=plan.coordinator_token(frame.home, frame.settings, address),
        settings=frame.settings, logs=plan.log_folders(frame.home), user=plan.this_user(),
        ports=plan.ports_of(ports), every_s=every_s, tell=tell,
        smtp_password=password, webhook_secret=secret,
    )  # fmt: skip


def _lines(place: Path, plan: "Plan", names: list[str], urls: dict[str, str]) -> Iterator[str]:
    yield f"wrote {counted(len(names), 'file')} to {printable(str(place))}, for the coordinator at {plan.coordinator}"
    yield ""
    yield f"  cd {printable(shlex.quote(str(place)))} && docker compose up -d"
    yield ""
    yield f"  Grafana       {urls['grafana'].replace('127.0.0.1', 'localhost')}   anybody here may look;"
    yield "                to change something: admin, with the password in grafana/admin-password"
    yield f"  Prometheus    {urls['prometheus']}"
    yield f"  Alertmanager  {urls['alertmanager']}"


def _notes(frame: Frame, plan: "Plan") -> Iterator[str]:
    from roost.apps.monitoring.alertmanager import is_told, untold

    yield from untold(plan)
    if is_told(plan):
        yield "the coordinator tells of the same alerts by itself; to hear of each once: --no-tell"
    elif plan.tell and not plan.settings.alerts.wanted:
        yield "alerts are told to nobody: set alerts.email in roost.yaml, and run this again"
    if plan.token is not None and not plan.coordinator.is_loopback:
        yield "what the coordinator tells goes over the network unencrypted, the token too"
    if not plan.logs:
        yield f"there are no logs in {frame.home.root} yet; run this again when the coordinator has run"
    wanted = frame.settings.api.listen
    if plan.coordinator.is_loopback and wanted.is_loopback and plan.coordinator.port != wanted.port != 0:
        yield f"the coordinator answers at {plan.coordinator} now, and may elsewhere after a start: set api.listen"
