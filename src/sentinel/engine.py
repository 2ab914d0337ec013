"""The engine: starts every session at its intended instant, whatever the server does, and keeps the record.

Nothing on its loop takes longer than microseconds: histograms, listeners and files live on other threads, and
the garbage collector is off while traffic flows.
"""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime

import numpy as np

from sentinel.agenda import Agenda
from sentinel.cleanup import Cleaned, clean_up
from sentinel.crowd import Crowd
from sentinel.draws import openings
from sentinel.drivers.driver import Driver
from sentinel.drivers.http import HttpDriver
from sentinel.errors import ConfigurationError
from sentinel.options import MAX_AHEAD_S, Options, Run
from sentinel.pacer import Schedule, schedule
from sentinel.player import Player
from sentinel.quiet import quiet, sweep
from sentinel.recorder import Listener, Recorder
from sentinel.scenario import Scenario
from sentinel.script import write_scripts
from sentinel.sender import Sender
from sentinel.tally import make_record
from sentinel.target_processes import TargetMeter
from sentinel.turns import Targets
from sentinel.users import Users
from sentinel.void import lag_limit_ns

NS = 1_000_000_000
HEAD_START_NS = 20_000_000  # between being ready and the first intended instant
HOUSEKEEPING_S = 0.1
CALM_NS = 20_000_000
LATEST_TELLING_NS = NS // 2
GRACE_NS = NS  # after the end of the load: what has not left by then, and may not be as late, never leaves


class Engine:
    """Run one scenario once, through one driver.

    listener hears of every second on the recorder's thread. Raises ConfigurationError for a load without
    arrivals.
    """

    def __init__(
        self,
        scenario: Scenario,
        driver: Driver,
        options: Options | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.scenario = scenario
        self.options = options = options or Options()
        self._driver = driver
        self._plan: Schedule | None = None
        if scenario.model == "open":
            self._plan = schedule(scenario.arrivals, scenario.spacing, scenario.seed, options.segment)
        scripts, series = write_scripts(scenario)
        self._limit_ns = lag_limit_ns(scenario.tightest_latency_ms())
        self._recorder = Recorder(series, self._limit_ns, columns=options.columns, listener=listener)
        users = Users(scenario.users, scenario.user_count)
        self._agenda = Agenda(
            lambda opening, at_ns: self._player.arrive(opening, at_ns), lambda: self._sender.flush()
        )
        self._sender = Sender(
            driver,
            self._recorder,
            users,
            self._agenda,
            scenario.max_in_flight,
            columns=options.columns,
            capture=options.capture,
        )
        self._player = Player(scenario, scripts, users, self._sender, self._agenda)
        self._targets = Targets(scenario, scripts, self._sender, self._player)
        self._start_ns = 0
        self._stopped = False
        self._mark_ns = 0
        self._mark_cpu_ns = 0
        self._beat_number = -1
        self._told = -1
        self._last_beat = (0.0, 0.0, 0.0)
        self._last_counts: tuple[dict[str, int], int] = ({}, 0)
        self._samples: list[tuple[int, int]] = []

    def stop(self) -> None:
        """End the run early but cleanly: no new requests, and the record says "partial"."""
        if not self._agenda.over:
            self._stopped = True
            self._agenda.end_ns = min(self._agenda.end_ns, max(time.monotonic_ns(), self._start_ns))
            self._agenda.finish()

    async def run(self) -> Run:
        """Run the scenario; raise TargetError when the target cannot be reached."""
        await self._driver.open()
        started = datetime.now(UTC)
        cleaned = Cleaned({}, ())
        try:
            if isinstance(self._driver, HttpDriver):
                self._recorder.watch(await asyncio.to_thread(TargetMeter.of, self._driver.target))
            with quiet():
                self._start_ns = self._first_instant()
                ahead_s = (self._start_ns - time.monotonic_ns()) / NS
                started = datetime.fromtimestamp(time.time() + ahead_s, UTC)
                try:
                    await self._traffic()
                finally:
                    self._agenda.finish()
        finally:
            self._sender.closed = True
            try:
                cleaned = await clean_up(self._driver, self._sender.undo, self.options.cleanup_s)
            finally:
                await self._driver.close()
                await asyncio.sleep(0)
                self._beat()
                totals = await asyncio.to_thread(self._recorder.finish, self._unsent())
        record = make_record(
            self.scenario,
            self._recorder,
            totals,
            run_id=self.options.run_id,
            started=started,
            seconds=max(0, math.ceil((self._agenda.end_ns - self._start_ns) / NS - 1e-9)),
            stopped=self._stopped,
            limit_ns=self._limit_ns,
            errors=self._sender.errors(),
            counters={**self._counters(), **cleaned.counters},
            left_behind=cleaned.left_behind,
        )
        return Run(record, self._recorder.columns(self._sender.captured))

    def _first_instant(self) -> int:
        options, now = self.options, time.monotonic_ns() + HEAD_START_NS
        wall = time.time() + HEAD_START_NS / NS
        if options.start_at is not None:
            if options.start_at < wall:
                ago = wall - options.start_at
                raise ConfigurationError(
                    f"start_at is {options.start_at}, {ago:.3f} s ago; choose a later instant"
                )
            if not options.start_at <= wall + MAX_AHEAD_S:
                raise ConfigurationError(
                    f"start_at is {options.start_at}; it is a Unix time at most a day ahead"
                )
            return now + round((options.start_at - wall) * NS)
        return now + round((-wall % options.align_s) * NS) if options.align_s else now

    async def _traffic(self) -> None:
        """Let sessions start until the load is over, then wait for their answers."""
        start_ns, agenda = self._start_ns, self._agenda
        end_ns = start_ns + round(self.scenario.load.duration_s * NS)
        self._recorder.start(start_ns, end_ns)
        segment, seed = self.options.segment, self.scenario.seed
        arriving = openings(seed, segment.index, segment.count, 1024)
        agenda.begin(self._plan, arriving, start_ns, end_ns)
        if self._plan is None and not agenda.over:
            Crowd(self.scenario, segment, self._targets, agenda).enter(start_ns)
        self._mark_ns, self._mark_cpu_ns = start_ns, time.thread_time_ns()
        wait_s = self.scenario.timeout_s if self.options.drain_s is None else self.options.drain_s
        grace_ns = max(GRACE_NS, self._limit_ns)
        while not (agenda.over and not agenda.strands):
            await asyncio.sleep(HOUSEKEEPING_S)
            now = time.monotonic_ns()
            if now < start_ns:
                self._mark_cpu_ns = time.thread_time_ns()
                continue
            self._samples.append((agenda.sessions, self._sender.in_flight))
            if now >= start_ns + (self._beat_number + 2) * NS:
                self._mark()
            since_ns = now - (start_ns + (self._beat_number + 1) * NS)
            if self._told < self._beat_number and convenient(agenda.due.ns - now, since_ns):
                self._tell()
                sweep()
            past_ns = now - agenda.end_ns
            if past_ns >= grace_ns or (past_ns >= 0 and agenda.exhausted):
                agenda.finish()
            if past_ns >= grace_ns:
                self._sender.give_up()
            if past_ns >= round(wait_s * NS) or agenda.failure is not None:
                break
        self._beat()
        if agenda.failure is not None:
            raise agenda.failure

    def _beat(self) -> None:
        self._mark()
        self._tell()

    def _mark(self) -> None:
        """Take the measure of the second that ends; a sliver of one counts with the second before.

        Of a run that is stopped before its first instant there is nothing to measure.
        """
        now, cpu = time.monotonic_ns(), time.thread_time_ns()
        passed = now - self._mark_ns
        if (passed > NS // 2 or (self._beat_number < 0 < passed)) and not self._sender.closed:
            means = np.mean(self._samples, axis=0).tolist() if self._samples else [0.0, 0.0]
            self._last_beat = (max(cpu - self._mark_cpu_ns, 0) / passed, means[0], means[1])
            self._beat_number = max((now - self._start_ns) // NS - 1, self._beat_number + 1)
            self._mark_ns, self._mark_cpu_ns, self._samples = now, cpu, []
        self._recorder.mark()
        self._last_counts = self._counters(), self._sender.in_flight

    def _tell(self) -> None:
        """Hand the second that ended to the recorder, whose work holds up the loop for moments."""
        self._told = self._beat_number
        if self._beat_number >= 0:
            self._recorder.beat(self._beat_number, *self._last_beat, *self._last_counts)

    def _unsent(self) -> np.typing.NDArray[np.int64]:
        return np.array(self._agenda.unstarted() + self._sender.unsent(), np.int64)

    def _counters(self) -> dict[str, int]:
        held = {"held_back": self._sender.held_back, "cut_sessions": self._agenda.cut}
        return {**self._driver.counters, **held}


def convenient(until_next_ns: int, since_end_ns: int) -> bool:
    """Say whether to work on a second that has ended, which holds up the loop for moments: not just before
    something is due, but no later than half a second after the end.

    Bursts astride whole seconds would else leave late in every run.

    >>> convenient(until_next_ns=9_000_000, since_end_ns=100_000_000)
    False
    >>> convenient(21_000_000, 100_000_000), convenient(0, 501_000_000)
    (True, True)
    """
    return until_next_ns > CALM_NS or since_end_ns > LATEST_TELLING_NS
