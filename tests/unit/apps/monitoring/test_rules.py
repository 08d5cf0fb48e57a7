"""The rules as Prometheus understands them: each fires when it should, in its words, and at no other time."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import monitoring_kits as kits
from roost.apps.monitoring.yaml_text import tree
from roost.observe.alerts import Rule, Thresholds, all_rules, rules_file
from rule_specimens import SPECIMENS, Specimen

Alert = dict[str, Any]
RULES = {rule.name: rule for rule in all_rules(Thresholds())}


def test_prometheus_takes_them_all(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(tree(rules_file(Thresholds())))
    assert f"{len(RULES)} rules found" in kits.checked("promtool", "check", "rules", path)


def test_each_has_a_specimen_and_something_near_it_that_is_none() -> None:
    assert {specimen.name for specimen in SPECIMENS} == set(RULES)
    assert {specimen.name for specimen in SPECIMENS if specimen.never} == set(RULES)
    assert all(specimen.quiet_at[0] < specimen.fires_at[0] < specimen.quiet_at[-1] for specimen in SPECIMENS)


def test_each_fires_when_it_should_and_at_no_other_time(tmp_path: Path) -> None:
    files = [_written(tmp_path / str(number), specimen, _groups(specimen)) for number, specimen in enumerate(SPECIMENS)]
    assert kits.checked("promtool", "test", "rules", *files).count("SUCCESS") == len(SPECIMENS)


def test_a_specimen_that_is_wrong_is_seen(tmp_path: Path) -> None:
    specimen = SPECIMENS[0]
    group = _group(specimen, specimen.series, {specimen.quiet_at[0]: [_expected(specimen)]})
    with pytest.raises(AssertionError, match="FAILED"):
        kits.checked("promtool", "test", "rules", _written(tmp_path / "wrong", specimen, [group]))


def _written(folder: Path, specimen: Specimen, groups: list[dict[str, Any]]) -> Path:
    """A file for promtool, beside one with the rule alone, so that no other takes its time."""
    folder.mkdir()
    rule = {"groups": [{"name": "one", "rules": [RULES[specimen.name].prometheus()]}]}
    (folder / "rules.yml").write_text(tree(rule))
    path = folder / "tests.yml"
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": f"{specimen.every_m}m", "tests": groups}
    path.write_text(json.dumps(tests))  # JSON is YAML too
    return path


def _groups(specimen: Specimen) -> list[dict[str, Any]]:
    times: dict[int, list[Alert]] = {at: [] for at in specimen.quiet_at}
    times |= {at: [_expected(specimen)] for at in specimen.fires_at}
    quiet: dict[int, list[Alert]] = {at: [] for at in times}
    return [
        _group(specimen, specimen.series, times),
        *(_group(specimen, series, quiet) for series in specimen.never),
    ]


def _group(specimen: Specimen, series: Mapping[str, str], times: Mapping[int, list[Alert]]) -> dict[str, Any]:
    return {
        "interval": f"{specimen.every_m}m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{at * specimen.every_m}m", "alertname": specimen.name, "exp_alerts": alerts}
            for at, alerts in sorted(times.items())
        ],
    }


def _expected(specimen: Specimen) -> Alert:
    rule: Rule = RULES[specimen.name]
    words = {**specimen.labels, "value": specimen.value}

    def filled(text: str) -> str:
        return re.sub(r"{(\w+)(:\w+)?}", lambda found: words[found[1]], text)

    return {
        "exp_labels": {**specimen.labels, "severity": rule.severity},
        "exp_annotations": {"summary": filled(rule.summary), "description": filled(rule.action)},
    }
