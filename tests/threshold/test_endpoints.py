"""Endpoint patterns: which pattern a method and a path mean, checked against a naive matcher."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threshold import ConfigurationError
from threshold.endpoints import Endpoints, normalized


def table(*patterns: str) -> Endpoints[str]:
    return Endpoints("endpoints", [(pattern, pattern) for pattern in patterns])


@pytest.mark.parametrize(
    ("pattern", "method", "path", "matches"),
    [
        ("POST /api/posts", "POST", "/api/posts", True),
        ("POST /api/posts", "GET", "/api/posts", False),
        ("/api/posts", "PATCH", "/api/posts", True),
        ("* /api/posts", "PATCH", "/api/posts", True),
        ("GET|POST /x", "POST", "/x", True),
        ("GET|POST /x", "PUT", "/x", False),
        ("GET /x", "HEAD", "/x", True),
        ("HEAD /x", "GET", "/x", True),
        ("POST /x", "HEAD", "/x", False),
        ("/api/login", "POST", "//api/login", True),
        ("/api/login", "POST", "/api///login//", True),
        ("/api/login/", "POST", "/api/login", True),
        ("/api/login", "POST", "/api/login\n", True),
        ("/api/login", "POST", "/api/login/\n", True),
        ("/api/login", "POST", "/api/login\n\n", False),
        ("/api/login", "POST", "/api\n/login", False),
        ("/api/login", "POST", "/api/Login", False),
        ("/api/login", "POST", "/api/login/x", False),
        ("/api/login", "POST", "/api", False),
        ("/posts/{id}", "GET", "/posts/7", True),
        ("/posts/{id}", "GET", "/posts/", False),
        ("/posts/{id}", "GET", "/posts/7/comments", False),
        ("/posts/{id}/comments", "GET", "/posts/a b%20\u00e9/comments", True),
        ("/auth/*", "GET", "/auth", True),
        ("/auth/*", "GET", "/auth/a/b/c", True),
        ("/auth/*", "GET", "/authx", False),
        ("/*", "DELETE", "/", True),
        ("/*", "DELETE", "/a/b", True),
        ("/", "GET", "/", True),
        ("/", "GET", "//", True),
        ("/", "GET", "/a", False),
    ],
)
def test_a_pattern_matches_what_it_says(pattern: str, method: str, path: str, matches: bool) -> None:
    assert (table(pattern).match(method, path) is not None) is matches


def test_static_wins_over_named_and_named_over_the_rest_whatever_the_order_of_writing() -> None:
    patterns = ["/posts/*", "/posts/{id}", "/posts/new", "GET /posts/new"]
    for turn in range(4):
        endpoints = table(*patterns[turn:], *patterns[:turn])
        assert endpoints.match("GET", "/posts/new") == "GET /posts/new"
        assert endpoints.match("PUT", "/posts/new") == "/posts/new"
        assert endpoints.match("GET", "/posts/7") == "/posts/{id}"
        assert endpoints.match("GET", "/posts/7/x") == "/posts/*"
        assert endpoints.match("GET", "/posts") == "/posts/*"


def test_a_dead_end_on_a_static_segment_goes_back_to_the_named_one() -> None:
    endpoints = table("/a/b/c", "/{x}/b/d", "/*")
    assert endpoints.match("GET", "/a/b/d") == "/{x}/b/d"
    assert endpoints.match("GET", "/a/b/e") == "/*"


def test_a_method_that_a_specific_pattern_lacks_falls_to_a_wider_one() -> None:
    endpoints = table("POST /posts/new", "/posts/{id}")
    assert endpoints.match("GET", "/posts/new") == "/posts/{id}"


SEGMENTS = st.sampled_from(["a", "b", "{x}"])
PATTERNS = st.builds(
    lambda methods, segments, tail: f"{methods}/{'/'.join([*segments, *tail])}",
    st.sampled_from(["", "GET ", "POST ", "GET|POST "]),
    st.lists(SEGMENTS, max_size=3),
    st.sampled_from([[], ["*"]]),
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=5).map(lambda parts: "/" + "/".join(parts))


def naive(patterns: list[str], method: str, path: str) -> str | None:
    """Try every pattern; take the one whose segments are most specific from the left."""
    method = "GET" if method == "HEAD" else method
    segments = [part for part in path.split("/") if part]
    best: tuple[list[int], bool, str] | None = None
    for pattern in patterns:
        methods, _, template = pattern.rpartition(" ")
        if methods and method not in methods.split("|"):
            continue
        parts = [part for part in template.split("/") if part]
        rank: list[int] = []
        for i, part in enumerate(parts):
            if part == "*":
                rank.append(1)
                break
            if i >= len(segments) or (part != "{x}" and part != segments[i]):
                break
            rank.append(2 if part == "{x}" else 3)
        else:
            if len(parts) == len(segments):
                rank.append(4)
        if rank and rank[-1] in (1, 4) and (best is None or (rank, bool(methods)) > best[:2]):
            best = (rank, bool(methods), pattern)
    return None if best is None else best[2]


@given(st.lists(PATTERNS, max_size=6), st.sampled_from(["GET", "HEAD", "POST", "PUT"]), PATHS)
def test_it_finds_what_trying_every_pattern_finds(patterns: list[str], method: str, path: str) -> None:
    try:
        endpoints = table(*patterns)
    except ConfigurationError:  # two of them match the same
        return
    assert endpoints.match(method, path) == naive(patterns, method, path)


@given(st.text(), st.text(max_size=8))
def test_no_path_and_no_method_is_an_error(path: str, method: str) -> None:
    table("GET /a/{b}/*", "/").match(method, path)
    assert "//" not in normalized(path)


def test_a_path_of_a_million_segments_costs_no_more_than_reading_it() -> None:
    endpoints = table("/a/{b}/c", "/a/*")
    path = "/a" * 1_000_000
    started = time.perf_counter()
    assert endpoints.match("GET", path) == "/a/*"
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "api/posts", "POST api/posts", "post /x", "POST  ", "POST|/x", "GET,POST /x", "/a b", "/a?b=c"),
        *("/a#b", "/a/{}", "/a/{1}", "/a/{b", "/a/b}", "/a/x{b}", "/*/a", "/a*", "/a\0b", "/a\nb", "/a\x7fb"),
    ],
)
def test_a_malformed_pattern_is_refused_by_name(pattern: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        table(pattern)
    assert caught.value.value == pattern
    assert caught.value.field == "endpoints"


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("GET /caf%C3%A9", 'write "GET /café"'),
        ("/files/a%2Fb", 'write "/files/a/b"'),
        ("POST|PUT /%61pi/posts/{id}", 'write "POST|PUT /api/posts/{id}"'),
        ("/my%20files", "write {name} for the escaped segment"),
        ("/a%00b", "write {name} for the escaped segment"),
        ("/what%3F", "write {name} for the escaped segment"),
        ("/%7Bid%7D", "write {name} for the escaped segment"),
        ("/a/%2A", "write {name} for the escaped segment"),
        ("/%FF", "write {name} for the escaped segment"),
    ],
)
def test_an_escape_that_no_decoded_path_has_is_refused_with_the_decoded_form(
    pattern: str, remedy: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        table(pattern)
    assert (caught.value.field, caught.value.value) == ("endpoints", pattern)
    assert caught.value.remedy == f"paths are decoded before they are matched: {remedy}"


def test_a_percent_sign_that_begins_no_escape_stands_for_itself() -> None:
    assert table("/100%", "/5%-off").match("GET", "/100%") == "/100%"


def test_something_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="POST /api/posts"):
        Endpoints("user", [(5, "x")])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/a", "/a/"),
        ("/a/{b}", "/a/{c}"),
        ("GET /a", "HEAD /a"),
        ("GET|POST /a", "POST|PUT /a"),
        ("/a/*", "* /a/*"),
    ],
)
def test_two_patterns_for_the_same_requests_are_refused(first: str, second: str) -> None:
    with pytest.raises(ConfigurationError, match="same requests"):
        table(first, second)
