"""What a run created is removed, and what cannot be removed is named."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from sentinel.cleanup import Cleaned, clean_up
from sentinel.drivers.driver import Done, Request, Response
from sentinel.stopping import stoppable


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


class Limited(Shelf):
    """Let each caller remove one thing, then refuse it for a while; `shared` counts all callers as one."""

    def __init__(self, wait_s: float | None, status: int = 429, *, shared: bool = False) -> None:
        super().__init__()
        self.asked: list[tuple[str, int]] = []
        self.most = 0
        self._under_way = 0
        self._wait_s = wait_s
        self._status = status
        self._shared = shared
        self._free_at: dict[str, float] = {}

    def send(self, request: Request, done: Done) -> None:
        loop, caller = asyncio.get_running_loop(), "" if self._shared else request.key
        fine = loop.time() >= self._free_at.get(caller, 0.0)
        if fine:
            self._free_at[caller] = loop.time() + (self._wait_s or 0.05)
        status = 204 if fine else self._status
        self.asked.append((request.key, status))
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        wait_s = None if fine else self._wait_s

        def answer() -> None:
            self._under_way -= 1
            done(Response(status, [], b"", 0, retry_after_s=wait_s))

        loop.call_soon(answer)

    def refusals(self) -> int:
        return sum(status != 204 for _, status in self.asked)


def deletes(count: int, callers: int = 1) -> list[Request]:
    return [Request("DELETE", f"/media/{number}", key=f"user-{number % callers}") for number in range(count)]


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_is_waited_for_as_announced_until_everything_is_gone(status: int) -> None:
    target = Limited(0.06, status)
    assert asyncio.run(clean_up(target, deletes(12), 30)) == ({"cleaned": 12, "left_behind": 0}, ())
    # At most the first eight at once, and from then on not more than one that is refused per wait.
    assert target.refusals() <= 7 + 11


def test_callers_that_nobody_refused_do_not_wait_for_one_that_was() -> None:
    target = Limited(60.0)
    requests = [*deletes(2, 1), *(Request("DELETE", f"/other/{n}", key=f"other-{n}") for n in range(40))]
    counters, left = asyncio.run(clean_up(target, requests, 30))
    assert counters == {"cleaned": 41, "left_behind": 1} and left == (
        "DELETE /media/0 answered 429, to be asked again in 60 s",
    )


def test_a_limit_of_all_callers_together_is_not_hammered() -> None:
    target = Limited(0.05, shared=True)
    counters, _ = asyncio.run(clean_up(target, deletes(8, callers=8), 30))
    assert counters == {"cleaned": 8, "left_behind": 0}
    assert target.refusals() <= 7 + 3 * 7


def test_a_wait_beyond_the_time_allowed_ends_it_at_once_and_names_what_is_left() -> None:
    target = Limited(3_600.0, shared=True)
    started = time.monotonic()
    counters, left = asyncio.run(clean_up(target, deletes(200, callers=100), 600))
    assert counters == {"cleaned": 1, "left_behind": 199}
    assert time.monotonic() - started < 300  # of 600: it did not wait
    assert (
        any(line.startswith("DELETE /media/198 answered 429") for line in left)
        or "DELETE /media/0 was not asked in time" in left
    )
    assert target.refusals() < 40, "nobody was let through, and still all of them asked"


def test_a_retry_after_that_lies_is_not_believed_for_ever() -> None:
    class Never(Limited):
        def send(self, request: Request, done: Done) -> None:
            self.asked.append((request.key, 429))
            asyncio.get_running_loop().call_soon(done, Response(429, [], b"", 0, retry_after_s=0.0))

    target = Never(0.0)
    counters, _ = asyncio.run(clean_up(target, deletes(1), 0.5))
    assert counters == {"cleaned": 0, "left_behind": 1}
    assert len(target.asked) <= 5


@pytest.mark.parametrize("header", [b"Wed, 21 Oct 2099 07:28:00 GMT", b"99999999999999999999"])
def test_a_wait_until_a_date_beyond_the_time_allowed_is_not_begun(header: bytes) -> None:
    class Dated(Limited):
        def send(self, request: Request, done: Done) -> None:
            self.asked.append((request.key, 429))
            answer = Response(429, [(b"retry-after", header)], b"", 0)
            asyncio.get_running_loop().call_soon(done, answer)

    target = Dated(0.0)
    counters, left = asyncio.run(clean_up(target, deletes(3), 600))
    assert counters["left_behind"] == 3 and len(target.asked) <= 3
    assert "answered 429, to be asked again in " in left[0]


@pytest.mark.parametrize("header", [b"nan", b"-5", b"banana", b"Wed, 99 Oct 2099 07:28:00 GMT"])
def test_a_refusal_that_names_no_wait_is_asked_again_ever_more_seldom(
    header: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel.cleanup.UNTOLD_S", 0.02)

    class Untold(Limited):
        def send(self, request: Request, done: Done) -> None:
            self.asked.append((request.key, 429))
            answer = Response(429, [(b"retry-after", header)], b"", 0)
            asyncio.get_running_loop().call_soon(done, answer)

    target = Untold(0.0)
    counters, _ = asyncio.run(clean_up(target, deletes(1), 0.3))
    assert counters["left_behind"] == 1
    assert 1 < len(target.asked) <= 5, "at most after 0.02, 0.06, 0.14 and 0.30 s"
    assert "the target refuses and names no wait:" in caplog.text


def test_a_503_that_names_no_wait_is_final() -> None:
    target = Limited(None, 503)
    assert asyncio.run(clean_up(target, deletes(3), 30)).counters == {"cleaned": 1, "left_behind": 2}
    assert len(target.asked) == 3


def test_waiting_is_told_and_the_first_ctrl_c_ends_it_with_what_is_left_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target, heard = Limited(20.0), []

    async def both() -> Cleaned:
        asyncio.get_running_loop().call_later(0.1, signal.raise_signal, signal.SIGINT)
        with stoppable(lambda: heard.append("the run")):
            return await clean_up(target, deletes(2), 30)

    counters, left = asyncio.run(both())
    assert counters == {"cleaned": 1, "left_behind": 1} and left == (
        "DELETE /media/0 answered 429, to be asked again in 20 s",
    )
    assert not heard, "the run was over and has nothing to end"
    assert caplog.messages[0] == (
        "clean-up: 1 of 2 removed; the target has it wait 20 s more (it ends within 30 s; Ctrl-C ends it now)"
    )


def test_a_target_that_answers_nothing_is_given_up() -> None:
    class Dead(Shelf):
        asked = 0

        def send(self, request: Request, done: Done) -> None:
            self.asked += 1
            asyncio.get_running_loop().call_soon(done, Response(0, [], b"", 0, "no answer within 30 s"))

    target = Dead()
    counters, left = asyncio.run(clean_up(target, deletes(100), 600))
    assert counters == {"cleaned": 0, "left_behind": 100} and target.asked < 20
    assert left[0] == "DELETE /media/0 was not asked in time"
