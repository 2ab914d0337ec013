"""The file that ties processes together: whose it is, what it is, and what is refused."""

from __future__ import annotations

import os
import pickle
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from threshold import ConfigurationError, Limiter, SlidingWindow
from threshold.stores.shared import SharedMemoryStore, boot
from threshold.stores.shared import file as shared_file
from threshold.stores.shared.layout import HEADER_SIZE, Header

_LIMIT = SlidingWindow("3/hour")


def _used_up(name: str, folder: Path) -> Path:
    """A file in which ann has used her limit, and which nobody has open."""
    store = SharedMemoryStore(name, 100, directory=folder)
    limiter = Limiter(_LIMIT, store)
    assert [limiter.acquire("ann").allowed for _ in range(4)] == [True, True, True, False]
    store.close()
    return Path(store.path)


def _rewrite(path: Path, **changes: object) -> None:
    """Change fields of the header, with a checksum that holds."""
    data = bytearray(path.read_bytes())
    header = Header.unpack(bytes(data))
    assert header is not None
    values = {
        "boot": header.boot,
        "secret": header.secret,
        "geometry": header.geometry,
        "version": header.version,
    }
    data[:HEADER_SIZE] = Header(**{**values, **changes}).pack()  # type: ignore[arg-type]
    path.write_bytes(data)


def test_file_and_folder_are_open_to_their_owner_only(folder: Path) -> None:
    previous = os.umask(0)
    try:
        store = SharedMemoryStore("app", 100, directory=folder / "made")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((folder / "made").stat().st_mode) == 0o700
    for entry in (folder / "made").iterdir():
        assert stat.S_IMODE(entry.stat().st_mode) == 0o600, entry
    store.close()


def test_limits_and_bans_outlive_the_processes(folder: Path) -> None:
    _used_up("app", folder)
    store = SharedMemoryStore("app", 100, directory=folder)
    assert not Limiter(_LIMIT, store).acquire("ann").allowed
    store.close()


def test_an_unpickled_store_is_the_same_store(folder: Path) -> None:
    store = SharedMemoryStore("app", 100, directory=folder)
    other = pickle.loads(pickle.dumps(store))
    assert Limiter(_LIMIT, store).acquire("ann", 3).allowed
    assert not Limiter(_LIMIT, other).acquire("ann").allowed
    for each in (store, other):
        each.close()


@pytest.mark.parametrize(
    "bad", ["", "a/b", "..", ".hidden", "a.guard", "a b", "é", "x" * 65, "a\0b", 7, None]
)
def test_a_name_that_is_no_plain_file_name_is_refused(bad: object, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"name: .*letters"):
        SharedMemoryStore(bad, 100, directory=folder)  # type: ignore[arg-type]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, None, 50_000_001, "100"])
def test_a_number_of_keys_that_cannot_work_is_refused(bad: object, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="max_keys: "):
        SharedMemoryStore("app", bad, directory=folder)  # type: ignore[arg-type]


def test_a_symbolic_link_is_refused_and_its_target_left_alone(folder: Path) -> None:
    victim = folder / "victim"
    victim.write_bytes(b"precious")
    for name in ("app", "app.guard"):
        (folder / name).symlink_to(victim)
        with pytest.raises(ConfigurationError, match="cannot be opened"):
            SharedMemoryStore("app", 100, directory=folder)
        (folder / name).unlink()
        for left in folder.glob("app*"):
            left.unlink()
    assert victim.read_bytes() == b"precious"


def test_a_link_waiting_for_a_new_file_is_removed_not_followed(folder: Path) -> None:
    victim = folder / "victim"
    victim.write_bytes(b"precious")
    (folder / "app.new").symlink_to(victim)
    SharedMemoryStore("app", 100, directory=folder).close()
    assert victim.read_bytes() == b"precious"
    assert not (folder / "app.new").exists()


def test_a_second_name_for_the_file_is_refused(folder: Path) -> None:
    path = _used_up("app", folder)
    os.link(path, folder / "second")
    with pytest.raises(ConfigurationError, match="has a second name"):
        SharedMemoryStore("app", 100, directory=folder)


def test_a_file_that_others_may_read_is_refused(folder: Path) -> None:
    path = _used_up("app", folder)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="open to others"):
        SharedMemoryStore("app", 100, directory=folder)


def test_a_folder_or_file_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _used_up("app", folder)
    fstat = os.fstat
    me = os.geteuid()
    for foreign in (folder, path):
        inode = foreign.stat().st_ino

        def owned_by_another(fd: int, inode: int = inode) -> os.stat_result:
            found = fstat(fd)
            fields = list(found)
            fields[4] = me + (found.st_ino == inode)
            return os.stat_result(fields)

        monkeypatch.setattr(os, "fstat", owned_by_another)
        with pytest.raises(ConfigurationError, match=f"belongs to user {me + 1}"):
            SharedMemoryStore("app", 100, directory=folder)
        monkeypatch.undo()


def test_a_directory_or_a_pipe_in_the_files_place_is_refused(folder: Path) -> None:
    (folder / "app").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        SharedMemoryStore("app", 100, directory=folder)
    os.mkfifo(folder / "pipe", 0o600)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        SharedMemoryStore("pipe", 100, directory=folder)


def test_a_file_of_something_else_is_refused_and_left_alone(folder: Path) -> None:
    path = folder / "app"
    for content in (b"", b"not a store of limits" * 1000):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigurationError, match=r"not a store of threshold.*remove\('app'\)"):
            SharedMemoryStore("app", 100, directory=folder)
        assert path.read_bytes() == content


def test_a_damaged_header_is_refused(folder: Path) -> None:
    path = _used_up("app", folder)
    whole = path.read_bytes()
    for position in range(8, HEADER_SIZE, 3):
        data = bytearray(whole)
        data[position] ^= 16
        path.write_bytes(data)
        with pytest.raises(ConfigurationError, match="is damaged"):
            SharedMemoryStore("app", 100, directory=folder)


def test_a_truncated_or_grown_file_is_refused(folder: Path) -> None:
    path = _used_up("app", folder)
    size = path.stat().st_size
    for other in (size - 8, 4096, size + 8):
        os.truncate(path, other)
        with pytest.raises(ConfigurationError, match=f"has {other:,} bytes instead of {size:,}"):
            SharedMemoryStore("app", 100, directory=folder)


def test_another_number_of_keys_is_refused_and_the_right_one_named(folder: Path) -> None:
    _used_up("app", folder)
    with pytest.raises(ConfigurationError, match="made for 100 keys"):
        SharedMemoryStore("app", 200, directory=folder)


def test_a_file_of_an_earlier_boot_is_replaced_and_said_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _used_up("app", folder)
    _rewrite(path, boot=b"another boot ...")
    store = SharedMemoryStore("app", 200, directory=folder)
    assert Limiter(_LIMIT, store).acquire("ann").allowed
    assert "replacing" in caplog.text and "before the last boot" in caplog.text
    store.close()


def test_a_file_of_an_older_version_is_replaced_when_nobody_uses_it(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _used_up("app", folder)
    _rewrite(path, version=0)
    SharedMemoryStore("app", 100, directory=folder).close()
    assert "an older threshold made it" in caplog.text


def test_a_file_of_an_older_version_is_refused_while_somebody_uses_it(folder: Path) -> None:
    store = SharedMemoryStore("app", 100, directory=folder)
    _rewrite(Path(store.path), version=0)
    with pytest.raises(ConfigurationError, match="processes still use"):
        SharedMemoryStore("app", 100, directory=folder)
    store.close()


def test_a_file_of_a_newer_version_is_refused(folder: Path) -> None:
    path = _used_up("app", folder)
    _rewrite(path, version=2)
    with pytest.raises(ConfigurationError, match="newer threshold"):
        SharedMemoryStore("app", 100, directory=folder)


def test_remove_deletes_a_store_but_not_under_its_users(folder: Path) -> None:
    store = SharedMemoryStore("app", 100, directory=folder)
    with pytest.raises(ConfigurationError, match="processes still use it"):
        SharedMemoryStore.remove("app", folder)
    store.close()
    assert SharedMemoryStore.remove("app", folder) is True
    assert SharedMemoryStore.remove("app", folder) is False
    assert list(folder.iterdir()) == []


def test_a_store_that_was_dropped_without_close_lets_go(folder: Path) -> None:
    store = SharedMemoryStore("app", 100, directory=folder)
    before = len(list(Path("/proc/self/fd").iterdir()))
    del store
    assert len(list(Path("/proc/self/fd").iterdir())) < before
    assert SharedMemoryStore.remove("app", folder) is True


def test_sixteen_processes_that_start_at_once_end_up_with_one_file(folder: Path) -> None:
    program = (
        "import sys; from threshold import Limiter, SlidingWindow;"
        "from threshold.stores.shared import SharedMemoryStore;"
        "store = SharedMemoryStore('app', 100, directory=sys.argv[1]);"
        "limiter = Limiter(SlidingWindow('20/hour'), store);"
        "print(sum(limiter.acquire('all').allowed for _ in range(5)))"
    )
    crowd = [
        subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE)
        for _ in range(16)
    ]
    assert sum(int(one.communicate(timeout=60)[0]) for one in crowd) == 20


def test_the_header_survives_the_way_to_bytes_and_back(folder: Path) -> None:
    path = _used_up("app", folder)
    header = Header.unpack(path.read_bytes())
    assert header is not None and Header.unpack(header.pack()) == header
    assert header.boot == boot.boot_identity()
    assert struct.unpack_from("=I", header.pack(), HEADER_SIZE - 4)[0] == zlib.crc32(header.pack()[:-4])
    assert header.version == shared_file.VERSION


def test_each_file_has_a_secret_of_its_own_and_holds_no_key_in_the_clear(folder: Path) -> None:
    secrets = set()
    for name in ("one", "two"):
        store = SharedMemoryStore(name, 100, directory=folder)
        Limiter(_LIMIT, store).acquire("ann.of.somewhere@example.org")
        secrets.add(store._file.header.secret)
        store.close()
        assert b"ann.of.somewhere" not in Path(store.path).read_bytes()
    assert len(secrets) == 2
