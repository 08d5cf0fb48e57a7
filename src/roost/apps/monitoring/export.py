"""Writing an export into a folder: file by file in one step each, secrets for their owner only, and never over what is
not an earlier export's."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from roost import __version__
from roost.apps.monitoring import alertmanager, compose, grafana, loki, prometheus
from roost.apps.monitoring.plan import Plan
from roost.apps.replacing import replace_file
from roost.core.errors import Failed

MARK = ".roost-monitoring.json"
"""What tells an export from any other folder: the names of all its files. It is written before them, so that an export
that was interrupted can be made again."""
PASSWORD = f"grafana/{grafana.PASSWORD_FILE}"


@dataclass(frozen=True, slots=True)
class File:
    """What a file of the export holds, and whether only its owner may read it."""

    text: str
    secret: bool = False


def made(plan: Plan) -> dict[str, File]:
    """The files of an export by their place in its folder."""
    found = {
        "compose.yaml": File(compose.compose_text(plan, password_file=grafana.PASSWORD_FILE)),
        "prometheus/prometheus.yml": File(prometheus.settings_text(plan)),
        "prometheus/rules.yml": File(prometheus.rules_text(plan)),
        "alertmanager/alertmanager.yml": File(alertmanager.settings_text(plan), secret=True),
        "grafana/provisioning/datasources/roost.yaml": File(grafana.sources_text(plan)),
        "grafana/provisioning/dashboards/roost.yaml": File(grafana.boards_text()),
        "loki/loki.yaml": File(loki.loki_text(plan)),
        "alloy/config.alloy": File(loki.alloy_text(plan)),
        PASSWORD: File(f"{plan.grafana_password}\n", secret=True),
    }
    for name, text in grafana.dashboards().items():
        found[f"grafana/dashboards/{name}"] = File(text)
    if plan.token is not None:
        found[f"prometheus/{prometheus.TOKEN_FILE}"] = File(f"{plan.token}\n", secret=True)
    return found


def write(folder: Path, plan: Plan, *, force: bool) -> list[str]:
    """Write the export into `folder`, which is made when it is not there; the names of its files.

    An earlier export is replaced: what only it had is removed, what its programs measured stays, and so does the
    password of its Grafana, which is taken but once. Failed for any other folder that is not empty, unless `force`, and
    when the disk does not take it.
    """
    try:
        earlier = _earlier(folder)
        if earlier is None and not force and folder.exists() and any(folder.iterdir()):
            raise Failed(
                f"{folder} is not empty, and not an earlier export",
                hint="name another folder, or add --force: files of the same names are replaced, no others",
            )
        return _written(folder, plan, earlier or [])
    except OSError as error:
        where = error.filename or folder
        raise Failed(
            f"{where} cannot be written: {error.strerror}", hint="name another folder, or free space"
        ) from error


def _written(folder: Path, plan: Plan, earlier: list[str]) -> list[str]:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = made(replace(plan, grafana_password=_password(folder)))
    everything = sorted({*files, *earlier})
    _mark(folder, everything)
    for name in compose.DATA:
        (folder / "data" / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_all(folder, files)
    for name in set(everything) - set(files):
        (folder / name).unlink(missing_ok=True)
    _mark(folder, sorted(files))
    return sorted(files)


def _write_all(folder: Path, files: Mapping[str, File]) -> None:
    for name, file in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, file.text.encode(), mode=0o600 if file.secret else 0o644)


def _mark(folder: Path, names: list[str]) -> None:
    text = json.dumps({"made_by": "roost monitoring export", "version": __version__, "files": names}, indent=2)
    replace_file(folder / MARK, f"{text}\n".encode(), mode=0o644)


def _earlier(folder: Path) -> list[str] | None:
    """The files of the export that is in `folder`; None when there is none. Only names that stay below it count."""
    try:
        told = json.loads((folder / MARK).read_bytes())
        names = [str(name) for name in told["files"]]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError):
        return []
    return [name for name in names if not os.path.isabs(name) and ".." not in Path(name).parts]


def _password(folder: Path) -> str:
    try:
        kept = (folder / PASSWORD).read_text(encoding="ascii").strip()
    except (FileNotFoundError, ValueError):
        kept = ""
    return kept or secrets.token_urlsafe(18)
