"""What lies over the live view for a moment: one thing in full, or help; Escape takes it away."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from roost.apps.cli.show import facts, file_lines, node_map
from roost.apps.cli.words import printable
from roost.client import Shown
from roost.core.errors import RoostError

FILES_MAX = 1000
Lines = Sequence[str]
HELP = """\
roost top shows the cluster, again every few seconds.
It changes nothing.

  1 to 5       checkpoints, nodes, transfers, waiting, events
  Tab          the next of them; Shift-Tab the one before
  arrows       move; Page Up, Page Down, Home and End too
  Enter        a run: its checkpoints; a checkpoint: its files, and where its
               copies are; a node: all that is known of it; else the whole line
  /            show only what has some text in it; Escape ends that
  p            all problems
  r            look again now
  ?            this
  q, Ctrl-C    quit

Wide and tall terminals show everything at once.

HEALTH       healthy   every copy that was asked
             degraded  fewer, and one more machine may still be lost
             at-risk   one more loss loses it
             LOST      of some part no good copy is left
             unknown   nobody could be asked

Transfers and events are told by the coordinator, on its machine. Health
there is that of its last look, a minute old at most; on other machines the
nodes are asked each minute.
"""


class Detail(ModalScreen[None]):
    """A title and lines, which may come later: `load` is awaited, and its RoostError is shown in their place."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", "Back"),
        ("enter", "dismiss", "Back"),
        Binding("question_mark", "dismiss", "", show=False),
        ("q", "app.quit", "Quit"),
        Binding("ctrl+c", "app.quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, title: str, load: Callable[[], Awaitable[Lines]]) -> None:
        super().__init__()
        self._title = title
        self._load = load

    def compose(self) -> ComposeResult:
        """The lines, in a frame that scrolls."""
        frame = VerticalScroll(Static("Looking...", id="lines", markup=False), id="frame")
        frame.border_title = Text(printable(self._title), no_wrap=True).plain
        yield frame
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        """Ask, without making anybody wait for the answer."""
        self.query_one("#frame").focus()
        self.run_worker(self._fill(), exclusive=True)

    async def _fill(self) -> None:
        try:
            lines = await self._load()
        except RoostError as error:
            lines = [error.message, *([error.hint] if error.hint else [])]
        self.query_one("#lines", Static).update(Text("\n".join(map(printable, lines))))


def ready(lines: Lines) -> Callable[[], Awaitable[Lines]]:
    """A `load` of lines that are there."""

    async def load() -> Lines:
        return lines

    return load


def fact_lines(pairs: Sequence[tuple[str, str]]) -> Lines:
    """A line a fact."""
    width = max(len(key) for key, _ in pairs)
    return [f"{key:<{width}}  {value}" for key, value in pairs]


def checkpoint_lines(shown: Shown) -> Lines:
    """One version: what it is, where its copies are, node by node, and its files."""

    def lines() -> Iterator[str]:
        yield from fact_lines(facts(shown))
        yield ""
        yield from node_map(shown)
        yield ""
        yield from file_lines(shown, most=FILES_MAX)

    return list(lines())
