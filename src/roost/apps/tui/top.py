"""`Top`: the application in the terminal, which shows one snapshot after the other until it is told to quit."""

import asyncio
import contextlib
import signal
import time
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Resize
from textual.widgets import DataTable, Footer, Input, Static, Tab, Tabs

from roost.apps.cli.status import verdict
from roost.apps.cli.words import counted, printable, whole_duration
from roost.apps.tui.detail import HELP, Detail, Lines, checkpoint_lines, fact_lines, ready
from roost.apps.tui.panel import STYLES, Panel
from roost.apps.tui.rows import (
    CHECKPOINT,
    CHECKPOINTS,
    EVENTS,
    NODES,
    RUN,
    TRANSFERS,
    WAITING,
    Row,
    checkpoint_rows,
    event_rows,
    node_facts,
    node_rows,
    transfer_rows,
    waiting_rows,
)
from roost.apps.tui.source import Snapshot, Source
from roost.core.checkpoint import Health
from roost.core.errors import RoostError

EVERY_S = 2.0
SLOWER = 3
"""Looks that take long are further apart: this many times as long as they take."""
PROBLEMS_SHOWN = 3
WIDE, TALL = 120, 40
"""Columns and rows from which on all panels are shown at once."""
QUIET = "Nothing happened since the coordinator started."
ELSEWHERE = "Told by the coordinator alone: run roost top on its machine."


class Top(App[BaseException | None]):
    """Shows `source` until it is told to quit. Its result is an error that nobody expected, if one ended it."""

    CSS_PATH = "top.tcss"
    TITLE = "roost top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("p", "problems", "Problems"),
        Binding("r", "look", "Look now", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False),
        Binding("tab", "step(1)", "Next panel", show=False, priority=True),
        Binding("shift+tab", "step(-1)", "Panel before", show=False, priority=True),
        Binding("escape", "unfilter", "All", show=False),
        *(Binding(str(number), f"choose({number - 1})", "", show=False) for number in range(1, 6)),
    ]

    def __init__(self, source: Source, *, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._source = source
        self._every_s = every_s
        self._snapshot: Snapshot | None = None
        self._trouble: RoostError | None = None
        self._toggled: set[str] = set()
        self._wanted = ""
        self._drawn: dict[str, Text] = {}
        self._current = 0
        self._again = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self.animation_level = "none"  # each step of one would go over the line
        self.panels = (
            Panel("checkpoints", "Checkpoints", CHECKPOINTS, right=(1,)),
            Panel("nodes", "Nodes", NODES, right=(2, 3, 4, 5)),
            Panel("transfers", "Transfers", TRANSFERS, right=(2,)),
            Panel("waiting", "Waiting", WAITING),
            Panel("events", "Events", EVENTS),
        )

    def compose(self) -> ComposeResult:
        """Verdict, problems, the panels and their tabs, filter, keys."""
        yield Static("roost", id="facts", markup=False)
        yield Static("Looking...", id="verdict", markup=False)
        yield Static("", id="problems", markup=False)
        yield Tabs(*(Tab(panel.title, id=f"tab-{panel.id}") for panel in self.panels))
        with Container(id="panels"):
            yield from self.panels
        yield Input(placeholder="show only what has this in it; Enter keeps it, Escape ends it", id="filter")
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        """Begin to look."""
        self.query_one(Tabs).can_focus = False
        self.query_one("#filter").display = False
        self._go_to(0)
        for number in (signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):  # not the main thread
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self._looking = asyncio.create_task(self._look_on())
        self.set_interval(1.0, self._show_facts)

    async def on_unmount(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def on_resize(self, event: Resize) -> None:
        """Everything at once where there is room."""
        self.screen_stack[0].set_class(event.size.width >= WIDE and event.size.height >= TALL, "roomy")

    # -- looking -----------------------------------------------------------------------------------------------------

    async def _look_on(self) -> None:
        try:
            while True:
                self._again.clear()
                begun = time.monotonic()
                try:
                    self._snapshot = await self._source.look()
                    self._trouble = None
                except (RoostError, OSError) as error:
                    self._trouble = error if isinstance(error, RoostError) else RoostError(str(error))
                self._show()
                took = time.monotonic() - begun
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(self._every_s, SLOWER * took)):
                        await self._again.wait()
        except Exception as error:  # supervised: the command tells it once the terminal is as it was
            self.exit(error)

    def _show(self) -> None:
        """Draw what is known now."""
        self._show_facts()
        self._show_verdict()
        found = self._snapshot
        if found is None:
            return
        wanted = self._wanted
        elsewhere = ELSEWHERE if found.operations is None else ""
        nothing = "Nothing has that in it." if wanted else ""
        waiting_note = "Nothing waits." if found.status.coordinator_running else ELSEWHERE
        shown: list[tuple[list[Row], str]] = [
            (checkpoint_rows(found, self._toggled, wanted), "Nothing is stored yet: roost store PATH"),
            (node_rows(found, wanted), "There are no nodes yet: roost token create lets machines join."),
            (transfer_rows(found, wanted), elsewhere or "Nothing is stored or gathered now."),
            (waiting_rows(found, wanted), waiting_note),
            (event_rows(found, wanted), ELSEWHERE if not found.status.page else QUIET),
        ]
        running = sum(1 for each in found.operations or () if each.state == "running")
        counts = (len(found.checkpoints), len(found.status.nodes), running, len(shown[3][0]), len(shown[4][0]))
        for panel, (rows, note), count in zip(self.panels, shown, counts, strict=True):
            panel.show(rows, nothing or note, count)
            label = f"{panel.title} {count:,}" if count else panel.title
            tab = self.query_one(f"#tab-{panel.id}", Tab)
            if tab.label_text != label:
                tab.label = label
        if self.screen_stack[0].focused is None:  # an empty table cannot have it
            self.screen_stack[0].set_focus(self.panels[self._current].table)

    def _show_facts(self) -> None:
        found = self._snapshot
        if found is None:
            return
        parts = [f"roost {printable(found.status.cluster)}"]
        parts.append(found.status.page or "no coordinator on this machine")
        parts.append(f"as of {whole_duration(time.time() - found.at)} ago")
        if self._wanted:
            parts.append(f"only {self._wanted!r}")
        self._put("facts", Text("  ".join(parts)))

    def _put(self, name: str, text: Text) -> None:
        """Draw `text` there, unless it is there already."""
        if self._drawn.get(name) != text:
            self._drawn[name] = text
            self.query_one(f"#{name}", Static).update(text)

    def _show_verdict(self) -> None:
        found = self._snapshot
        if self._trouble is not None:
            again = f"Trying again every {whole_duration(self._every_s)}." if self._every_s >= 1 else "Trying again."
            known = "What is below was known before." if found is not None else ""
            said = f"UNREACHABLE: {printable(self._trouble.message)}. {again}"
            self._put("verdict", Text(said, style=STYLES["bad"]))
            self._put("problems", Text("\n".join(filter(None, (printable(self._trouble.hint), known)))))
        elif found is not None:
            self._put("verdict", Text(printable(verdict(found.status)), style=f"bold {STYLES[_tone(found)]}"))
            told = [f"! {printable(problem)}" for problem in found.status.problems]
            if len(told) > PROBLEMS_SHOWN:
                more = counted(len(told) - PROBLEMS_SHOWN + 1, "more problem")
                told = [*told[: PROBLEMS_SHOWN - 1], f"! {more}: press p"]
            self._put("problems", Text("\n".join(told)))

    # -- keys --------------------------------------------------------------------------------------------------------

    def action_look(self) -> None:
        """Do not wait for the next look."""
        self._again.set()

    def action_step(self, by: int) -> None:
        """Go to another panel, round and round."""
        if self.screen is self.screen_stack[0] and not self.query_one("#filter").has_focus:
            self._go_to((self._current + by) % len(self.panels))

    def action_choose(self, number: int) -> None:
        """Go to the panel of this number."""
        if self.screen is self.screen_stack[0]:
            self._go_to(number)

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        """A tab was clicked."""
        names = [f"tab-{panel.id}" for panel in self.panels]
        if event.tab.id in names and names.index(event.tab.id) != self._current:
            self._go_to(names.index(event.tab.id))

    def on_descendant_focus(self) -> None:
        """A panel was clicked."""
        for number, panel in enumerate(self.panels):
            if panel.has_focus_within and number != self._current:
                self._go_to(number)

    def _go_to(self, number: int) -> None:
        self._current = number
        for place, panel in enumerate(self.panels):
            panel.set_class(place == number, "current")
        self.query_one(Tabs).active = f"tab-{self.panels[number].id}"
        self.panels[number].table.focus()

    def action_filter(self) -> None:
        """Ask for the text."""
        box = self.query_one("#filter", Input)
        box.display = True
        box.focus()

    def action_unfilter(self) -> None:
        """Show everything again."""
        box = self.query_one("#filter", Input)
        box.value = ""
        self._filtered("")
        box.display = False
        self._go_to(self._current)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as it is typed."""
        self._filtered(event.value.strip())

    def on_input_submitted(self) -> None:
        """Keep it, and go back to the table."""
        box = self.query_one("#filter", Input)
        box.display = bool(box.value.strip())
        self._go_to(self._current)

    def _filtered(self, wanted: str) -> None:
        if wanted != self._wanted:
            self._wanted = wanted
            self._show()

    # -- opening -----------------------------------------------------------------------------------------------------

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter on a row, or a click on the chosen one."""
        panel = next(panel for panel in self.panels if panel.table is event.data_table)
        key = panel.chosen
        if key is None or self._snapshot is None:
            return
        if key.startswith(RUN):
            self._toggled ^= {key.removeprefix(RUN)}
            self._show()
        elif key.startswith(CHECKPOINT):
            self._open_checkpoint(key.removeprefix(CHECKPOINT))
        elif panel.id == "nodes":
            node = next((node for node in self._snapshot.status.nodes if node.id == key), None)
            if node is not None:
                self.push_screen(Detail(node.name, ready(fact_lines(node_facts(node)))))
        else:
            row = next(row for row in panel.shown if row.key == key)
            self.push_screen(Detail(panel.title, ready([cell.text for cell in row.cells if cell.text])))

    def _open_checkpoint(self, reference: str) -> None:
        async def load() -> Lines:
            return checkpoint_lines(await self._source.show(reference))

        self.push_screen(Detail(reference, load))

    def action_problems(self) -> None:
        """All of them, in full."""
        problems = self._snapshot.status.problems if self._snapshot is not None else ()
        self.push_screen(Detail("Problems", ready(problems or ["none"])))

    def action_help(self) -> None:
        """What the keys do."""
        self.push_screen(Detail("Help", ready(HELP.splitlines())))


def _tone(found: Snapshot) -> str:
    """How bad it is: as the page has it."""
    how = found.status.by_health
    if how.get(Health.LOST) or how.get(Health.AT_RISK) or not found.status.nodes:
        return "bad"
    return "good" if how.get(Health.HEALTHY, 0) == found.status.checkpoints and not found.status.problems else "fair"
