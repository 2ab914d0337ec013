"""The scenarios and applications that ship, written with the same public values as anybody's own.

They speak to a blog: every path, status and bound is a default that a scenario file can replace.
"""

from __future__ import annotations

from sentinel.application import Application, Expect, Extract, Repeat, Step, Undo
from sentinel.criterion import Criterion
from sentinel.errors import ConfigurationError
from sentinel.profile import Profile
from sentinel.scenario import Population, Scenario
from sentinel.shapes import Sustained, ThreePhase
from sentinel.sources import Hex, Number, Source, Text

JSON = (("Content-Type", "application/json"),)
BEARER = (("Authorization", "Bearer {token}"),)

AUTH_FLOW = Application(
    "auth-flow",
    (
        Step("authorize", "/auth/authorize?client_id=blog&state={nonce}", expect=Expect((302,), p95_ms=200)),
        Step(
            "token",
            "/auth/token",
            "POST",
            JSON,
            '{"grant_type": "authorization_code", "code": "{nonce}", "username": "user-{user}"}',
            expect=Expect((200,), p95_ms=300),
            extract=(Extract("token", json="access_token"),),
        ),
        Step("who-am-i", "/auth/me", headers=BEARER, expect=Expect((200,), p95_ms=150)),
    ),
    description="log in: authorize redirect, token exchange, who am I",
)
POST_READ = Application(
    "post-read",
    (
        Step("page", "/posts/{post_id}", expect=Expect((200,), p95_ms=400)),
        Step(
            "reactions",
            "/api/posts/{post_id}/reactions",
            mode="parallel",
            expect=Expect((200,), p95_ms=100),
        ),
        Step("comments", "/api/posts/{post_id}/comments", mode="parallel", expect=Expect((200,), p95_ms=150)),
        Step(
            "ping",
            "/api/analytics/ping",
            "POST",
            JSON,
            '{"event": "read", "post": "{post_id}"}',
            mode="background",
            expect=Expect((204,)),
        ),
    ),
    description="read a post: page, then reactions and comments at once, then a ping nobody waits for",
)
POST_WRITE = Application(
    "post-write",
    (
        Step(
            "autosave",
            "/api/drafts/{draft_id}",
            "PUT",
            JSON + BEARER,
            '{"title": "{title}", "body": "{text}"}',
            repeat=Repeat(times=3, every_s=30, variance_s=5),
            expect=Expect((200, 201, 204), p95_ms=500),
        ),
        Step(
            "publish",
            "/api/posts",
            "POST",
            JSON + BEARER,
            '{"title": "{title}", "body": "{text}"}',
            probability=0.1,
            expect=Expect((201,), p95_ms=1000),
            extract=(Extract("created_post", json="id", required=False),),
            undo=Undo("/api/posts/{created_post}"),
        ),
    ),
    requires=("auth-flow",),
    description="write a post: the draft is saved every 30 s, one in ten is published",
)


def _upload(name: str, size: int) -> Step:
    return Step(
        name,
        "/api/uploads",
        "POST",
        (("Content-Type", "application/octet-stream"), *BEARER),
        payload_bytes=size,
        expect=Expect((201,)),
        extract=(Extract("created_upload", json="id", required=False),),
        undo=Undo("/media/{created_upload}"),
    )


MEDIA_UPLOAD = Application(
    "media-upload",
    (_upload("small", 10_000), _upload("medium", 200_000)),
    requires=("auth-flow",),
    description="upload an object of 10 kB and one of 200 kB",
)
COMMENT_WRITE = Application(
    "comment-write",
    (
        Step(
            "comment",
            "/api/posts/{post_id}/comments",
            "POST",
            JSON + BEARER,
            '{"text": "{text}"}',
            expect=Expect((201,)),
            extract=(Extract("created_comment", json="id", required=False),),
            undo=Undo("/api/posts/{post_id}/comments/{created_comment}"),
        ),
    ),
    requires=("auth-flow",),
    description="comment on a post",
)
SESSION_VALIDATE = Application(
    "session-validate",
    (Step("validate", "/session/validate", headers=BEARER, expect=Expect((200,))),),
    requires=("auth-flow",),
    description="check a session's token",
)
BLOG_LIST = Application(
    "blog-list", (Step("list", "/blog", expect=Expect((200,))),), description="look at the list of posts"
)
MEDIA_FETCH = Application(
    "media-fetch",
    (Step("fetch", "/media/{media_id}", expect=Expect((200,))),),
    description="fetch a stored object",
)
ANALYTICS_PING = Application(
    "analytics-ping",
    (Step("ping", "/api/analytics/ping", "POST", JSON, '{"event": "view"}', expect=Expect((204,))),),
    description="report a page view",
)
COMMENT_READ = Application(
    "comment-read",
    (Step("comments", "/api/posts/{post_id}/comments", expect=Expect((200,))),),
    description="read the comments of a post",
)
APPLICATIONS: dict[str, Application] = {
    application.name: application
    for application in (
        POST_READ,
        BLOG_LIST,
        AUTH_FLOW,
        MEDIA_FETCH,
        POST_WRITE,
        MEDIA_UPLOAD,
        ANALYTICS_PING,
        COMMENT_READ,
        COMMENT_WRITE,
        SESSION_VALIDATE,
    )
}
VARIABLES: dict[str, Source] = {
    "post_id": Number(1, 100),
    "draft_id": Number(1, 100),
    "media_id": Number(1, 20),
    "nonce": Hex(16),
    "title": Text(5),
    "text": Text(40),
}
HEADERS = (("X-Forwarded-For", "{address}"), ("X-Tenant", "{tenant}"))
TENANTS = ("clover-corner", "moss-press", "fern-notes", "willow-daily", "sequoia-times")  # free to evergreen
DEFAULT_MIX = {
    "post-read": 35.0,
    "blog-list": 25.0,
    "auth-flow": 10.0,
    "media-fetch": 10.0,
    "post-write": 5.0,
    "media-upload": 5.0,
    "analytics-ping": 5.0,
    "comment-read": 3.0,
    "comment-write": 2.0,
}


def _scenario(
    name: str,
    description: str,
    mix: dict[str, float],
    load: Profile,
    checks: tuple[str, ...],
    tenants: tuple[str, ...] = ("sequoia-times",),
) -> Scenario:
    return Scenario(
        name=name,
        description=description,
        load=load,
        unit="users",
        mix=mix,
        applications=tuple(APPLICATIONS.values()),
        users=Population(tenants=tenants, headers=HEADERS),
        variables=VARIABLES,
        checks=tuple(Criterion.parse(check) for check in checks),
    )


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        _scenario(
            "smoke",
            "five users for half a minute: does anything work at all",
            DEFAULT_MIX,
            Sustained(rate=5, duration_s=30),
            ("error_rate < 1 %",),
        ),
        _scenario(
            "default-mix",
            "an ordinary day: everything the blog offers",
            DEFAULT_MIX,
            ThreePhase(rate=128, peak_rate=500, ramp_up_s=120, peak_s=60, steady_s=300, ramp_down_s=30),
            ("p95 < 500 ms", "error_rate < 1 %"),
        ),
        _scenario(
            "launch-day",
            "a thousand readers at once, then a long tail",
            {"blog-list": 40.0, "post-read": 45.0, "auth-flow": 10.0, "comment-write": 5.0},
            ThreePhase(rate=200, peak_rate=1000, ramp_up_s=300, peak_s=600, steady_s=1800, ramp_down_s=300),
            ("p95 < 1000 ms", "error_rate < 5 %", "throughput > 500/s"),
        ),
        _scenario(
            "multi-tenant",
            "five tenants of five tiers share one server",
            {"post-read": 40.0, "blog-list": 30.0, "post-write": 15.0, "media-upload": 15.0},
            ThreePhase(rate=128, peak_rate=500, ramp_up_s=120, peak_s=300, steady_s=300, ramp_down_s=60),
            ("p99 < 2000 ms", "error_rate < 1 %"),
            TENANTS,
        ),
        _scenario(
            "auth-stress",
            "logins and session checks, nothing else",
            {"auth-flow": 70.0, "session-validate": 30.0},
            ThreePhase(rate=50, peak_rate=200, ramp_up_s=60, peak_s=180, steady_s=120, ramp_down_s=30),
            ("p95 < 300 ms", "error_rate < 0.1 %"),
        ),
    )
}


def shipped(name: str) -> Scenario:
    """Find a shipped scenario by name; raise ConfigurationError for unknown ones.

    >>> shipped("launch-day").load.duration_s, shipped("launch-day").load.peak
    (3000, 1000.0)
    """
    if name not in SCENARIOS:
        raise ConfigurationError(f"scenario {name!r} is unknown; shipped are: {', '.join(SCENARIOS)}")
    return SCENARIOS[name]
