"""The documentation is executed: README, docs, docstrings. What it shows is what happens.

Python blocks of one document run in order, in one namespace, beside the shipped threshold.toml. A block that
only illustrates is marked by a comment on the line before it, with the reason: <!-- no-run: needs Redis -->
"""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import sentinel
import threshold

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if path.name not in ("CHANGELOG.md",)
)
FENCE = re.compile(
    r"^(?:<!-- no-run(?::\s*(?P<reason>.*?))?\s*-->\n+)?(?P<indent> *)```(?P<language>\w*)[^\n]*\n"
    r"(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


@dataclass(frozen=True)
class Block:
    path: Path
    line: int
    language: str
    code: str
    marked: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks(path: Path) -> list[Block]:
    text = path.read_text()
    return [
        Block(
            path,
            text.count("\n", 0, found.start("code")) + 1,
            found["language"],
            re.sub(f"^{found['indent']}", "", found["code"], flags=re.MULTILINE),
            "no-run" in found[0].partition("```")[0],
            found["reason"] or "",
        )
        for found in FENCE.finditer(text)
    ]


ALL = [block for path in DOCUMENTS for block in blocks(path)]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def run_doctest(name: str, code: str, filename: str, line: int) -> None:
    case = doctest.DocTestParser().get_doctest(code, {}, name, filename, line)
    told: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(case, out=told.append)
    assert results.failed == 0, "".join(told)


# Documents


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_the_python_of_a_document_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "docs" / "examples" / "threshold.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__document__"}
    for block in blocks(path):
        if block.marked or block.language not in ("python", "py", "pycon"):
            continue
        if block.code.lstrip().startswith(">>>"):
            run_doctest(str(block), block.code, str(path), block.line)
        else:
            padding = "\n" * (block.line - 1)  # tracebacks then name the line of the document
            exec(compile(padding + block.code, str(path), "exec"), namespace)


def test_the_readme_is_among_the_documents_and_has_something_to_run() -> None:
    assert ROOT / "README.md" in DOCUMENTS
    assert [block for block in blocks(ROOT / "README.md") if block.language == "python" and not block.marked]


def test_every_fence_is_closed_and_found() -> None:
    for path in DOCUMENTS:
        fences = re.findall(r"^ *```", path.read_text(), re.MULTILINE)
        assert len(fences) == 2 * len(blocks(path)), named(path)


def test_every_block_that_does_not_run_says_why_and_is_python_at_least(
    record_property: Callable[[str, object], None],
) -> None:
    marked = [block for block in ALL if block.marked]
    record_property("blocks_not_run", [f"{block}: {block.reason}" for block in marked])
    for block in marked:
        assert block.reason, f"{block}: write <!-- no-run: the reason -->"
        if block.language in ("python", "py"):
            compile(block.code, str(block), "exec")


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_the_data_in_a_document_parses(path: Path) -> None:
    readers = {"toml": tomllib.loads, "json": json.loads}
    for block in blocks(path):
        if block.language in readers:
            readers[block.language](block.code)


def commands(block: Block) -> list[list[str]]:
    lines = re.sub(r"\\\n\s*", " ", block.code).splitlines()
    return [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]


CONSOLES = [block for block in ALL if block.language == "console"]


@pytest.mark.parametrize("block", CONSOLES, ids=str)
def test_the_commands_of_a_console_block_exist(block: Block) -> None:
    given = commands(block)
    assert given, f"{block}: commands begin with '$ '"
    for words in given:
        if words[0].startswith("./"):
            script = ROOT / words[0]
            assert script.is_file() and script.stat().st_mode & 0o111, words[0]
        elif words[0] in ("threshold", "sentinel"):
            check_command(words)
        elif words[:2] == ["pip", "install"]:
            for word in words[2:]:
                check_requirement(word)


def check_requirement(text: str) -> None:
    """Extras that a document names are extras that the package has."""
    found = re.fullmatch(r"threshold(?:\[(.*)\])?", text)
    if found is not None and found[1]:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert set(found[1].split(",")) <= set(project["optional-dependencies"]), text


def check_command(words: list[str]) -> None:
    """Subcommands and options that a document names are there; nothing is run."""
    import click

    module = {"threshold": "threshold.commands", "sentinel": "sentinel.commands"}[words[0]]
    command = importlib.import_module(module).cli
    assert isinstance(command, click.Command)
    context = click.Context(command)
    for word in words[1:]:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(context, word)
            assert found is not None, f"{' '.join(words)}: there is no {word!r}"
            command, context = found, click.Context(found, parent=context)
        elif word.startswith("-"):
            known = {name for parameter in command.get_params(context) for name in parameter.opts}
            assert word.split("=")[0] in known, f"{' '.join(words)}: there is no option {word!r}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    text = FENCE.sub("", path.read_text())
    for target in LINK.findall(text):
        assert (path.parent / target).exists(), f"{named(path)} links to {target}"


def test_the_reader_of_documents_sees_marks_languages_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(
        "# A\n\n```python\nx = 1\n```\n\n<!-- no-run: needs a server -->\n```python\ny = 2\n```\n"
        "<!-- no-run -->\n\n```console\n$ threshold demo\n```\n- item\n\n  ```toml\n  a = 1\n  ```\n"
    )
    found = [(block.line, block.language, block.code, block.marked, block.reason) for block in blocks(path)]
    assert found == [
        (4, "python", "x = 1\n", False, ""),
        (9, "python", "y = 2\n", True, "needs a server"),
        (14, "console", "$ threshold demo\n", True, ""),
        (19, "toml", "a = 1\n", False, ""),
    ]


# Docstrings


MODULES = sorted(
    module.name
    for package in (threshold, sentinel)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", ["threshold", "sentinel", *MODULES])
def test_the_examples_in_the_docstrings_of_a_module_hold(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for case in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(case, out=told.append)
    assert runner.failures == 0, "".join(told)


def test_there_are_examples_to_hold() -> None:
    finder = doctest.DocTestFinder()
    examples = sum(
        len(case.examples)
        for name in MODULES
        if name.startswith("threshold.")
        for case in finder.find(importlib.import_module(name))
    )
    assert examples > 60
