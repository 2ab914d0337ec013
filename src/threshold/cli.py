"""The `threshold` command. Everything it needs beyond the core comes with the `demo` extra."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; explains itself when its extra is not installed."""
    try:
        from .commands import cli
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("threshold"):
            raise
        print(
            f"threshold: the command line needs {error.name}; install it with: pip install 'threshold[demo]'",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    cli()


if __name__ == "__main__":
    main()
