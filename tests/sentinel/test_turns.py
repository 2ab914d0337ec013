"""A user's turns, worked out in blocks: they must send what the same sessions send one by one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import pytest

from sentinel.agenda import Agenda
from sentinel.application import Application, Extract, Step
from sentinel.draws import opening_blocks, openings
from sentinel.drivers.http import HttpDriver
from sentinel.player import Player
from sentinel.recorder import Recorder
from sentinel.scenario import Population, Scenario
from sentinel.script import write_scripts
from sentinel.sender import Call, Sender
from sentinel.shapes import Sustained
from sentinel.sources import Choice, Hex, Number, Source
from sentinel.target import HttpTarget
from sentinel.turns import Targets, Turns
from sentinel.users import Users

USERS = 5
VALUES: dict[str, Source] = {
    "post": Number(3, 90),
    "word": Choice(("moss", "a b", "ünï")),
    "nonce": Hex(8),
    "wide": Number(0, 2**31),
}
STEPS = {
    "constant": Step("one", "/blog"),
    "number": Step("one", "/posts/{post}", headers=(("Authorization", "Bearer {token}"),)),
    "choice": Step("one", "/search?q={word}&of=100%"),
    "post": Step("one", "/posts/{post}/likes", method="POST", body='{"by": "me"}'),
    "wide": Step("one", "/posts/{wide}"),
    "nonce": Step("one", "/n/{nonce}"),
    "both": Step("one", "/posts/{post}?q={word}"),
    "user": Step("one", "/users/{user}"),
    "body": Step("one", "/posts/{post}", method="POST", body="{nonce}"),
    "header": Step("one", "/posts/{post}", headers=(("X-Nonce", "{nonce}"),)),
}
REGULAR = {"constant", "number", "choice", "post"}


def make(
    mix: Iterable[str] = STEPS, population: Population | None = None, **more: Step
) -> tuple[Targets, Player, HttpDriver]:
    steps = {name: STEPS[name] for name in mix} | more
    population = population or Population(
        headers=(("X-Tenant", "{tenant}"),), tenants=("a", "b", "c"), token="token-{user}"
    )
    scenario = Scenario(
        "turns",
        Sustained(rate=USERS, duration_s=1),
        {name: 1 + place for place, name in enumerate(steps)},
        tuple(Application(name, (step,)) for name, step in steps.items()),
        unit="users",
        model="closed",
        pace_s=0,
        users=population,
        variables=VALUES,
        seed=11,
    )
    driver = HttpDriver(HttpTarget("127.0.0.1", 1))
    scripts, series = write_scripts(scenario)
    users = Users(scenario.users, scenario.user_count)
    agenda = Agenda(lambda opening, at_ns: None, lambda: None)
    sender = Sender(driver, Recorder(series, 0), users, agenda, 9, columns=False, capture=None)
    player = Player(scenario, scripts, users, sender, agenda)
    return Targets(scenario, scripts, sender, player), player, driver


def sent(driver: HttpDriver, call: object) -> tuple[bytes, str, int, int]:
    assert isinstance(call, Call)
    return driver.encode(call), call.key, call.line.code, call.intended


@pytest.mark.parametrize("number", range(USERS))
def test_turns_in_blocks_send_what_the_same_sessions_send_one_by_one(number: int) -> None:
    targets, player, driver = make()
    turns = Turns(targets, opening_blocks(11, number, USERS, at_once=7))
    one_by_one = islice(openings(11, number, USERS, at_once=7), 300)
    for at_ns, opening in enumerate(one_by_one):
        assert sent(driver, turns.session(at_ns)) == sent(driver, player.session(opening, at_ns))


def test_only_what_differs_in_nothing_but_its_target_is_regular() -> None:
    assert {line.step.path for line in make()[0].lines} == {STEPS[name].path for name in REGULAR}


@pytest.mark.parametrize(
    "population",
    [Population(hot_share=0.5), Population(count=USERS + 1), Population(headers=(("X-Token", "{token}"),))],
)
def test_nothing_is_regular_when_users_change_from_session_to_session(population: Population) -> None:
    assert make(REGULAR, population)[0].lines == []


@pytest.mark.parametrize("name", ["post", "token"])
def test_nothing_is_written_down_that_an_answer_may_change(name: str) -> None:
    taker = Step("one", "/taken", extract=(Extract(name, json="x"),))
    paths = {line.step.path for line in make(("constant", "number"), taker=taker)[0].lines}
    assert paths == ({"/blog"} if name == "post" else set())


def test_a_user_has_one_call_of_each_kind() -> None:
    targets, _, _ = make(REGULAR)
    turns = Turns(targets, opening_blocks(11, 0, USERS, at_once=8))
    calls = {id(call): call for call in (turns.session(at_ns) for at_ns in range(100))}
    assert len(calls) == len(REGULAR)
