"""Every rule holds for what it is about and for nothing near it; both of its forms are of one source."""

import dataclasses

import pytest

from roost.observe.alerts import GIB, MIB, Rule, Thresholds, all_rules, rules_file
from roost.observe.conditions import Moment
from roost.observe.samples import Growth, Sample, parse_samples

WALL = 2_000_000_000.0
DAY = 86_400
COORDINATOR = {"instance": "coordinator", "role": "coordinator"}
PI = {"instance": "pi-1", "role": "node"}


def coordinator(text: str) -> list[Sample]:
    return parse_samples(f"{text}\n", **COORDINATOR)


def node(text: str) -> list[Sample]:
    return parse_samples(f"{text}\n", **PI)


def rule(name: str, thresholds: Thresholds | None = None) -> Rule:
    return next(rule for rule in all_rules(thresholds or Thresholds()) if rule.name == name)


def moment(samples: list[Sample], *, before: list[Sample] | None = None, ago: float = 60.0) -> Moment:
    """`samples` now, and what was seen `ago` seconds before."""
    names = [name for each in all_rules(Thresholds()) for compare in each.compared for name in compare.counters]
    growth = Growth(names, kept_s=7200)
    if before is not None:
        growth.observe(before, 10_000 - ago)
    growth.observe(samples, 10_000)
    return Moment(samples, growth, 10_000, WALL)


def fires(name: str, samples: list[Sample], thresholds: Thresholds | None = None) -> bool:
    return bool(rule(name, thresholds).matches(moment(samples)))


ALL_WELL = [
    *coordinator(
        f"""
roost_checkpoints{{health="healthy"}} 7
roost_checkpoints{{health="degraded"}} 0
roost_checkpoints{{health="lost"}} 0
roost_checkpoints{{health="unknown"}} 0
roost_chunks{{health="healthy"}} 700
roost_chunks{{health="degraded"}} 0
roost_chunks{{health="at-risk"}} 0
roost_chunks{{health="lost"}} 0
roost_node_state{{peer="pi-1",state="alive"}} 1
roost_node_state{{peer="pi-1",state="suspect"}} 0
roost_node_state{{peer="pi-1",state="down"}} 0
roost_node_state{{peer="pi-2",state="draining"}} 1
roost_node_state{{peer="pi-2",state="down"}} 0
roost_node_state{{peer="pi-3",state="left"}} 1
roost_node_state{{peer="pi-3",state="down"}} 0
roost_integrity_failures_total{{peer="pi-1"}} 4
roost_backup_failures_total{{reason="unreachable"}} 2
roost_last_success_timestamp_seconds{{job="store"}} {WALL - DAY}
roost_watch_pending 2
roost_watch_oldest_pending_seconds 60
roost_operations_running{{kind="store"}} 0
roost_operation_rate_bytes{{kind="store"}} 0
roost_host_temperature_celsius 60
roost_host_memory_available_bytes 8e9
roost_host_memory_total_bytes 16e9
"""
    ),
    *node(
        f"""
roost_running_seconds 100
roost_disk_free_bytes {300 * GIB}
roost_disk_total_bytes {400 * GIB}
roost_transfer_errors_total{{peer="pi-2",reason="unreachable"}} 40
roost_last_success_timestamp_seconds{{job="scrub"}} {WALL - 29 * DAY}
roost_host_memory_available_bytes 1e9
roost_host_memory_total_bytes 2e9
"""
    ),
]
EMPTY = coordinator(
    'roost_checkpoints{health="lost"} 0\nroost_chunks{health="lost"} 0\nroost_watch_pending 0\n'
    "roost_watch_oldest_pending_seconds 0"
)
DOWN = coordinator('roost_node_state{peer="pi-2",state="down"} 1')
NAMES = [each.name for each in all_rules(Thresholds())]


@pytest.mark.parametrize("samples", [ALL_WELL, EMPTY], ids=["all-well", "empty"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "RoostCoordinatorDown"])
def test_nothing_fires_when_all_is_well(name: str, samples: list[Sample]) -> None:
    assert rule(name).matches(moment(samples, before=samples, ago=600)) == []


FIRING = [
    ("RoostUnrecoverable", coordinator('roost_checkpoints{health="lost"} 1')),
    ("RoostUnrecoverable", coordinator('roost_chunks{health="lost"} 1')),
    ("RoostOutOfReach", coordinator('roost_checkpoints{health="unknown"} 1')),
    ("RoostOutOfReach", coordinator('roost_chunks{health="unknown"} 1')),
    ("RoostAtRisk", coordinator('roost_chunks{health="at-risk"} 1')),
    ("RoostUnderReplicated", coordinator('roost_chunks{health="degraded"} 1')),
    ("RoostNodeDown", DOWN),
    ("RoostCoordinatorDown", [Sample("up", COORDINATOR, 0.0)]),
    ("RoostCoordinatorDown", []),
    ("RoostWatcherStuck", coordinator("roost_watch_oldest_pending_seconds 3601")),
    ("RoostBackupOld", coordinator(f'roost_last_success_timestamp_seconds{{job="store"}} {WALL - 7 * DAY - 1}')),
    ("RoostDiskFull", node(f"roost_disk_free_bytes {256 * MIB - 1}")),
    ("RoostDiskLow", node(f"roost_disk_free_bytes {3 * GIB}\nroost_disk_total_bytes {31 * GIB}")),
    ("RoostHostHot", node("roost_host_temperature_celsius 85.5")),
    ("RoostHostHot", coordinator("roost_host_temperature_celsius 86")),
    ("RoostHostMemoryLow", node("roost_host_memory_available_bytes 49\nroost_host_memory_total_bytes 1000")),
    ("RoostScrubOverdue", node(f'roost_last_success_timestamp_seconds{{job="scrub"}} {WALL - 45 * DAY - 1}')),
    ("RoostScrubOverdue", node(f"roost_running_seconds {45 * DAY + 1}")),
    (
        "RoostSlowTransfers",
        coordinator(
            'roost_operation_rate_bytes{kind="gather"} 1048575\nroost_operations_running{kind="gather"} 1',
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "samples"), FIRING)
def test_a_rule_fires(name: str, samples: list[Sample]) -> None:
    assert fires(name, samples)


QUIET = [
    ("RoostUnrecoverable", coordinator('roost_chunks{health="unknown"} 1')),
    ("RoostOutOfReach", coordinator('roost_chunks{health="lost"} 1')),
    ("RoostCoordinatorDown", [Sample("up", COORDINATOR, 1.0)]),
    ("RoostNodeDown", coordinator('roost_node_state{peer="pi-2",state="suspect"} 1')),
    ("RoostWatcherStuck", coordinator("roost_watch_oldest_pending_seconds 3600")),
    (
        "RoostWatcherStuck",
        coordinator('roost_watch_oldest_pending_seconds 3601\nroost_operations_running{kind="store"} 1'),
    ),
    ("RoostBackupOld", coordinator(f'roost_last_success_timestamp_seconds{{job="store"}} {WALL - 7 * DAY}')),
    ("RoostBackupOld", coordinator('roost_last_success_timestamp_seconds{job="repair"} 1')),
    ("RoostDiskFull", node(f"roost_disk_free_bytes {256 * MIB}")),
    ("RoostDiskLow", node(f"roost_disk_free_bytes {3 * GIB}\nroost_disk_total_bytes {30 * GIB}")),
    ("RoostDiskLow", node(f"roost_disk_free_bytes {50 * GIB}\nroost_disk_total_bytes {9000 * GIB}")),
    ("RoostHostHot", node("roost_host_temperature_celsius 85")),
    ("RoostHostMemoryLow", node("roost_host_memory_available_bytes 50\nroost_host_memory_total_bytes 1000")),
    ("RoostHostMemoryLow", node("roost_host_memory_available_bytes 0\nroost_host_memory_total_bytes 0")),
    ("RoostScrubOverdue", node(f'roost_last_success_timestamp_seconds{{job="scrub"}} {WALL - 45 * DAY}')),
    (
        "RoostScrubOverdue",
        node(f'roost_running_seconds {90 * DAY}\nroost_last_success_timestamp_seconds{{job="scrub"}} {WALL - DAY}'),
    ),
    (
        "RoostSlowTransfers",
        coordinator('roost_operation_rate_bytes{kind="gather"} 0\nroost_operations_running{kind="gather"} 0'),
    ),
    (
        "RoostSlowTransfers",
        coordinator('roost_operation_rate_bytes{kind="gather"} 1048576\nroost_operations_running{kind="gather"} 1'),
    ),
    (
        "RoostSlowTransfers",  # it is another kind that runs
        coordinator('roost_operation_rate_bytes{kind="gather"} 0\nroost_operations_running{kind="store"} 1'),
    ),
    (
        "RoostSlowTransfers",  # which is as slow as repair.rate says
        coordinator('roost_operation_rate_bytes{kind="repair"} 1\nroost_operations_running{kind="repair"} 1'),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "samples"), QUIET)
def test_a_rule_does_not_fire_just_beside(name: str, samples: list[Sample]) -> None:
    assert not fires(name, samples)


def grown(name: str, before: list[Sample], after: list[Sample], ago: float = 60.0) -> bool:
    return bool(rule(name).matches(moment(after, before=before, ago=ago)))


def test_one_more_bad_copy_is_told_also_the_very_first() -> None:
    none = coordinator("roost_watch_pending 0")
    one = coordinator('roost_integrity_failures_total{peer="pi-1"} 1')
    two = coordinator('roost_integrity_failures_total{peer="pi-1"} 2')
    assert grown("RoostIntegrityFailure", one, two)
    assert grown("RoostIntegrityFailure", none, one)
    assert not grown("RoostIntegrityFailure", two, two)
    found = rule("RoostIntegrityFailure").matches(moment(two, before=one))
    assert "Bad copies found on pi-1 in the last hour: 1." in rule("RoostIntegrityFailure").words(found[0])[0]
    assert "roost nodes drain pi-1" in rule("RoostIntegrityFailure").words(found[0])[1]


def test_transfer_errors_count_over_all_reasons_and_only_the_new_ones() -> None:
    def errors(first: int, second: int) -> list[Sample]:
        return node(
            f'roost_transfer_errors_total{{peer="pi-2",reason="stalled"}} {first}\n'
            f'roost_transfer_errors_total{{peer="pi-2",reason="integrity"}} {second}'
        )

    assert grown("RoostTransferErrors", errors(10, 10), errors(12, 12))
    assert not grown("RoostTransferErrors", errors(10, 10), errors(12, 11))
    assert rule("RoostTransferErrors").for_s > 5 * 60  # a burst, as when a peer dies, leaves the window before


def test_a_failed_backup_is_told_until_one_succeeds() -> None:
    def state(failures: int, stored_ago: float) -> list[Sample]:
        return coordinator(
            f'roost_backup_failures_total{{reason="unreachable"}} {failures}\n'
            f'roost_last_success_timestamp_seconds{{job="store"}} {WALL - stored_ago}'
        )

    assert grown("RoostBackupFailed", state(0, DAY), state(1, DAY))
    assert not grown("RoostBackupFailed", state(0, DAY), state(1, 899))
    assert not grown("RoostBackupFailed", state(1, DAY), state(1, DAY))
    never = coordinator('roost_backup_failures_total{reason="unreachable"} 1')
    assert grown("RoostBackupFailed", coordinator("roost_watch_pending 1"), never)


def test_thresholds_follow_the_settings() -> None:
    one_copy = coordinator('roost_chunks{health="at-risk"} 1')
    assert fires("RoostAtRisk", one_copy)
    assert rule("RoostAtRisk").for_s == 15 * 60
    assert rule("RoostAtRisk", Thresholds(grace_s=3600)).for_s == 3900
    assert rule("RoostAtRisk", Thresholds(grace_s=0)).for_s == 0
    assert rule("RoostUnrecoverable", Thresholds(grace_s=3600)).for_s == 0
    assert rule("RoostNodeDown", Thresholds(node_down_s=7)).for_s == 7
    assert rule("RoostCoordinatorDown", Thresholds(node_down_s=7)).for_s == 7
    assert not fires("RoostHostHot", node("roost_host_temperature_celsius 86"), Thresholds(hot_celsius=90))
    weekly = Thresholds(scrub_every_s=7 * DAY)
    assert fires("RoostScrubOverdue", node(f"roost_running_seconds {11 * DAY}"), weekly)
    assert not fires("RoostScrubOverdue", node(f"roost_running_seconds {10 * DAY}"), weekly)
    slow = coordinator('roost_operation_rate_bytes{kind="store"} 99\nroost_operations_running{kind="store"} 1')
    assert not fires("RoostSlowTransfers", slow, Thresholds(slow_rate=99))


@pytest.mark.parametrize(
    ("field", "name"),
    [("scrub_every_s", "RoostScrubOverdue"), ("backup_age_s", "RoostBackupOld"), ("slow_rate", "RoostSlowTransfers")],
)
def test_a_zero_leaves_the_rule_out(field: str, name: str) -> None:
    without = {each.name for each in all_rules(dataclasses.replace(Thresholds(), **{field: 0}))}
    assert set(NAMES) - without == {name}


def test_the_rules_file_says_the_same() -> None:
    rules = {each["alert"]: each for each in rules_file(Thresholds())["groups"][0]["rules"]}
    assert list(rules) == NAMES
    low = rules["RoostDiskLow"]
    assert low["expr"] == (
        'roost_disk_free_bytes{role="node"} / roost_disk_total_bytes{role="node"} < 0.1'
        ' and roost_disk_free_bytes{role="node"} < 53687091200'
    )
    assert (low["for"], low["keep_firing_for"], low["labels"]) == ("10m", "10m", {"severity": "warning"})
    assert low["annotations"]["summary"] == (
        "The disk of {{ $labels.instance }} is nearly full: {{ humanizePercentage $value }} is left."
    )
    assert rules["RoostUnrecoverable"]["expr"] == (
        '(roost_checkpoints{health="lost"} > 0) or (roost_chunks{health="lost"} > 0)'
    )
    assert "for" not in rules["RoostUnrecoverable"]
    assert rules["RoostCoordinatorDown"]["expr"] == (
        '(up{role="coordinator"} == 0) or (absent(up{role="coordinator"}) == 1)'
    )


def test_words_have_values_that_people_read() -> None:
    def summary(name: str, samples: list[Sample]) -> str:
        return rule(name).words(rule(name).matches(moment(samples))[0])[0]

    assert summary("RoostNodeDown", DOWN).startswith("pi-2 does not answer")
    assert "8.06% is left" in summary(
        "RoostDiskLow", node(f"roost_disk_free_bytes {2.5 * GIB}\nroost_disk_total_bytes {31 * GIB}")
    )
    stored = f'roost_last_success_timestamp_seconds{{job="store"}} {WALL - 9 * DAY}'
    assert summary("RoostBackupOld", coordinator(stored)) == "Nothing was stored for 9 days."
    slow = 'roost_operation_rate_bytes{kind="store"} 51200\nroost_operations_running{kind="store"} 1'
    assert summary("RoostSlowTransfers", coordinator(slow)) == "A store is running at only 50 KiB a second."
