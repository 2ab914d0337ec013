"""Pieces of HTML that every page is put together from: the frame, sections, tables, cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files

from sentinel.run import Json

_MANY = 5  # columns, from which on a narrow page lays rows out as blocks


@cache
def asset(name: str) -> str:
    """Read a file that ships beside this one."""
    return (files("sentinel.report") / "assets" / name).read_text(encoding="utf-8")


def fill(parts: Mapping[str, str]) -> str:
    """Fill the frame of a page: title, body, data, and what it shows them with."""
    pieces = asset("page.html").split("{{")
    out = [pieces[0]]
    for piece in pieces[1:]:
        key, rest = piece.split("}}", 1)
        out += (parts[key], rest)
    return "".join(out)


def script_data(values: Mapping[str, Json]) -> str:
    """Write values as JSON for a script element, where only "</" could end the data early."""
    return json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")


def section(title: str, inner: str) -> str:
    """Wrap markup under a heading; both are markup already."""
    return f"<section><h2>{title}</h2>{inner}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, text: int = 1, total: bool = False) -> str:
    """Lay out a table of cells that are markup already; each knows its heading, for where it stands alone."""
    cells = "".join(
        f"<th{' class=text' if n < text else ''}>{escape(title)}</th>" for n, title in enumerate(head)
    )
    body = ["".join(_headed(cell, title) for cell, title in zip(row, head, strict=True)) for row in rows]
    lines = [f"<tr>{line}</tr>" for line in body]
    if total and lines:
        lines[-1] = lines[-1].replace("<tr>", '<tr class="sum">', 1)
    whole = f"<thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody>"
    many = " many" if len(head) >= _MANY else ""
    return f'<div class="scroll{many}"><table>{whole}</table></div>'


def _headed(cell: str, title: str) -> str:
    whole = cell if cell.startswith("<td") else f"<td>{cell}</td>"
    return whole.replace("<td", f'<td data-of="{escape(title)}"', 1) if title else whole


def text_cell(value: str) -> str:
    """Write a cell of text, on one line."""
    return f'<td class="text">{escape(value)}</td>'


def wrap_cell(value: str) -> str:
    """Write a cell of text that may take several lines."""
    return f'<td class="wrap">{escape(value)}</td>'


def pill(passed: bool | None) -> str:
    """Write "pass" or "FAIL" in colour, or "not judged" for None."""
    tone, word = {True: ("good", "pass"), False: ("bad", "FAIL"), None: ("warn", "not judged")}[passed]
    return f'<span class="pill {tone}">{word}</span>'
