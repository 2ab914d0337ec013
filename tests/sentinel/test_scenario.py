from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from sentinel.application import Application, Expect, Extract, Repeat, Step, Undo
from sentinel.catalog import APPLICATIONS, DEFAULT_MIX, SCENARIOS, shipped
from sentinel.criterion import Criterion
from sentinel.draws import Draws, opening, openings
from sentinel.errors import ConfigurationError
from sentinel.pacer import Poisson
from sentinel.run import plan_hash
from sentinel.scenario import Population, Scenario
from sentinel.scenario_file import load_scenario, parse_scenario
from sentinel.shapes import Spike, Sustained
from sentinel.sources import Choice, Hex, Number, Text
from sentinel.template import Template

ONE = Application("one", (Step("get", "/"),))


def scenario(**changes: object) -> Scenario:
    base = Scenario("tiny", Sustained(rate=10, duration_s=1), {"one": 1}, (ONE,))
    return replace(base, **changes)  # type: ignore[arg-type]


def app(name: str, *requires: str, steps: tuple[Step, ...] = (Step("get", "/"),)) -> Application:
    return Application(name, steps, requires=requires)


def test_the_five_tabled_scenarios_ship_with_their_loads_and_checks() -> None:
    table = {
        name: (entry.load.peak, entry.load.duration_s, [str(check) for check in entry.checks])
        for name, entry in SCENARIOS.items()
    }
    assert table == {
        "smoke": (5, 30, ["error_rate < 1 %"]),
        "default-mix": (500, 510, ["p95 < 500 ms", "error_rate < 1 %"]),
        "launch-day": (1000, 3000, ["p95 < 1000 ms", "error_rate < 5 %", "throughput > 500/s"]),
        "multi-tenant": (500, 780, ["p99 < 2000 ms", "error_rate < 1 %"]),
        "auth-stress": (200, 390, ["p95 < 300 ms", "error_rate < 0.1 %"]),
    }
    assert sum(DEFAULT_MIX.values()) == 100
    assert set(DEFAULT_MIX) | {"session-validate"} == set(APPLICATIONS)
    assert len(shipped("multi-tenant").users.tenants) == 5


def test_the_rates_of_launch_day_at_given_seconds() -> None:
    load = shipped("launch-day").load
    assert [load.rate_at(t) for t in (0, 150, 300, 899, 900, 2699, 2850, 3000)] == pytest.approx(
        [0, 500, 1000, 1000, 200, 200, 100, 0]
    )


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("scale", [1, 0.5, 0.01, 0.0001])
def test_every_shipped_scenario_can_be_scaled_and_described(name: str, scale: float) -> None:
    scaled = shipped(name).scaled(scale)
    assert scaled.load.duration_s >= 0.999 and scaled.arrivals.total >= 0.999
    assert json.loads(json.dumps(scaled.snapshot())) == scaled.snapshot()


def test_scale_shrinks_users_time_waits_and_the_throughput_demanded() -> None:
    small = shipped("launch-day").scaled(0.1)
    assert small.load.peak == pytest.approx(100)
    assert small.load.duration_s == pytest.approx(300)
    assert str(small.checks[2]) == "throughput > 50/s"
    assert shipped("default-mix").scaled(0.1).application("post-write").steps[0].repeat == Repeat(3, 3.0, 0.5)


def test_a_load_of_users_tells_how_many_it_wants_in_every_second() -> None:
    load = 'profile = "ramp"\nrate = 100\nduration_s = 10'
    ramp = parse_scenario(f'[scenario]\nunit = "users"\n[load]\n{load}\n[mix]\nblog-list = 1')
    wanted = ramp.present(12)
    assert len(wanted) == 12 and wanted[10:] == (0.0, 0.0), "the load is over after ten seconds"
    assert wanted[:5] == pytest.approx((12.5, 37.5, 62.5, 87.5, 100)), "up within four seconds"
    assert scenario().present(5) == (), "sessions per second are no users"


def test_the_plan_hash_changes_with_anything_in_the_plan() -> None:
    hashes = {
        plan_hash(entry.snapshot())
        for entry in (
            scenario(),
            scenario(seed=2),
            scenario(load=Sustained(rate=11, duration_s=1)),
            scenario(spacing=Poisson()),
            scenario(checks=(Criterion.parse("p95 < 1 s"),)),
            scenario(applications=(app("one", steps=(Step("get", "/other"),)),)),
        )
    }
    assert len(hashes) == 6
    assert plan_hash(scenario().snapshot()) == plan_hash(scenario().snapshot())


def test_the_tightest_latency_is_found_among_checks_and_steps() -> None:
    assert scenario().tightest_latency_ms() is None
    assert scenario(checks=(Criterion.parse("p99 < 2 s"),)).tightest_latency_ms() == 2000
    strict = app("one", steps=(Step("get", "/", expect=Expect(p95_ms=30)),))
    assert (
        scenario(checks=(Criterion.parse("p99 < 2 s"),), applications=(strict,)).tightest_latency_ms() == 30
    )


TAKES = Step("take", "/", extract=(Extract("t", json="t"),))


def test_a_value_may_be_used_once_it_was_taken_out_of_an_answer() -> None:
    after = Step("get", "/{t}")
    pages = replace(TAKES, path="/?from={t}", repeat=Repeat(3))
    undone = replace(TAKES, undo=Undo("/{t}"))
    for steps in ((TAKES, after), (pages,), (undone,), (replace(TAKES, mode="parallel"), after)):
        assert scenario(applications=(app("one", steps=steps),)).name
    chain = (app("one", "two", steps=(after,)), app("two", "three"), app("three", steps=(TAKES,)))
    assert scenario(applications=chain).name, "what a requirement requires was there before"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Bad Name"}, "scenario name is 'Bad Name'"),
        ({"mix": {}}, "mix is empty"),
        ({"mix": {"two": 1}}, "unknown application 'two'; known: one"),
        ({"mix": {"one": 0}}, r"mix\.one is 0"),
        ({"applications": (ONE, ONE)}, "defined twice"),
        ({"applications": (app("one", "two"),)}, "requires the unknown application 'two'"),
        ({"applications": (app("one", "one"),)}, "in a circle: one → one"),
        ({"applications": (app("one", "two"), app("two", "three"), app("three", "one"))},
         "in a circle: one → two → three → one"),
        ({"timeout_s": 0}, "timeout_s is 0 s; it must be between"),
        ({"max_in_flight": 20_001}, "max_in_flight is 20001"),
        ({"pace_s": 0}, "pace_s is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"model": "ajar"}, "model is 'ajar'"),
        ({"model": "closed", "unit": "users", "load": Sustained(rate=501, duration_s=9)},
         "concurrency is 501; it must be between 1 and 500"),
        ({"load": Sustained(rate=10_000, duration_s=3600)}, "operations is 36000000; it must be between"),
        ({"applications": (app("one", steps=(Step("get", "/{nobody}"),)),)}, "one/get uses {nobody}, which"),
        ({"applications": (app("one", steps=(Step("get", "/{t}"), TAKES)),)},
         "one/get uses {t}, which 'take' takes out of an answer only then or later"),
        ({"applications": (app("one", steps=(replace(TAKES, path="/{t}"),)),)},
         "one/take uses {t}, which 'take'"),
        ({"applications": (app("one", steps=(replace(TAKES, mode="parallel"),
                                             Step("get", "/{t}", mode="parallel"))),)},
         "one/get uses {t}, which"),
        ({"users": Population(headers=(("X-A", "{post_id}"),))}, "users uses {post_id}"),
        ({"checks": (Criterion.parse("two: p95 < 1 s"),)},
         "check 'two: p95 < 1000 ms' is about an unknown application; known: one"),
        ({"checks": (Criterion.parse("one/put: p95 < 1 s"),)}, "unknown step; known: get"),
    ],
)  # fmt: skip
def test_a_scenario_is_refused_with_field_value_and_remedy(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        scenario(**changes)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Step("a", "posts"), "starts with /"),
        (lambda: Step("a", "/a b"), "has no blanks"),
        (lambda: Step("a", "/", "FETCH"), "method is 'FETCH'"),
        (lambda: Step("a", "/", headers=(("X-A", "b\r\nX-C: d"),)), "cannot be sent"),
        (lambda: Population(headers=(("X-A", "b\r\nX-C: d"),)), "users: header 'X-A': .* cannot be sent"),
        (
            lambda: Population(headers=(("X A", "b"),)),
            "users: header 'X A': 'b' cannot be sent; a name is one word",
        ),
        (lambda: Population(count=2.5), "users.count is 2.5; it must be a whole number"),  # type: ignore[arg-type]
        (lambda: Repeat(2.5), "repeat.times is 2.5; it must be a whole"),  # type: ignore[arg-type]
        (lambda: Step("a", "/", payload_bytes=0.5), "payload_bytes is 0.5; it must be a"),  # type: ignore[arg-type]
        (lambda: Expect((200.5,)), "expect.status is 200.5; it must be a whole"),  # type: ignore[arg-type]
        (lambda: Hex(1.5), "digits is 1.5; it must be a whole number"),  # type: ignore[arg-type]
        (lambda: Number(1, 1.5), "high is 1.5; it must be a whole number"),  # type: ignore[arg-type]
        (lambda: Step("a", "/", probability=1.1), "probability is 1.1"),
        (lambda: Step("a", "/", mode="aside"), "mode is 'aside'"),  # type: ignore[arg-type]
        (lambda: Step("a", "/", body="x", payload_bytes=3), "both a body and payload_bytes"),
        (lambda: Step("a", "/", pause_s=-1), "pause_s is -1"),
        (lambda: Step("a", "/", undo=Undo("x y")), "path is 'x y'"),
        (lambda: Repeat(0), "repeat.times is 0"),
        (lambda: Repeat(2, 4000), "repeat.every_s is 4000"),
        (lambda: Expect((99,)), "expect.status is 99"),
        (lambda: Expect(refusals="maybe"), "refusals is 'maybe'"),  # type: ignore[arg-type]
        (lambda: Extract("id"), "exactly one of json, header and pattern"),
        (lambda: Extract("Id", json="id"), "extract.name is 'Id'"),
        (lambda: Extract("id", pattern="("), "the pattern is broken"),
        (lambda: Extract("id", pattern="abc"), "has 0 groups, not one"),
        (lambda: Application("a", ()), "has no steps"),
        (lambda: Application("a", (Step("x", "/"), Step("x", "/"))), "two steps named 'x'"),
        (lambda: Population(tenants=()), "tenants is empty"),
        (lambda: Population(hot_share=2), "hot_share is 2"),
        (lambda: Choice(()), "nothing to choose from"),
        (lambda: Number(5, 4), "high is 4"),
    ],
)
def test_parts_of_a_scenario_are_refused_when_built(build: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build()  # type: ignore[operator]


WHOLE = """
[scenario]
name = "mine"
model = "open"
seed = 7
timeout_s = 2
checks = ["p95 < 200 ms", "shop/buy: error_rate < 1 %"]

[load]
profile = "spike"
rate = 20
duration_s = 10

[spacing]
kind = "poisson"

[users]
count = 12
tenants = ["a", "b"]
headers = { X-User = "{user}" }

[variables]
item = { kind = "choice", of = ["pear", "plum"] }

[mix]
shop = 80
blog-list = 20

[[application]]
name = "shop"
requires = ["auth-flow"]

[[application.step]]
name = "buy"
method = "POST"
path = "/buy/{item}"
body = '{"item": "{item}", "by": "{token}"}'
headers = { Authorization = "Bearer {token}" }
expect = { status = [201], p95_ms = 50, contains = "ok", refusals = "forbidden" }
extract = [{ name = "order", json = "order.id" }]
repeat = { times = 2, every_s = 0.5, variance_s = 0.1 }
undo = { path = "/orders/{order}" }
probability = 0.5

[[application.step]]
name = "look"
path = "/orders/{order}"
mode = "background"
"""


def test_a_scenario_file_says_everything_that_python_can(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(WHOLE)
    read = load_scenario(path)
    assert (read.name, read.seed, read.timeout_s, read.spacing) == ("mine", 7, 2, Poisson())
    assert read.load == Spike(rate=20, duration_s=10)
    assert read.users == Population(12, ("a", "b"), (("X-User", "{user}"),))
    assert read.variables["item"] == Choice(("pear", "plum"))
    assert read.application("shop") == Application(
        "shop",
        (
            Step(
                "buy",
                "/buy/{item}",
                "POST",
                (("Authorization", "Bearer {token}"),),
                '{"item": "{item}", "by": "{token}"}',
                expect=Expect((201,), "ok", "forbidden", 50),
                extract=(Extract("order", json="order.id"),),
                repeat=Repeat(2, 0.5, 0.1),
                undo=Undo("/orders/{order}"),
                probability=0.5,
            ),
            Step("look", "/orders/{order}", mode="background"),
        ),
        requires=("auth-flow",),
    )
    assert set(read.reachable()) == {"shop", "blog-list", "auth-flow"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"', "name = 5", "scenario.name is 5; it must be a text"),
        ("seed = 7", "seed = 7.5", "scenario.seed is 7.5; it must be a whole number"),
        ("seed = 7", "sede = 7", "scenario has no 'sede'; it takes name"),
        ('model = "open"', 'model = "wide"', "model is 'wide'"),
        ('profile = "spike"', 'profile = "spook"', "profile is 'spook'"),
        ("rate = 20", "", "needs rate; write it under"),
        ("duration_s = 10", "duration_s = 5000", "duration is 5000 s; it must be between 1 and 3,600 s"),
        ('kind = "poisson"', 'kind = "fishy"', "spacing is 'fishy'"),
        ('kind = "choice"', 'kind = "whim"', r"variables\.item\.kind is 'whim'"),
        ("shop = 80", "shpo = 80", "unknown application 'shpo'"),
        ("shop = 80", 'shop = "80"', r"mix\.shop is '80'; it must be a number"),
        ('requires = ["auth-flow"]', 'requires = "auth-flow"', r"requires is 'auth-flow'; it must be"),
        ('name = "buy"', "", r"application\[0\]\.step\[0\]\.name is missing"),
        ("status = [201]", "status = 201", r"expect\.status is 201"),
        ("probability = 0.5", "probability = 5", "probability is 5"),
        ("[[application]]", "[[applications]]", "has no 'applications'; it takes scenario"),
        ('"p95 < 200 ms"', '"p95 quick"', "'p95 quick' is not understood"),
        ("[scenario]", "[scenario", "not valid TOML"),
        ("times = 2", "time = 2", r"repeat has no 'time'; it takes times"),
    ],
)
def test_a_broken_scenario_file_is_refused_by_key(old: str, new: str, message: str) -> None:
    assert old in WHOLE
    with pytest.raises(ConfigurationError, match=message):
        parse_scenario(WHOLE.replace(old, new))


def test_a_missing_scenario_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml cannot be read"):
        load_scenario(tmp_path / "nowhere.toml")


def test_draws_depend_on_seed_and_session_alone_and_are_even() -> None:
    assert len({opening(seed, number) for seed in range(50) for number in range(50)}) == 2500
    shares = [opening(9, number) / 2**64 for number in range(20_000)]
    for place in range(4):
        assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.02), place
        assert sum(share < 0.1 for share in shares) / len(shares) == pytest.approx(0.1, abs=0.02), place
        streams = [Draws(opening(9, number)) for number in range(20_000)]
        shares = [[draws.share() for _ in range(place + 1)][-1] for draws in streams]
    assert {Draws(opening(9, number)).below(3) for number in range(100)} == {0, 1, 2}
    assert [Draws(opening(1, 2)).bits() for _ in range(2)] == [Draws(opening(1, 2)).bits()] * 2


def test_openings_worked_out_together_are_those_of_each_session() -> None:
    for seed, first, step in ((0, 0, 1), (1, 5, 64), (2**31, 2**40 + 1, 3)):
        found = list(islice(openings(seed, first, step, at_once=7), 20))
        assert [number for number, _ in found] == [first + turn * step for turn in range(20)]
        assert [bits for _, bits in found] == [opening(seed, number) for number, _ in found]


def test_sources_make_up_what_they_promise() -> None:
    draws = Draws(opening(1, 1))
    assert all(3 <= int(Number(3, 5).draw(draws)) <= 5 for _ in range(50))
    assert Choice(("a", "b")).draw(draws) in ("a", "b")
    assert len(Text(6).draw(draws).split()) == 6
    assert [len(Hex(size).draw(draws)) for size in (1, 16, 17, 100_000)] == [1, 16, 17, 100_000]
    assert int(Hex(40).draw(draws), 16) >= 0


def test_templates_leave_json_and_percent_signs_alone() -> None:
    text = '{"a": "{x}", "b": {}, "c": "100 %", "d": "{Y}"}'
    assert Template(text).fill({"x": "1"}.__getitem__) == '{"a": "1", "b": {}, "c": "100 %", "d": "{Y}"}'
    assert Template("100 %").fill(str) == "100 %"
