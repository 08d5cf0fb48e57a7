"""An alert fires after its time, is told once, again when it lasts, and once when it is over, over restarts too."""

from roost.observe.alerts import Thresholds, all_rules
from roost.observe.conditions import Moment
from roost.observe.firing import FORGET_S, RESUME_S, RETRY_S, Alert, Firing, Ledger, Notice, fields_of
from roost.observe.samples import Growth, Sample

OWN = {"instance": "coordinator", "role": "coordinator"}
WALL = 2_000_000_000.0


def rules(**thresholds: int) -> Firing:
    return Firing([rule for rule in all_rules(Thresholds(**thresholds)) if rule.watched_by == "coordinator"])


def down(*peers: str) -> list[Sample]:
    every = [Sample("roost_node_state", {**OWN, "peer": peer, "state": "down"}, 1.0) for peer in peers]
    return [Sample("roost_watch_pending", OWN, 0.0), *every]


def hot(*instances: str) -> list[Sample]:
    return [Sample("roost_host_temperature_celsius", {"instance": i, "role": "node"}, 99.0) for i in instances]


def look(firing: Firing, at: float, samples: list[Sample]) -> list[str]:
    firing.look(Moment(samples, Growth([], kept_s=0), at, WALL + at))
    return [alert.summary.split(" ")[0] for alert in firing.alerts]


def test_it_fires_when_its_time_is_over_and_not_before() -> None:
    firing = rules(node_down_s=300)
    assert look(firing, 0, down("pi-1")) == []
    assert firing.pending == 1
    assert look(firing, 299, down("pi-1")) == []
    assert look(firing, 300, down("pi-1")) == ["pi-1"]
    assert look(firing, 301, down()) == []


def test_what_went_away_in_between_begins_anew() -> None:
    firing = rules(node_down_s=300)
    look(firing, 0, down("pi-1"))
    look(firing, 200, down())
    look(firing, 210, down("pi-1"))
    assert look(firing, 509, down("pi-1")) == []
    assert look(firing, 510, down("pi-1")) == ["pi-1"]


def test_it_keeps_firing_for_its_time() -> None:
    firing = rules()
    look(firing, 0, hot("pi-1"))
    assert len(look(firing, 600, hot("pi-1"))) == 1
    quiet = [Sample("roost_host_temperature_celsius", {"instance": "pi-1", "role": "node"}, 50.0)]
    assert len(look(firing, 1199, quiet)) == 1
    assert look(firing, 1200, quiet) == []


def test_of_a_machine_out_of_sight_nothing_is_over() -> None:
    firing = rules()
    look(firing, 0, hot("pi-1"))
    look(firing, 600, hot("pi-1"))
    assert len(look(firing, 5000, down())) == 1
    assert look(firing, 600 + FORGET_S + 1, down()) == []


def test_the_gravest_come_first() -> None:
    firing = rules(node_down_s=0)
    lost = Sample("roost_checkpoints", {**OWN, "health": "lost"}, 1.0)
    assert look(firing, 0, [*down("pi-1"), lost]) == ["Something", "pi-1"]


def test_a_restart_goes_on_and_holds_what_fired_until_all_is_known() -> None:
    firing = rules(node_down_s=300)
    look(firing, 0, down("pi-1"))
    look(firing, 300, down("pi-1"))
    look(firing, 400, down("pi-1", "pi-2"))
    again = rules(node_down_s=300)
    again.restore(firing.kept(500), 7)
    assert look(again, 8, down()) == ["pi-1"]
    assert look(again, 7 + 200, down("pi-1", "pi-2")) == ["pi-1", "pi-2"]
    assert look(again, 7 + RESUME_S, down("pi-2")) == ["pi-2"]
    off = Firing([])
    off.restore(firing.kept(500), 7)
    assert off.alerts == []


def alert(name: str = "pi-1", severity: str = "warning") -> Alert:
    assert severity in ("critical", "warning")
    return Alert("RoostNodeDown", (("peer", name),), severity, f"{name} is down", "look", WALL)  # type: ignore[arg-type]


def test_each_is_told_once_and_once_more_when_it_is_over() -> None:
    ledger = Ledger(0)
    notice = ledger.due([alert()], 0)
    assert notice == Notice(begun=(alert(),))
    assert ledger.due([alert()], 1) == notice  # it is not told yet
    ledger.delivered(notice, 1)
    assert not ledger.due([alert()], 10**9)
    assert ledger.due([alert(), alert("pi-2")], 2) == Notice(begun=(alert("pi-2"),))
    over = ledger.due([], 3)
    assert over == Notice(over=(alert(),))
    ledger.delivered(over, 3)
    assert not ledger.due([], 4)


def test_what_lasts_is_told_again_all_together() -> None:
    ledger = Ledger(100)
    for at, name in ((0, "pi-1"), (50, "pi-2")):
        ledger.delivered(Notice(begun=(alert(name),)), at)
    both = [alert("pi-1"), alert("pi-2")]
    assert not ledger.due(both, 99)
    again = ledger.due(both, 100)
    assert again == Notice(lasting=tuple(both))
    ledger.delivered(again, 100)
    assert not ledger.due(both, 199)
    assert ledger.due(both, 200)


def test_a_way_that_fails_is_left_alone_for_longer_and_longer() -> None:
    ledger = Ledger(0)
    waits = [ledger.failed(1000) for _ in range(len(RETRY_S) + 2)]
    assert waits == [*RETRY_S, RETRY_S[-1], RETRY_S[-1]]
    assert not ledger.due([alert()], 1000 + RETRY_S[-1] - 1)
    notice = ledger.due([alert()], 1000 + RETRY_S[-1])
    assert notice.begun == (alert(),)
    ledger.delivered(notice, 5000)
    assert ledger.failed(6000) == RETRY_S[0]


def test_what_began_and_ended_untold_is_told_by_nobody() -> None:
    ledger = Ledger(0)
    ledger.failed(0)
    ledger.due([alert()], 1)
    assert not ledger.due([], 100)


def test_a_restart_tells_nothing_again() -> None:
    ledger = Ledger(100)
    ledger.delivered(Notice(begun=(alert(),)), 10)
    again = Ledger(100)
    again.restore(ledger.kept(60), 5)
    assert not again.due([alert()], 5)
    assert not again.due([alert()], 54)
    assert again.due([alert()], 55).lasting == (alert(),)
    assert again.due([], 6).over == (alert(),)


def test_what_a_notice_is_as_a_whole() -> None:
    critical = alert("pi-9", "critical")
    assert fields_of(Notice((alert(), critical))) == {"state": "firing", "severity": "critical", "priority": "5"}
    assert fields_of(Notice((), (alert(),), (critical,))) == {
        "state": "repeated",
        "severity": "warning",
        "priority": "3",
    }
    assert fields_of(Notice(over=(critical,))) == {"state": "resolved", "severity": "info", "priority": "2"}
