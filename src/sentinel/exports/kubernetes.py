"""A run in segments as a Kubernetes Indexed Job: one pod per segment, one shared start, one merge."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sentinel.errors import check_range
from sentinel.exports.plan import commented
from sentinel.scenario import Scenario

SETTLING_S = 120  # from the load's end to the record on standard output, answers and clean-up included


@dataclass(frozen=True, slots=True)
class Fleet:
    """Describe who runs the segments.

    segments: pods, 2 to 1,000. image: has `sentinel` on its PATH. starts_at: Unix time at which all begin;
    a pod that is not ready by then fails, and with it the run. lead_s: how far ahead that was when exported.
    """

    segments: int
    image: str
    starts_at: float
    lead_s: float

    def __post_init__(self) -> None:
        check_range("segments", self.segments, 2, 1000)


def kubernetes_manifest(
    scenario: Scenario,
    fleet: Fleet,
    *,
    arguments: Sequence[str],
    host: str | None,
    text: str | None = None,
) -> str:
    """Write the manifest.

    arguments: of `sentinel run`, scenario first, without segment and start; host: allowed by name; text: of
    the scenario file, which is then carried along.
    """
    name = f"sentinel-{scenario.name}"[:52].rstrip("-_").replace("_", "-")
    words = [*arguments, *(["--allow-target", host] if host else []), "--no-save", "--record", "-"]
    instant = datetime.fromtimestamp(fleet.starts_at, UTC).isoformat(timespec="seconds")
    command = (
        f"exec sentinel run {shlex.join(words)} "
        f'--segment "$JOB_COMPLETION_INDEX/{fleet.segments}" --start-at {shlex.quote(instant)}'
    )
    deadline = round(fleet.lead_s + scenario.load.duration_s + scenario.timeout_s + SETTLING_S)
    parts = [_head(scenario, fleet, name, instant)]
    if text is not None:
        parts.append(_config_map(name, text))
    parts.append(_job(name, fleet, command, deadline, carried=text is not None))
    return "---\n".join(parts)


def _head(scenario: Scenario, fleet: Fleet, name: str, instant: str) -> str:
    files = " ".join(f"segment-{index}.json" for index in range(min(fleet.segments, 3)))
    files += " ..." if fleet.segments > 3 else ""
    return f"""\
# Load test {scenario.name} in {fleet.segments} segments, written by `sentinel export`.
#
# All segments start at {instant}. Apply this well before; export again for another start.
# When the job is complete, fetch the records and judge the whole:
#
#   for i in $(seq 0 {fleet.segments - 1}); do
#     kubectl logs -l job-name={name},batch.kubernetes.io/job-completion-index=$i --tail=-1 > segment-$i.json
#   done
#   sentinel merge {files}
#
# What this loses against one process:
{commented(_losses(fleet), "#")}
"""


def _losses(fleet: Fleet) -> list[str]:
    return [
        f"users: each segment keeps its own, who log in there unless {fleet.segments} divides their number",
        "one clock: segments start together as well as the nodes' clocks agree",
        "the limit on unanswered requests holds per segment",
        "criteria about excess: single requests are not merged",
    ]


def _config_map(name: str, text: str) -> str:
    return f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
data:
  scenario.toml: {json.dumps(text)}
"""


def _job(name: str, fleet: Fleet, command: str, deadline: int, *, carried: bool) -> str:
    mounts = """
          volumeMounts:
            - name: scenario
              mountPath: /scenario
              readOnly: true
      volumes:
        - name: scenario
          configMap:
            name: {name}""".replace("{name}", name)
    return f"""\
apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
spec:
  completionMode: Indexed
  completions: {fleet.segments}
  parallelism: {fleet.segments}
  backoffLimit: 0
  activeDeadlineSeconds: {deadline}
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: sentinel
          image: {json.dumps(fleet.image)}
          command: ["/bin/sh", "-c", {json.dumps(command)}]
          resources:
            requests:
              cpu: "1"
              memory: 256Mi{mounts if carried else ""}
"""
