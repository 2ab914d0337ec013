"""How much load one process can make: sentinel's whole pipeline against aiohttp, locust's FastHttpUser and
wrk.

    python benchmarks/generator.py [--seconds 5] [--rounds 3] [--users 64] [--json]

All of them ask the same server, in turns, each in a process of its own. "aiohttp, same pipeline" is sentinel
with its HTTP client replaced by aiohttp: mixes, tokens, checks and histograms are the same, so the ratio is
that of the clients: once of what they achieved, which the server may have limited, and once of the CPU time
they took for a request. Figures are medians over the rounds. The server counts what it answered, and a
contender whose own count differs makes the benchmark fail. What is not installed is left out and said so.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from sentinel.application import Application, Expect, Step
from sentinel.drivers.driver import Answer, Done, Due, Headers, Parcel, Request, deliver
from sentinel.drivers.heads import Head
from sentinel.drivers.http import HttpDriver
from sentinel.runner import run
from sentinel.scenario import Population, Scenario
from sentinel.shapes import Sustained
from sentinel.sources import Number
from sentinel.target import HttpTarget

HERE = Path(__file__).parent
AIOHTTP = "aiohttp, same pipeline"
LOCUSTFILE = """
from locust import FastHttpUser, constant, task
class Reader(FastHttpUser):
    wait_time = constant(0)
    @task
    def read(self):
        self.client.get("/posts/7", headers={"X-Tenant": "a", "Authorization": "Bearer token-1"})
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """Hold what one contender did in one round: requests, seconds they took, CPU seconds of its process.

    server_cpu_s: what they cost the server.
    """

    requests: int
    seconds: float
    cpu_s: float
    server_cpu_s: float = 0.0


def scenario(users: int, seconds: float) -> Scenario:
    """Describe the load: two applications, tokens and tenants in headers, a check of every answer."""
    bearer = (("Authorization", "Bearer {token}"),)
    ok = Expect((200,), contains="ok")
    return Scenario(
        "generator",
        Sustained(rate=users, duration_s=seconds),
        {"read": 80, "list": 20},
        (
            Application("read", (Step("page", "/posts/{post_id}", headers=bearer, expect=ok),)),
            Application("list", (Step("list", "/blog", headers=bearer, expect=ok),)),
        ),
        unit="users",
        model="closed",
        pace_s=0,
        users=Population(headers=(("X-Tenant", "{tenant}"),), tenants=("a", "b"), token="token-{user}"),
        variables={"post_id": Number(1, 100)},
    )


class AiohttpDriver:
    """Carry sentinel's requests with aiohttp, as fast as its settings allow.

    Cookies, redirects, decompression and its own headers are off, targets are known to be quoted, and headers
    are turned into a dict once. It takes requests in batches, as sentinel's own driver does.
    """

    def __init__(self, target: HttpTarget) -> None:
        self.counters: dict[str, int] = {}
        self.deliver: Callable[[Iterator[Answer]], None] = deliver
        self.due = Due()
        self._base = str(target)
        self._session: Any = None
        self._url: Any = None
        self._headers: dict[tuple[Headers, Headers], dict[str, str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Open a session without a limit on connections."""
        aiohttp = importlib.import_module("aiohttp")
        self._url = importlib.import_module("yarl").URL
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    def send_all(self, parcels: Iterable[Parcel]) -> None:
        """Start a task for each."""
        for parcel in parcels:
            parcel.sent = time.monotonic_ns()
            self.send(parcel, parcel)

    def send(self, request: Request, done: Done) -> None:
        """Start a task that asks."""
        task = asyncio.ensure_future(self._ask(request, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, request: Request, done: Done) -> None:
        key = (request.common, request.headers)
        headers = self._headers.get(key)
        if headers is None:
            pairs = request.common.pairs + request.headers.pairs
            headers = self._headers[key] = {name.decode(): value.decode() for name, value in pairs}
        url = self._url(self._base + request.target, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, allow_redirects=False
        ) as answer:
            body = await answer.read()
        head = Head(b"", answer.status, answer.raw_headers, 0)
        self.deliver(iter([(done, head, body, time.monotonic_ns())]))

    async def close(self) -> None:
        """Wait for what is under way and close the session."""
        await asyncio.gather(*self._tasks)
        await self._session.close()


def in_process(make: Callable[[HttpTarget], Any], port: int, users: int, seconds: float) -> Sample:
    """Run sentinel's pipeline over one client in this process."""
    cpu, begun = time.process_time(), time.monotonic()
    record = run(scenario(users, seconds), make(HttpTarget("127.0.0.1", port))).record
    cpu, took = time.process_time() - cpu, time.monotonic() - begun
    counts = record.counts()
    if counts["ok"] != sum(counts.values()):
        raise SystemExit(f"not every answer was ok: {counts}, {record.errors[:3]}")
    return Sample(counts["ok"], took if took < seconds else seconds, cpu)


def outside(command: list[str], read: Callable[[str], tuple[int, float]]) -> Sample:
    """Run a program; its CPU time is that of the whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    requests, seconds = read(done.stdout)
    return Sample(requests, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def wrk(port: int, users: int, seconds: float) -> Sample:
    """Run wrk with one thread."""
    headers = ["-H", "X-Tenant: a", "-H", "Authorization: Bearer token-1"]
    url = f"http://127.0.0.1:{port}/posts/7"

    def read(text: str) -> tuple[int, float]:
        found = re.search(r"(\d+) requests in ([\d.]+)s", text)
        if found is None or "Non-2xx" in text:
            raise SystemExit(f"wrk said: {text}")
        return int(found[1]), float(found[2])

    return outside(["wrk", "-t1", f"-c{users}", f"-d{max(1, round(seconds))}s", *headers, url], read)


def locust(port: int, users: int, seconds: float) -> Sample:
    """Run locust without its web page, all users at once."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "locustfile.py"
        file.write_text(LOCUSTFILE)
        options = ["--headless", "-u", str(users), "-r", str(users), "-t", f"{seconds:g}s", "--json"]
        quiet = ["--only-summary", "--loglevel", "CRITICAL", "--host", f"http://127.0.0.1:{port}"]
        return outside([sys.executable, "-m", "locust", "-f", str(file), *options, *quiet], _read_locust)


def _read_locust(text: str) -> tuple[int, float]:
    (figures,) = json.loads(text[text.index("[") :])
    if figures["num_failures"]:
        raise SystemExit(f"locust failed: {figures}")
    return figures["num_requests"], figures["last_request_timestamp"] - figures["start_time"]


def available() -> dict[str, Callable[[int, int, float], Sample]]:
    """Give every contender that is installed."""
    contenders: dict[str, Callable[[int, int, float], Sample]] = {
        "sentinel": lambda port, users, seconds: in_process(HttpDriver, port, users, seconds)
    }
    if importlib.util.find_spec("aiohttp"):
        contenders[AIOHTTP] = lambda port, users, seconds: in_process(AiohttpDriver, port, users, seconds)
    if importlib.util.find_spec("locust"):
        contenders["locust FastHttpUser"] = locust
    if shutil.which("wrk"):
        contenders["wrk, one thread"] = wrk
    return contenders


def answered(port: int) -> tuple[int, float]:
    """Ask the server how many requests it has answered, and with how many CPU seconds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/count", timeout=10) as answer:
        count, cpu_s = answer.read().split()
    return int(count), float(cpu_s)


def measure(port: int, users: int, seconds: float, rounds: int) -> dict[str, list[Sample]]:
    """Let every contender have its turn in every round."""
    samples: dict[str, list[Sample]] = {name: [] for name in available()}
    for _ in range(rounds):
        for name in samples:
            before, server_cpu_s = answered(port)
            command = [sys.executable, __file__, "--one", name, "--port", str(port)]
            command += ["--users", str(users), "--seconds", str(seconds)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{name} failed: {done.stderr or done.stdout}")
            after, server_cpu_after_s = answered(port)
            sample = replace(
                Sample(**json.loads(done.stdout.splitlines()[-1])),
                server_cpu_s=server_cpu_after_s - server_cpu_s,
            )
            unseen = after - before - sample.requests
            if (
                not -users <= unseen <= 2 * users
            ):  # what was under way at the end may be counted by one side only
                raise SystemExit(
                    f"{name} claims {sample.requests} requests; the server saw {unseen:+} of them"
                )
            samples[name].append(sample)
    return samples


def summary(samples: dict[str, list[Sample]]) -> dict[str, dict[str, float]]:
    """Give medians: requests per second, CPU microseconds per request, and both in multiples of aiohttp's.

    server_share: of one core, that the server used; near 1 it was the server that set the pace.
    """
    rates = {name: median(s.requests / s.seconds for s in taken) for name, taken in samples.items()}
    costs = {name: median(1e6 * s.cpu_s / s.requests for s in taken) for name, taken in samples.items()}
    base, base_cost = rates.get(AIOHTTP, 0.0), costs.get(AIOHTTP, 0.0)
    return {
        name: {
            "requests_per_s": round(rates[name]),
            "cpu_us_per_request": round(costs[name], 2),
            "times_aiohttp": round(rates[name] / base, 2) if base else 0.0,
            "times_aiohttp_per_cpu": round(base_cost / costs[name], 2),
            "server_share": round(median(s.server_cpu_s / s.seconds for s in taken), 2),
        }
        for name, taken in samples.items()
    }


def main() -> None:
    """Run the benchmark, or one contender of it."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--users", type=int, default=64)
    options.add_argument("--json", action="store_true")
    options.add_argument("--one", help=argparse.SUPPRESS)
    options.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        print(json.dumps(asdict(available()[given.one](given.port, given.users, given.seconds))))
        return
    server = subprocess.Popen(
        [sys.executable, str(HERE / "tiny_server.py")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        figures = summary(measure(port, given.users, given.seconds, given.rounds))
    finally:
        server.terminate()
        server.wait(10)
    host = {
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }
    method = {"users": given.users, "seconds": given.seconds, "rounds": given.rounds}
    if given.json:
        print(json.dumps({"host": host, "method": method, "figures": figures}, indent=2))
        return
    print(f"{given.users} users, {given.rounds} rounds of {given.seconds:g} s, medians; {host}")
    heads = (
        f"{head:>15}" for head in ("requests/s", "x aiohttp", "CPU us/request", "x aiohttp", "server's CPU")
    )
    print(" " * 26 + "".join(heads))
    for name, row in figures.items():
        times = [f"{row[key]:.1f}" if row[key] else "-" for key in ("times_aiohttp", "times_aiohttp_per_cpu")]
        cells = (f"{row['requests_per_s']:,.0f}", times[0], f"{row['cpu_us_per_request']:.1f}", times[1])
        print(f"{name:26}" + "".join(f"{cell:>15}" for cell in (*cells, f"{row['server_share']:.0%}")))
    for name, there in (("aiohttp", "aiohttp"), ("locust", "locust FastHttpUser")):
        if not any(there in found for found in figures):
            print(f"{name} is not installed and was left out")
    if "wrk, one thread" not in figures:
        print("wrk is not on PATH and was left out")


if __name__ == "__main__":
    main()
