"""Commands of this package's scripts, packed for the server by hand.

Key names have one length and all else is known beforehand, so a command is two joins instead of a loop over
its arguments: 1 us where a general packer takes 6.
"""

from __future__ import annotations

from collections.abc import Sequence

from .wire import Script


class Packer:
    """Pack EVALSHA and EVAL of one script.

    >>> from threshold.stores.redis.wire import Script
    >>> Packer(Script(b"return 1", b"e0e1"), 3).evalsha([b"abc"], b"x")
    b'*5\\r\\n$7\\r\\nEVALSHA\\r\\n$4\\r\\ne0e1\\r\\n$1\\r\\n1\\r\\n$3\\r\\nabc\\r\\n$1\\r\\nx\\r\\n'
    """

    def __init__(self, script: Script, name_length: int) -> None:
        self._between = b"\r\n$%d\r\n" % name_length
        self._sha = b"$7\r\nEVALSHA\r\n$%d\r\n%b" % (len(script.sha), script.sha)
        self._text = b"$4\r\nEVAL\r\n$%d\r\n%b" % (len(script.text), script.text)
        self._heads = [self._head(self._sha, count) for count in range(64)]

    def evalsha(self, names: Sequence[bytes], blob: bytes) -> bytes:
        """The command that runs the script by its name."""
        count = len(names)
        head = self._heads[count] if count < 64 else self._head(self._sha, count)
        return self._pack(head, names, blob)

    def eval(self, names: Sequence[bytes], blob: bytes) -> bytes:
        """The command that runs the script by its text, and makes its name known."""
        return self._pack(self._head(self._text, len(names)), names, blob)

    def _pack(self, head: bytes, names: Sequence[bytes], blob: bytes) -> bytes:
        between = self._between
        if not names:
            return b"%b\r\n$%d\r\n%b\r\n" % (head, len(blob), blob)
        return b"%b%b%b\r\n$%d\r\n%b\r\n" % (head, between, between.join(names), len(blob), blob)

    @staticmethod
    def _head(verb: bytes, count: int) -> bytes:
        digits = b"%d" % count
        return b"*%d\r\n%b\r\n$%d\r\n%b" % (4 + count, verb, len(digits), digits)


def command(*args: bytes) -> bytes:
    """Pack any command.

    >>> command(b"DEL", b"k")
    b'*2\\r\\n$3\\r\\nDEL\\r\\n$1\\r\\nk\\r\\n'
    """
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args)
