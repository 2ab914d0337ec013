"""Which boot this is: instants of the monotonic clock mean nothing in another one."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from ...errors import ConfigurationError


def boot_identity() -> bytes:
    """Sixteen bytes that are the same for all processes with this monotonic clock, and for no others.

    Linux: the kernel's boot id, and the time namespace, which may shift the clock for a container. macOS: the
    kernel's boot session.

    Raises:
        ConfigurationError: where the system does not say.
    """
    if sys.platform == "linux":
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        except OSError as error:
            raise _unknown() from error
        try:
            boot += bytes(Path("/proc/self/ns/time").readlink())
        except OSError:
            boot += b"one clock"  # a kernel older than time namespaces
    else:
        boot = _sysctl(b"kern.bootsessionuuid") or _sysctl(b"kern.boottime")
        if not boot:
            raise _unknown()
    return hashlib.blake2b(boot, digest_size=16).digest()


def _sysctl(name: bytes) -> bytes:
    """A value of the BSD kernels, b"" where there is none."""
    try:
        import ctypes

        size = ctypes.c_size_t(256)
        value = ctypes.create_string_buffer(size.value)
        failed = ctypes.CDLL(None).sysctlbyname(name, value, ctypes.byref(size), None, ctypes.c_size_t(0))
    except (ImportError, OSError, AttributeError, TypeError):
        return b""
    return b"" if failed else value.raw[: size.value]


def _unknown() -> ConfigurationError:
    return ConfigurationError(
        "store",
        "SharedMemoryStore",
        "this system does not tell one boot from another: use RedisStore, or MemoryStore with one process",
    )
