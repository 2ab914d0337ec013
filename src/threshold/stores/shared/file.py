"""SharedFile: find or make the file that ties processes together, and refuse every file that is not it.

Where: in a folder that is ours alone (`private_folder`). Who: 0600, our own, one name, no symlink. When: the
clock, and therefore every state, is good for one boot, which the header names. Which: version and size.

Knows nothing of what the words in the file mean, nor of locking them.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import re
import secrets
import weakref
from pathlib import Path
from typing import Final

from ...errors import ConfigurationError
from .boot import boot_identity
from .layout import HEADER_SIZE, MAGIC, VERSION, Geometry, Header
from .private_folder import default_directory, entered, open_private, require_platform

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("threshold.stores")

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", re.ASCII)


class SharedFile:
    """The open file of one store: `memory` (mapped), `words` (the same, 64-bit signed), `lock_fd`, `header`.

    The guard beside it, locked shared for as long as the file is open here or in a forked child, tells
    whether anybody uses the file.
    """

    def __init__(self, name: str, max_keys: int, directory: str | os.PathLike[str] | None) -> None:
        require_platform()
        _check_name(name)
        self.directory = default_directory() if directory is None else Path(directory)
        self.path = str(self.directory / name)
        self._name = name
        with entered(self.directory) as folder:
            self._guard = open_private(folder, f"{name}.guard", self.path, os.O_CREAT)
            try:
                self.header = self._prepare(folder, Geometry.of(max_keys))
                fcntl.flock(self._guard, fcntl.LOCK_SH)
                self.memory = self._map(folder)
                self.lock_fd = open_private(folder, name, self.path)
            except BaseException:
                os.close(self._guard)
                raise
        self.words = memoryview(self.memory).cast("q")
        self._closing = weakref.finalize(self, os.close, self._guard)
        self._closing.atexit = False

    def close(self) -> None:
        """Unmap the file. It stays where it is, for the other processes and the next start."""
        self.words.release()
        self.memory.close()
        self._closing()

    def _map(self, folder: int) -> mmap.mmap:
        fd = open_private(folder, self._name, self.path)
        try:
            return mmap.mmap(fd, self.header.geometry.size)
        finally:
            os.close(fd)

    def _prepare(self, folder: int, wanted: Geometry) -> Header:
        """The header of the file as it is, or of the one made because there was none that could be used."""
        boot = boot_identity()
        try:
            fd = open_private(folder, self._name, self.path)
        except FileNotFoundError:
            return self._create(folder, Header(boot, secrets.token_bytes(32), wanted))
        try:
            data = os.pread(fd, HEADER_SIZE, 0)
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        header = Header.unpack(data)
        if header is None:
            what = "damaged" if data[:8] == MAGIC else "not a store of threshold"
            raise ConfigurationError("name", self._name, f"{self.path} is {what}: {self._remedy()}")
        if header.version > VERSION:
            raise ConfigurationError(
                "name", self._name, f"{self.path} was made by a newer threshold: upgrade, or {self._remedy()}"
            )
        stale = "an older threshold made it" if header.version < VERSION else ""
        if header.boot != boot:
            stale = "it is from before the last boot, whose clock its instants belong to"
        if stale:
            if not self._alone():
                raise ConfigurationError(
                    "name", self._name, f"{stale}, and processes still use {self.path}: stop them first"
                )
            logger.warning("replacing %s: %s", self.path, stale)
            return self._create(folder, Header(boot, secrets.token_bytes(32), wanted))
        if size != header.geometry.size:
            raise ConfigurationError(
                "name",
                self._name,
                f"{self.path} has {size:,} bytes instead of {header.geometry.size:,}: {self._remedy()}",
            )
        if header.geometry != wanted:
            raise ConfigurationError(
                "max_keys",
                wanted.max_keys,
                f"{self.path} was made for {header.geometry.max_keys:,} keys, and its size is fixed: "
                f"give that number, or {self._remedy()}",
            )
        return header

    def _remedy(self) -> str:
        return (
            f"stop its processes and call SharedMemoryStore.remove({self._name!r}), which forgets its "
            "limits and bans, or choose another name"
        )

    def _alone(self) -> bool:
        """Tell whether no other process has the file open."""
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _create(self, folder: int, header: Header) -> Header:
        """Make the file under another name and move it into place: nobody ever sees half of one."""
        making = f"{self._name}.new"
        size = header.geometry.size
        with contextlib.suppress(FileNotFoundError):
            os.unlink(making, dir_fd=folder)
        fd = open_private(folder, making, self.path, os.O_CREAT | os.O_EXCL)
        try:
            _reserve(fd, size)
            os.pwrite(fd, header.pack(), 0)
            os.rename(making, self._name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            os.unlink(making, dir_fd=folder)
            raise ConfigurationError(
                "max_keys",
                header.geometry.max_keys,
                f"{self.directory} has no room for {size:,} bytes ({error.strerror}): give fewer keys, or "
                "more shared memory (docker run --shm-size)",
            ) from error
        finally:
            os.close(fd)
        return header


def remove(name: str, directory: str | os.PathLike[str] | None) -> bool:
    """Delete the file of a store that nobody uses; say whether there was one."""
    require_platform()
    _check_name(name)
    place = default_directory() if directory is None else Path(directory)
    with entered(place) as folder:
        guard = open_private(folder, f"{name}.guard", str(place / name), os.O_CREAT)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(f"{name}.guard", dir_fd=folder)
            os.unlink(name, dir_fd=folder)
        except BlockingIOError:
            raise ConfigurationError("name", name, "processes still use it: stop them first") from None
        except FileNotFoundError:
            return False
        finally:
            os.close(guard)
    return True


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError("name", name, "give 1 to 64 letters, digits, '_' or '-', like 'myapp'")


def _reserve(fd: int, size: int) -> None:
    """Claim the memory now: running out of it later would kill whoever touches the missing page."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    zeros = bytes(1 << 20)
    for start in range(0, size, len(zeros)):
        os.pwrite(fd, zeros[: size - start], start)
