"""Tables, lists and boxes for a terminal of any width: nothing is cut, what does not fit is laid out anew.

A table is tried in turn with its cells on one line each, with those cells broken that may be, and with one
column folded at the joints of its names. What is too wide even so becomes a block per row: the name on a line
of its own, the figures with their labels below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_READABLE = 8  # letters: a folded column is no narrower
_GAP = 2  # between columns, the line that a heading may have included
_EDGE = 2  # what the box adds on both sides together
_INDENT = 2
_APART = 3  # between pairs on a line of a block
_PAIRED = 12  # letters: a longer value has its line in a block
_JOINTS = (re.compile(r"[^/]*/+|[^/]+"), re.compile(r"[^-/._:\s]*[-/._:\s]+|[^-/._:\s]+"))


def laid_out(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    last_bold: bool = False,
    text: int = 1,
    fold: int = 0,
) -> RenderableType:
    """Lay out a table; the columns before `text` are words, those after it figures.

    Where it is narrow a cell is broken where it has a line break, which is a space else, and the column
    `fold` takes several lines (-1: none does). Where that is not enough each row is a block.
    """
    return _Rows(tuple(head), tuple(map(tuple, rows)), last_bold, text, fold)


@dataclass(frozen=True, slots=True)
class _Rows:
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    last_bold: bool
    text: int
    fold: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for rows in (self._flat(), self.rows, self._folded(options.max_width)):
            if rows is not None and self._width(rows) <= options.max_width:
                yield self._table(rows)
                return
        yield from self._blocks(options.max_width)

    def _flat(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(cell.replace("\n", " ") for cell in row) for row in self.rows)

    def _widths(self, rows: Sequence[Sequence[str]]) -> list[int]:
        return [max(map(_wide, column)) for column in zip(self.head, *rows, strict=True)]

    def _width(self, rows: Sequence[Sequence[str]]) -> int:
        widths = self._widths(rows)
        return sum(widths) + _GAP * (len(widths) - 1) + _EDGE

    def _folded(self, room: int) -> tuple[tuple[str, ...], ...] | None:
        """Fold one column into what the others leave; None where a name would be broken within a word."""
        if self.fold < 0 or not self.rows:
            return None
        own = self._widths(self.rows)[self.fold]
        left = room - self._width(self.rows) + own
        cells = [folded(row[self.fold], left) for row in self.rows]
        if left < min(_READABLE, own) or any(_wide(cell) > left for cell in cells):
            return None
        pairs = zip(self.rows, cells, strict=True)
        return tuple((*row[: self.fold], cell, *row[self.fold + 1 :]) for row, cell in pairs)

    def _table(self, rows: Sequence[Sequence[str]]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
        for number, title in enumerate(self.head):
            table.add_column(title, justify="left" if number < self.text else "right", no_wrap=True)
        for number, row in enumerate(rows):
            bold = self.last_bold and number == len(rows) - 1
            table.add_row(*map(Text, row), style="bold" if bold else None)
        return table

    def _blocks(self, room: int) -> Iterator[RenderableType]:
        rows = self._flat()
        widths = self._widths(rows)
        figures = range(self.text, len(self.head))
        short = [n for n in figures if widths[n] <= _PAIRED]
        label = max((cell_len(self.head[n]) for n in short), default=0)
        value = max((cell_len(row[n]) for row in rows for n in short), default=0)
        across = (room - _INDENT + _APART) // (label + _GAP + value + _APART)
        if not across:
            across, short = 1, []
        yield Text("")
        yield Text(self.head[0], style="dim")
        for row in rows:
            yield Text(folded(row[0], room), style="bold")
            yield from (_labelled(self.head[n], row[n], room) for n in range(1, self.text))
            grid = Table.grid(padding=(0, _APART, 0, 0))
            pairs = [_pair(self.head[n], row[n], label, value) for n in short]
            for first in range(0, len(pairs), across):
                grid.add_row(*pairs[first : first + across])
            yield Padding(grid, (0, 0, 0, _INDENT))
            yield from (_labelled(self.head[n], row[n], room) for n in figures if n not in short)
        yield Text("")


def _wide(cell: str) -> int:
    return max(map(cell_len, cell.split("\n")))


def _pair(label: str, value: str, label_wide: int, value_wide: int) -> Text:
    gap = " " * (label_wide - cell_len(label) + _GAP + value_wide - cell_len(value))
    return Text.assemble((label, "dim"), gap, value, no_wrap=True)


def _labelled(label: str, value: str, room: int) -> RenderableType:
    """Put a value that may be long beside its label, or below it."""
    if _INDENT + cell_len(label) + _GAP + cell_len(value) <= room:
        return Padding(Text.assemble((label, "dim"), " " * _GAP, value), (0, 0, 0, _INDENT))
    below = Text(folded(value, room - 2 * _INDENT))
    return Group(
        Padding(Text(label, style="dim"), (0, 0, 0, _INDENT)), Padding(below, (0, 0, 0, 2 * _INDENT))
    )


def folded(name: str, width: int) -> str:
    r"""Break a name that is too wide after its slashes, else at its other joints, the rest indented.

    A part without joints stays whole, however wide it is.

    >>> folded("blog-reader/open-post", 30), folded("blog-reader/open-post", 14), folded("open-post", 8)
    ('blog-reader/open-post', 'blog-reader/\n  open-post', 'open-\n  post')
    """
    lines = [name]
    for joints in _JOINTS:
        if max(map(cell_len, lines)) > width:
            lines = _filled(joints.findall(name), width)
    return "\n".join(lines)


def _filled(parts: Iterable[str], width: int) -> list[str]:
    lines: list[str] = []
    for part in parts:
        if lines and cell_len((lines[-1] + part).rstrip()) <= width:
            lines[-1] += part
        else:
            lines.append(f"{' ' * _INDENT if lines else ''}{part}")
    return [line.rstrip() for line in lines]


def listed(lines: Iterable[str]) -> RenderableType:
    """List lines; what does not fit on one goes on below its beginning."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row("•", Text(line))
    return Padding(table, (1, 0))


def boxed(title: str, sentence: str, colour: str) -> RenderableType:
    """Put a sentence into a box; a title that its edge has no room for is the first line inside."""
    return _Boxed(title, sentence, colour)


@dataclass(frozen=True, slots=True)
class _Boxed:
    title: str
    sentence: str
    colour: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        said = Text(self.sentence, style="bold")
        if cell_len(self.title) + 6 <= options.max_width:
            yield Panel(said, title=Text(self.title), title_align="left", border_style=self.colour)
        else:
            within = Group(Text(folded(self.title, options.max_width - 4)), said)
            yield Panel(within, border_style=self.colour)
