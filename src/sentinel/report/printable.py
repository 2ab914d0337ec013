"""Texts of strangers, such as a server's words about an error, made fit for terminals, pages and files."""

from __future__ import annotations

import re

# Controls (a terminal obeys them), lone surrogates (no file can hold them), marks that turn writing round.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """Show what cannot or must not be printed by its number.

    >>> printable("wiped \\x1b[2J by \\ud800")
    'wiped \\\\x1b[2J by \\\\ud800'
    """
    return _UNFIT.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
