"""The bar charts of the documents, drawn for the site: Mermaid's ``xychart-beta``, of which GitHub draws the same.

Mermaid itself is three megabytes of script that a page would load from elsewhere; the few words of it that our pages
use make a picture in some fifty lines.
"""

import html
import json
import re
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 34, 44
LINES = 4

_TITLE = re.compile(r'title "([^"]*)"')
_X_AXIS = re.compile(r'x-axis "([^"]*)" (\[.*\])')
_Y_AXIS = re.compile(r'y-axis "([^"]*)" (-?[0-9.]+) --> (-?[0-9.]+)')
_BAR = re.compile(r"bar (\[.*\])")


@dataclass(frozen=True, slots=True)
class Chart:
    """One series of bars: a bar's height is `values[i]`, its label `labels[i]`; the axis goes from 0 to `most`."""

    title: str
    x_title: str
    y_title: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    most: float


def parse(text: str) -> Chart:
    """The chart that a Mermaid block says. ValueError for what is not a bar chart as our pages have them."""
    lines = [line.strip() for line in text.strip().splitlines()]
    if not lines or lines[0] != "xychart-beta":
        raise ValueError("only xychart-beta is drawn on the site: use a table, or letters in a code block")
    found = {pattern: [m for line in lines[1:] if (m := pattern.fullmatch(line))] for pattern in _ALL}
    if any(len(matches) != 1 for matches in found.values()) or len(lines) != 1 + len(_ALL):
        raise ValueError("a chart has one title, one x-axis, one y-axis, and one bar, and nothing else")
    (title,), (x_axis,), (y_axis,), (bar,) = (found[pattern] for pattern in _ALL)
    labels, values = json.loads(x_axis[2]), json.loads(bar[1])
    if len(labels) != len(values) or float(y_axis[2]) != 0 or float(y_axis[3]) <= 0:
        raise ValueError("a chart has a label for each bar, and an axis that begins at 0")
    return Chart(title[1], x_axis[1], y_axis[1], tuple(labels), tuple(map(float, values)), float(y_axis[3]))


_ALL = (_TITLE, _X_AXIS, _Y_AXIS, _BAR)


def drawn(chart: Chart) -> str:
    """The chart as an SVG in one line of HTML, in the colours of the page around it."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    step = width / len(chart.values)
    parts = [_text(WIDTH / 2, 20, chart.title, size=15)]
    for number in range(LINES + 1):
        y = TOP + height * (1 - number / LINES)
        parts.append(f'<path d="M{LEFT} {y:.1f}h{width}" stroke="currentColor" stroke-opacity=".2"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{chart.most * number / LINES:.3g}", anchor="end"))
    for number, (label, value) in enumerate(zip(chart.labels, chart.values, strict=True)):
        x, bar = LEFT + step * number, height * min(1.0, value / chart.most)
        parts.append(
            f'<rect x="{x + step * 0.2:.1f}" y="{TOP + height - bar:.1f}" width="{step * 0.6:.1f}" height="{bar:.1f}"'
            f' fill="currentColor" fill-opacity=".55"><title>{html.escape(label)}: {value:g}</title></rect>'
        )
        parts.append(_text(x + step / 2, TOP + height + 16, label))
    parts.append(_text(LEFT + width / 2, HEIGHT - 8, chart.x_title))
    name = html.escape(f"{chart.title} by {chart.x_title}", quote=True)
    style = "max-width:40rem;width:100%"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}"'
        f' style="{style}">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "middle", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="currentColor">'
        f"{html.escape(text)}</text>"
    )
