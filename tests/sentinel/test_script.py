"""What is wrong with an answer is said for every kind of answer that is not as expected."""

from __future__ import annotations

import subprocess
import sys

from sentinel.application import Step
from sentinel.drivers.driver import Response
from sentinel.run import OUTCOMES
from sentinel.script import Line


def test_load_that_was_shed_is_listed_among_the_errors() -> None:
    line = Line(Step("get", "/"), series=0)
    outcome, problem = line.judge(Response(503, [], b"", 0))
    assert OUTCOMES[outcome] == "shed" and problem == "status 503, load was shed"
    outcome, problem = line.judge(Response(500, [], b"", 0))
    assert OUTCOMES[outcome] == "error" and "500" in problem


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
