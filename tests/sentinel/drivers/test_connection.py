"""What a connection makes of a server's bytes, whatever they are, however they are cut, whatever came before.

httptools, fed with all bytes at once, is the judge.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import cast

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.drivers.connection import Connection
from sentinel.drivers.driver import Request, Response
from sentinel.drivers.http import HttpDriver
from sentinel.target import HttpTarget

Pairs = list[tuple[bytes, bytes]]
Outcome = tuple[int, Pairs, bytes, str, bool, int]  # ..., usable afterwards, pieces before it was whole
NAMES = (b"date", b"Server", b"X-RateLimit-Remaining", b"retry-after", b"ETag")


class Wire:
    """Stand where a connection's transport is: nothing here depends on a kernel."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_extra_info(self, name: str) -> object:
        return name  # "sslcontext" is there, so the connection writes to this object and not to a socket


class Judge:
    """Let httptools read one answer at one go."""

    def __init__(self, data: bytes, *, eof: bool) -> None:
        self.status, self.headers, self.body, self.keep, self.whole = 0, cast(Pairs, []), b"", False, False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(data)
        if eof:
            self.whole, self.keep = True, False

    def on_message_begin(self) -> None:
        self.headers, self.body = [], b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.whole, self.keep = True, self._parser.should_keep_alive()


values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12).map(str.encode)
bodies = st.one_of(st.binary(max_size=30), st.sampled_from([b"", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]))


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bool]:
    """Make up an answer: its bytes, and whether only the end of the connection ends it."""
    status = draw(st.sampled_from([200, 200, 201, 204, 304, 404, 429, 500, 503]))
    lines = [
        b"%b: %b" % pair for pair in draw(st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=4))
    ]
    body = b"" if status in (204, 304) else draw(bodies)
    framing = draw(st.sampled_from(["length", "length", "length", "chunks", "eof"]))
    eof = framing == "eof" and status not in (204, 304)
    if framing == "length":
        shown = draw(st.integers(0, 99)) if status == 304 else len(body)
        if status != 204:
            name = draw(st.sampled_from([b"Content-Length", b"content-length"]))
            lines.insert(draw(st.integers(0, len(lines))), b"%b: %d" % (name, shown))
    elif framing == "chunks" and status not in (204, 304):
        lines.append(b"Transfer-Encoding: chunked")
        cut = draw(st.integers(0, len(body)))
        chunks = [part for part in (body[:cut], body[cut:]) if part]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in chunks) + b"0\r\n\r\n"
    if eof or draw(st.integers(0, 9)) == 0:
        lines.append(b"Connection: close")
    head = b"HTTP/1.1 %d Whatever\r\n" % status + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    preface = draw(st.sampled_from([b"", b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"]))
    return preface + head + body, eof


@st.composite
def pieces_of(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Cut bytes at up to three places; often not at all."""
    places = sorted(draw(st.one_of(st.just([]), st.lists(st.integers(0, len(data)), max_size=3))))
    edges = [0, *places, len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


class Client:
    """Ask over one connection for as long as it lasts, then over the next of the same driver."""

    def __init__(self) -> None:
        self.driver = HttpDriver(HttpTarget("127.0.0.1", 1))
        self._connect()

    def _connect(self) -> None:
        self.wire = Wire()
        self.connection = Connection(self.driver)
        self.connection.connection_made(cast(asyncio.BaseTransport, self.wire))

    def ask(self, *pieces: bytes, method: str = "GET", eof: bool = False) -> Outcome:
        """Give the server's bytes piece by piece, and perhaps the end; say what came of it."""
        if self.connection.closed:
            self._connect()
        answers: list[Response] = []
        after: list[int] = []  # answers there were after each piece
        self.connection.reused = False  # so that nothing is sent again
        request = Request(method, "/")
        request.wire = self.driver.encode(request)
        self.connection.begin(request, answers.append)
        for piece in pieces:
            if not self.wire.aborted:
                self.connection.data_received(piece)
                self.driver._hand_over()
            after.append(len(answers))
        if eof:
            self.connection.connection_lost(None)
            self.driver._hand_over()
        if not answers:
            self.connection.fail("nothing more comes")
        (answer,) = answers
        usable = not self.connection.closed
        return answer.status, list(answer.headers), answer.body, answer.error, usable, after.count(0)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.lists(answers(), min_size=1, max_size=3))
def test_answers_are_what_httptools_reads_however_they_are_cut(
    data: st.DataObject, pool: list[tuple[bytes, bool]]
) -> None:
    client = Client()
    for sent, eof in data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=8)):
        pieces = data.draw(pieces_of(sent))
        judge = Judge(sent, eof=eof)
        assert judge.whole
        before = len(pieces) if eof else len(pieces) - 1
        wanted = (judge.status, judge.headers, judge.body, "", judge.keep, before)
        assert client.ask(*pieces, eof=eof) == wanted


@settings(max_examples=300, deadline=None)
@given(st.data(), st.lists(answers(), min_size=1, max_size=3))
def test_heads_that_came_before_change_nothing_about_any_bytes(
    data: st.DataObject, pool: list[tuple[bytes, bool]]
) -> None:
    """Broken, cut short, followed by more, or answering HEAD: as if the head were seen for the first time."""
    warm = Client()
    for sent, eof in pool * 2:
        warm.ask(sent, eof=eof)
    sent, _ = data.draw(st.sampled_from(pool))
    change = data.draw(st.sampled_from(["none", "short", "more", "broken", "other body"]))
    place = data.draw(st.integers(0, len(sent) - 1))
    if change == "short":
        sent = sent[:place]
    elif change == "more":
        sent += data.draw(st.sampled_from([b"x", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", sent]))
    elif change == "broken":
        sent = sent[:place] + bytes([data.draw(st.integers(0, 255))]) + sent[place + 1 :]
    elif change == "other body":
        head = sent.find(b"\r\n\r\n") + 4
        sent = sent[:head] + data.draw(st.binary(min_size=len(sent) - head, max_size=len(sent) - head))
    method = data.draw(st.sampled_from(["GET", "GET", "HEAD"]))
    pieces, eof = data.draw(pieces_of(sent)), data.draw(st.booleans())
    assert warm.ask(*pieces, method=method, eof=eof) == Client().ask(*pieces, method=method, eof=eof)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
OTHER = b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\n"
LENGTH = [(b"content-length", b"2")]
FINE = (200, LENGTH, b"ok", "", True, 0)


def test_a_head_is_parsed_once_and_then_recognized() -> None:
    client = Client()
    assert client.driver.heads.find(HEAD + b"ok") is None
    assert client.ask(HEAD + b"ok") == FINE
    head = client.driver.heads.find(HEAD + b"no")
    assert head is not None and (head.status, head.headers) == (200, LENGTH)
    assert all(client.driver.heads.find(HEAD + body) is None for body in (b"", b"n", b"not"))
    assert client.driver.heads.find(HEAD[:-2]) is None


def test_heads_that_take_turns_on_a_connection_are_told_apart() -> None:
    client = Client()
    for _ in range(3):
        assert client.ask(HEAD + b"ok") == FINE
        assert client.ask(OTHER + b"no") == (404, LENGTH, b"no", "", True, 0)
    assert client.ask(HEAD, b"ok") == (*FINE[:5], 1)


def test_an_answer_inside_the_body_of_another_is_a_body() -> None:
    client = Client()
    inner = HEAD + b"ok"
    outer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(inner)
    length = [(b"content-length", b"%d" % len(inner))]
    for _ in range(2):
        assert client.ask(outer, inner) == (200, length, inner, "", True, 1)
        assert client.ask(inner) == FINE
        assert client.ask(outer + inner) == (200, length, inner, "", True, 0)


def test_what_answered_head_says_nothing_about_bodies_and_the_other_way_round() -> None:
    client = Client()
    for _ in range(2):
        assert client.ask(HEAD, method="HEAD") == (200, LENGTH, b"", "", True, 0)
        assert client.ask(HEAD, b"ok") == (*FINE[:5], 1)
        assert client.ask(HEAD + b"ok") == FINE
    status, _, body, error, usable, _ = client.ask(HEAD + b"ok", method="HEAD")
    assert (status, body, error, usable) == (200, b"", "", False)  # bytes that nobody asked for


def test_heads_are_not_learned_from_prefaces_chunks_or_answers_that_close() -> None:
    client = Client()
    client.ask(b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + b"ok")
    client.ask(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
    client.ask(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    client.ask(HEAD + b"ok" + OTHER + b"no")
    client.ask(HEAD, method="HEAD")
    client.ask(HEAD[:17], HEAD[17:] + b"ok")
    assert len(client.driver.heads) == 0


def test_a_counter_in_every_head_is_soon_no_longer_learned_and_heads_that_come_again_are() -> None:
    client = Client()
    most = 0
    for number in range(3000):
        client.ask(b"HTTP/1.1 200 OK\r\nleft: %d\r\ncontent-length: 0\r\n\r\n" % number)
        most = max(most, len(client.driver.heads))
    assert most < 64
    for _ in range(1200):
        client.ask(HEAD + b"ok")
    assert client.driver.heads.find(HEAD + b"ok") is not None


def test_a_clock_in_every_head_does_not_fill_the_memory() -> None:
    client = Client()
    for second in range(3000):
        sent = b"HTTP/1.1 200 OK\r\ndate: %d\r\ncontent-length: 0\r\n\r\n" % second
        assert client.ask(sent)[:2] == (200, [(b"date", b"%d" % second), (b"content-length", b"0")])
        assert client.driver.heads.find(sent) is not None  # another connection's answer in the same second
        assert len(client.driver.heads) <= 1024
