"""The dashboard of the logs: what the coordinator and the nodes of its machine said, by level and place.

The queries are LogQL, for Loki; `loki.py` beside this folder says where their labels come from.
"""

from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable, TextBoxVariable
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

from roost.apps.monitoring.dashboards import panels

CHOSEN = '{job="roost", instance=~"$instance", level=~"$level"} |~ `(?i)$text`'
COLORS = {"error": panels.WORST, "warning": panels.BAD, "info": panels.GOOD, "debug": panels.NEUTRAL}


def dashboard() -> Dashboard:
    """What was said, where, and how grave."""
    page = panels.page("roost-logs", "Roost: logs", "What the coordinator and the nodes of its machine said.",
                       since="now-3h")  # fmt: skip
    page.with_variable(_labels("instance", "Of")).with_variable(_labels("level", "Level"))
    page.with_variable(TextBoxVariable("text").label("With the words").default_value(""))
    page.with_panel(
        panels.log_counts(
            "Lines", {"{{level}}": f"sum by (level) (count_over_time({CHOSEN} [$__auto]))"}, colors=COLORS
        )
    )
    page.with_panel(
        panels.log_lines("The log", f"{CHOSEN} | json | line_format `{{{{.event}}}}`",
                         about="A line opened shows all its fields.")
    )  # fmt: skip
    return page


def _labels(name: str, label: str) -> QueryVariable:
    question: dict[str, object] = {"label": name, "stream": '{job="roost"}', "type": 1, "refId": f"roost-{name}"}
    return (
        QueryVariable(name).label(label).datasource(panels.FROM_LOKI).query(question).multi(True).include_all(True)
        .all_value(".+").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
        .current(VariableOption(text="All", value="$__all"))
    )  # fmt: skip
