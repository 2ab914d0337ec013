"""KeyNames: the name a key goes by on the server. Knows hashing; knows nothing of limits or connections.

Names are keyed BLAKE2b digests: nothing readable, one length for all, and whoever lists the server's keys
cannot test guesses without the secret. On a cluster a hash tag keeps the keys of one group on one node; it is
made of the group's digest too, because a raw value that is empty or holds braces would move the key.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b

from ...errors import ConfigurationError

DEFAULT_PREFIX = "th1"
_MOST_REMEMBERED = 16_384
_DIGEST_BYTES = 16
_TAG_BYTES = 6


class KeyNames:
    """Turn full text keys into the server's key names.

    Args:
        prefix: opens every name, 1 to 12 letters, digits, "-", "_" or "."; the version of the format is part
            of the default.
        secret: key of the hash, up to 64 bytes; every process that shares the store needs the same one.
        tagged: give names a hash tag made of the group, for a cluster.

    Raises:
        ConfigurationError: when prefix or secret cannot work.

    >>> names = KeyNames()
    >>> len(names.name("user#t64.3938700.64" + chr(0) + "alice", "alice"))
    20
    >>> KeyNames(tagged=True).name("any", "acme")[:14]
    b'th1:{FzoX6bb2}'
    """

    def __init__(self, prefix: str = DEFAULT_PREFIX, secret: bytes = b"", *, tagged: bool = False) -> None:
        plain = isinstance(prefix, str) and prefix.isascii() and 1 <= len(prefix) <= 12
        if not plain or not prefix.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ConfigurationError("prefix", prefix, 'give 1 to 12 letters, digits, "-", "_" or "."')
        if not isinstance(secret, bytes) or len(secret) > 64:
            raise ConfigurationError("secret", "(not shown)", "give bytes, 64 at most")
        self.tagged = tagged
        self._open = prefix.encode() + b":"
        self._key = secret
        self._hash = blake2b(key=secret, digest_size=_DIGEST_BYTES)
        self._tag_hash = blake2b(key=secret, digest_size=_TAG_BYTES, person=b"tag")
        self._known: dict[str, bytes] = {}
        self._tags: dict[str, bytes] = {}
        self.length = len(self.name("", ""))
        """Bytes in every name."""

    def name(self, key: str, group: str) -> bytes:
        """The server's name of a full text key that lives with `group`."""
        if self.tagged:
            return self._open + self.tag(group) + b":" + self._digest(key)
        return self._open + self._digest(key)

    def names(self, keys: tuple[str, ...], group: str) -> list[bytes]:
        """The server's names of several keys of one group."""
        known = self._known
        opening = self._open + self.tag(group) + b":" if self.tagged else self._open
        try:
            return [opening + known[key] for key in keys]
        except KeyError:
            return [opening + self._digest(key) for key in keys]

    def tag(self, group: str) -> bytes:
        """The hash tag of a group, braces included."""
        tag = self._tags.get(group)
        if tag is None:
            if len(self._tags) >= _MOST_REMEMBERED:
                self._tags.clear()
            state = self._tag_hash.copy()
            state.update(group.encode("utf-8", "surrogatepass"))
            tag = self._tags[group] = b"{" + urlsafe_b64encode(state.digest()) + b"}"
        return tag

    def _digest(self, key: str) -> bytes:
        digest = self._known.get(key)
        if digest is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            state = self._hash.copy()
            state.update(key.encode("utf-8", "surrogatepass"))
            digest = self._known[key] = state.digest()
        return digest
