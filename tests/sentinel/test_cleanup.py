"""What a run created is removed, and what cannot be removed is named."""

from __future__ import annotations

import asyncio

import pytest

from sentinel.cleanup import clean_up
from sentinel.drivers.driver import Done, Request, Response


class Shelf:
    """Answer every request by its path; never answer one that ends in "slow"."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def send(self, request: Request, done: Done) -> None:
        if not request.target.endswith("slow"):
            status = int(request.target.rsplit("/", 1)[1])
            asyncio.get_running_loop().call_soon(done, Response(status, [], b"", 0))


def test_what_could_not_be_removed_is_named_with_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    paths = ["/posts/204", "/posts/404", "/posts/500", "/posts/slow"]
    requests = [Request("DELETE", path) for path in paths]
    counters, left = asyncio.run(clean_up(Shelf(), requests, 0.05))
    assert counters == {"cleaned": 2, "left_behind": 2}
    assert left == ("DELETE /posts/500 answered 500", "DELETE /posts/slow was not answered in time")
    assert caplog.messages == [f"left behind: {line}" for line in left]


def test_a_long_list_is_cut_and_nothing_to_remove_is_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    requests = [Request("DELETE", f"/{number}/500") for number in range(25)]
    counters, left = asyncio.run(clean_up(Shelf(), requests, 5))
    assert (counters["left_behind"], len(left)) == (25, 20)
    assert len(caplog.messages) == 21 and caplog.messages[-1] == "left behind: 5 more"
    assert asyncio.run(clean_up(Shelf(), [], 5)) == ({}, ())
