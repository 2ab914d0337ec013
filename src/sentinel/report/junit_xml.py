"""JUnit XML, as continuous integration reads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from sentinel.report.cases import Case

_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(cases: Sequence[Case], *, suite: str, timestamp: str = "", seconds: float = 0.0) -> str:
    """Write cases as one test suite.

    >>> text = junit([Case("check", "p95 < 5 ms", "failed", "7 ms")], suite="smoke")
    >>> '<failure message="7 ms"' in text and 'tests="1" failures="1"' in text
    True
    """
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.status == "failed" for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.status == "skipped" for case in cases)),
        "time": f"{seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": "sentinel", **counts})
    named = {"name": _clean(suite), **counts, **({"timestamp": timestamp} if timestamp else {})}
    element = ElementTree.SubElement(root, "testsuite", named)
    for case in cases:
        attributes = {
            "classname": _clean(f"sentinel.{suite}.{case.group}"),
            "name": _clean(case.name),
            "time": "0",
        }
        entry = ElementTree.SubElement(element, "testcase", attributes)
        if case.status == "failed":
            failure = ElementTree.SubElement(
                entry, "failure", {"message": _clean(case.detail), "type": case.group}
            )
            failure.text = _clean(case.detail)
        elif case.status == "skipped":
            ElementTree.SubElement(entry, "skipped", {"message": _clean(case.detail)})
        else:
            ElementTree.SubElement(entry, "system-out").text = _clean(case.detail)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    """Drop what XML cannot hold; servers under test say anything."""
    return _UNWRITABLE.sub("\ufffd", text)
