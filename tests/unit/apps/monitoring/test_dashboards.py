"""The dashboards: what is kept is what the code makes, in the types of Grafana, and every query can be read."""

import json
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

import monitoring_kits as kits
from roost.apps.monitoring.dashboards import made
from roost.apps.monitoring.grafana import dashboards

NAMES = ["checkpoints.json", "cluster.json", "logs.json", "nodes.json", "transfers.json"]


def test_what_is_kept_is_what_the_code_makes() -> None:
    again = "python -m roost.apps.monitoring.dashboards.made"
    assert dashboards() == dict(sorted(made.texts().items())), f"make them again: {again}"
    assert list(dashboards()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_grafana_knows_all_of_it(name: str) -> None:
    kept = json.loads(dashboards()[name])
    read = Dashboard.from_json(kept)
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == kept
    panels: list[dict[str, Any]] = kept["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] != "row":
            refs = [target["refId"] for target in panel["targets"]]
            assert refs
            assert len(set(refs)) == len(refs)


@pytest.mark.parametrize("name", NAMES)
def test_no_panel_lies_on_another(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(dashboards()[name])["panels"]:
        place = panel["gridPos"]
        assert place.get("x", 0) + place["w"] <= 24
        for x in range(place.get("x", 0), place.get("x", 0) + place["w"]):
            for y in range(place.get("y", 0), place.get("y", 0) + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken.get((x, y))}"
                taken[x, y] = panel["title"]


def test_every_question_to_prometheus_can_be_read(tmp_path: Path) -> None:
    chosen = {"node": ".*", "peer": ".*", "__rate_interval": "1m", "__range": "1h"}
    asked = [each.asked(chosen) for each in kits.questions() if each.source == "prometheus"]
    assert len(asked) > 40
    assert kits.chosen_labels()
    told = kits.checked("promtool", "check", "rules", kits.write_rules(tmp_path / "asked.yml", asked))
    assert f"{len(asked)} rules found" in told


def test_every_question_to_loki_names_the_labels_that_there_are() -> None:
    asked = [each.text for each in kits.questions() if each.source == "loki"]
    assert asked
    for text in asked:
        assert '{job="roost", instance=~"$instance", level=~"$level"}' in text
