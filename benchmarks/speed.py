"""Measure threshold between floors and peers, in one interleaved run: a table, and JSON on request.

    scripts/bench                       everything, some minutes
    scripts/bench --quick               coarser, under half a minute
    scripts/bench --only hot,starlette  some sections
    scripts/bench --json FILE           the same as data
    scripts/bench --strict              exit 1 when a promise is clearly missed

A benchmark that did not do what it says (admitted, refused and charged requests are counted) ends the run
with exit code 2. Quote ratios, not nanoseconds: they hold between machines, and between busy and quiet hours.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import acquire
import imports
import tables
import threads
import web
from sampling import SLOW, Interval, Series, WorkloadError, interleave
from verdicts import Promise, promises

SECTIONS: dict[str, tuple[Callable[[int], list[Series]], int, int]] = {
    # title: what is measured, operations per sample, the same when quick
    "hot key": (acquire.hot_key, 6000, 2000),
    "many keys": (acquire.many_keys, 8000, 2000),
    "new keys": (acquire.new_keys, 6000, 2000),
    "refused key": (acquire.refusals, 6000, 2000),
    "starlette": (web.starlette, 800, 300),
    "flask": (web.flask, 400, 150),
}
_PACKAGES = [
    "threshold",
    "throttled-py",
    "limits",
    "starlette",
    "slowapi",
    "asgi-ratelimit",
    "flask",
    "flask-limiter",
    "werkzeug",
]
_EXTRA = ("threads", "import")
_METHOD = (
    "Each figure is the median of the samples' medians of operations timed one by one, less the clock's own "
    f"cost. A sample lies between calibration loops and counts if those took at most {SLOW} times the run's "
    "quick ones; slow ones were taken again. The series of a section took turns in random order. Intervals: "
    "95 %, by bootstrap over samples. The mean is that of whole batches; p99 that of the first quartile of "
    "samples, as interruptions by the rest of the machine only ever add to it."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return the exit code."""
    options = _options(arguments)
    rounds = options.rounds or (5 if options.quick else 15)
    wanted = [name.strip() for name in options.only.split(",")] if options.only else [*SECTIONS, *_EXTRA]
    measured: dict[str, list[Series]] = {}
    found: list[Promise] = []
    report: dict[str, Any] = {
        "host": _host(),
        "versions": _versions(),
        "method": _METHOD,
        "rounds": rounds,
        "sections": {},
    }
    try:
        for title, (make, size, quick_size) in SECTIONS.items():
            if not any(title.startswith(name) for name in wanted) or not _installed(title):
                continue
            series = make(quick_size if options.quick else size)
            calibration = interleave(series, rounds)
            measured[title] = series
            report["sections"][title] = tables.data(series, calibration)
            tables.show(title, series)
        if "threads" in wanted:
            report["threads"] = threads.measure(1.0 if not options.quick else 0.2)
            tables.show_threads(report["threads"])
        found = list(promises(measured))
        if "import" in wanted:
            times = sorted(imports.import_times(3 if options.quick else 11))
            report["import_ms"] = times
            middle = Interval(imports.typical(times), times[0], times[-1])
            found.append(Promise("import threshold, ms", 40, middle, at_least=False, unit="ms"))
    except WorkloadError as error:
        print(f"the run is void: {error}", file=sys.stderr)
        return 2
    report["promises"] = tables.verdicts(found)
    tables.show_promises(found)
    print(f"\n{_METHOD}\n{json.dumps(report['host'])}\n{json.dumps(report['versions'])}")
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if options.strict and any(promise.clearly_missed for promise in found) else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure threshold between floors and peers.")
    parser.add_argument("--quick", action="store_true", help="coarser figures in under half a minute")
    parser.add_argument("--only", help=f"sections, by how they begin: {', '.join([*SECTIONS, *_EXTRA])}")
    parser.add_argument("--rounds", type=int, help="samples per series")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a promise is clearly missed")
    return parser.parse_args(arguments)


def _installed(title: str) -> bool:
    return title not in ("starlette", "flask") or find_spec(title) is not None


def _host() -> dict[str, object]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
