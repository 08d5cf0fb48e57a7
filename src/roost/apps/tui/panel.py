"""A panel of the live view: a table that keeps its cursor while its rows change, or a note when it has none."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DataTable, Static

from roost.apps.tui.rows import Cell, Row

STYLES = {"good": "green", "fair": "yellow", "bad": "bold red", "": ""}


def text_of(cell: Cell) -> Text:
    """A cell as it is drawn; nothing in it is markup."""
    return Text(cell.text, style=STYLES[cell.tone], no_wrap=True)


class Table(DataTable[Text]):
    """A table whose Enter is told in the footer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Open")]


class Panel(Vertical):
    """One titled table; the columns numbered in `right` are aligned to the right."""

    def __init__(self, name: str, title: str, header: Sequence[str], *, right: Sequence[int] = ()) -> None:
        super().__init__(id=name, classes="panel")
        self.border_title = title
        self.title = title
        self._header = header
        self._right = frozenset(right)
        self._rows: list[Row] = []
        self._drawn = ("", "", False)
        self.table = Table(cursor_type="row")
        self.note = Static("", classes="note", markup=False)

    def compose(self) -> ComposeResult:
        """The table and the note, of which one is seen."""
        yield self.table
        yield self.note

    def on_mount(self) -> None:
        """The columns are there from the beginning."""
        for number, label in enumerate(self._header):
            self.table.add_column(self._aligned(number, Text(label, style="bold")), key=str(number))

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        row = self.table.cursor_row
        return self._rows[row].key if 0 <= row < len(self._rows) else None

    @property
    def shown(self) -> Sequence[Row]:
        """The rows that it shows."""
        return self._rows

    def show(self, rows: Sequence[Row], note: str, count: int) -> None:
        """Show these rows in place of the last ones, or `note` when there are none; `count` stands in the title."""
        title = f"{self.title} ({count:,})" if count else self.title
        if (title, note, bool(rows)) != self._drawn:
            self._drawn = (title, note, bool(rows))
            self.border_title = title
            self.note.update(note)
            self.note.display = not rows
            self.table.display = bool(rows)
        if [row.key for row in rows] != [row.key for row in self._rows]:
            self._replace(list(rows))
            return
        for number, (row, before) in enumerate(zip(rows, self._rows, strict=True)):
            for column, cell in enumerate(row.cells):
                if cell != before.cells[column]:
                    drawn = self._aligned(column, text_of(cell))
                    self.table.update_cell(row.key, str(column), drawn, update_width=True)
            self._rows[number] = row

    def _replace(self, rows: list[Row]) -> None:
        chosen, place = self.chosen, self.table.cursor_row
        at_top = place == 0
        scrolled = self.table.scroll_y
        self._rows = rows
        self.table.clear()
        for row in rows:
            drawn = [self._aligned(column, text_of(cell)) for column, cell in enumerate(row.cells)]
            self.table.add_row(*drawn, key=row.key)
        if at_top and chosen is not None and chosen not in {row.key for row in rows[:1]}:
            return  # whoever looks at the top sees what comes in there
        place = next((number for number, row in enumerate(rows) if row.key == chosen), min(place, len(rows) - 1))
        if place > 0:
            self.table.move_cursor(row=place, animate=False, scroll=False)
            self.table.scroll_to(y=scrolled, animate=False, force=True)

    def _aligned(self, column: int, text: Text) -> Text:
        if column in self._right:
            text.justify = "right"
        return text
