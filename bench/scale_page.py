"""The page that `bench/scale.py` writes: a table and charts for each series, in a page whose other words stay.

What is measured stands between two comments that name its series, and is replaced there. All else on the page is
written by hand, and kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Column:
    """What is measured at each step of a series; `chart` says whether it gets a picture."""

    title: str
    unit: str
    chart: bool = False

    @property
    def head(self) -> str:
        return f"{self.title}, {self.unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """One step of a series: how much there was, and a value for each column (None: not to be had here)."""

    step: float
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """Something that was measured while something grew; `axis` names what grew."""

    key: str
    axis: str
    columns: Sequence[Column]
    rows: Sequence[Row]


def section(series: Series) -> str:
    """The table, and a chart for each column that gets one."""
    return "\n\n".join([_table(series), *_charts(series)])


def _table(series: Series) -> str:
    heads = [series.axis, *(column.head for column in series.columns)]
    lines = [_line(heads), "|" + "---:|" * len(heads)]
    for row in series.rows:
        cells = (_cell(value, column.unit) for value, column in zip(row.values, series.columns, strict=True))
        lines.append(_line([number(row.step), *cells]))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if unit == "x" else number(value)


def number(value: float) -> str:
    """Three digits, or all before the point: ``0.0123``, ``4.56``, ``12.3``, ``1,234``."""
    if value == 0 or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip("0").rstrip(".")


def _plain(value: float) -> str:
    """Four digits without an exponent, which charts do not read."""
    return f"{float(f'{value:.4g}'):f}".rstrip("0").rstrip(".")


def _charts(series: Series) -> list[str]:
    """Bars, because the steps are not evenly apart and a line would claim that they are."""
    charts = []
    for index, column in enumerate(series.columns):
        points = [(row.step, row.values[index]) for row in series.rows]
        known = [(step, value) for step, value in points if value is not None]
        if not column.chart or len(known) < 2:
            continue
        steps = ", ".join(f'"{number(step)}"' for step, _ in known)
        values = ", ".join(_plain(value) for _, value in known)
        top = 1.1 * max(value for _, value in known) or 1.0
        charts.append(
            "```mermaid\nxychart-beta\n"
            f'    title "{column.head}"\n'
            f'    x-axis "{series.axis}" [{steps}]\n'
            f'    y-axis "{column.unit}" 0 --> {_plain(top)}\n'
            f"    bar [{values}]\n```"
        )
    return charts


def replaced(page: str, key: str, text: str) -> str:
    """`page` with `text` in the place of what was measured under this key; ValueError when it has no such place."""
    begin, end = f"<!-- measured: {key} -->", f"<!-- end of {key} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no place for {key!r}: it needs the lines {begin} and {end}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def place(key: str) -> str:
    """Where a new page has room for what is measured."""
    return f"<!-- measured: {key} -->\n<!-- end of {key} -->"


EMPTY_PAGE = f"""# Performance: what it costs as the work grows

How store and gather grow with the checkpoint, the cluster, and what is stored already. `python -m bench.scale` measures
all of it and writes the tables and charts here. Costs are told in seconds of the clock, in seconds of the processor
(CPU-s: of the command and all nodes together), and in memory.

{place(MACHINE)}

**All nodes run on this one machine and share its cores**, over loopback and on one disk. So the seconds are those of a
machine that does the work of a whole cluster: every copy is encrypted, hashed and written by the same few cores that
encode it. What these series show is how the figures *grow*. The checkpoints are bfloat16 weights in the shapes of
Qwen2.5-0.5B, kept in two copies, and nothing of them was stored before. Memory is resident memory at its peak, if it
does not say otherwise. Bars, not lines: the steps are not evenly apart.

## The checkpoint grows

Four nodes, a new cluster for each size. `sent` is all that the storing command handed to write: the objects, once, with
TLS, and its catalogue.

{place("sizes")}

## The cluster grows

One checkpoint of 0.3 GB for each number of nodes, stored and gathered, in a new cluster. `roost ls` is the whole
command, its start included.

{place("nodes")}

## What is stored grows

Four nodes, small checkpoints of 1 MiB in nine chunks, in runs of 50. Memory here is what the processes have while they
rest. `records` are the manifests of all of it, which every node keeps.

{place("checkpoints")}

## Machines of their own, beside the wire and the peers

Five machines in network namespaces on a bridge, with links of 100 Mbit each way; 942 MB of bfloat16 weights, two
copies, TLS, fsync and all verification on: `sudo python bench/lab.py`. The wire's figure is what one raw copy would
need. A figure that uses more than 1 of its bound misses it. Peers are Debian's, on the same links, doing the same work.

{place("lab")}
"""
