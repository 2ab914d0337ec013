"""The scenario of the tests of `sentinel run`, and how it gets into a folder."""

from __future__ import annotations

from pathlib import Path

# The loose bound on latency allows lag in proportion: a busy machine does not make these runs VOID.
SCENARIO = """
[scenario]
name = "readers"
checks = ["error_rate < 1 %", "p95 < 9 s"]
[load]
rate = 100
duration_s = 1
[mix]
blog-list = 1
"""


def written(folder: Path, text: str = SCENARIO, name: str = "readers.toml") -> str:
    """Write a scenario file; returns its name."""
    (folder / name).write_text(text)
    return name
