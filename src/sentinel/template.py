"""Texts with {placeholders}, cut once so that filling them in is one formatting operation.

Only a name in braces is a placeholder, so JSON can be written as it is: {"title": "{title}"}.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


def placeholders(text: str) -> tuple[str, ...]:
    """Name the placeholders of a text, in order.

    >>> placeholders('/posts/{post_id}?by={user}')
    ('post_id', 'user')
    """
    return tuple(_PLACEHOLDER.findall(text))


class Template:
    """Fill in a text's placeholders from a look-up function.

    >>> Template('{"title": "{title}"}').fill({"title": "Moss"}.__getitem__)
    '{"title": "Moss"}'
    """

    __slots__ = ("format", "names", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.names = placeholders(text)
        self.format = _PLACEHOLDER.sub("%s", text.replace("%", "%%"))

    def fill(self, look_up: Callable[[str], str]) -> str:
        """Give the text with every placeholder replaced."""
        if not self.names:
            return self.text
        return self.format % tuple([look_up(name) for name in self.names])
