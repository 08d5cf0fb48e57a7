"""The parts that every dashboard is made of: a page, its variables, and the few kinds of panels that Roost uses.

A query that has nothing to count yet says 0 rather than *no data*, wherever 0 is what it means.
"""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import bargauge, common, logs, loki, prometheus, stat, statetimeline, table
from grafana_foundation_sdk.builders import dashboard as board
from grafana_foundation_sdk.builders import timeseries as lines
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS_UID = "roost-prometheus"
LOKI_UID = "roost-loki"
TAG = "roost"
FROM_PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid=PROMETHEUS_UID)
FROM_LOKI = models.DataSourceRef(type_val="loki", uid=LOKI_UID)

GOOD, FAIR, BAD, WORST, NEUTRAL = "green", "yellow", "orange", "red", "blue"
HEALTH_COLORS = {"healthy": GOOD, "degraded": FAIR, "at-risk": BAD, "lost": WORST, "unknown": "text"}

Panel = Builder[models.Panel]
"""A panel that is still being described."""


def page(uid: str, title: str, description: str, *, since: str = "now-6h", refresh: str = "30s") -> board.Dashboard:
    """An empty dashboard that links to all others of Roost."""
    others = (
        board.DashboardLink("Roost").type(models.DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(False)
    ).keep_time(True)
    return (
        board.Dashboard(title).uid(uid).description(description).tags([TAG]).timezone("browser").readonly()
        .time(since, "now").refresh(refresh).tooltip(models.DashboardCursorSync.CROSSHAIR).link(others)
    )  # fmt: skip


def choice(name: str, label: str, query: str) -> board.QueryVariable:
    """A variable that picks some values of a label, at first all; `query` is how Grafana asks Prometheus for them."""
    return (
        board.QueryVariable(name).label(label).datasource(FROM_PROMETHEUS).query(query).multi(True).include_all(True)
        .all_value(".*").refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC).current(models.VariableOption(text="All", value="$__all"))
    )  # fmt: skip


# -- the panels: `queries` are expressions by the legend of their lines -----------------------------------------------


def graph(
    title: str, queries: Mapping[str, str], unit: str, *, about: str = "", least: float | None = 0,
    most: float | None = None, stacked: bool = False, colors: Mapping[str, str] | None = None, width: int = 12,
) -> Panel:  # fmt: skip
    """Lines over time; `unit` as Grafana names it."""
    panel = (
        lines.Panel().title(title).description(about).datasource(FROM_PROMETHEUS).targets(_asked(queries)).unit(unit)
        .span(width).height(8).line_width(1).fill_opacity(25 if stacked else 8)
        .show_points(kinds.VisibilityMode.NEVER)
        .legend(common.VizLegendOptions().display_mode(kinds.LegendDisplayMode.LIST).placement(
            kinds.LegendPlacement.BOTTOM).show_legend(True))
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING))
    )  # fmt: skip
    if least is not None:
        panel.min(least)
    if most is not None:
        panel.max(most)
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
    for name, color in (colors or {}).items():
        panel.override_by_name(name, [_fixed(color)])
    return panel


def number(
    title: str, expression: str, unit: str = "short", *, about: str = "", steps: Sequence[tuple[float, str]] = (),
    base: str = GOOD, width: int = 4, decimals: int | None = None,
) -> Panel:  # fmt: skip
    """One number as it is now, in the color `base` and from each of `steps` on in that one's."""
    panel = (
        stat.Panel().title(title).description(about).datasource(FROM_PROMETHEUS)
        .targets(_asked({"": expression}, instant=True)).unit(unit).span(width).height(4)
        .reduce_options(_newest()).thresholds(_steps(base, steps))
        .color_mode(kinds.BigValueColorMode.VALUE).graph_mode(kinds.BigValueGraphMode.NONE)
    )  # fmt: skip
    return panel.decimals(decimals) if decimals is not None else panel


def words(title: str, expression: str, label: str, *, about: str = "", width: int = 4) -> Panel:
    """One series' label, as it is now."""
    return (
        stat.Panel().title(title).description(about).datasource(FROM_PROMETHEUS)
        .targets(_asked({f"{{{{{label}}}}}": expression}, instant=True)).span(width).height(4)
        .reduce_options(_newest()).text_mode(kinds.BigValueTextMode.NAME).thresholds(_steps(NEUTRAL, ()))
        .color_mode(kinds.BigValueColorMode.NONE).graph_mode(kinds.BigValueGraphMode.NONE)
    )  # fmt: skip


def bars(
    title: str, queries: Mapping[str, str], unit: str, *, about: str = "", most: float | None = None,
    steps: Sequence[tuple[float, str]] = (), base: str = GOOD, width: int = 12,
) -> Panel:  # fmt: skip
    """A bar for each series, as it is now."""
    panel = (
        bargauge.Panel().title(title).description(about).datasource(FROM_PROMETHEUS)
        .targets(_asked(queries, instant=True)).unit(unit).span(width).height(8).min(0)
        .reduce_options(_newest()).orientation(kinds.VizOrientation.HORIZONTAL).thresholds(_steps(base, steps))
        .display_mode(kinds.BarGaugeDisplayMode.BASIC)
    )  # fmt: skip
    return panel.max(most) if most is not None else panel


def states(
    title: str, queries: Mapping[str, str], names: Sequence[tuple[str, str]], *, about: str = "", width: int = 24
) -> Panel:
    """A stripe for each series; its value is the place of the state, and of its color, in `names`."""
    options = {
        str(value): models.ValueMappingResult(text=text, color=color, index=value)
        for value, (text, color) in enumerate(names)
    }
    return (
        statetimeline.Panel().title(title).description(about).datasource(FROM_PROMETHEUS).targets(_asked(queries))
        .span(width).height(8).mappings([models.ValueMap(options=options)]).show_value(kinds.VisibilityMode.NEVER)
        .row_height(0.8).fill_opacity(80)
    )  # fmt: skip


def rows(title: str, expression: str, *, about: str = "", hidden: Sequence[str] = (), width: int = 24) -> Panel:
    """A table of the labels of each series, as it is now, but for those in `hidden`."""
    unwanted = dict.fromkeys(["Time", "Value", "__name__", "job", *hidden], True)
    question = (
        prometheus.Dataquery().expr(expression).ref_id("A").instant().datasource(FROM_PROMETHEUS)
        .format(PromQueryFormat.TABLE)
    )  # fmt: skip
    return (
        table.Panel().title(title).description(about).datasource(FROM_PROMETHEUS).targets([question])
        .span(width).height(7).no_value("none")
        .with_transformation(models.DataTransformerConfig(id_val="organize", options={"excludeByName": unwanted}))
    )  # fmt: skip


def log_lines(title: str, expression: str, *, about: str = "") -> Panel:
    """The lines of a log, newest first; `expression` is LogQL."""
    return (
        logs.Panel().title(title).description(about).datasource(FROM_LOKI)
        .targets([loki.Dataquery().expr(expression).ref_id("A").datasource(FROM_LOKI)])
        .span(24).height(18).show_time(True).wrap_log_message(True).enable_log_details(True)
        .sort_order(kinds.LogsSortOrder.DESCENDING)
    )  # fmt: skip


def log_counts(title: str, queries: Mapping[str, str], *, about: str = "", colors: Mapping[str, str]) -> Panel:
    """How many lines there were over time, stacked; the expressions are LogQL."""
    panel = (
        lines.Panel().title(title).description(about).datasource(FROM_LOKI).unit("short").span(24).height(6).min(0)
        .draw_style(kinds.GraphDrawStyle.BARS).fill_opacity(80).line_width(0)
        .stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
        .targets([
            loki.Dataquery().expr(expression).legend_format(legend).ref_id(_ref(n)).datasource(FROM_LOKI)
            for n, (legend, expression) in enumerate(queries.items())
        ])
    )  # fmt: skip
    for name, color in colors.items():
        panel.override_by_name(name, [_fixed(color)])
    return panel


def row(title: str) -> board.Row:
    """A line that says what the panels below it are about."""
    return board.Row(title)


# -- the small things --------------------------------------------------------------------------------------------------


def _asked(queries: Mapping[str, str], *, instant: bool = False) -> list[Builder[Dataquery]]:
    found: list[Builder[Dataquery]] = []
    for number_, (legend, expression) in enumerate(queries.items()):
        question = prometheus.Dataquery().expr(expression).ref_id(_ref(number_)).datasource(FROM_PROMETHEUS)
        if legend:
            question.legend_format(legend)
        found.append(question.instant() if instant else question.range())
    return found


def _ref(number_: int) -> str:
    return chr(ord("A") + number_)


def _newest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _steps(base: str, steps: Sequence[tuple[float, str]]) -> board.ThresholdsConfig:
    found = [models.Threshold(value=None, color=base), *(models.Threshold(value, color) for value, color in steps)]
    return board.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def _fixed(color: str) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})
