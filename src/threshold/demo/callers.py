"""Callers: five kinds of client who meet the protected blog over real sockets, each with a story.

They know the addresses, tenants and tokens of real clients and nothing of the limiter's insides: what they
report is what the responses said.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

import httpx

from ..escalation import Ladder

Say = Callable[[str, str, str], None]
"""Tell what just happened: caller, kind of event, sentence."""

ENOUGH_REFUSALS = 25
_MOST_REQUESTS = 3000


@dataclass(slots=True)
class Tally:
    """What one caller's responses added up to."""

    name: str
    requests: int = 0
    allowed: int = 0
    warned: int = 0
    delayed: int = 0
    banned: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Refusals by layer: edge, tenant, user, endpoint, or penalty for a cooldown or ban."""
    cooled_down: int = 0
    errors: int = 0
    writes: list[float] = field(default_factory=list)
    """Instants at which admitted writes were sent."""
    first_sent: float = 0.0
    last_done: float = 0.0
    came_back: bool = False
    """Admitted again after waiting as long as Retry-After said."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One response, as far as a caller cares."""

    status: int
    warned: bool
    banned: bool
    retry_after: float
    layers: tuple[str, ...]
    seconds: float
    done: float
    """Instant at which it was complete."""

    @property
    def refused(self) -> bool:
        return self.status == 429


class Client:
    """One person or program: an address, a tenant, a token, and a tally of what they met."""

    def __init__(
        self, http: httpx.AsyncClient, tally: Tally, address: str, tenant: str, delay_from: float
    ) -> None:
        self._http = http
        self._tally = tally
        self._headers = {"x-forwarded-for": address}
        if tenant:
            self._headers["x-tenant"] = tenant
        self._delay_from = delay_from

    async def sign_in(self, user: str) -> None:
        """Get a token the way the blog's users do."""
        answer, response = await self._send("POST", "/auth/token", {"user": user})
        if answer.status != 200:
            raise RuntimeError(f"{self._tally.name}: signing in was answered {answer.status}")
        self._headers["authorization"] = f"Bearer {response.json()['access_token']}"

    async def get(self, path: str) -> Answer:
        """Read something."""
        return (await self._send("GET", path, None))[0]

    async def comment(self, post: int = 1) -> Answer:
        """Write a comment."""
        return (await self._send("POST", f"/api/posts/{post}/comments", {"text": "nice"}))[0]

    async def _send(
        self, method: str, path: str, body: dict[str, str] | None
    ) -> tuple[Answer, httpx.Response]:
        tally = self._tally
        sent = time.monotonic()
        tally.first_sent = tally.first_sent or sent
        response = await self._http.request(method, path, json=body, headers=self._headers)
        done = time.monotonic()
        tally.last_done = max(tally.last_done, done)
        answer = _read(response, sent, done)
        tally.requests += 1
        if answer.refused:
            for layer in answer.layers:
                tally.refused[layer] += 1
            tally.cooled_down += "penalty" in answer.layers and not answer.banned
            tally.banned += answer.banned
        elif response.status_code >= 500:
            tally.errors += 1
        else:
            tally.allowed += 1
            tally.warned += answer.warned
            tally.delayed += answer.seconds >= self._delay_from
            if method == "POST":
                tally.writes.append(sent)
        return answer, response


def _read(response: httpx.Response, sent: float, done: float) -> Answer:
    layers: tuple[str, ...] = ()
    if response.status_code == 429:
        violated = response.json().get("violated-policies", [])
        layers = tuple(dict.fromkeys(_layer(name) for name in violated)) or ("penalty",)
    return Answer(
        response.status_code,
        response.headers.get("x-ratelimit-warning") == "true",
        response.headers.get("x-ratelimit-banned") == "true",
        float(response.headers.get("retry-after", "0")),
        layers,
        done - sent,
        done,
    )


def _layer(name: str) -> str:
    layer = name.partition(":")[0]
    return layer if layer in ("edge", "tenant", "user") else "endpoint"


class Cast:
    """The five callers and their stories.

    Args:
        url: address of the protected blog.
        ladder: the ladder they may climb, to know how long its penalties and delays are.
        say: told of everything worth showing, as it happens.
    """

    def __init__(self, url: str, ladder: Ladder, say: Say) -> None:
        self._url = url
        self._ladder = ladder
        self._say = say
        self.tallies = {
            name: Tally(name)
            for name in ("reader", "bursty client", "tenant over its tier", "path scanner", "abuser")
        }

    async def play(self) -> dict[str, Tally]:
        """Let all five run at once; their tallies are returned and can be watched meanwhile."""
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        async with httpx.AsyncClient(base_url=self._url, limits=limits, timeout=20) as http:
            parts: list[Callable[[httpx.AsyncClient], Coroutine[None, None, None]]] = [
                self._reader,
                self._bursty,
                self._tenant,
                self._scanner,
                self._abuser,
            ]
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part(http))
        return self.tallies

    def _client(self, http: httpx.AsyncClient, name: str, address: str, tenant: str = "") -> Client:
        return Client(http, self.tallies[name], address, tenant, self._ladder.delay[0] * 0.95)

    async def _reader(self, http: httpx.AsyncClient) -> None:
        """Reads a post at a time, for as long as a visit lasts."""
        name = "reader"
        client = self._client(http, name, "198.51.100.10", "willow-daily")
        await client.sign_in("rose")
        for post in range(1, 31):
            await client.get(f"/posts/{post}")
            await asyncio.gather(
                client.get(f"/api/posts/{post}/reactions"), client.get(f"/api/posts/{post}/comments")
            )
            await asyncio.sleep(0.05)
        self._say(name, "calm", "read 30 posts with their reactions and comments; never met a limit")

    async def _bursty(self, http: httpx.AsyncClient) -> None:
        """Sends everything at once, is told to wait, waits, and goes on."""
        name = "bursty client"
        client = self._client(http, name, "198.51.100.20", "sequoia-times")
        await client.sign_in("bo")
        last = await self._until_refused(name, client, lambda: client.get("/blog"), ENOUGH_REFUSALS)
        self._say(
            name,
            "refused",
            f"{ENOUGH_REFUSALS} refusals in one burst: one strike; Retry-After {last.retry_after:.0f} s",
        )
        await asyncio.sleep(last.retry_after)
        again = await client.get("/blog")
        self.tallies[name].came_back = not again.refused
        self._say(name, "calm", f"waited as told and was {'refused' if again.refused else 'admitted'} again")

    async def _tenant(self, http: httpx.AsyncClient) -> None:
        """Four diligent users of a free tenant write more than its tier allows."""
        name = "tenant over its tier"
        clients = [self._client(http, name, f"198.51.100.3{i}", "clover-corner") for i in range(4)]
        for i, client in enumerate(clients):
            await client.sign_in(f"clover{i}")
        told = False
        for _ in range(8):
            for client in clients:
                answer = await client.comment()
                if answer.refused and not told:
                    told = True
                    self._say(
                        name, "refused", "the free tier's writes are used up; nobody is struck for that"
                    )
        reading = await clients[0].get("/blog")
        self.tallies[name].came_back = not reading.refused
        self._say(name, "calm", "reading still works" if not reading.refused else "reading is refused too")

    async def _scanner(self, http: httpx.AsyncClient) -> None:
        """Tries paths that do not exist; all of them share one bucket."""
        name = "path scanner"
        client = self._client(http, name, "198.51.100.40")
        tried = iter(range(10**9))
        await self._until_refused(
            name, client, lambda: client.get(f"/wp-admin/{next(tried)}.php"), ENOUGH_REFUSALS
        )
        self._say(name, "refused", "unknown paths share one bucket per address: the scan is over")

    async def _until_refused(
        self, name: str, client: Client, send: Callable[[], Awaitable[Answer]], refusals: int
    ) -> Answer:
        """Send from ten connections at once until there were enough refusals."""
        tally = self.tallies[name]
        last: list[Answer] = []

        async def pump() -> None:
            while sum(tally.refused.values()) < refusals and tally.requests < _MOST_REQUESTS:
                answer = await send()
                if answer.warned:
                    self._say(name, "warned", "over the limit: let through once, with a warning")
                if answer.refused:
                    last[:] = [answer]

        await asyncio.gather(*(pump() for _ in range(10)))
        return last[0] if last else Answer(0, False, False, 0.0, (), 0.0, 0.0)

    async def _abuser(self, http: httpx.AsyncClient) -> None:
        """Keeps commenting whatever the answer, up the whole ladder."""
        name = "abuser"
        client = self._client(http, name, "198.51.100.66", "sequoia-times")
        await client.sign_in("mallory")
        slowed = False
        for number, rung in enumerate(self._ladder.rungs, start=1):
            # A shadow ban slows each comment down, so that only many at once get over the limit.
            answer = await self._provoke(client, 60 if slowed else 10)
            if answer is None:
                self._say(name, "odd", f"rung {number} never came")
                return
            if rung.forgive:
                self._say(name, "warned", f"strike {number}: warned, let through")
                await asyncio.sleep(1.05)  # an episode lasts at least a second
            elif rung.ban_us:
                self._say(name, "banned", f"strike {number}: banned for {rung.ban_us / 1e6:,.0f} s")
            else:
                pause = rung.cooldown_us / 1e6
                shadow = " and shadow-banned" if rung.shadow_us else ""
                self._say(name, "cooldown", f"strike {number}: cooled down for {pause:.1f} s{shadow}")
                reading = await client.get("/blog")
                if not reading.refused and reading.done < answer.done - answer.seconds + pause:
                    self._say(name, "odd", "the cooldown did not hold")
                await asyncio.sleep(max(pause, 1.0) + 0.05)
            if rung.shadow_us:
                slowed = True
                slow = await client.get("/blog")
                self._say(
                    name, "delayed", f"an ordinary page took {slow.seconds:.1f} s, and nothing says why"
                )
        final = await client.get("/blog")
        if final.banned:
            self._say(name, "banned", "every request is refused now, and says that it is a ban")

    async def _provoke(self, client: Client, at_once: int) -> Answer | None:
        """Comment, so many at a time, until one answer shows a new rung."""
        for _ in range(30):
            answers = await asyncio.gather(*(client.comment() for _ in range(at_once)))
            for answer in answers:
                if answer.warned or answer.banned:
                    return answer
            penalties = [answer for answer in answers if "penalty" in answer.layers]
            if penalties:
                return penalties[0]
        return None
