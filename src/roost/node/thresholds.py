"""The thresholds of the alerts, as the settings have them."""

from roost.observe.alerts import Thresholds
from roost.settings.schema import Settings


def thresholds_of(settings: Settings) -> Thresholds:
    """What the rules of the alerts are made with, here and for Prometheus."""
    alerts = settings.alerts
    return Thresholds(
        grace_s=settings.repair.grace_s,
        scrub_every_s=settings.scrub.every_s,
        node_down_s=alerts.node_down_s,
        backup_age_s=alerts.backup_age_s,
        hot_celsius=alerts.hot,
        slow_rate=alerts.slow,
    )
