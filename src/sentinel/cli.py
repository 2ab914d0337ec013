"""The `sentinel` command. What it needs beyond the standard library comes with the `sentinel` extra."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its status; explain what to install when the extra is missing."""
    try:
        from sentinel.commands import cli
        from sentinel.commands.encoding import speak_plainly
        from sentinel.commands.exits import invoke

        speak_plainly()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("sentinel", "threshold"):
            raise
        print(
            f"sentinel: the command needs {error.name}; install it with: pip install 'threshold[sentinel]'",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("sentinel: stopped before it began", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(invoke(cli, sys.argv[1:]))


if __name__ == "__main__":
    main()
