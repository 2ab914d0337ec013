"""Ask a driver, and wait for its answers."""

from __future__ import annotations

import asyncio

from sentinel.drivers.driver import Driver, Request, Response


def asked(driver: Driver, *requests: Request) -> list[Response]:
    """Send requests at once through a driver in an event loop of its own; returns their answers in order."""

    async def main() -> list[Response]:
        await driver.open()
        answers = [asyncio.get_running_loop().create_future() for _ in requests]
        for request, answer in zip(requests, answers, strict=True):
            driver.send(request, answer.set_result)
        try:
            return list(await asyncio.wait_for(asyncio.gather(*answers), 10))
        finally:
            await driver.close()

    with asyncio.Runner() as runner:
        return runner.run(main())
