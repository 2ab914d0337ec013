"""Tables and lists for a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_READABLE = 8  # letters


def laid_out(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    last_bold: bool = False,
    text: int = 1,
    fold: int = 0,
) -> Table:
    """Lay out a table; the columns before `text` are words, those after it figures.

    Where it is narrow the column `fold` takes several lines, but stays wide enough to be read; a figure or a
    heading is never broken.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    kept = list(rows)
    readable = min(_READABLE, max((len(row[fold]) for row in kept if 0 <= fold < len(row)), default=0))
    for number, title in enumerate(head):
        side: Literal["left", "right"] = "left" if number < text else "right"
        folds = number == fold
        table.add_column(
            title,
            justify=side,
            overflow="fold" if folds else "ellipsis",
            no_wrap=not folds,
            min_width=readable if folds else None,
        )
    for number, row in enumerate(kept):
        table.add_row(*map(Text, row), style="bold" if last_bold and number == len(kept) - 1 else None)
    return table


def listed(lines: Iterable[str]) -> RenderableType:
    """List lines; what does not fit on one goes on below its beginning."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row("•", Text(line))
    return Padding(table, (1, 0))
