"""Options that several commands share, each defined once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sentinel.errors import RecordError
from sentinel.record_file import naming

Function = TypeVar("Function", bound=Callable[..., Any])
FILE = click.Path(dir_okay=False, path_type=Path)
_STDOUT = Path("-")


def default_history() -> Path:
    """Give the history to use when none is named: SENTINEL_DB, else a file among the user's state."""
    named = os.environ.get("SENTINEL_DB")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "sentinel" / "history.db"


def existing(history: Path) -> Path:
    """Refuse a history that is not there to be read: whoever only reads makes none."""
    if not history.exists():
        raise RecordError(f"there is no history {history}; make a run first, or name another file with --db")
    return history


def db(command: Function) -> Function:
    """Add --db."""
    return click.option(
        "--db",
        type=FILE,
        default=default_history,
        show_default="$SENTINEL_DB, else ~/.local/state/sentinel/history.db",
        help="The history of runs, a SQLite file; whoever writes to it makes it.",
    )(command)


def history(command: Function) -> Function:
    """Add --db and --no-save."""
    return db(click.option("--no-save", is_flag=True, help="Keep nothing in the history.")(command))


def permission(command: Function) -> Function:
    """Add --allow-target and --production."""
    command = click.option(
        "--production",
        is_flag=True,
        help="Say that you mean it: needed as well for an allowed host with a public address.",
    )(command)
    return click.option(
        "--allow-target",
        multiple=True,
        metavar="HOST",
        help="A host that may be loaded although it is not this machine; can be repeated.",
    )(command)


def files(*kinds: str) -> Callable[[Function], Function]:
    """Add one option per kind of report file, such as --json FILE."""
    words = {
        "json": "JSON (schema in the docs)",
        "html": "one self-contained HTML page",
        "junit": "JUnit XML",
        "md": "markdown for a pull request",
    }

    def add(command: Function) -> Function:
        for kind in reversed(kinds):
            command = click.option(
                f"--{kind}",
                f"{kind}_file",
                type=FILE,
                callback=writable,
                help=f"Write the report to this file as {words[kind]}.",
            )(command)
        return command

    return add


def writable(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Refuse a file that cannot be written, or that two options name, before anything is done for it."""
    if path is None:
        return None
    name = option.opts[0]
    if path == _STDOUT:
        if name == "--record":
            return path
        raise click.BadParameter(
            f"standard output has the report for people; name a file, or print it later with "
            f"`sentinel report last --format {name.removeprefix('--')}`"
        )
    taken: dict[Path, str] = context.meta.setdefault("sentinel.files", {})
    if taken.setdefault(path.resolve(), name) != name:
        raise click.BadParameter(f"{path} is what {taken[path.resolve()]} writes already; name another file")
    if path.exists() and not path.is_file():  # a pipe or a terminal: only opening it for good tells
        return path
    try:
        _try(path)
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be written: {error.strerror}") from None
    return path


def _try(path: Path) -> None:
    there = path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab"):
        pass
    if not there:
        path.unlink()


def write(path: Path | None, text: str) -> None:
    """Write a report's text to a file, if one was asked for, making its folder; raise NotWritten if it
    cannot."""
    if path is not None:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
