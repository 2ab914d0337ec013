"""From a scenario and a target to a run: the right driver, the right loop, and Ctrl-C or a plain kill."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sentinel.drivers.asgi import load_app
from sentinel.drivers.driver import Driver
from sentinel.drivers.http import HttpDriver
from sentinel.drivers.in_process import app_driver
from sentinel.engine import Engine
from sentinel.options import Options, Run
from sentinel.recorder import Listener
from sentinel.scenario import Scenario
from sentinel.stopping import stoppable
from sentinel.target import AppTarget, HttpTarget

THREADS = 8  # in which a WSGI application in this process is called


def new_loop() -> asyncio.AbstractEventLoop:
    """Make uvloop's loop where there is uvloop, asyncio's own elsewhere."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def driver_for(target: HttpTarget | AppTarget, timeout_s: float) -> Driver:
    """Make the driver for a target; raise TargetError when an application cannot be loaded."""
    if isinstance(target, AppTarget):
        return app_driver(load_app(target), timeout_s=timeout_s, threads=THREADS)
    return HttpDriver(target, timeout_s=timeout_s)


def run(
    scenario: Scenario,
    target: HttpTarget | AppTarget | Driver,
    options: Options | None = None,
    listener: Listener | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_loop,
) -> Run:
    """Run a scenario against a target, or through a driver, and wait for it.

    The first Ctrl-C (or SIGTERM, or the end of the terminal) ends the run cleanly with a partial record, the
    second one at once. Raises
    TargetError for a target that cannot be reached or loaded, ConfigurationError for options that make no
    sense.
    """
    driver = driver_for(target, scenario.timeout_s) if isinstance(target, AppTarget | HttpTarget) else target
    engine = Engine(scenario, driver, options, listener)

    async def main() -> Run:
        with stoppable(engine.stop):
            return await engine.run()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        result: Run = runner.run(main())
        return result
