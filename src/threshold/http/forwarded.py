"""What proxies write about the addresses before them: X-Forwarded-For and Forwarded, read right to left.

Pure text in, texts out. Whom to believe is for `http.caller` to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..addresses import packed

MOST_HOPS = 32
"""Hops looked at in one header. Real chains have a handful; a longer one is somebody's invention."""

_LONGEST_NODE = 64
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}")
_PAIR = re.compile(r"""\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^\s",;]*)\s*""")
_ELEMENT = re.compile(r"""(?:[^",]|"(?:[^"\\]|\\.)*")*""")


def address(node: str) -> str | None:
    """The address a proxy wrote, without its port; None when the text names no address.

    >>> address(" 192.0.2.7:4711 "), address("[2001:db8::7]:80"), address("2001:db8::7")
    ('192.0.2.7', '2001:db8::7', '2001:db8::7')
    >>> address("unknown") is None and address("::1%eth0") is None
    True
    """
    text = node.strip(" \t")
    if len(text) > _LONGEST_NODE:
        return None
    found = _BRACKETED.fullmatch(text) or _WITH_PORT.fullmatch(text)
    if found is not None:
        text = found[1]
    return None if packed(text) is None else text


def x_forwarded_for(value: str) -> Iterator[str | None]:
    """The addresses of X-Forwarded-For from the nearest hop outwards, None for what is no address.

    >>> list(x_forwarded_for("203.0.113.9, junk, 10.0.0.1"))
    ['10.0.0.1', None, '203.0.113.9']
    """
    for node in reversed(value.rsplit(",", MOST_HOPS)[-MOST_HOPS:]):
        yield address(node)


def forwarded(value: str) -> Iterator[str | None]:
    """The `for` addresses of Forwarded (RFC 7239) from the nearest hop outwards, None for anything else.

    >>> list(forwarded('for=203.0.113.9;proto=https, for="[2001:db8::7]:4711"'))
    ['2001:db8::7', '203.0.113.9']
    """
    elements = []
    at = 0
    while True:
        found = _ELEMENT.match(value, at)
        assert found is not None  # matches the empty text
        elements.append(found[0])
        at = found.end() + 1
        if found.end() == len(value):
            break
        if value[found.end()] != ",":  # a quote that never closes: nothing to the left or right is sure
            elements = [""]
            break
    for element in reversed(elements[-MOST_HOPS:]):
        yield _for(element)


def _for(element: str) -> str | None:
    """The address in the one `for` parameter of an element."""
    node = None
    for part in _parameters(element):
        found = _PAIR.fullmatch(part)
        if found is None:
            return None
        if found[1].lower() == "for":
            if node is not None:
                return None
            node = found[2]
    if node is None:
        return None
    if node[:1] == '"':
        node = re.sub(r"\\(.)", r"\1", node[1:-1])
    return address(node)


def _parameters(element: str) -> list[str]:
    """The parts between semicolons, quoted strings kept whole."""
    return re.findall(r"""(?:[^";]|"(?:[^"\\]|\\.)*")+""", element)
