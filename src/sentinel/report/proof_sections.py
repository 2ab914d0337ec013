"""The sections of a page that show an audit and an overhead."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sentinel.audit import AuditResult
from sentinel.overhead import Overhead, State
from sentinel.report.markup import pill, section, table, text_cell
from sentinel.report.parts import promise_words

_ACTS = ("act", "requests", "admitted", "refused", "excess proven", "wrong refusals")
_JUDGED: dict[State, bool | None] = {"within": True, "exceeded": False, "undecided": None}
_COSTS = (
    "requests",
    "without",
    "added at the median",
    "added on average",
    "at worst",
    "within budget",
    "on / off",
)


def audit_section(result: AuditResult, *, sentence: bool = True) -> str:
    """Show an audit: what it comes to (unless it was said already), the evidence, what was left out, act by
    act."""
    tone = {"kept": "good", "broken": "bad"}.get(result.state, "warn")
    come = f'<p class="{tone}"><b>{escape(result.sentence)}</b></p>' if sentence else ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in result.strength)
    worst = "".join(
        f"<li>{escape(a.key)}: {escape(a.statement)}</li>" for f in result.findings for a in f.accusations[:3]
    )
    rows = [
        [
            escape(act.name),
            *(f"{n:,}" for n in (act.requests, act.admitted, act.refused, act.excess, act.wrong_refusals)),
        ]
        for act in result.acts
    ]
    left = "".join(
        f"<li>left out: {escape(item.name)}, {escape(item.reason)}</li>" for item in result.left_out
    )
    said = f"{come}<ul>{worst}{lines}{left}</ul>"
    return section(f"Audit: {escape(promise_words(result.promise))}", said + table(_ACTS, rows))


def overhead_section(found: Sequence[Overhead], budget_us: float | None, *, rate: float | None = None) -> str:
    """Show what the limiter added, at one load if `rate` names it (requests per second)."""
    rows = [
        [
            text_cell(entry.answer),
            f"{entry.off_us:.0f} µs",
            escape(str(entry.median)),
            escape(str(entry.mean)),
            f"{entry.upper_us:.1f} µs",
            "–" if budget_us is None else pill(_JUDGED[entry.state(budget_us)]),
            f"{entry.on:,} / {entry.off:,}",
        ]
        for entry in found
    ]
    load = "" if rate is None else f" at {rate:,.0f} requests/s"
    budget = "" if budget_us is None else f" (budget {budget_us / 1e3:g} ms)"
    return section(f"Overhead{load}{budget}", table(_COSTS, rows))
