"""The HTML report opens in a browser, alone and offline, draws its charts, and fits a desk and a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sentinel.report.document import Report
from sentinel.report.experiment_page import experiment_page
from sentinel.report.page import page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
)  # fmt: skip
PROBE = """<script>
let fault = "";
addEventListener("error", (event) => { fault ||= event.message; });
addEventListener("securitypolicyviolation", (event) => { fault ||= event.blockedURI; });
const drawn = (canvas) => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Set();
  for (let at = 0; at < pixels.length; at += 4) {
    if (pixels[at + 3]) colours.add(pixels[at] << 16 | pixels[at + 1] << 8 | pixels[at + 2]);
  }
  return colours.size > 8;
};
addEventListener("load", () => setTimeout(() => {
  const root = document.documentElement;
  const fetched = performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:"));
  parent.postMessage({
    fault, charts: root.dataset.charts, drawn: [...document.querySelectorAll("canvas")].filter(drawn).length,
    overflow: root.scrollWidth - root.clientWidth, width: root.clientWidth, fetched: fetched.length,
    dark: getComputedStyle(document.body).backgroundColor,
  }, "*");
}, 300));
</script>"""
FRAME = """<!doctype html><html><body style="margin:0">
<iframe src="report.html" style="border:0;width:{width}px;height:1900px"></iframe>
<script>addEventListener("message", (event) => {{ document.title = JSON.stringify(event.data); }});</script>
</body></html>"""


class Ids(HTMLParser):
    """Collect what a page refers to and whether its tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outside += [
            value or "" for name, value in attrs if name in ("src", "href") and value != "data:,"
        ]
        if tag not in ("meta", "link", "br", "img", "i"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "i":
            assert self.open.pop() == tag


def test_the_page_holds_everything_itself_and_nothing_in_it_can_break_out(report: Report) -> None:
    text = page(report)
    found = Ids()
    found.feed(text)
    assert found.outside == [] and found.open in ([], ["li"]) and "evil </script>" not in text
    assert "evil &lt;/script&gt;&lt;b&gt;|*name*" in text
    data = re.search(r'id="report">(.*?)</script>', text, re.DOTALL)
    assert data is not None and json.loads(data[1])["run"]["name"] == "evil </script><b>|*name*"
    assert "default-src 'none'" in text
    assert len(text) < 400_000


def test_a_run_without_audit_checks_or_errors_leaves_no_empty_sections(plain_report: Report) -> None:
    bare = replace(plain_report, record=replace(plain_report.record, errors=()))
    text = page(bare)
    assert "PASSED" in text
    for heading in ("Audit", "Overhead", "Checks", "Against earlier runs", "Errors"):
        assert f"<h2>{heading}" not in text


def look(text: str, tmp_path: Path, width: int, *more: str) -> dict[str, str | int]:
    """Open the page in a frame of some width, with a probe in it, and read back what the browser found."""
    if BROWSER is None:
        pytest.skip("no chromium on PATH; install one to have the page opened in a browser")
    target, frame = tmp_path / "report.html", tmp_path / "frame.html"
    target.write_text(text.replace("<body>", f"<body>{PROBE}", 1), encoding="utf-8")
    frame.write_text(FRAME.format(width=width), encoding="utf-8")
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,2000", *more]
    found = subprocess.run(
        [*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert "CONSOLE" not in found.stderr, [line for line in found.stderr.splitlines() if "CONSOLE" in line]
    title = re.search("<title>(.*?)</title>", found.stdout, re.DOTALL)
    assert title is not None, "the page did not report back"
    seen: dict[str, str | int] = json.loads(unescape(title[1]))
    return seen


@pytest.mark.parametrize(
    ("width", "more"), [(1280, ()), (400, ()), (1280, ("--blink-settings=preferredColorScheme=0",))]
)
def test_a_browser_draws_every_chart_without_error_network_or_sideways_scrolling(
    report: Report, tmp_path: Path, width: int, more: tuple[str, ...]
) -> None:
    seen = look(page(report), tmp_path, width, *more)
    assert seen["fault"] == ""
    assert (seen["charts"], seen["drawn"]) == ("5", 5), "response, load, heat map, knee, machine"
    assert seen["fetched"] == 0
    assert seen["overflow"] == 0 and int(seen["width"]) in range(width - 20, width + 1)
    assert seen["dark"] == ("rgb(14, 19, 24)" if more else "rgb(246, 247, 249)")


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["audit_experiment", "overhead_experiment", "stopped_experiment"])
def test_an_audit_and_an_overhead_open_in_a_browser_as_well(
    name: str, width: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = experiment_page(request.getfixturevalue(name))
    found = Ids()
    found.feed(text)
    assert found.outside == [] and "<b>evil" not in text
    seen = look(text, tmp_path, width)
    assert (seen["fault"], seen["fetched"], seen["overflow"]) == ("", 0, 0)
