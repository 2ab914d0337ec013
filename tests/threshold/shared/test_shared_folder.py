"""What the file of a shared store needs of its folder and system, and what is said where it has it not."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from threshold import ConfigurationError
from threshold.stores.shared import SharedMemoryStore, boot, private_folder


def test_the_folder_is_this_users_own_folder_in_shared_memory() -> None:
    assert private_folder.default_directory() == Path(f"/dev/shm/threshold-{os.geteuid()}")


def test_a_folder_behind_a_symbolic_link_is_refused(folder: Path) -> None:
    (folder / "real").mkdir(0o700)
    (folder / "link").symlink_to(folder / "real")
    with pytest.raises(ConfigurationError, match="directory: "):
        SharedMemoryStore("app", 100, directory=folder / "link")


def test_a_folder_that_others_may_write_to_is_refused(folder: Path) -> None:
    (folder / "common").mkdir()
    (folder / "common").chmod(0o777)
    with pytest.raises(ConfigurationError, match="others may write"):
        SharedMemoryStore("app", 100, directory=folder / "common")


def test_too_little_memory_is_said_at_once_and_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigurationError, match=r"no room for [\d,]+ bytes .*--shm-size"):
        SharedMemoryStore("app", 100, directory=folder)
    assert [entry.name for entry in folder.iterdir()] == ["app.guard"]


def test_the_memory_is_claimed_at_creation(folder: Path) -> None:
    store = SharedMemoryStore("app", 10_000, directory=folder)
    status = Path(store.path).stat()
    assert status.st_blocks * 512 >= status.st_size
    store.close()


def test_a_platform_without_file_locks_is_told_what_to_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="RedisStore, or MemoryStore"):
        SharedMemoryStore("app", 100, directory=folder)


def test_a_machine_without_shared_memory_is_told_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda self: False)
    with pytest.raises(ConfigurationError, match=r"/dev/shm is missing.*RedisStore"):
        SharedMemoryStore("app", 100)


def test_a_system_that_does_not_tell_its_boot_is_told_what_to_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(self: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", unreadable)
    with pytest.raises(ConfigurationError, match="RedisStore"):
        SharedMemoryStore("app", 100, directory=folder)


def test_other_systems_are_asked_through_sysctl(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {b"kern.bootsessionuuid": b"", b"kern.boottime": b"1700000000"}
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(boot, "_sysctl", answers.__getitem__)
    first = boot.boot_identity()
    assert len(first) == 16 and first == boot.boot_identity()
    answers[b"kern.bootsessionuuid"] = b"5D6E"
    assert boot.boot_identity() != first
    answers.update(dict.fromkeys(answers, b""))
    with pytest.raises(ConfigurationError, match="one boot from another"):
        boot.boot_identity()


def test_other_systems_keep_the_file_in_the_users_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert private_folder.default_directory().parts[-3:] == ("Library", "Caches", "threshold")
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert private_folder.default_directory().parts[-2:] == (".cache", "threshold")


def test_a_network_file_system_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = folder.stat().st_dev
    line = f"36 35 {os.major(device)}:{os.minor(device)} / /mnt rw,noatime shared:1 - nfs4 host:/vol rw\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: line)
    with pytest.raises(ConfigurationError, match="nfs4 is a network file system"):
        SharedMemoryStore("app", 100, directory=folder)


def test_a_folder_without_file_locks_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(fd: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(private_folder.fcntl, "flock", no_locks)
    with pytest.raises(ConfigurationError, match="no file locks there"):
        SharedMemoryStore("app", 100, directory=folder)
