"""Output for terminals and logs that cannot show every character: a plainer one instead of a crash."""

from __future__ import annotations

import codecs
import io
import sys

_NAME = "sentinel-plainer"
_PLAINER = str.maketrans(
    {
        **dict(zip("▁▂▃▄▅▆▇█", "_.-=+*%#", strict=True)),
        **dict(zip("━─│╭╮╰╯", "=-|++++", strict=True)),
        "–": "-",
        "—": "-",
        "•": "*",
        "×": "x",
        "µ": "u",
        "→": "->",
        "≥": ">=",
        "≤": "<=",
        "…": "...",
    }
)


def plainer(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding does not have: by something like it, else by its number.

    >>> plainer(UnicodeEncodeError("ascii", "p95 ▁█ – \\u65e5", 4, 10, "not there"))
    ('_# - \\\\u65e5', 10)
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAINER)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


def speak_plainly() -> None:
    """Let standard output and error never fail on a character."""
    codecs.register_error(_NAME, plainer)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)
