"""One HTML file that holds everything it shows: no network, no other file, light and dark, wide and narrow.

Tables and sentences are written here; charts are drawn in the browser by uPlot (vendored, MIT) from the
same document that `--format json` prints. Without scripts the page still has every figure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files

from sentinel.figures import Figures, ms
from sentinel.report.document import Report, document
from sentinel.report.parts import promise_words

_TONES = {0: "good", 4: "warn"}
_RESPONSE_HINT = (
    "From the intended instant to the answer, called-for refusals apart; each percentile over as few seconds "
    "(at most ten) as it needs."
)
_HEAT_HINT = "Requests by second and response time; the stronger the more, on a logarithmic scale."
_KNEE_HINT = "The p95 by offered load up to the end of the peak, with its interval, and what was completed."
_HEAD = ("", "requests", "served/s", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms", "errors", "refused")
_FOOTER = (
    "A percentile with fewer than ten samples above it is not shown. Drag across a chart to zoom, "
    "double-click to return. Charts by uPlot, MIT licence."
)


@cache
def _asset(name: str) -> str:
    return (files("sentinel.report") / "assets" / name).read_text(encoding="utf-8")


def page(report: Report) -> str:
    """Write a run's report as one HTML page."""
    name = str(report.record.scenario.get("name", report.record.id))
    parts = {
        "title": escape(f"{name}: {report.verdict.exit_code.name.lower().replace('_', ' ')}"),
        "uplot_css": _asset("uplot-1.6.32.min.css"),
        "css": _asset("page.css"),
        "body": f"<main>{_body(report, name)}</main>",
        # Inside a script element only "</" could end the data early.
        "data": json.dumps(document(report), separators=(",", ":")).replace("<", "\\u003c"),
        "uplot_js": _asset("uplot-1.6.32.min.js"),
        "js": _asset("page.js"),
    }
    text = _asset("page.html")
    pieces = text.split("{{")
    out = [pieces[0]]
    for piece in pieces[1:]:
        key, rest = piece.split("}}", 1)
        out += (parts[key], rest)
    return "".join(out)


def _body(report: Report, name: str) -> str:
    record = report.record
    started = f"{record.started_at[:19].replace('T', ' ')} UTC"
    meta = f"{started} · {record.seconds} s · {record.model} model · run {record.id}"
    tone = _TONES.get(int(report.verdict.exit_code), "bad")
    word, _, rest = report.verdict.sentence.partition(": ")
    return "".join(
        (
            f'<h1>{escape(name)}</h1><p class="meta">{escape(meta)}</p>',
            f'<div class="verdict {tone}"><b>{escape(word)}</b><p>{escape(rest)}</p></div>',
            _tiles(report),
            _said(report),
            _checks(report),
            _chart("Response time", "response", _RESPONSE_HINT),
            _chart(
                "Load", "load", "What was planned, what was answered, and how many sessions were under way."
            ),
            _chart("Where the time went", "heat", _HEAT_HINT, scale=True),
            _steps(report),
            _figures_tables(report),
            _audit(report),
            _overhead(report),
            _comparison(report),
            _errors(report),
            _machine(report),
            f"<footer>Plan {escape(record.plan_hash[:16])}. {_FOOTER}</footer>",
        )
    )


def _tiles(report: Report) -> str:
    total = report.analysis.total
    tiles = [
        ("requests", f"{total.requests:,}", ""),
        ("served per second", f"{total.throughput:,.1f}", ""),
        *((f"p{p:g}", ms(total.percentile(p).ms), "ms") for p in (50.0, 95.0, 99.0)),
        ("errors", f"{total.error_rate:.2%}", ""),
        ("refused, as called for", f"{total.denied_rate:.2%}", ""),
    ]
    cells = (
        f'<div class="tile"><span>{escape(label)}</span><b>{escape(value)}<small> {unit}</small></b></div>'
        for label, value, unit in tiles
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def _said(report: Report) -> str:
    analysis = report.analysis
    lines = [
        analysis.knee.statement if analysis.knee else "no knee: latency held at every load offered",
        f"bottleneck: {analysis.bottleneck.statement}",
        *([analysis.recovery.statement] if analysis.recovery else []),
        f"status: {analysis.health}, by an error rate of {analysis.total.error_rate:.2%}",
        *(["an incident: more than 10 % of the requests failed"] if analysis.incident else []),
        *analysis.notes,
    ]
    items = "".join(f"<li>{escape(line[:1].upper() + line[1:])}</li>" for line in lines)
    return f"<section><h2>What it says</h2><ul>{items}</ul></section>"


def _checks(report: Report) -> str:
    if not report.verdict.checks:
        return ""
    rows = [[_pill(c.passed), _wrap(str(c.criterion)), _wrap(c.detail)] for c in report.verdict.checks]
    return _section("Checks", _table(("", "criterion", "observed"), rows, text=3))


def _chart(title: str, identity: str, hint: str, *, scale: bool = False) -> str:
    key = '<span class="scale"></span>' if scale else ""
    note = "<noscript>Charts need scripts; every figure is in the tables.</noscript>"
    head = f'<section><h2>{title}</h2><p class="hint">{hint}{key}</p>'
    return f'{head}<div class="chart" id="{identity}">{note}</div></section>'


def _steps(report: Report) -> str:
    if len(report.analysis.steps) < 3:
        return ""
    rows = [
        [
            f"{step.offered:,.0f}",
            f"{step.achieved:,.0f}",
            ms(step.p95_ms),
            f"{ms(step.low_ms)} – {ms(step.high_ms)}",
            f"{step.samples:,}",
            "–" if step.little is None else f"{step.little:.2f}",
        ]
        for step in report.analysis.steps
    ]
    head = ("offered/s", "completed/s", "p95 ms", "95 % interval", "samples", "Little")
    chart = _chart("Knee", "steps", _KNEE_HINT)
    return f'<div class="pair">{chart}{_section("Load steps", _table(head, rows))}</div>'


def _figures_tables(report: Report) -> str:
    analysis = report.analysis
    phases = [_row(phase.name, found) for phase, found in analysis.phases]
    series = [_row(f"{application}/{step}", found) for (application, step), found in analysis.series.items()]
    whole = _row("whole run", analysis.total)
    first = _section("Phases", _table(_HEAD, [*phases, whole], total=True))
    return first + _section("Applications", _table(_HEAD, [*series, whole], total=True))


def _row(name: str, found: Figures) -> list[str]:
    times = [ms(found.percentile(p).ms) for p in (50.0, 95.0, 99.0, 99.9)]
    rates = [f"{found.error_rate:.2%}", f"{found.denied_rate:.2%}"]
    return [escape(name), f"{found.requests:,}", f"{found.throughput:,.1f}", *times, ms(found.max_ms), *rates]


def _audit(report: Report) -> str:
    result = report.audit
    if result is None:
        return ""
    tone = {"kept": "good", "broken": "bad", "void": "warn"}[result.state]
    lines = "".join(f"<li>{escape(line)}</li>" for line in result.strength)
    worst = "".join(
        f"<li>{escape(a.key)}: {escape(a.statement)}</li>" for f in result.findings for a in f.accusations[:3]
    )
    rows = [
        [
            escape(act.name),
            f"{act.requests:,}",
            f"{act.admitted:,}",
            f"{act.refused:,}",
            str(act.excess),
            str(act.wrong_refusals),
        ]
        for act in result.acts
    ]
    head = ("act", "requests", "admitted", "refused", "excess proven", "wrong refusals")
    left = "".join(
        f"<li>left out: {escape(item.name)}, {escape(item.reason)}</li>" for item in result.left_out
    )
    said = f'<p class="{tone}"><b>{escape(result.sentence)}</b></p><ul>{worst}{lines}{left}</ul>'
    return _section(f"Audit: {escape(promise_words(result.promise))}", said + _table(head, rows))


def _overhead(report: Report) -> str:
    if not report.overhead:
        return ""
    rows = [
        [
            _text(entry.answer),
            escape(str(entry.median)),
            escape(str(entry.mean)),
            f"{entry.upper_us:.1f} µs",
            "–" if report.budget_us is None else _pill(entry.within(report.budget_us)),
            f"{entry.on:,} / {entry.off:,}",
        ]
        for entry in report.overhead
    ]
    head = ("requests", "added at the median", "added on average", "at worst", "within budget", "on / off")
    budget = "" if report.budget_us is None else f" (budget {report.budget_us / 1e3:g} ms)"
    return _section(f"Overhead{budget}", _table(head, rows))


def _comparison(report: Report) -> str:
    comparison = report.verdict.comparison
    if comparison is None:
        return ""
    rows = [
        [
            escape(c.measure),
            f"{c.value:.4g}",
            f"{c.usual:.4g}",
            f"{c.change:+.1%}",
            str(c.before),
            escape(c.state),
        ]
        for c in comparison.changes
    ]
    head = ("figure", "now", "usually", "worse by", "runs before", "state")
    return _section("Against earlier runs", f"<p>{escape(comparison.statement)}</p>{_table(head, rows)}")


def _errors(report: Report) -> str:
    if not report.record.errors:
        return ""
    rows = [
        [
            _text(f"{e.application}/{e.step}"),
            _wrap(e.message),
            str(e.status or "–"),
            f"{e.count:,}",
            f"{e.second} s",
        ]
        for e in report.record.errors
    ]
    return _section(
        "Errors", _table(("where", "what it said", "status", "count", "first seen"), rows, text=2)
    )


def _machine(report: Report) -> str:
    record = report.record
    facts = [*record.host.items(), *record.counters.items()]
    words = " · ".join(f"{escape(str(key))} {escape(str(value))}" for key, value in facts)
    return _chart("Machine and generator", "machine", words)


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{title}</h2>{inner}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, text: int = 1, total: bool = False) -> str:
    """Lay out a table of cells that are markup already."""
    cells = "".join(
        f"<th{' class=text' if n < text else ''}>{escape(title)}</th>" for n, title in enumerate(head)
    )
    body = ["".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row) for row in rows]
    lines = [f"<tr>{line}</tr>" for line in body]
    if total and lines:
        lines[-1] = lines[-1].replace("<tr>", '<tr class="sum">', 1)
    whole = f"<thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="scroll"><table>{whole}</table></div>'


def _text(value: str) -> str:
    return f'<td class="text">{escape(value)}</td>'


def _wrap(value: str) -> str:
    return f'<td class="wrap">{escape(value)}</td>'


def _pill(passed: bool) -> str:
    return f'<span class="pill {"good" if passed else "bad"}">{"pass" if passed else "FAIL"}</span>'
