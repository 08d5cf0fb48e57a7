"""The thresholds of the alerts are those of the settings."""

from roost.node.thresholds import thresholds_of
from roost.observe.alerts import Thresholds
from roost.settings.load import parse
from roost.settings.schema import default_settings


def test_the_defaults_agree() -> None:
    assert thresholds_of(default_settings()) == Thresholds()


def test_each_is_taken_from_its_key() -> None:
    text = (
        "repair: {grace: 1m}\nscrub: {every: 2d}\n"
        "alerts: {node_down: 3h, backup_age: 4d, hot: 99, slow: 5KiB/s, every: 1s, repeat: 2h}"
    )
    settings = parse(text, file=None).settings
    assert thresholds_of(settings) == Thresholds(60, 2 * 86_400, 3 * 3600, 4 * 86_400, 99, 5120)
    assert (settings.alerts.every_s, settings.alerts.repeat_s) == (1, 7200)
