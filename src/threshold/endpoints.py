"""Endpoint patterns: which of the policy's endpoints a method and a path mean.

A pattern is "[METHODS ]/path": methods joined by "|", or "*", or none for all. In the path, `{name}` stands
for one segment, and `*` as the last segment for any number of them, none included.

Matching looks at the decoded path with duplicate slashes collapsed, and without the trailing slash or a
newline at the end; HEAD counts as GET. Static segments win over `{name}`, and `{name}` over `*`, whatever
the order of writing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

from .errors import ConfigurationError

T = TypeVar("T")

_PATTERN = re.compile(r"(?:(\*|[A-Z]+(?:\|[A-Z]+)*)\s+)?(/[^\s?#\x00-\x1f\x7f]*)")
_PARAMETER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
_FORMS = 'write "POST /api/posts", "PUT|PATCH /api/posts/{id}" or "/auth/*"'
_SLASHES = re.compile("//+")


def normalized(path: str) -> str:
    """The path as patterns see it.

    One newline at the end is ignored: so do the routers that match with a regular expression ending in "$".

    >>> normalized("//api/posts/"), normalized("/"), normalized("/auth/login\\n")
    ('/api/posts', '/', '/auth/login')
    """
    if path[-1:] == "\n":
        path = path[:-1]
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if path[-1:] == "/" and len(path) > 1:
        return path[:-1]
    return path


class _Node(Generic[T]):
    __slots__ = ("any", "leaf", "named", "tail")

    def __init__(self) -> None:
        self.named: dict[str, _Node[T]] = {}
        self.any: _Node[T] | None = None
        self.leaf: dict[str, T] = {}
        self.tail: dict[str, T] = {}


class Endpoints(Generic[T]):
    """A table from endpoint patterns to values.

    Raises:
        ConfigurationError: for a malformed pattern, or two that match exactly the same requests.

    >>> table = Endpoints("endpoints", [("GET /posts/{id}", "read"), ("/posts/*", "other")])
    >>> table.match("HEAD", "/posts/7/"), table.match("PUT", "/posts/7"), table.match("GET", "/")
    ('read', 'other', None)
    """

    __slots__ = ("_depth", "_root")

    def __init__(self, field: str, patterns: Iterable[tuple[str, T]]) -> None:
        self._root: _Node[T] = _Node()
        self._depth = 0
        for pattern, value in patterns:
            methods, segments = _parse(field, pattern)
            self._depth = max(self._depth, len(segments))
            node = self._root
            table = node.leaf
            for segment in segments:
                if segment == "*":
                    table = node.tail
                    break
                if segment == "{}":
                    node.any = node = node.any or _Node()
                else:
                    node = node.named.setdefault(segment, _Node())
                table = node.leaf
            for method in methods:
                if method in table:
                    raise ConfigurationError(
                        field, pattern, "another pattern matches the same requests: drop one"
                    )
                table[method] = value

    def match(self, method: str, path: str) -> T | None:
        """The value of the most specific pattern that matches, or None."""
        # A deeper path than any pattern has can only match a tail: its rest stays in one piece.
        segments = normalized(path).split("/", self._depth + 1)[1:]
        if segments == [""]:
            segments = []
        return _find(self._root, segments, 0, "GET" if method == "HEAD" else method)


def _find(node: _Node[T], segments: list[str], at: int, method: str) -> T | None:
    if at == len(segments):
        found = _pick(node.leaf, method)
    else:
        segment = segments[at]
        child = node.named.get(segment)
        found = None if child is None else _find(child, segments, at + 1, method)
        if found is None and node.any is not None and segment:
            found = _find(node.any, segments, at + 1, method)
    return _pick(node.tail, method) if found is None else found


def _pick(table: dict[str, T], method: str) -> T | None:
    found = table.get(method)
    return table.get("*") if found is None else found


def _parse(field: str, pattern: str) -> tuple[list[str], list[str]]:
    found = _PATTERN.fullmatch(pattern) if isinstance(pattern, str) else None
    if found is None:
        raise ConfigurationError(field, pattern, _FORMS)
    if "%" in found[2]:
        _refuse_escapes(field, pattern, found[2])
    methods = sorted({"GET" if method == "HEAD" else method for method in (found[1] or "*").split("|")})
    path = normalized(found[2])
    segments = [] if path == "/" else path[1:].split("/")
    for i, segment in enumerate(segments):
        if _PARAMETER.fullmatch(segment):
            segments[i] = "{}"
        elif (
            "{" in segment or "}" in segment or ("*" in segment and (segment != "*" or i + 1 < len(segments)))
        ):
            raise ConfigurationError(field, pattern, f"{segment!r} is no segment; {_FORMS}")
    return methods, segments


def decoded(path: str) -> str:
    """The path without percent escapes.

    >>> decoded("/caf%C3%A9"), decoded("/100%")
    ('/café', '/100%')
    """
    from urllib.parse import unquote  # 2 ms, and hardly any path has an escape

    return unquote(path)


def _refuse_escapes(field: str, pattern: str, path: str) -> None:
    """Refuse what would wait for an escape that no decoded path has; a bare percent sign is fine."""
    plain = decoded(path)
    if plain == path:
        return
    write = pattern.removesuffix(path) + plain
    if set("{}*\ufffd") & set(plain) - set(path) or _PATTERN.fullmatch(write) is None:
        raise ConfigurationError(
            field, pattern, "paths are decoded before they are matched: write {name} for the escaped segment"
        )
    raise ConfigurationError(field, pattern, f'paths are decoded before they are matched: write "{write}"')
