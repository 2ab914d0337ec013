"""Markdown for a pull request: the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sentinel.audit import AuditResult
from sentinel.checks import State
from sentinel.figures import Figures, ms
from sentinel.overhead import Overhead
from sentinel.report.document import Report
from sentinel.report.parts import WITHIN, promise_words
from sentinel.report.said import errors_said, said

_MARKS = {"pass": "✅", "fail": "❌", "not judged": "⚪"}
_NAMES = {0: "✅", 2: "❌", 3: "❌", 4: "⚠️"}


def escaped(text: object) -> str:
    """Keep a value inside its cell, and from being read as markup.

    >>> escaped("a|b <i> *x*")
    'a\\\\|b &lt;i&gt; \\\\*x\\\\*'
    """
    kept = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + char if char in "\\|*_`[]" else char for char in kept)


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, numbers_from: int = 1) -> str:
    """Lay out a table; columns from `numbers_from` on are right-aligned."""
    rule = ["---" if column < numbers_from else "---:" for column in range(len(head))]
    lines = [head, rule, *[[escaped(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(name: str, found: Figures) -> list[object]:
    percentiles = [ms(found.percentile(p).ms) for p in (50.0, 95.0, 99.0)]
    return [
        name,
        found.requests,
        f"{found.throughput:.1f}",
        *percentiles,
        ms(found.max_ms),
        f"{found.error_rate:.2%}",
        f"{found.denied_rate:.2%}",
        found.percentile(95.0).samples,
    ]


_FIGURES = [
    "",
    "requests",
    "served/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "max ms",
    "errors",
    "refused",
    "samples",
]


def _marked(state: State) -> str:
    return f"{_MARKS[state]} {state}" if state == "not judged" else _MARKS[state]


def markdown(report: Report) -> str:
    """Write a run's report."""
    record, analysis, verdict = report.record, report.analysis, report.verdict
    name = str(record.scenario.get("name", record.id))
    parts = [
        f"### {_NAMES.get(int(verdict.exit_code), '❌')} sentinel: {escaped(name)}",
        f"**{escaped(verdict.sentence)}**",
    ]
    if verdict.checks:
        parts.append(
            table(
                ["", "criterion", "observed"],
                [[_marked(c.state), c.criterion, c.detail] for c in verdict.checks],
                numbers_from=3,
            )
        )
    rows = [_row(phase.name, found) for phase, found in analysis.phases]
    parts.append(table(_FIGURES, [*rows, _row("whole run", analysis.total)]))
    parts.append("\n".join(f"- {escaped(line)}" for line in said(report)))
    if record.errors:
        told = "\n".join(f"- {escaped(line)}" for line in errors_said(record.errors))
        parts.append(f"Errors:\n\n{told}")
    if verdict.comparison is not None and verdict.comparison.changes:
        changes = [
            [c.measure, f"{c.value:.4g}", f"{c.usual:.4g}", f"{c.change:+.1%}", c.before, c.state]
            for c in verdict.comparison.changes
        ]
        parts.append(table(["compared", "now", "usually", "worse by", "runs", "state"], changes))
    if report.audit is not None:
        parts.append(audit_markdown(report.audit))
    if report.overhead:
        parts.append(overhead_markdown(report.overhead, report.budget_us))
    series = [_row(f"{application}/{step}", found) for (application, step), found in analysis.series.items()]
    parts.append(f"<details><summary>Applications</summary>\n\n{table(_FIGURES, series)}\n\n</details>")
    host = ", ".join(f"{key} {value}" for key, value in record.host.items())
    run = f"run {record.id}, {record.started_at}, {analysis.total.seconds:g} s, {record.model} model; {host}"
    parts.append(f"<sub>{escaped(run)}</sub>")
    return "\n\n".join(parts) + "\n"


def audit_markdown(result: AuditResult) -> str:
    """Write an audit."""
    mark = {"kept": "✅", "broken": "❌"}.get(result.state, "⚠️")
    acts = [
        [act.name, act.requests, act.admitted, act.refused, act.excess, act.wrong_refusals]
        for act in result.acts
    ]
    parts = [
        f"#### {mark} audit: {escaped(promise_words(result.promise))}",
        f"**{escaped(result.sentence)}**",
        "\n".join(f"- {escaped(line)}" for line in result.strength),
        table(["act", "requests", "admitted", "refused", "excess proven", "wrong refusals"], acts),
    ]
    if result.left_out:
        parts.append(
            "Left out: "
            + "; ".join(f"{escaped(left.name)} ({escaped(left.reason)})" for left in result.left_out)
        )
    return "\n\n".join(parts)


def overhead_markdown(
    found: Sequence[Overhead], budget_us: float | None, *, rate: float | None = None
) -> str:
    """Write what the limiter added, at one load if `rate` names it (requests per second)."""
    rows = [
        [
            entry.answer,
            f"{entry.off_us:.0f} µs",
            entry.median,
            entry.mean,
            f"{entry.upper_us:.1f} µs",
            "–" if budget_us is None else WITHIN[entry.state(budget_us)],
            f"{entry.on}/{entry.off}",
        ]
        for entry in found
    ]
    budget = "" if budget_us is None else f" (budget {budget_us / 1e3:g} ms)"
    head = ["requests", "without", "added at the median", "added on average", "at worst", "within", "on/off"]
    load = "" if rate is None else f" at {rate:,.0f} requests/s"
    return f"#### overhead{load}{budget}\n\n{table(head, rows)}"
