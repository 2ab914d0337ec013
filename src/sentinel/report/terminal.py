"""The report for a terminal: what the verdict rests on, then the verdict, within 40 columns if need be."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sentinel.audit import AuditResult
from sentinel.baseline import Comparison
from sentinel.experiment import Experiment
from sentinel.figures import Figures, by_second, latency, ms
from sentinel.overhead import Overhead
from sentinel.report.document import Report
from sentinel.report.layout import boxed, laid_out, listed
from sentinel.report.parts import WITHIN, promise_words
from sentinel.report.restored import audit_of, costs_of
from sentinel.report.said import errors_said, said

_COLOURS = {0: "green", 4: "yellow"}
_MARKS = {"pass": "green", "fail": "bold red", "not judged": "yellow"}
_WIDEST_SPARK = 60
_ROOM_FOR_CHECKS = 72
_NOTHING = -1  # no column
_BLOCKS = "▁▂▃▄▅▆▇█"


def show(console: Console, report: Report) -> None:
    """Print a run's report."""
    record, analysis, verdict = report.record, report.analysis, report.verdict
    name = str(record.scenario.get("name", record.id))
    colour = _COLOURS.get(int(verdict.exit_code), "red")
    parts: list[RenderableType] = [
        Text(
            f"{record.started_at[:19].replace('T', ' ')} UTC, {analysis.total.seconds:g} s, "
            f"{record.model} model, run {record.id}",
            style="dim",
        ),
    ]
    rows = [_row(phase.name, found) for phase, found in analysis.phases]
    parts.append(laid_out(_FIGURES, [*rows, _row("whole run", analysis.total)], last_bold=True))
    series = [_row(f"{name}/{step}", found) for (name, step), found in analysis.series.items()]
    parts.append(laid_out(("application", *_FIGURES[1:]), series))
    parts += [_sparks(report, console.width), _said(report)]
    if report.audit is not None:
        parts.append(_audit(report.audit))
    if report.overhead:
        parts.append(_overhead(report.overhead, report.budget_us))
    if verdict.comparison is not None:
        parts.append(_comparison(verdict.comparison))
    if verdict.checks:
        parts.append(_checks(report, console.width))
    parts.append(boxed(name, verdict.sentence, colour))
    console.print(Group(*parts))


def show_audit(console: Console, result: AuditResult) -> None:
    """Print an audit."""
    console.print(_audit(result))


def show_overhead(console: Console, found: Sequence[Overhead], budget_us: float | None) -> None:
    """Print an overhead experiment."""
    console.print(_overhead(found, budget_us))


def show_experiment(console: Console, experiment: Experiment) -> None:
    """Print an audit or an overhead experiment with its verdict."""
    facts = f"{experiment.started_at[:19].replace('T', ' ')} UTC, {experiment.seconds:.0f} s, {experiment.id}"
    console.print(Text(f"{experiment.target}, {facts}", style="dim"))
    if experiment.kind == "audit" and experiment.result:
        console.print(_audit(audit_of(experiment)))
        return
    if experiment.result:
        costs, budget_us = costs_of(experiment)
        for cost in costs:
            console.print(f"\nat {cost.rate:,.0f} requests/s, half of them past the limiter")
            console.print(_overhead(cost.found, budget_us))
    code = experiment.exit_code
    colour = "yellow" if code is None else _COLOURS.get(int(code), "red")
    console.print(Text(experiment.sentence, style=f"bold {colour}"))


def show_comparison(console: Console, comparison: Comparison) -> None:
    """Print a comparison with earlier runs, and what it comes to at its end."""
    if comparison.changes:
        console.print(_changes(comparison))
    state, colour = comparison.state, {"ok": "green", "regression": "red"}.get(comparison.state, "yellow")
    words = comparison.statement
    console.print(Text(words if words.startswith(state) else f"{state}: {words}", style=f"bold {colour}"))


_FIGURES = ("phase", "requests", "served/s", "p50 ms", "p95 ms", "p99 ms", "errors", "refused")


def _row(name: str, found: Figures) -> tuple[str, ...]:
    times = [ms(found.percentile(p).ms) for p in (50.0, 95.0, 99.0)]
    rates = (f"{found.error_rate:.2%}", f"{found.denied_rate:.2%}")
    return (name, f"{found.requests:,}", f"{found.throughput:,.1f}", *times, *rates)


def _checks(report: Report, width: int) -> RenderableType:
    """Lay out the criteria; where it is narrow, what was observed below each."""
    rows = [
        (
            Text("FAIL" if result.state == "fail" else result.state, style=_MARKS[result.state]),
            Text(str(result.criterion)),
            Text(result.detail),
        )
        for result in report.verdict.checks
    ]
    if width < _ROOM_FOR_CHECKS:
        pairs = [(Text.assemble(mark, "  ", name), Padding(seen, (0, 0, 0, 2))) for mark, name, seen in rows]
        return Group(Text(""), *(line for pair in pairs for line in pair), Text(""))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for number, title in enumerate(("", "criterion", "observed")):
        table.add_column(title, overflow="fold", no_wrap=not number)
    for row in rows:
        table.add_row(*row)
    return table


def spark(values: Sequence[float | None], width: int = 60) -> str:
    """Draw a line of blocks, as high as the greatest value of each stretch; gaps stay blank.

    >>> spark([0, 1, 2, 3, None, 8], width=6)
    '▁▁▂▃ █'
    """
    if not values:
        return ""
    step = max(1.0, len(values) / width)
    count = min(width, len(values))
    stretches = [values[int(n * step) : max(int(n * step) + 1, int((n + 1) * step))] for n in range(count)]
    highs = [max((value for value in stretch if value is not None), default=None) for stretch in stretches]
    top = max((high for high in highs if high is not None), default=0.0)
    return "".join(
        " "
        if high is None
        else _BLOCKS[min(7, int(high / top * 8 - 1e-9))]
        if top > 0 and high > 0
        else _BLOCKS[0]
        for high in highs
    )


def _sparks(report: Report, width: int) -> RenderableType:
    record = report.record
    median = [None if part is None else float(part) for part in _medians(report)]
    highest = ms(max((m for m in median if m is not None), default=None))
    lines = (
        (
            "planned/s",
            [float(value) for value in record.planned],
            f"up to {max(record.planned, default=0):,}",
        ),
        ("answered/s", [float(value) for value in record.done], f"up to {max(record.done, default=0):,}"),
        ("p50", median, f"up to {highest} ms"),
    )
    room = width - sum(max(len(line[place]) for line in lines) for place in (0, 2)) - 4
    table = Table.grid(padding=(0, 2))
    for label, values, most in lines:
        drawn = Text(spark(values, max(8, min(_WIDEST_SPARK, room))), style="cyan")
        table.add_row(Text(label, style="dim"), drawn, Text(most, style="dim"))
    return table


def _medians(report: Report) -> list[float | None]:
    times = (latency(ticks) for ticks in by_second(report.record))
    found = (part.value_at(max(1, part.count // 2)) if part.count else None for part in times)
    return [None if value is None else value / 1e6 for value in found]


def _said(report: Report) -> RenderableType:
    return listed([*said(report), *errors_said(report.record.errors)])


def _audit(result: AuditResult) -> RenderableType:
    colour = {"kept": "green", "broken": "red"}.get(result.state, "yellow")
    worst = [f"{a.key}: {a.statement}" for f in result.findings for a in f.accusations[:3]]
    reasons: dict[str, list[str]] = {}
    for item in result.left_out:
        reasons.setdefault(item.reason, []).append(item.name)
    left = [f"left out: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    rows = [
        (
            act.name,
            *(f"{n:,}" for n in (act.requests, act.admitted, act.refused, act.excess, act.wrong_refusals)),
        )
        for act in result.acts
    ]
    head = ("act", "requests", "admitted", "refused", "excess", "wrong refusals")
    return Group(
        laid_out(head, rows),
        listed([*worst, *result.strength, *left]),
        boxed(f"audit: {promise_words(result.promise)}", result.sentence, colour),
    )


def _overhead(found: Sequence[Overhead], budget_us: float | None) -> RenderableType:
    """Lay out what the limiter added; where it is narrow, each interval below its figure."""
    head = ("µs", "without", "added, median", "added, average", "at worst", "within")
    rows = [
        (
            entry.answer,
            f"{entry.off_us:.0f}",
            *(f"{d.value_us:+.0f}\n[{d.low_us:+.0f}, {d.high_us:+.0f}]" for d in (entry.median, entry.mean)),
            f"{entry.upper_us:+.0f}",
            "–" if budget_us is None else WITHIN[entry.state(budget_us)],
        )
        for entry in found
    ]
    return laid_out(head, rows, fold=_NOTHING)


def _comparison(comparison: Comparison) -> RenderableType:
    return Group(Text(comparison.statement[:1].upper() + comparison.statement[1:]), _changes(comparison))


def _changes(comparison: Comparison) -> RenderableType:
    rows = [
        (c.measure, f"{c.value:.4g}", f"{c.usual:.4g}", f"{c.change:+.1%}", str(c.before), c.state)
        for c in comparison.changes
    ]
    head = ("figure", "now", "usually", "worse by", "runs before", "state")
    return laid_out(head, rows)
