from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sentinel.drivers.driver import Answer, Headers, Request, Response
from sentinel.drivers.heads import Head
from sentinel.drivers.http import HttpDriver
from sentinel.errors import TargetError
from sentinel.runner import new_loop
from sentinel.target import HttpTarget

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPS = [asyncio.new_event_loop, new_loop]


async def ask(driver: HttpDriver, request: Request) -> Response:
    answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
    driver.send(request, answer.set_result)
    return await answer


async def head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def against(
    talk: Talk,
    client: Callable[[HttpDriver], Awaitable[None]],
    *,
    timeout_s: float = 5.0,
    unix: Path | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_loop,
) -> None:
    """Run a client against a server that says exactly what `talk` says; each connection is one call of it."""

    async def main() -> None:
        failures: list[BaseException] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await talk(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            except BaseException as failure:
                failures.append(failure)
            finally:
                writer.close()

        if unix is not None:
            server = await asyncio.start_unix_server(serve, str(unix))
            target = HttpTarget("localhost", 80, socket_path=str(unix))
        else:
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            target = HttpTarget("127.0.0.1", server.sockets[0].getsockname()[1])
        driver = HttpDriver(target, timeout_s=timeout_s)
        await driver.open()
        try:
            await asyncio.wait_for(client(driver), 20)
        finally:
            await driver.close()
            server.close()
        assert not failures, failures

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def saying(*answers: bytes) -> Talk:
    """Serve connections that give these answers, one per request, and stay open."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await head(reader)
            writer.write(answer)
            await writer.drain()
        await reader.read(1)

    return talk


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("loop_factory", LOOPS)
def test_a_kept_alive_connection_carries_many_requests(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def client(driver: HttpDriver) -> None:
        for _ in range(5):
            response = await ask(driver, Request("GET", "/"))
            assert (response.status, response.body, response.error) == (200, b"ok", "")
        assert driver.counters["connections"] == 1

    against(saying(*[OK] * 5), client, loop_factory=loop_factory)


def test_requests_go_out_as_written_with_host_headers_and_length() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await head(reader)
        assert first.startswith(b"POST /a?b=c HTTP/1.1\r\nhost: 127.0.0.1:")
        assert b"x-one: 1\r\n" in first and b"x-two: two\r\n" in first and b"content-length: 4\r\n" in first
        assert await reader.readexactly(4) == b"body"
        writer.write(OK)
        second = await head(reader)
        assert b"content-length" not in second
        writer.write(OK)
        third = await head(reader)
        assert third.startswith(b"PUT") and b"content-length: 0\r\n" in third
        writer.write(OK)
        await reader.read(1)

    async def client(driver: HttpDriver) -> None:
        request = Request("POST", "/a?b=c", Headers([("X-One", "1")]), Headers([("X-Two", "two")]), b"body")
        assert (await ask(driver, request)).status == 200
        assert (await ask(driver, Request("GET", "/"))).status == 200
        assert (await ask(driver, Request("PUT", "/"))).status == 200

    against(talk, client)


def test_line_breaks_cannot_be_smuggled_into_headers() -> None:
    assert Headers([("X-A", "1\r\nX-Evil: 2")]).wire == b"x-a: 1  X-Evil: 2\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304, b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            200,
            b"abcde",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + OK,
            200,
            b"ok",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", 302, b""),
    ],
)
def test_answers_of_every_framing_are_whole_and_leave_the_connection_usable(
    answer: bytes, status: int, body: bytes
) -> None:
    async def client(driver: HttpDriver) -> None:
        for _ in range(2):
            response = await ask(driver, Request("GET", "/"))
            assert (response.status, response.body, response.error) == (status, body, "")
        assert driver.counters == {"connections": 1, "retries": 0, "timeouts": 0, "connect_errors": 0}

    against(saying(answer, answer), client)


def test_an_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    async def client(driver: HttpDriver) -> None:
        for _ in range(3):
            response = await ask(driver, Request("HEAD", "/"))
            assert (response.status, response.body, response.header("content-length")) == (200, b"", "1000")
        assert (await ask(driver, Request("GET", "/"))).body == b"ok"
        assert driver.counters["connections"] == 1

    against(saying(*[b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"] * 3, OK), client)


def test_a_body_without_length_ends_with_the_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfirst ")
        await writer.drain()
        writer.write(b"second")
        writer.close()

    async def client(driver: HttpDriver) -> None:
        for _ in range(2):
            response = await ask(driver, Request("GET", "/"))
            assert (response.status, response.body, response.error) == (200, b"first second", "")
        assert driver.counters["connections"] == 2

    against(talk, client)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "closed the connection while it answered"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "closed the connection while it"),
        (b"HTTP/1.1 200", "closed the connection while it answered"),
        (b"", "closed the connection before it answered"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "switched protocols",
        ),
    ],
)
def test_a_broken_answer_is_an_error_and_not_sent_again(answer: bytes, error: str) -> None:
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await head(reader)
        asked += 1
        writer.write(OK if asked == 1 else answer)
        await writer.drain()
        if asked == 1:
            await head(reader)
            asked += 1
            writer.write(answer)
            await writer.drain()

    async def client(driver: HttpDriver) -> None:
        assert (await ask(driver, Request("GET", "/"))).status == 200
        response = await ask(driver, Request("GET", "/"))
        assert response.status == 0
        assert error in response.error

    against(talk, client)
    assert asked == (
        3 if not answer else 2
    )  # only the connection that dropped without a byte may be tried again


def test_an_idle_connection_the_server_dropped_is_replaced_once_and_counted() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await head(reader)
        writer.write(OK)
        if connections == 1:
            await head(reader)  # swallow the second request, as a server does that closes at that moment
            return
        await reader.read(1)

    async def client(driver: HttpDriver) -> None:
        assert (await ask(driver, Request("GET", "/"))).status == 200
        assert (await ask(driver, Request("GET", "/"))).status == 200
        assert driver.counters["retries"] == 1
        assert driver.counters["connections"] == 2

    against(talk, client)


def test_a_fresh_connection_that_is_dropped_is_an_error_and_no_second_request() -> None:
    requests = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await head(reader)
        requests += 1

    async def client(driver: HttpDriver) -> None:
        first = await ask(driver, Request("GET", "/"))  # on the connection that stood idle since open()
        assert "before it answered" in first.error
        assert (requests, driver.counters["retries"]) == (2, 1)
        second = await ask(driver, Request("GET", "/"))
        assert "before it answered" in second.error
        assert (requests, driver.counters["retries"]) == (3, 1)

    against(talk, client)


def test_a_silent_server_times_out_and_its_connection_is_not_used_again() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/slow" in await head(reader):
            await reader.read(1)
        else:
            writer.write(OK)
            await reader.read(1)

    async def client(driver: HttpDriver) -> None:
        assert "no answer within 0.3 s" in (await ask(driver, Request("GET", "/slow"))).error
        assert (await ask(driver, Request("GET", "/"))).status == 200
        assert (driver.counters["timeouts"], driver.counters["connections"]) == (1, 2)

    against(talk, client, timeout_s=0.3)


def test_bytes_nobody_asked_for_spoil_the_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(OK + b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nbad")
        await reader.read(1)

    async def client(driver: HttpDriver) -> None:
        for _ in range(2):
            response = await ask(driver, Request("GET", "/"))
            assert (response.status, response.body) == (200, b"ok")
        assert driver.counters["connections"] == 2

    against(talk, client)


def test_one_who_fails_to_take_an_answer_does_not_cost_others_theirs() -> None:
    async def client(driver: HttpDriver) -> None:
        loop, problems = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, context: problems.append(context["exception"]))
        answer: asyncio.Future[Response] = loop.create_future()

        def careless(response: Response) -> None:
            raise ValueError("no hands free")

        for done in (careless, careless, answer.set_result):
            driver.answered(done, Head(b"", 200, [], 0), b"", 0)
        assert (await answer).status == 200
        assert [str(problem) for problem in problems] == ["no hands free"] * 2

    against(saying(OK), client)


def test_a_connection_that_says_close_is_closed() -> None:
    async def client(driver: HttpDriver) -> None:
        for _ in range(2):
            assert (await ask(driver, Request("GET", "/"))).body == b"ok"
        assert driver.counters["connections"] == 2

    against(saying(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", OK), client)


def test_cookies_are_not_kept() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            assert b"cookie" not in (await head(reader)).lower()
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
        await reader.read(1)

    async def client(driver: HttpDriver) -> None:
        for _ in range(2):
            assert (await ask(driver, Request("GET", "/"))).status == 200

    against(talk, client)


def test_closing_the_driver_fails_what_is_under_way() -> None:
    answers: list[Response] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async def client(driver: HttpDriver) -> None:
        for _ in range(3):
            driver.send(Request("GET", "/"), answers.append)
        await driver.close()
        assert len(answers) == 3
        assert all("the run ended" in answer.error for answer in answers)

    against(talk, client)


def test_answers_are_read_from_a_unix_socket(tmp_path: Path) -> None:
    async def client(driver: HttpDriver) -> None:
        assert (await ask(driver, Request("GET", "/"))).body == b"ok"

    against(saying(OK), client, unix=tmp_path / "server.sock")


def test_a_dead_target_is_named_before_the_run(dead: str) -> None:
    host, port = dead.split(":")

    async def main() -> None:
        await HttpDriver(HttpTarget(host, int(port))).open()

    with pytest.raises(TargetError, match=f"{dead} cannot be reached"), asyncio.Runner() as runner:
        runner.run(main())


def test_a_server_that_dies_during_the_run_gives_errors_not_exceptions() -> None:
    async def main() -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):  # connections that only look whether anybody listens
                await head(reader)
                writer.write(OK)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        driver = HttpDriver(HttpTarget("127.0.0.1", server.sockets[0].getsockname()[1]), timeout_s=2)
        await driver.open()
        assert (await ask(driver, Request("GET", "/"))).status == 200
        server.close()
        await server.wait_closed()
        for _ in range(3):
            response = await ask(driver, Request("GET", "/"))
            assert (response.status, response.error.startswith("cannot connect")) == (0, True)
        assert driver.counters["connect_errors"] == 3
        await driver.close()

    with asyncio.Runner() as runner:
        runner.run(main())


def test_retry_after_is_read_in_seconds_from_refusals_only() -> None:
    def response(status: int, value: bytes) -> Response:
        return Response(status, [(b"retry-after", value)], b"", 0)

    assert response(429, b"7").retry_after() == 7.0
    assert response(200, b"7").retry_after() is None
    assert response(429, b"soon").retry_after() is None
    assert Response(429, [], b"", 0, retry_after_s=0.25).retry_after() == 0.25


@pytest.mark.parametrize(("due_ns", "batches"), [(1000, [16] * 5), (1041, [42, 16, 16]), (2000, [64])])
def test_answers_wait_for_one_another_only_until_something_else_is_due(
    due_ns: int, batches: list[int]
) -> None:
    driver = HttpDriver(HttpTarget("127.0.0.1", 1))
    delivered: list[int] = []

    def take(answers: Iterator[Answer]) -> None:
        delivered.append(len(list(answers)))

    driver.deliver, driver.due.ns = take, due_ns
    for number in range(80):
        driver.answered(lambda response: None, Head(b"", 200, [], 0), b"", 1000 + number)
    assert delivered == batches
