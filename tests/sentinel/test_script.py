"""What is wrong with an answer is said for every kind of answer that is not as expected."""

from __future__ import annotations

import subprocess
import sys
from urllib.parse import quote

import pytest

from sentinel.application import Extract, Step, Undo
from sentinel.drivers.driver import Request, Response
from sentinel.errors import ConfigurationError
from sentinel.run import OUTCOMES
from sentinel.scenario import Population
from sentinel.script import Line, reader
from sentinel.users import Session, Users


def test_load_that_was_shed_is_listed_among_the_errors() -> None:
    line = Line(Step("get", "/"), series=0)
    outcome, problem = line.judge(Response(503, [], b"", 0))
    assert OUTCOMES[outcome] == "shed" and problem == "status 503, load was shed"
    outcome, problem = line.judge(Response(500, [], b"", 0))
    assert OUTCOMES[outcome] == "error" and "500" in problem


@pytest.mark.parametrize("path", ["/schön/{title}?q=日本", "/{title}/{user}/ü", "/ö#%20"])
def test_letters_beyond_ascii_in_a_path_go_out_as_a_browser_sends_them(path: str) -> None:
    step = Step("get", path, undo=Undo(path))
    line, users = Line(step, series=0), Users(Population(), 1)
    session = Session((0, 1), users, {})
    session.keep("title", "a b")
    request = Request("GET", "/")
    line.fill(request, session, users)
    wanted = quote(path.replace("{title}", "a b").replace("{user}", "0"), safe="/?=#%")
    assert request.target == wanted
    undo = line.undo(session, users)
    assert undo is not None and undo.target == wanted


@pytest.mark.parametrize("body", [rb'{"name": "\ud800"}', rb'{"name": "a\udc00b"}', b"[" * 100_000])
def test_what_no_request_can_carry_counts_as_missing_from_an_answer(body: bytes) -> None:
    assert reader(Extract("who", json="name"))(Response(200, [], body, 0)) is None


@pytest.mark.parametrize("field", ["path", "body", "header"])
def test_half_a_character_is_refused_with_its_field(field: str) -> None:
    half = "/\ud800"
    headers = (("X-Half", half),) if field == "header" else ()
    with pytest.raises(ConfigurationError, match=f"'get'.*{field}"):
        Step("get", half if field == "path" else "/", body=half if field == "body" else "", headers=headers)


def test_ctrl_c_between_loading_and_the_command_is_no_traceback() -> None:
    pressed = (
        "import sys, types\n"
        "def pressed(): raise KeyboardInterrupt\n"
        "module = types.ModuleType('sentinel.commands.encoding')\n"
        "module.speak_plainly = pressed\n"
        "sys.modules['sentinel.commands.encoding'] = module\n"
        "import sentinel.cli; sentinel.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", pressed, "-h"], capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr == "sentinel: stopped before it began\n", done.stderr
