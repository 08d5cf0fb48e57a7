"""Families of metrics and their text: what every teller of metrics makes them from.

prometheus_client is loaded when the first of them is made, so a process that nobody scrapes never has it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roost.observe.histogram import Histogram

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "roost_"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Rows = Iterable[tuple[Sequence[str], float]]
"""Values of the labels, in their order, and the value."""


def gauge(name: str, text: str, value: float | None) -> "Iterator[Metric]":
    """One value without labels; nothing where it is not known."""
    if value is not None:
        yield from gauges(name, text, (), [((), value)])


def gauges(name: str, text: str, labels: Sequence[str], rows: Rows) -> "Iterator[Metric]":
    """What goes up and down."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    yield family


def counters(name: str, text: str, labels: Sequence[str], rows: Rows) -> "Iterator[Metric]":
    """What only goes up; ``_total`` is added to the name."""
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    yield family


def histograms(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], Histogram]]
) -> "Iterator[Metric]":
    """How values are spread."""
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(PREFIX + name, text, labels=labels)
    for values, histogram in rows:
        family.add_metric(values, buckets=histogram.buckets(), sum_value=histogram.sum)
    yield family


def text_of(families: "Iterable[Metric]") -> bytes:
    """In the text format of Prometheus, of `MEDIA_TYPE`."""
    from prometheus_client import generate_latest

    return generate_latest(_Told(list(families)))


@dataclass(frozen=True, slots=True)
class _Told:
    """What `generate_latest` asks of a registry."""

    families: "list[Metric]"

    def collect(self) -> "list[Metric]":
        return self.families
