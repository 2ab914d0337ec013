"""The JSON report keeps to its published schema, and its figures agree with each other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sentinel.report.document import Report, document, to_json
from sentinel.report.experiment_forms import experiment_json
from sentinel.report.parts import audit_document
from sentinel.run import RunRecord

REFERENCE = Path(__file__).parents[3] / "docs/reference"
SCHEMA = json.loads((REFERENCE / "report-schema.json").read_text(encoding="utf-8"))
EXPERIMENT = json.loads((REFERENCE / "experiment-schema.json").read_text(encoding="utf-8"))
DEFINED = {**SCHEMA["$defs"], **EXPERIMENT["$defs"]}
KINDS: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def faults(value: Any, schema: dict[str, Any], where: str = "$") -> list[str]:
    """Check a value against the part of JSON Schema that ours uses."""
    if "$ref" in schema:
        return faults(value, DEFINED[schema["$ref"].rsplit("/", 1)[1]], where)
    if "anyOf" in schema:
        tried = [faults(value, choice, where) for choice in schema["anyOf"]]
        return [] if [] in tried else min(tried, key=len)
    if "const" in schema or "enum" in schema:
        return (
            []
            if value in schema.get("enum", [schema.get("const")])
            else [f"{where}: {value!r} is not allowed"]
        )
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(_is(value, kind) for kind in kinds):
        return [f"{where}: {value!r} is not {' or '.join(kinds)}"]
    if isinstance(value, list):
        return [
            fault for n, item in enumerate(value) for fault in faults(item, schema["items"], f"{where}[{n}]")
        ]
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        found = [f"{where}: {name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, item in value.items():
            if name in known:
                found += faults(item, known[name], f"{where}.{name}")
            elif more is False:
                found.append(f"{where}: {name} is not in the schema")
            elif isinstance(more, dict):
                found += faults(item, more, f"{where}.{name}")
        return found
    return []


def _is(value: Any, kind: str) -> bool:
    if kind in ("number", "integer"):
        return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    return isinstance(value, KINDS[kind])


@pytest.mark.parametrize("name", ["report", "plain_report"])
def test_the_document_keeps_to_the_schema(name: str, request: pytest.FixtureRequest) -> None:
    written = json.loads(to_json(document(request.getfixturevalue(name))))
    assert faults(written, SCHEMA) == []


def test_the_schema_would_notice(report: Report) -> None:
    written: Any = json.loads(to_json(document(report)))
    assert "$.run: id is missing" in faults({**written, "run": {}}, SCHEMA)
    assert faults({**written, "more": 1}, SCHEMA) == ["$: more is not in the schema"]
    assert faults({**written, "health": "fine"}, SCHEMA) == ["$.health: 'fine' is not allowed"]
    written["timeline"]["planned"][3] = 1.5
    assert faults(written, SCHEMA) == ["$.timeline.planned[3]: 1.5 is not integer"]


def test_every_second_and_every_request_is_in_it(report: Report) -> None:
    written: Any = document(report)
    seconds = report.record.seconds
    assert {len(row) for row in written["timeline"].values()} == {seconds}
    served = sum(sum(written["timeline"][outcome]) for outcome in ("ok", "shed", "error"))
    heat = written["heat_map"]
    assert sum(map(sum, heat["columns"])) == served
    assert {len(column) for column in heat["columns"]} == {len(heat["edges_ms"]) - 1}
    assert len(heat["columns"]) * heat["column_s"] >= seconds
    assert served + sum(written["timeline"]["denied"]) == written["total"]["requests"]


def test_users_are_listed_where_the_load_is_one_of_users(bent_run: RunRecord) -> None:
    assert set(document(Report.of(bent_run))["timeline"]["planned_users"]) == {None}  # type: ignore[index,call-overload,arg-type]
    run = replace(bent_run, present=(20.0, 40.0))
    listed: Any = document(Report.of(run))["timeline"]
    assert listed["planned_users"][:3] == [20.0, 40.0, None] and len(listed["planned_users"]) == run.seconds


def test_what_cannot_be_known_is_null_and_never_nan(report: Report) -> None:
    text = to_json({"a": float("nan"), "b": [float("inf")], "c": 1.5})
    assert json.loads(text) == {"a": None, "b": [None], "c": 1.5}
    assert document(report)["timeline"]["p99_ms"][0] is None  # type: ignore[index,call-overload]


def test_an_empty_run_is_still_a_report(bent_run: RunRecord) -> None:
    nothing = replace(
        bent_run,
        ticks=(),
        planned=(),
        sent=(),
        done=(),
        users=(),
        in_flight=(),
        lag=(),
        generator_cpu=(),
        others_cpu=(),
        phases=(),
    )
    written = json.loads(to_json(document(Report.of(nothing))))
    assert faults(written, SCHEMA) == [] and written["heat_map"] is None


def test_an_audit_alone_keeps_to_its_part_of_the_schema(broken_audit: Any) -> None:
    written = json.loads(to_json(audit_document(broken_audit)))
    assert faults(written, SCHEMA["properties"]["audit"]) == []
    assert written["state"] == "broken" and written["excess"] > 0


@pytest.mark.parametrize("name", ["audit_experiment", "overhead_experiment", "stopped_experiment"])
def test_an_audit_and_an_overhead_keep_to_their_schema(name: str, request: pytest.FixtureRequest) -> None:
    written: Any = json.loads(experiment_json(request.getfixturevalue(name)))
    assert faults(written, EXPERIMENT) == []
    assert faults({**written, "more": 1}, EXPERIMENT) != []
    assert written["schema"] == f"sentinel-{written['experiment']['kind']}/1"
