"""An audit or an overhead experiment as one HTML file that needs no other."""

from __future__ import annotations

import json
from html import escape

from sentinel.exit_codes import ExitCode
from sentinel.experiment import Experiment
from sentinel.report.experiment_forms import experiment_document
from sentinel.report.markup import asset, fill, script_data, section, table, text_cell, wrap_cell
from sentinel.report.proof_sections import audit_section, overhead_section
from sentinel.report.restored import audit_of, costs_of

_TONES = {ExitCode.PASS: "good", ExitCode.VOID: "warn", None: "warn"}


def experiment_page(experiment: Experiment) -> str:
    """Write an experiment as one HTML page; what was measured is in it as JSON, too."""
    state = "stopped" if experiment.exit_code is None else experiment.exit_code.name.lower().replace("_", " ")
    return fill(
        {
            "title": escape(f"{experiment.kind} of {experiment.target}: {state}"),
            "uplot_css": "",
            "css": asset("page.css"),
            "body": f"<main>{_body(experiment)}</main>",
            "data": script_data(experiment_document(experiment)),
            "uplot_js": "",
            "js": "",
        }
    )


def _body(experiment: Experiment) -> str:
    started = f"{experiment.started_at[:19].replace('T', ' ')} UTC"
    meta = f"{started} · {experiment.seconds:.0f} s · {experiment.requests:,} requests · {experiment.id}"
    tone = _TONES.get(experiment.exit_code, "bad")
    word, colon, rest = experiment.sentence.partition(": ")
    title = f"{experiment.kind.capitalize()} of {experiment.target}"
    return "".join(
        (
            f'<h1>{escape(title)}</h1><p class="meta">{escape(meta)}</p>',
            f'<div class="verdict {tone}"><b>{escape(word if colon else "Stopped")}</b>',
            f"<p>{escape(rest if colon else experiment.sentence)}</p></div>",
            _result(experiment),
            _settings(experiment),
            f"<footer>Settings {escape(experiment.config_hash[:16])}.</footer>",
        )
    )


def _result(experiment: Experiment) -> str:
    if not experiment.result:
        return ""
    if experiment.kind == "audit":
        return audit_section(audit_of(experiment), sentence=False)
    costs, budget_us = costs_of(experiment)
    return "".join(overhead_section(cost.found, budget_us, rate=cost.rate) for cost in costs)


def _settings(experiment: Experiment) -> str:
    rows = [
        [text_cell(name), wrap_cell(value if isinstance(value, str) else json.dumps(value))]
        for name, value in experiment.config.items()
        if value is not None
    ]
    host = " · ".join(f"{key} {value}" for key, value in experiment.host.items())
    hint = f'<p class="hint">{escape(host)}</p>'
    return section("How it was made", hint + table(("setting", "value"), rows, text=2))
