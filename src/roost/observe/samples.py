"""Samples of metrics as a scrape gives them, what they were a while ago, and how much a counter grew since.

It decides only: the samples and the time are arguments. `parse_samples` reads the text format of Prometheus.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

SERIES_MAX = 20_000
"""Counters that are remembered; those beyond it are judged by nothing."""
STEPS_MAX = 256
"""Steps of one counter that are told apart."""

_NAME = re.compile(r"[{ ]")

Labels = tuple[tuple[str, str], ...]
"""The labels of a series, sorted: what tells it from others of its name."""
KeptCounter = tuple[str, Labels, float, float, tuple[tuple[float, float], ...]]
"""A counter's name, labels and last value, how long ago that was seen, and its steps, each with its age."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series now. `labels` include what the scrape adds: ``instance`` and ``role``."""

    name: str
    labels: Mapping[str, str]
    value: float

    @property
    def key(self) -> tuple[str, Labels]:
        """What tells its series from all others."""
        return self.name, sorted_labels(self.labels)


def sorted_labels(labels: Mapping[str, str]) -> Labels:
    """`labels` as a key."""
    return tuple(sorted(labels.items()))


def parse_samples(text: str, only: Collection[str] | None = None, **added: str) -> list[Sample]:
    """The samples in a text of the format of Prometheus, each with the labels `added` (``instance="pi-2"``,
    ``role="node"``), which win; those named by `only`, if it is given, so that the many others cost nothing. ValueError
    when it is not such a text."""
    from prometheus_client.parser import text_string_to_metric_families

    if only is not None:
        text = "".join(f"{line}\n" for line in text.splitlines() if _NAME.split(line, 1)[0] in only)
    return [
        Sample(sample.name, {**sample.labels, **added}, float(sample.value))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


@dataclass(slots=True)
class _Counter:
    """The last value of one counter, when it was seen, and by how much it grew at which times."""

    raw: float
    seen_s: float
    steps: list[tuple[float, float]] = field(default_factory=list)

    def grow(self, by: float, now_s: float) -> None:
        self.steps.append((now_s, by))
        if len(self.steps) > STEPS_MAX:  # the two oldest count as one, at the later time: nothing is lost
            (_, first), (at, second) = self.steps[:2]
            self.steps[:2] = [(at, first + second)]


class Growth:
    """How counters grew, over windows of up to `kept_s` seconds; a counter that began again at nothing counts on.

    A counter of a source (``instance`` and ``role``) that was looked at before, and did not show it, began at 0; all
    that a new source shows happened before anybody looked, and is no growth. A source that was away is known for
    `kept_s`.
    """

    def __init__(self, names: Iterable[str], *, kept_s: float) -> None:
        self._names = frozenset(names)
        self._kept_s = kept_s
        self._counters: dict[tuple[str, Labels], _Counter] = {}
        self._sources: dict[tuple[str, str], float] = {}

    def observe(self, samples: Sequence[Sample], now_s: float) -> None:
        """Take what is seen at `now_s`, on a clock that never goes back."""
        known = set(self._sources)
        for sample in samples:
            source = sample.labels.get("role", ""), sample.labels.get("instance", "")
            self._sources[source] = now_s
            if sample.name in self._names:
                self._take(sample, now_s, new=source not in known)
        horizon = now_s - self._kept_s
        self._sources = {source: at for source, at in self._sources.items() if at >= horizon}
        self._counters = {key: counter for key, counter in self._counters.items() if counter.seen_s >= horizon}
        for counter in self._counters.values():
            while counter.steps and counter.steps[0][0] < horizon:
                del counter.steps[0]

    def _take(self, sample: Sample, now_s: float, *, new: bool) -> None:
        counter = self._counters.get(sample.key)
        if counter is None:
            if len(self._counters) >= SERIES_MAX:
                return
            counter = self._counters[sample.key] = _Counter(sample.value if new else 0.0, now_s)
        by = sample.value - counter.raw if sample.value >= counter.raw else sample.value
        if by:
            counter.grow(by, now_s)
        counter.raw, counter.seen_s = sample.value, now_s

    def increase(self, sample: Sample, window_s: float, now_s: float) -> float:
        """How much the counter of `sample` grew in the last `window_s` seconds; 0 for one that is not known."""
        counter = self._counters.get(sample.key)
        return sum(by for at, by in counter.steps if at > now_s - window_s) if counter is not None else 0.0

    def kept(self, now_s: float) -> list[KeptCounter]:
        """What `restore` takes: the counters with ages for times, so that they can be kept while no clock runs."""
        return [
            (name, labels, counter.raw, now_s - counter.seen_s, tuple((now_s - at, by) for at, by in counter.steps))
            for (name, labels), counter in self._counters.items()
        ]

    def restore(self, kept: Iterable[KeptCounter], now_s: float) -> None:
        """Go on from what was `kept`, as if no time had passed since."""
        for name, labels, raw, seen_ago_s, steps in kept:
            if name not in self._names or len(self._counters) >= SERIES_MAX:
                continue
            counter = _Counter(raw, now_s - seen_ago_s, [(now_s - ago, by) for ago, by in steps])
            self._counters[name, labels] = counter
            source = dict(labels)
            self._sources[source.get("role", ""), source.get("instance", "")] = counter.seen_s
