"""The files that Grafana reads, made of the dashboards' code: `python -m roost.apps.monitoring.dashboards.made`.

They are kept beside the code, so that an export needs no Grafana SDK; a test holds them against the code.
"""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from roost.apps.monitoring.dashboards import checkpoints, cluster, logs, nodes, transfers

FOLDER = Path(__file__).with_name("json")
MODULES = (cluster, nodes, checkpoints, transfers, logs)


def texts() -> dict[str, str]:
    """The JSON of each dashboard, by the name of its file."""
    found = {}
    for module in MODULES:
        made = module.dashboard().build()
        for number, panel in enumerate(made.panels or [], start=1):
            panel.id_val = number
        text = json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        found[f"{module.__name__.rpartition('.')[2]}.json"] = f"{text}\n"
    return found


def write() -> None:
    """Write them where they are kept."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
