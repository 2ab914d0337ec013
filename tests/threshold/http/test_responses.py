"""Bodies of refusals: the type a client asked for, and what it says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threshold import SlidingWindow, Verdict
from threshold.headers import Rules
from threshold.http.responses import preferred, refusal
from threshold.plan import Outcome, Rule


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("application/problem+json, text/html", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
        ("TEXT/HTML", "html"),
        ("text/plain", "text"),
        ("text/plain;q=0.5, text/html;q=0.4", "text"),
        ("text/html;q=0.9, application/json;q=0.8", "html"),
        ("text/*", "html"),
        ("text/html;q=0, */*", "json"),
        ("*/*, application/json;q=0, text/html;q=0", "text"),
        ("image/png", "json"),
        ("text/html;q=nonsense", "json"),
        ("text/html;q=nan", "json"),
        (";;,,;q=", "json"),
        ("text/html," * 1000, "json"),
    ],
)
def test_the_client_gets_the_kind_of_body_it_asks_for(accept: str, kind: str) -> None:
    content_type = dict(refusal(refused(), accept)[0])[b"content-type"].decode()
    names = {"json": "application/problem+json", "html": "text/html", "text": "text/plain"}
    assert content_type.split(";")[0] == names[kind]


@given(st.text())
def test_no_accept_field_breaks_a_refusal(accept: str) -> None:
    assert preferred(accept) in ("json", "html", "text")


def refused(
    retry_us: int | None = 17_000_001, names: tuple[str, ...] = ("user",), banned: bool = False
) -> Verdict:
    rules = Rules([Rule.of(name, "user", SlidingWindow("5/minute")) for name in names])
    found = [(retry_us or -1, 0, 60_000_000, None) for _ in names]
    return Verdict(False, 429, Outcome(False, found, 0), rules, retry_after_us=retry_us, banned=banned)


AWAY = Verdict(False, 503, Outcome(True, (), 0), Rules(), retry_after_us=None)


def test_problem_details_name_every_limit_and_agree_with_retry_after() -> None:
    verdict = refused(names=("user", 'POST /api/"posts"'))
    before = datetime.now(UTC)
    fields, body = refusal(verdict, "")
    problem = json.loads(body)
    assert problem["violated-policies"] == ["user", 'POST /api/"posts"']
    assert problem["retry_after"] == 18 == int(dict(verdict.wire)[b"retry-after"])
    until = (datetime.fromisoformat(problem["reset_at"]) - before).total_seconds()
    assert 16 < until < 20
    assert dict(fields)[b"content-length"] == b"%d" % len(body)
    assert dict(fields)[b"cache-control"] == b"no-store"


@pytest.mark.parametrize(
    ("verdict", "problem", "status"),
    [
        (refused(), "quota-exceeded", 429),
        (refused(banned=True), "abnormal-usage-detected", 429),
        (AWAY, "temporary-reduced-capacity", 503),
    ],
)
def test_each_kind_of_refusal_has_its_registered_type(verdict: Verdict, problem: str, status: int) -> None:
    told = json.loads(refusal(verdict, "")[1])
    assert told["type"] == f"https://iana.org/assignments/http-problem-types#{problem}"
    assert told["status"] == status


def test_the_page_is_well_formed_and_says_when_to_come_back() -> None:
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.text = ""

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

        def handle_data(self, data: str) -> None:
            self.text += data

    reader = Reader()
    reader.feed(refusal(refused(), "text/html")[1].decode())
    assert reader.open == []
    assert "Try again in 18 seconds." in reader.text


@pytest.mark.parametrize(
    ("retry_us", "line"),
    [
        (1, "Try again in 1 second."),
        (17_000_001, "Try again in 18 seconds."),
        (None, "This request will never be admitted."),
        (10**18, "Try again in 1000000000000 seconds."),
    ],
)
def test_plain_text_is_one_line(retry_us: int | None, line: str) -> None:
    assert refusal(refused(retry_us), "text/plain")[1].decode() == f"Too many requests. {line}\n"
    assert json.loads(refusal(refused(retry_us), "")[1])["detail"] == line
