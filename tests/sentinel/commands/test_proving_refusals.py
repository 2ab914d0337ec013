"""What `sentinel audit` and `sentinel overhead` refuse, in which words, and the command without its extra."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Sentinel = Callable[..., Any]


LIMIT = ["--limit", "5/s"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audit"], "Missing option '--limit'"),
        (["audit", *LIMIT], "give either --target, an app, or --limiter, a store"),
        (["audit", *LIMIT, "--limiter", "memory:", "--target", "a:b"], "give either --target"),
        (["audit", *LIMIT, "--limiter", "etcd://x"], "limiter is 'etcd://x'; write memory:, shared:NAME or"),
        (["audit", *LIMIT, "--limiter", "shared:"], "name the shared memory, like shared:myapp"),
        (["audit", *LIMIT, "--limiter", "shared:a/b"], "limiter is 'shared:a/b'; shared memory has a name"),
        (["audit", "--limit", "5", "--limiter", "memory:"], "'--limit'"),
        (["audit", "--limit", "0/s", "--limiter", "memory:"], "limit must be a whole number of requests"),
        (["audit", *LIMIT, "--limiter", "memory:", "--burst", "0"], "0 is not in the range x>=1"),
        (["audit", *LIMIT, "--limiter", "memory:", "--precision", "6"], "a token-bucket has no sub-windows"),
        (
            ["audit", *LIMIT, "--limiter", "memory:", "--algorithm", "sliding-window", "--burst", "6"],
            "a sliding-window has no burst of its own",
        ),
        (
            ["audit", *LIMIT, "--limiter", "memory:", "--algorithm", "sliding-window", "--precision", "0"],
            "an exact log; threshold's window has 2 to 360 sub-windows",
        ),
        (["audit", *LIMIT, "--limiter", "memory:", "--algorithm", "leaky"], "'leaky' is not one of"),
        (["audit", *LIMIT, "--limiter", "memory:", "--duration", "1s"], "must be between 2 s and 3,600 s"),
        (["audit", *LIMIT, "--limiter", "memory:", "--rate", "0"], "0 is out of range; it must be above 0"),
        (["audit", *LIMIT, "--target", "http://192.0.2.1"], "allow it by name: --allow-target 192.0.2.1"),
        (["audit", *LIMIT, "--target", "a:b", "--header", "nocolon"], "write it as 'Name: value'"),
        (["audit", *LIMIT, "--target", "a:b", "--header", "X: {user}"], "may use {key} and {address}"),
        (["audit", *LIMIT, "--target", "a:b", "--path", "here"], "path is 'here'; it starts with /"),
        (["audit", *LIMIT, "--target", "a:b", "--path", "/a b"], "path is '/a b'; it starts with /"),
        (["audit", *LIMIT, "--target", "a:b", "--method", "GE T"], "method is 'GE T'; use GET, HEAD"),
        (["audit", *LIMIT, "--target", "a:b", "--header", "X: a\r\nY: b"], "its value one line"),
        (["audit", *LIMIT, "--target", "a:b", "--header", "X Y: a"], "its name is one word"),
        (["audit", *LIMIT, "--target", "a:b", "--admitted", "99"], "99 is not in the range 200<=x<=599"),
        (["overhead", "--target", "a:b", "--path", "/a\nb"], "path is '/a\\nb'; it starts with /"),
        (["overhead", "--duration", "7s"], "must be between 8 s and 3,600 s"),
        (["overhead", "--duration", "9s"], "duration is 9.0 s; it must be between 24 and 3,600 s"),
        (["overhead", "--rate", "5"], "rate is 5.0 requests/s; it must be between 50 and 100,000"),
        (["overhead", "--budget", "5"], "'--budget': 5 has no unit; write 5s for seconds, or ms, m or h"),
        (["overhead", "--budget", "cheap"], "'cheap' is no duration"),
        (["overhead", "--store", "etcd"], "store: 'etcd'"),
        (["overhead", "--target", "x:y", "--store", "memory"], "store is for the demo app"),
        (["overhead", "--target", "threshold.demo.blog:bare"], "no ThresholdMiddleware to take away"),
        (["overhead", "--target", "http://127.0.0.1:1"], "name the one without the limiter: --without"),
        (
            ["overhead", "--target", "threshold.demo.blog:protected", "--without", "http://127.0.0.1:1"],
            "without is a URL and the target an app",
        ),
        (["overhead", "--target", "http://127.0.0.1:1", "--without", "a:b"], "without is an app and"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_with_the_field_the_value_and_the_range(
    sentinel: Sentinel, words: list[str], message: str
) -> None:
    said = sentinel(*words)
    assert said.status == 1, said.out + said.err
    assert message in " ".join(said.err.split()), said.err


def test_dead_targets_and_stores_have_a_status_of_their_own(sentinel: Sentinel, dead: str) -> None:
    assert sentinel("audit", *LIMIT, "--target", f"http://{dead}").status == 5
    assert sentinel("audit", *LIMIT, "--limiter", f"redis://{dead}/0").status == 5
    assert sentinel("overhead", "--target", f"http://{dead}", "--without", f"http://{dead}").status == 5
    assert sentinel("overhead", "--target", "no_such_module:app").status == 5
    for words in (["audit", *LIMIT], ["overhead"]):
        said = sentinel(*words, "--target", "os:getcwd")
        assert said.status == 5 and "target takes (): it is no app" in said.err, said.err
    assert "no runs yet" in sentinel("history").out, "what never began leaves nothing behind"


def test_a_missing_extra_is_explained(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules[%r] = None; import sentinel.cli; sentinel.cli.main()"
    for module in ("click", "numpy", "rich", "httptools"):
        done = subprocess.run(
            [sys.executable, "-c", blocked % module, "--help"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 1 and "pip install 'threshold[sentinel]'" in done.stderr, done.stderr
        assert f"needs {module}" in done.stderr


def test_ctrl_c_while_the_command_is_still_loading_is_no_traceback(tmp_path: Path) -> None:
    pressed = (
        "import sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'numpy': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "import sentinel.cli; sentinel.cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", pressed, "-h"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr == "sentinel: stopped before it began\n", done.stderr
