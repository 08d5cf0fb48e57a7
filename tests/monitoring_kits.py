"""What the tests of monitoring share: Debian's programs where they are, the dashboards' questions, an export's plan."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from roost.apps.monitoring.grafana import dashboards

PROGRAMS = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
"""Debian's names of the programs, and the packages that they come with."""


def program(name: str) -> str:
    """The path of a program. Where it is missing the test is skipped, and says why."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(reason=f"{name} is not installed: apt-get install {PROGRAMS[name]}")
    return found


def checked(name: str, *arguments: object) -> str:
    """What a program says that must end with 0."""
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Question:
    """One query of a dashboard: in which panel, of what kind of source, and its text."""

    dashboard: str
    panel: str
    source: str
    text: str

    def asked(self, chosen: Mapping[str, str]) -> str:
        """The text with Grafana's variables filled in, as Grafana would."""
        return re.sub(r"\$(\w+)", lambda found: chosen[found[1]], self.text)

    def __str__(self) -> str:
        return f"{self.dashboard}, {self.panel}: {self.text}"


def questions() -> Iterator[Question]:
    """All queries of all dashboards, as they are kept."""
    for name, text in dashboards().items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                yield Question(name, panel["title"], target["datasource"]["type"], target["expr"])


def chosen_labels() -> Sequence[tuple[str, str, str]]:
    """Of each variable that Prometheus is asked for: its dashboard, the metric, and the label."""
    found = []
    for name, text in dashboards().items():
        for variable in json.loads(text)["templating"].get("list", []):
            asked: Any = variable["query"]
            if isinstance(asked, str) and (parts := re.fullmatch(r"label_values\((.+), (\w+)\)", asked)):
                found.append((name, parts[1], parts[2]))
    return found


def write_rules(path: Path, expressions: Sequence[str]) -> Path:
    """A rules file that records each expression, so that promtool reads them all."""
    rules = [{"record": f"asked:{number}", "expr": text} for number, text in enumerate(expressions)]
    path.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))  # JSON is YAML too
    return path
