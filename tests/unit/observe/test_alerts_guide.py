"""The guide tells of every alert as it is, and what it shows as settings are settings."""

import re
from pathlib import Path

import pytest

from roost.observe.alerts import Thresholds, all_rules
from roost.settings.load import parse
from roost.settings.schema import default_settings

GUIDE = (Path(__file__).resolve().parents[3] / "docs/guides/alerts.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


def test_the_table_has_every_rule_with_its_severity() -> None:
    rows = dict(re.findall(r"^\| (Roost\w+) \| .* \| (\w+) \|$", GUIDE, re.MULTILINE))
    assert rows == {rule.name: rule.severity for rule in all_rules(Thresholds())}


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_taken(text: str) -> None:
    alerts = parse(text, file=None).settings.alerts
    assert alerts.wanted or alerts == default_settings().alerts
