"""Conditions over metrics, written once: as an expression for Prometheus, and judged here over the samples of a scrape.

A `Case` is a small part of what PromQL can say, with its meaning: a comparison keeps the series for which it holds,
`also` and `unless` keep those that have, or have not, a partner with the same labels (only those named by `on`, if it
is given). It decides only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from roost.observe.samples import Growth, Labels, Sample, sorted_labels

Operator = Literal[">", "<", "=="]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a condition is judged over: the samples now, how the counters grew, the clock, and the wall clock (with
    which only times that metrics tell are compared)."""

    samples: Sequence[Sample]
    growth: Growth
    now_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Match:
    """A series for which a condition holds, and the value that it has."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Select:
    """The series of `metric` whose labels are as `where` says; a value may name several: ``down|suspect``."""

    metric: str
    where: tuple[tuple[str, str], ...] = ()

    @property
    def expr(self) -> str:
        """For Prometheus."""
        parts = [f'{label}{"=~" if "|" in value else "="}"{value}"' for label, value in self.where]
        return self.metric + (f"{{{','.join(parts)}}}" if parts else "")

    def samples(self, moment: Moment) -> list[Sample]:
        """Those that are selected now."""
        return [sample for sample in moment.samples if sample.name == self.metric and self._takes(sample)]

    def _takes(self, sample: Sample) -> bool:
        return all(sample.labels.get(label, "") in value.split("|") for label, value in self.where)

    def values(self, moment: Moment) -> list[Match]:
        """Their values."""
        return [Match(sorted_labels(sample.labels), sample.value) for sample in self.samples(moment)]


@dataclass(frozen=True, slots=True)
class Since:
    """Seconds since the time that the series of `select` tell."""

    select: Select

    @property
    def expr(self) -> str:
        """For Prometheus."""
        return f"time() - {self.select.expr}"

    def values(self, moment: Moment) -> list[Match]:
        """One for each series."""
        return [Match(match.labels, moment.wall_s - match.value) for match in self.select.values(moment)]


@dataclass(frozen=True, slots=True)
class Share:
    """The series of `part` divided by those of the metric `whole` with the same labels."""

    part: Select
    whole: str

    @property
    def expr(self) -> str:
        """For Prometheus."""
        return f"{self.part.expr} / {Select(self.whole, self.part.where).expr}"

    def values(self, moment: Moment) -> list[Match]:
        """One for each pair; without those whose whole is nothing, of which no share can be told."""
        wholes = {match.labels: match.value for match in Select(self.whole, self.part.where).values(moment)}
        parts = self.part.values(moment)
        return [Match(part.labels, part.value / wholes[part.labels]) for part in parts if wholes.get(part.labels)]


@dataclass(frozen=True, slots=True)
class Increase:
    """How much the counters of `select` grew in the last `window_s` seconds, summed over all labels but `by`.

    A counter that was not there before began at nothing, which ``increase`` of Prometheus does not know: its very first
    step, often the only one, would go unseen.
    """

    select: Select
    window_s: int
    by: tuple[str, ...]

    @property
    def expr(self) -> str:
        """For Prometheus."""
        series, window = self.select.expr, promql_duration(self.window_s)
        grown = f"({series} unless {series} offset {window}) or increase({series}[{window}])"
        return f"sum by ({', '.join(self.by)}) ({grown})"

    def values(self, moment: Moment) -> list[Match]:
        """One for each combination of the labels `by`."""
        sums: dict[Labels, float] = {}
        for sample in self.select.samples(moment):
            labels = sorted_labels({label: sample.labels[label] for label in self.by if label in sample.labels})
            grown = moment.growth.increase(sample, self.window_s, moment.now_s)
            sums[labels] = sums.get(labels, 0.0) + grown
        return [Match(labels, value) for labels, value in sums.items()]


@dataclass(frozen=True, slots=True)
class Absent:
    """1 where no series at all is as `select` says."""

    select: Select

    @property
    def expr(self) -> str:
        """For Prometheus."""
        return f"absent({self.select.expr})"

    def values(self, moment: Moment) -> list[Match]:
        """One, or none."""
        return [] if self.select.samples(moment) else [Match(sorted_labels(dict(self.select.where)), 1.0)]


Quantity = Select | Since | Share | Increase | Absent


@dataclass(frozen=True, slots=True)
class Compare:
    """The series of `quantity` for which the comparison with `than` holds. NaN compares with nothing."""

    quantity: Quantity
    operator: Operator
    than: float

    @property
    def expr(self) -> str:
        """For Prometheus."""
        return f"{self.quantity.expr} {self.operator} {promql_number(self.than)}"

    def matches(self, moment: Moment) -> list[Match]:
        """Those for which it holds."""
        return [match for match in self.quantity.values(moment) if self._holds(match.value)]

    def _holds(self, value: float) -> bool:
        if self.operator == "==":
            return value == self.than
        return value > self.than if self.operator == ">" else value < self.than

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it is about."""
        if isinstance(self.quantity, Select):
            return (self.quantity.metric,)
        if isinstance(self.quantity, Share):
            return self.quantity.part.metric, self.quantity.whole
        return (self.quantity.select.metric,)

    @property
    def counters(self) -> tuple[str, ...]:
        """The metrics whose growth it asks for."""
        return (self.quantity.select.metric,) if isinstance(self.quantity, Increase) else ()

    @property
    def window_s(self) -> int:
        """How far back it looks."""
        return self.quantity.window_s if isinstance(self.quantity, Increase) else 0


@dataclass(frozen=True, slots=True)
class Case:
    """`when` holds, and all of `also`, and none of `unless`, for the partners of its series: those with the same
    labels, or the same of the labels `on`."""

    when: Compare
    also: tuple[Compare, ...] = ()
    unless: tuple[Compare, ...] = ()
    on: tuple[str, ...] | None = None

    @property
    def expr(self) -> str:
        """For Prometheus."""
        by = "" if self.on is None else f" on ({', '.join(self.on)})"
        parts = [self.when.expr]
        parts += [f"and{by} {other.expr}" for other in self.also]
        parts += [f"unless{by} {other.expr}" for other in self.unless]
        return " ".join(parts)

    def matches(self, moment: Moment) -> list[Match]:
        """The series for which all that holds."""
        found = self.when.matches(moment)
        for others, wanted in ((self.also, True), (self.unless, False)):
            for other in others:
                partners = {self._partner(match.labels) for match in other.matches(moment)}
                found = [match for match in found if (self._partner(match.labels) in partners) is wanted]
        return found

    def _partner(self, labels: Labels) -> Labels:
        return labels if self.on is None else tuple(pair for pair in labels if pair[0] in self.on)

    @property
    def compared(self) -> tuple[Compare, ...]:
        """All comparisons in it."""
        return (self.when, *self.also, *self.unless)


def any_expr(cases: Sequence[Case]) -> str:
    """That one of `cases` holds, for Prometheus."""
    return cases[0].expr if len(cases) == 1 else " or ".join(f"({case.expr})" for case in cases)


def any_match(cases: Iterable[Case], moment: Moment) -> list[Match]:
    """The series for which one of `cases` holds, each once."""
    found: dict[Labels, Match] = {}
    for case in cases:
        for match in case.matches(moment):
            found.setdefault(match.labels, match)
    return list(found.values())


def promql_duration(seconds: int) -> str:
    """As Prometheus writes it: ``90s``, ``10m``, ``1h``, ``7d``."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def promql_number(value: float) -> str:
    """Without a needless fraction or exponent."""
    return str(int(value)) if value == int(value) else repr(value)
