"""Raw records as files, so that runs of several hosts can be brought together and merged."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentinel.errors import NotWritten, RecordError
from sentinel.run import RunRecord


def write_record(path: Path | None, record: RunRecord) -> None:
    """Write a record as one line of JSON; "-" is standard output, None writes nothing.

    Raises NotWritten for a file that cannot be written.
    """
    if path is None:
        return
    text = json.dumps(record.to_dict(), separators=(",", ":"), allow_nan=False) + "\n"
    with naming(path):
        if path == Path("-"):
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Write a file within the block; what keeps it from being written becomes NotWritten, with its name."""
    try:
        yield
    except OSError as error:
        name = "standard output" if path == Path("-") else str(path)
        raise NotWritten(f"{name} could not be written: {error.strerror or error}") from error


def read_record(path: Path) -> RunRecord:
    """Read the last record in a file, so that a whole log will do; raise RecordError if there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"record {path} cannot be read: {error}") from None
    for line in reversed(lines):
        if line.startswith("{"):
            try:
                return RunRecord.from_dict(json.loads(line))
            except (json.JSONDecodeError, RecordError) as error:
                raise RecordError(f"record {path}: {error}") from None
    raise RecordError(f"record {path} holds no record; write one with `sentinel run --record`")
