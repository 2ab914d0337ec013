"""One HTML file that holds everything it shows: no network, no other file, light and dark, wide and narrow.

Tables and sentences are written here; charts are drawn in the browser by uPlot (vendored, MIT) from the
same document that `--format json` prints. Without scripts the page still has every figure.
"""

from __future__ import annotations

from html import escape

from sentinel.checks import CheckResult
from sentinel.figures import Figures, ms
from sentinel.report.document import Report, document
from sentinel.report.markup import asset, fill, pill, script_data, section, table, text_cell, wrap_cell
from sentinel.report.proof_sections import audit_section, overhead_section
from sentinel.report.said import said

_TONES = {0: "good", 4: "warn"}
_RESPONSE_HINT = (
    "From the intended instant to the answer, called-for refusals apart; each percentile over as few seconds "
    "as it needs, at most three to either side."
)
_LOAD_HINT = "Requests planned and answered; users that the load wanted, sessions that were under way."
_HEAT_HINT = "Requests by second and response time; the stronger the more, on a logarithmic scale."
_KNEE_HINT = "The p95 by offered load up to the end of the peak, with its interval, and what was completed."
_HEAD = ("", "requests", "served/s", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "max ms", "errors", "refused")
_FOOTER = (
    "A percentile with fewer than ten samples above it is not shown. Drag across a chart to zoom, "
    "double-click to return. Charts by uPlot, MIT licence."
)


def page(report: Report) -> str:
    """Write a run's report as one HTML page."""
    name = str(report.record.scenario.get("name", report.record.id))
    parts = {
        "title": escape(f"{name}: {report.verdict.exit_code.name.lower().replace('_', ' ')}"),
        "uplot_css": asset("uplot-1.6.32.min.css"),
        "css": asset("page.css"),
        "body": f"<main>{_body(report, name)}</main>",
        "data": script_data(document(report)),
        "uplot_js": asset("uplot-1.6.32.min.js"),
        "js": asset("page.js"),
    }
    return fill(parts)


def _body(report: Report, name: str) -> str:
    record = report.record
    started = f"{record.started_at[:19].replace('T', ' ')} UTC"
    meta = f"{started} · {report.analysis.total.seconds:g} s · {record.model} model · run {record.id}"
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
            _chart("Load", "load", _LOAD_HINT),
            _chart("Where the time went", "heat", _HEAT_HINT, scale=True),
            _steps(report),
            _figures_tables(report),
            audit_section(report.audit) if report.audit is not None else "",
            overhead_section(report.overhead, report.budget_us) if report.overhead else "",
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
    items = "".join(f"<li>{escape(line[:1].upper() + line[1:])}</li>" for line in said(report))
    return f"<section><h2>What it says</h2><ul>{items}</ul></section>"


def _mark(result: CheckResult) -> str:
    return pill(None if result.state == "not judged" else result.passed)


def _checks(report: Report) -> str:
    if not report.verdict.checks:
        return ""
    rows = [[_mark(c), wrap_cell(str(c.criterion)), wrap_cell(c.detail)] for c in report.verdict.checks]
    return section("Checks", table(("", "criterion", "observed"), rows, text=3))


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
    return f'<div class="pair">{chart}{section("Load steps", table(head, rows))}</div>'


def _figures_tables(report: Report) -> str:
    analysis = report.analysis
    phases = [_row(phase.name, found) for phase, found in analysis.phases]
    series = [_row(f"{application}/{step}", found) for (application, step), found in analysis.series.items()]
    whole = _row("whole run", analysis.total)
    first = section("Phases", table(_HEAD, [*phases, whole], total=True))
    return first + section("Applications", table(_HEAD, [*series, whole], total=True))


def _row(name: str, found: Figures) -> list[str]:
    times = [ms(found.percentile(p).ms) for p in (50.0, 95.0, 99.0, 99.9)]
    rates = [f"{found.error_rate:.2%}", f"{found.denied_rate:.2%}"]
    return [escape(name), f"{found.requests:,}", f"{found.throughput:,.1f}", *times, ms(found.max_ms), *rates]


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
    return section("Against earlier runs", f"<p>{escape(comparison.statement)}</p>{table(head, rows)}")


def _errors(report: Report) -> str:
    if not report.record.errors:
        return ""
    rows = [
        [
            text_cell(f"{e.application}/{e.step}"),
            wrap_cell(e.message),
            str(e.status or "–"),
            f"{e.count:,}",
            f"{e.second} s",
        ]
        for e in report.record.errors
    ]
    return section("Errors", table(("where", "what it said", "status", "count", "first seen"), rows, text=2))


def _machine(report: Report) -> str:
    record = report.record
    facts = [*record.host.items(), *record.counters.items()]
    words = " · ".join(f"{escape(str(key))} {escape(str(value))}" for key, value in facts)
    return _chart("Machine and generator", "machine", words)
