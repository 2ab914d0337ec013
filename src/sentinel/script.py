"""Applications made ready to be sent: templates cut, constant requests built, series numbered.

Everything that can be worked out before the run is worked out here, so that sending costs little.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import quote

from sentinel.application import HALVES, Application, Extract, Step
from sentinel.drivers.driver import Headers, Request, Response
from sentinel.run import OUTCOMES
from sentinel.scenario import Scenario
from sentinel.template import Template
from sentinel.users import LASTING, Session, Users, fill_headers

OK, DENIED, SHED, ERROR = range(len(OUTCOMES))
_ASCII = "".join(map(chr, range(128)))
_PLAIN = re.compile(r"[A-Za-z0-9._~-]*")


class Line:
    """Be one step, ready to be sent."""

    __slots__ = (
        "_body",
        "_constant_body",
        "_constant_headers",
        "_extracts",
        "_headers",
        "_json",
        "_lasting",
        "_method",
        "_undo",
        "code",
        "contains",
        "fine",
        "path",
        "plain",
        "steady",
        "step",
    )

    def __init__(self, step: Step, series: int) -> None:
        self.step = step
        self.code = series * len(OUTCOMES)
        self.path = Template(in_ascii(step.path))
        self._json = step.body.lstrip().startswith(("{", "["))
        self._body = Template(step.body)
        self._constant_body = None if self._body.names else bytes(step.payload_bytes) or step.body.encode()
        self._headers = [(name, Template(text)) for name, text in step.headers]
        constant = not any(template.names for _, template in self._headers)
        self._constant_headers = Headers(step.headers) if constant else None
        self._lasting = all(LASTING.issuperset(template.names) for _, template in self._headers)
        self.plain = (
            step.mode == "then" and step.probability == 1 and not step.pause_s and step.repeat.times == 1
        )
        self._extracts = [(extract, reader(extract)) for extract in step.extract]
        self._undo = Template(in_ascii(step.undo.path)) if step.undo else None
        # Nothing but its target differs between a user's requests, and nothing is taken out of answers.
        self.steady = self._lasting and self._constant_body is not None and not step.extract and not step.undo
        self._method = step.method
        simple = not step.extract and step.undo is None and step.expect.refusals != "required"
        # An answer with one of these statuses, and these bytes in it, is as expected, and there is nothing to
        # do about it: most answers are like that.
        self.fine = frozenset(step.expect.status or range(200, 300)) if simple else frozenset()
        self.contains = (step.expect.contains or "").encode()

    def fill(self, request: Request, session: Session, users: Users) -> None:
        """Make a request that of one session."""
        user = session.user
        names = self.path.names
        if len(names) == 1:  # worth the shorter way: most paths that vary vary in one place
            request.target = self.path.format % in_path(session.look_up(names[0]))
        else:
            request.target = self._filled_path(session) if names else self.path.text
        request.method = self._method
        request.common = user.common or users.common_headers(session)
        request.headers = (
            self._constant_headers or user.headers.get(self.code) or self._filled_headers(session)
        )
        request.body = self._filled_body(session) if self._constant_body is None else self._constant_body
        request.key = user.key
        request.wire = request.rest = None

    def _filled_path(self, session: Session) -> str:
        return self.path.fill(lambda name: in_path(session.look_up(name)))

    def _filled_headers(self, session: Session) -> Headers:
        """Fill in the headers; kept by the user while they depend on nothing that changes."""
        headers = fill_headers(self._headers, session)
        if self._lasting:
            session.user.headers[self.code] = headers
        return headers

    def _filled_body(self, session: Session) -> bytes:
        look_up = session.look_up
        return self._body.fill((lambda name: in_json(look_up(name))) if self._json else look_up).encode()

    def judge(self, response: Response) -> tuple[int, str]:
        """Give the outcome (an index into OUTCOMES) of an answer, and what is wrong with it."""
        if response.error:
            return ERROR, response.error
        status, expect = response.status, self.step.expect
        if status == 429 and 429 not in expect.status:
            if expect.refusals != "forbidden":
                return DENIED, ""
            return ERROR, "refused (429), which this step does not allow"
        if status == 503 and 503 not in expect.status:
            return SHED, "status 503, load was shed"
        problem = expect.judge(status, response.body)
        return (ERROR, problem) if problem else (OK, "")

    def extract(self, response: Response, session: Session) -> str:
        """Keep what the step takes out of a good answer; say what is missing, if anything is."""
        for extract, read in self._extracts:
            value = read(response)
            if value is not None:
                session.keep(extract.name, value)
            elif extract.required:
                return f"the answer has no value for {extract.name!r}"
            else:
                session.values[extract.name] = ""
        return ""

    def undo(self, session: Session, users: Users) -> Request | None:
        """Build the request that removes what this one created, when it is known what that is."""
        if self._undo is None or self.step.undo is None:
            return None
        if not all(session.look_up(name) for name in self._undo.names):
            return None
        target = self._undo.fill(lambda name: in_path(session.look_up(name)))
        headers = self._constant_headers or self._filled_headers(session)
        return Request(
            self.step.undo.method, target, users.common_headers(session), headers, key=session.user.key
        )


def in_path(value: str) -> str:
    """Quote a value for use in a path or query."""
    plain = (value.isalnum() and value.isascii()) or _PLAIN.fullmatch(value)
    return value if plain else quote(value, safe="")


def in_ascii(path: str) -> str:
    """Write a path or query as a request can carry it: letters beyond ASCII percent-encoded as UTF-8, as
    browsers do, all else as it is.

    >>> in_ascii("/schön/100%25?q={title}")
    '/sch%C3%B6n/100%25?q={title}'
    """
    return quote(path, safe=_ASCII)


def in_json(value: str) -> str:
    """Escape a value for use inside a JSON string."""
    return value if value.isalnum() else json.dumps(value)[1:-1]


def reader(extract: Extract) -> Callable[[Response], str | None]:
    """Build the function that takes one value out of an answer; None when it is not there."""
    if extract.header is not None:
        name = extract.header
        return lambda response: response.header(name)
    if extract.pattern is not None:
        pattern = re.compile(extract.pattern.encode())
        return lambda response: _searched(pattern, response.body)
    path = (extract.json or "").split(".")
    return lambda response: _picked(path, response.body)


def _searched(pattern: re.Pattern[bytes], body: bytes) -> str | None:
    found = pattern.search(body)
    return found[1].decode("utf-8", "replace") if found and found[1] is not None else None


def _picked(path: list[str], body: bytes) -> str | None:
    """Follow a path of keys and indexes; only texts, numbers and booleans can be taken out."""
    try:
        value = json.loads(body)
        for part in path:
            value = value[int(part)] if isinstance(value, list) else value[part]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and HALVES.search(value):
        return None  # JSON can name half a character, "\\ud800"; no request can carry it
    return str(value) if isinstance(value, str | int | float) else None


class Script:
    """Be one application, ready to be played: its lines in groups that go out together."""

    __slots__ = ("application", "groups", "single")

    def __init__(self, application: Application, lines: list[Line]) -> None:
        self.application = application
        self.groups: list[list[Line]] = []
        for line in lines:
            if line.step.mode == "parallel" and self.groups and self.groups[-1][0].step.mode == "parallel":
                self.groups[-1].append(line)
            else:
                self.groups.append([line])
        plain = len(lines) == 1 and not application.requires and lines[0].plain
        self.single = lines[0] if plain else None


def write_scripts(scenario: Scenario) -> tuple[dict[str, Script], tuple[tuple[str, str], ...]]:
    """Make every application of a scenario ready, and name the series its steps are recorded under."""
    scripts: dict[str, Script] = {}
    series: list[tuple[str, str]] = []
    for name in scenario.reachable():
        application = scenario.application(name)
        lines = []
        for step in application.steps:
            lines.append(Line(step, len(series)))
            series.append((name, step.name))
        scripts[name] = Script(application, lines)
    return scripts, tuple(series)
