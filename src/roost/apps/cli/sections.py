"""Sections of lines, told in full or fitted into one screen: each shows some of its items and counts the others."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from roost.apps.cli.words import cells

ROWS_MIN, COLUMNS_MIN = 12, 40
PROMPT_ROWS = 1


@dataclass(frozen=True, slots=True)
class Section:
    """Lines that are always told, and below them items, the most important first."""

    head: tuple[str, ...]
    items: tuple[str, ...] = ()


def everything(sections: Sequence[Section]) -> Iterator[str]:
    """All lines."""
    for section in sections:
        yield from section.head
        yield from section.items


def one_screen(sections: Sequence[Section], more: str) -> Iterator[str]:
    """As many lines as the terminal shows at once beside its prompt; `more` is the command that tells all."""
    columns, rows = shutil.get_terminal_size()
    return fitted(sections, more, rows=max(rows, ROWS_MIN) - PROMPT_ROWS, columns=max(columns, COLUMNS_MIN))


def fitted(sections: Sequence[Section], more: str, *, rows: int, columns: int) -> Iterator[str]:
    """Lines that take at most `rows` rows of `columns` columns, if the heads alone do. Items are cut where the line
    ends; heads may go on in the next one. Whatever room there is goes to the sections in turn."""
    shown = [0] * len(sections)
    room = rows - sum(_rows(line, columns) for section in sections for line in section.head)
    room -= sum(1 for section in sections if section.items)  # an item, or a line that counts those that are left out
    while True:
        before = list(shown)
        for number, section in enumerate(sections):
            left = len(section.items) - shown[number]
            cost = 0 if left == 1 else 1  # the last one takes the line of the count
            if left and room >= cost:
                shown[number] += 1
                room -= cost
        if shown == before:
            break
    told = False
    for section, count in zip(sections, shown, strict=True):
        yield from section.head
        yield from (_cut(item, columns) for item in section.items[:count])
        if count < len(section.items):
            which = "more" if count else "in all"
            yield f"  ... {len(section.items) - count:,} {which}{'' if told else f': {more}'}"
            told = True


def _rows(line: str, columns: int) -> int:
    return max(1, -(-cells(line) // columns))


def _cut(line: str, columns: int) -> str:
    if cells(line) <= columns:
        return line
    while cells(line) > columns - 3:
        line = line[:-1]
    return f"{line.rstrip()}..."
