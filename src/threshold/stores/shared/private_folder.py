"""PrivateFolder: a folder that is ours alone, entered one process at a time. Opens files there, or refuses.

Nobody but its owner can put a file or a link into such a folder, so a name in it can be as predictable as
it likes. Knows nothing of what the files hold.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ...errors import ConfigurationError, StoreUnavailable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ELSEWHERE: Final = "use RedisStore, or MemoryStore with one process"
_PATIENCE = 5.0
_OPEN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs"}
)


def require_platform() -> None:
    """Raise where there are no file locks of the kernel."""
    if importlib.util.find_spec("fcntl") is None:
        raise ConfigurationError(
            "store",
            "SharedMemoryStore",
            f"{sys.platform} has no file locks that die with a process: {ELSEWHERE}",
        )


def default_directory() -> Path:
    """The folder of this user's stores: in memory on Linux, in the user's caches elsewhere."""
    system: str = sys.platform
    if system == "linux":
        shared = Path("/dev/shm")
        if not shared.is_dir():
            raise ConfigurationError(
                "directory",
                None,
                f"/dev/shm is missing here: give a folder on a local disk, or {ELSEWHERE}",
            )
        return shared / f"threshold-{os.geteuid()}"
    import pwd

    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    return home / ("Library/Caches" if system == "darwin" else ".cache") / "threshold"


@contextlib.contextmanager
def entered(directory: Path) -> Iterator[int]:
    """Open the folder, made if need be, once it is sure to be ours; alone in it until the end."""
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700, parents=sys.platform != "linux")
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    except OSError as error:
        raise ConfigurationError(
            "directory", str(directory), f"it cannot be used ({error.strerror}): give a folder of your own"
        ) from error
    try:
        status = os.fstat(folder)
        if status.st_uid != os.geteuid():
            raise ConfigurationError(
                "directory",
                str(directory),
                f"it belongs to user {status.st_uid}, not to {os.geteuid()}: give a folder of your own",
            )
        if stat.S_IMODE(status.st_mode) & 0o022:
            raise ConfigurationError(
                "directory", str(directory), "others may write to it: chmod 700, or give another folder"
            )
        _refuse_network(directory, status.st_dev)
        _lock_folder(folder, directory)
        yield folder
    finally:
        os.close(folder)


def _lock_folder(folder: int, directory: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"{directory}: another process has held its lock for 5 s") from None
            time.sleep(0.002)
        except OSError as error:
            raise ConfigurationError(
                "directory", str(directory), f"no file locks there ({error.strerror}): {ELSEWHERE}"
            ) from error


def open_private(folder: int, name: str, path: str, flags: int = 0) -> int:
    """Open a file of ours alone: no link, no other owner, no other readers, no second name."""
    try:
        fd = os.open(name, os.O_RDWR | _OPEN | flags, 0o600, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigurationError("name", name, f"{path} cannot be opened ({error.strerror})") from error
    status = os.fstat(fd)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = "is not a regular file"
    elif status.st_uid != os.geteuid():
        problem = f"belongs to user {status.st_uid}"
    elif stat.S_IMODE(status.st_mode) & 0o077:
        problem = "is open to others (chmod 600)"
    elif status.st_nlink != 1:
        problem = "has a second name"
    if problem is not None:
        os.close(fd)
        raise ConfigurationError("name", name, f"{path} {problem}: remove it, or choose another name")
    return fd


def _refuse_network(directory: Path, device: int) -> None:
    """Raise for a network file system: neither memory nor locks are shared between hosts there."""
    kind = ""
    with contextlib.suppress(OSError, ValueError, IndexError):
        number = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            fields = line.split()
            if fields[2] == number:
                kind = fields[fields.index("-") + 1]
    if kind in _NETWORK:
        raise ConfigurationError("directory", str(directory), f"{kind} is a network file system: {ELSEWHERE}")
