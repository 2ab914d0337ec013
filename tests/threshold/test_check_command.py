"""`threshold check`: what people are shown of a policy file, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from threshold import Policy
from threshold.commands import cli

SHIPPED = Path(__file__).parents[2] / "docs" / "examples" / "threshold.toml"

EVERYTHING = """
edge = "1000/minute"
ladder = "default"
[tenant]
default = "free"
tiers.free = { requests = "60/minute", ai = "0/day" }
tiers.oak = { rate = "5000/minute", burst = 200 }
[user]
"POST /auth/login" = { rate = "5 per 5 minutes", algorithm = "sliding-window" }
default = "100/minute"
[endpoints]
"POST /api/posts/[draft]" = { rate = "10/hour", algorithm = "sliding-window", precision = 20 }
"""


def check(path: Path) -> Result:
    return CliRunner().invoke(cli, ["check", str(path)])


def test_every_rule_is_shown_on_a_line_of_its_own_under_its_layer(tmp_path: Path) -> None:
    path = tmp_path / "threshold.toml"
    path.write_text(EVERYTHING)
    result = check(path)
    assert result.exit_code == 0
    first, *lines = result.output.splitlines()
    assert first == f"{path}: ok, 7 limits, a ladder of 5 rungs"
    assert [" ".join(line.split()) for line in lines] == [
        "edge",
        "edge 1000/minute token-bucket burst 1000",
        "tenant",
        "tenant:requests (free) 60/minute token-bucket burst 60",
        "tenant:ai (free) 0/day token-bucket admits nothing",
        "tenant:requests (oak) 5000/minute token-bucket burst 200",
        "user",
        "user:POST /auth/login 5 per 5 minutes sliding-window precision 60",
        "user 100/minute token-bucket burst 100",
        "endpoint",
        "POST /api/posts/[draft] 10/hour sliding-window precision 20",
    ]
    rules = [line for line in lines if line.startswith("  ")]
    assert len({max(line.find("token-bucket"), line.find("sliding-window")) for line in rules}) == 1, (
        "aligned"
    )


def test_the_shipped_file_is_shown_in_full() -> None:
    result = check(SHIPPED)
    assert result.exit_code == 0
    shown = [line for line in result.output.splitlines() if line.startswith("  ")]
    listed = Policy.default().listed
    assert len(shown) == len(listed)
    for entry in listed:
        assert any(
            line.startswith(f"  {entry.name} ") and f"  {entry.limit.rate}  " in line for line in shown
        )


def test_a_rule_stays_on_its_line_however_long_or_odd_its_name(tmp_path: Path) -> None:
    path = tmp_path / "threshold.toml"
    long = "/" + "x" * 300
    path.write_text(
        f'endpoints."{long}" = "1/s"\n'
        'endpoints."/caf\u00e9/\u6771\u4eac" = "2/s"\n'
        '[tenant]\ndefault = "a\\n\\u001b[31mb"\ntiers."a\\n\\u001b[31mb" = "3/s"\n',
        encoding="utf-8",
    )
    result = check(path)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert len(lines) == 1 + 2 + 3
    assert sum(long in line and line.endswith("token-bucket  burst 1") for line in lines) == 1
    assert "\x1b" not in result.output and "tenant:requests (a??[31mb)" in result.output


def test_a_file_without_limits_is_fine_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "threshold.toml"
    path.write_text("")
    result = check(path)
    assert (result.exit_code, result.output) == (0, f"{path}: ok, 0 limits, a ladder of 0 rungs\n")


@pytest.mark.parametrize("text", [None, 'usr = "1/s"', "user ="])
def test_a_file_that_cannot_work_ends_in_an_error_that_names_it(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "threshold.toml"
    if text is not None:
        path.write_text(text)
    result = check(path)
    assert result.exit_code == 1
    assert result.output.startswith("Error: ") and str(path) in result.output
