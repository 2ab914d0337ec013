"""Instructions that one request or decision executes: a measure that a busy machine does not disturb.

    python benchmarks/instructions.py [NAME ...]

Needs valgrind. Each case runs twice, with some and with more repetitions, in a process of its own under
cachegrind; the difference, divided, is what one takes, with everything that runs only once left out. Prints
JSON: for a web app, what is added to the bare one as well.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

FEW, MORE = 300, 1_300
CASES = {
    "token bucket": ("acquire", "token bucket"),
    "sliding window": ("acquire", "sliding window"),
    "starlette, bare": ("starlette", "bare"),
    "starlette, floor": ("starlette", "floor, three fields"),
    "starlette, one limit": ("starlette", "threshold, one limit"),
    "starlette, whole policy": ("starlette", "threshold, whole policy"),
    "flask, bare": ("flask", "bare"),
    "flask, floor": ("flask", "floor, three fields"),
    "flask, one limit": ("flask", "threshold, one limit"),
    "flask, whole policy": ("flask", "threshold, whole policy"),
}


def work(section: str, name: str) -> Callable[[int], object]:
    """What to repeat so many times."""
    if section == "acquire":
        from threshold import Limiter, MemoryStore, SlidingWindow, TokenBucket

        limit = {"token bucket": TokenBucket, "sliding window": SlidingWindow}[name]
        acquire = Limiter(limit("10000000/day"), MemoryStore()).acquire
        return lambda count: [acquire("203.0.113.9").allowed for _ in range(count)]
    import web

    return next(series for series in getattr(web, section)(20) if series.name == name).batch


def instructions(case: str, count: int) -> int:
    """Instructions of a whole process that repeats a case so many times."""
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command += [sys.executable, __file__, "--repeat", str(count), case]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )
    counted = re.search(r"I +refs: +([\d,]+)", done.stderr)
    if done.returncode or counted is None:
        raise SystemExit(f"{case}: {done.stderr[-500:]}")
    return int(counted[1].replace(",", ""))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="NAME", help=f"default: all of {', '.join(CASES)}")
    parser.add_argument("--repeat", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.cases) - set(CASES):
        parser.error(f"{', '.join(sorted(unknown))}: give some of {', '.join(CASES)}")
    if asked.repeat:
        work(*CASES[asked.cases[0]])(asked.repeat)
        return
    if shutil.which("valgrind") is None:
        parser.error("valgrind is not installed")
    each = {
        case: (instructions(case, MORE) - instructions(case, FEW)) // (MORE - FEW)
        for case in asked.cases or CASES
    }
    added = {
        case: count - bare
        for case, count in each.items()
        if (bare := each.get(f"{case.split(', ')[0]}, bare")) is not None and bare != count
    }
    print(json.dumps({"instructions": each, "added to the bare app": added}, indent=2))


if __name__ == "__main__":
    main()
