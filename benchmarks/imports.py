"""The benchmark of `import threshold`: how long it takes, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

from sampling import WorkloadError

_PROBE = """
import sys, time
before = set(sys.modules)
start = time.perf_counter()
import threshold
took = time.perf_counter() - start
import json
loaded = {name.partition(".")[0] for name in set(sys.modules) - before} - {"threshold"}
print(json.dumps([took * 1000, sorted(loaded - sys.stdlib_module_names)]))
"""


def import_times(rounds: int) -> list[float]:
    """Milliseconds that `import threshold` takes in a fresh interpreter, once for each round.

    Raises:
        WorkloadError: when the import loads anything outside the standard library.
    """
    times = []
    for _ in range(rounds + 1):
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROBE], capture_output=True, text=True, check=True, timeout=60
        )
        took, foreign = json.loads(done.stdout)
        if foreign:
            raise WorkloadError(f"import threshold loads {', '.join(foreign)}")
        times.append(took)
    return times[1:]  # the first may have compiled


def typical(times: list[float]) -> float:
    """The median."""
    return median(times)
