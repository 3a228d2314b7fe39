"""The broker looks where a file really is before it opens it, and does no more than it is asked."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gaia.validator.app.sandbox.broker import AT_FDCWD, Broker
from gaia.validator.app.sandbox.syscalls import machine, numbers_of

NUMBERS = numbers_of(machine())
CREATE = os.O_WRONLY | os.O_CREAT


class Asker:
    """A worker's side of the broker: puts paths into memory and asks."""

    def __init__(self, read: Path, write: Path) -> None:
        self._memory = os.open("/proc/self/mem", os.O_RDONLY)
        self._broker = Broker([str(read)], [str(write)], self._memory, machine())
        self._kept: list[ctypes.Array[ctypes.c_char]] = []

    def close(self) -> None:
        """Let go of the memory."""
        os.close(self._memory)

    def at(self, path: Path | str) -> int:
        """Return where in memory the path is."""
        self._kept.append(ctypes.create_string_buffer(os.fsencode(path)))
        return ctypes.addressof(self._kept[-1])

    def open(self, path: Path | str, flags: int = os.O_RDONLY, directory: int = AT_FDCWD) -> str:
        """Open as asked; return what is in the file."""
        opened = self._broker.open(directory % 2**32, self.at(path), flags, 0o666)
        with os.fdopen(opened, "r" if flags == os.O_RDONLY else "w") as file:
            return file.read() if flags == os.O_RDONLY else ""

    def call(self, name: str, *arguments: Path | int) -> int:
        """Make another call with paths."""
        given = [self.at(each) if isinstance(each, Path) else each % 2**32 for each in arguments]
        return self._broker.call(NUMBERS[name], [*given, *[0] * (6 - len(given))])


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Folder to read, with a file and a link that leads out."""
    folder = tmp_path / "spool"
    folder.mkdir()
    (folder / "plain").write_text("plain")
    (tmp_path / "key").write_text("secret")
    (folder / "out").symlink_to(tmp_path / "key")
    (folder / "in").symlink_to("plain")
    return folder


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """Folder to write."""
    folder = tmp_path / "fields"
    folder.mkdir()
    return folder


@pytest.fixture
def asker(spool: Path, fields: Path) -> Iterator[Asker]:
    """A worker that may read the one and write the other."""
    asker = Asker(spool, fields)
    yield asker
    asker.close()


def test_file_inside_is_opened(asker: Asker, spool: Path) -> None:
    assert asker.open(spool / "plain") == "plain"
    assert asker.open(spool / "in") == "plain"
    assert asker.open(spool / ".." / "spool" / "plain") == "plain"


@pytest.mark.parametrize("name", ["../key", "out", "../fields/../key"])
def test_file_outside_is_not(asker: Asker, spool: Path, name: str) -> None:
    with pytest.raises(PermissionError):
        asker.open(f"{spool}/{name}")


def test_folder_whose_name_only_begins_alike_is_outside(asker: Asker, spool: Path) -> None:
    other = spool.with_name("spool-of-another")
    other.mkdir()
    (other / "plain").write_text("secret")

    with pytest.raises(PermissionError):
        asker.open(other / "plain")


def test_missing_file_is_missing(asker: Asker, spool: Path) -> None:
    with pytest.raises(FileNotFoundError):
        asker.open(spool / "nothing")
    with pytest.raises(FileNotFoundError):
        asker.open("")


def test_relative_path_counts_from_the_folder_both_are_in(
    asker: Asker, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(spool)

    assert asker.open("plain") == "plain"
    with pytest.raises(PermissionError):
        asker.open("../key")


def test_path_relative_to_a_descriptor_is_refused(asker: Asker) -> None:
    with pytest.raises(PermissionError):
        asker.open("plain", directory=7)


def test_pipe_is_refused_rather_than_waited_for(asker: Asker, spool: Path) -> None:
    os.mkfifo(spool / "pipe")

    with pytest.raises(PermissionError):
        asker.open(spool / "pipe")


def test_what_is_to_be_read_cannot_be_written(asker: Asker, spool: Path) -> None:
    for flags in (os.O_WRONLY, os.O_RDWR, CREATE, os.O_RDONLY | os.O_TRUNC):
        with pytest.raises(PermissionError):
            asker.open(spool / "plain", flags)

    assert (spool / "plain").read_text() == "plain"


def test_file_is_made_renamed_and_removed_where_that_is_allowed(asker: Asker, fields: Path) -> None:
    asker.call("mkdirat", AT_FDCWD, fields / "deep", 0o777)
    asker.open(fields / "deep" / "draft", CREATE)
    asker.call("renameat", AT_FDCWD, fields / "deep" / "draft", AT_FDCWD, fields / "done")
    assert [path.name for path in fields.iterdir()] == ["deep", "done"] or (fields / "done").exists()

    asker.call("unlinkat", AT_FDCWD, fields / "done", 0)

    assert not (fields / "done").exists()


def test_nothing_is_made_renamed_or_removed_elsewhere(asker: Asker, spool: Path, fields: Path) -> None:
    (fields / "mine").write_text("mine")
    attempts: list[tuple[str, *tuple[Path | int, ...]]] = [
        ("mkdirat", AT_FDCWD, spool / "made", 0o777),
        ("renameat2", AT_FDCWD, spool / "plain", AT_FDCWD, fields / "taken", 0),
        ("renameat2", AT_FDCWD, fields / "mine", AT_FDCWD, spool / "plain", 0),
        ("renameat2", AT_FDCWD, fields / "mine", AT_FDCWD, fields / "swap", 2),
        ("unlinkat", AT_FDCWD, spool / "plain", 0),
        ("unlinkat", AT_FDCWD, fields, 0x200),
        ("readlinkat", AT_FDCWD, spool / "out", 0, 64),
    ]

    for name, *arguments in attempts:
        with pytest.raises(PermissionError):
            asker.call(name, *arguments)

    assert (spool / "plain").read_text() == "plain"
    assert (fields / "mine").read_text() == "mine"


def test_writing_follows_no_link(asker: Asker, fields: Path, tmp_path: Path) -> None:
    (fields / "link").symlink_to(tmp_path / "key")

    with pytest.raises(OSError, match="symbolic link|loop"):
        asker.open(fields / "link", CREATE | os.O_TRUNC)

    assert (tmp_path / "key").read_text() == "secret"


@pytest.mark.parametrize("name", ["..", ".", "../fields/.."])
def test_folders_themselves_are_no_names(asker: Asker, fields: Path, name: str) -> None:
    with pytest.raises(PermissionError):
        asker.open(f"{fields}/{name}", CREATE)


def test_unusual_ways_to_open_are_refused(asker: Asker, fields: Path) -> None:
    for flags in (os.O_TMPFILE | os.O_RDWR, os.O_PATH, os.O_ASYNC, os.O_DIRECT):
        with pytest.raises(PermissionError):
            asker.open(fields, flags)


def test_path_without_an_end_is_refused(asker: Asker) -> None:
    with pytest.raises(OSError, match="path too long") as raised:
        asker.open("a" * 20_000)

    assert raised.value.errno == errno.ENAMETOOLONG


def test_path_that_is_nowhere_is_refused(asker: Asker) -> None:
    broker = asker._broker
    with pytest.raises(OSError, match="Input/output error"):
        broker.open(AT_FDCWD, 0, os.O_RDONLY, 0)
    with pytest.raises(OverflowError):
        broker.open(AT_FDCWD, 2**64 - 4096, os.O_RDONLY, 0)
