"""Files that appear whole or not at all."""

import os
import resource
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gaia.validator.utils.errors import OwnFailure
from gaia.validator.utils.files import Draft, put_file, whole_file


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_file_whose_writing_fails_never_appears_and_is_our_failure(tmp_path: Path) -> None:
    def write() -> None:
        with whole_file(tmp_path / "folder" / "file") as file:
            file.write(bytes(70_000))

    with files_end_at(65_536), pytest.raises(OwnFailure, match="file cannot be stored: File too large"):
        write()

    assert list((tmp_path / "folder").iterdir()) == []


def test_error_of_a_socket_while_a_file_is_written_is_not_our_disks(tmp_path: Path) -> None:
    def download() -> None:
        with whole_file(tmp_path / "file") as file:
            file.write(b"half")
            raise ssl.SSLError("wrong version number")

    with pytest.raises(ssl.SSLError):
        download()

    assert list(tmp_path.iterdir()) == []


def test_file_is_replaced_once_the_body_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"former")

    with whole_file(path) as file:
        file.write(b"n")
        file.write(b"ew")
        seen_meanwhile = path.read_bytes()

    assert seen_meanwhile == b"former"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_cannot_be_made_is_our_failure(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")

    with pytest.raises(OwnFailure, match="cannot be stored"), whole_file(tmp_path / "taken" / "file"):
        pass


def test_content_that_the_disk_does_not_take_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"former")

    with files_end_at(65_536), pytest.raises(OSError, match="File too large"):
        put_file(path, bytes(70_000))

    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_put_into_no_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        put_file(tmp_path / "gone" / "file", b"")


def test_content_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    monkeypatch.setattr("os.fsync", lambda descriptor: order.append((tmp_path / "file").exists()))

    put_file(tmp_path / "file", b"content", sync=True)
    put_file(tmp_path / "another", b"content")

    assert order == [False, True]  # the content, and then its name in the folder


@pytest.mark.parametrize("sync", [False, True])
def test_draft_that_was_paused_goes_on_where_it_was(tmp_path: Path, sync: bool) -> None:
    draft = Draft(tmp_path / "file", sync=sync)
    for piece in (b"one", b"two"):
        draft.write(piece)
        draft.pause()

    draft.keep()

    assert (tmp_path / "file").read_bytes() == b"onetwo"


def test_draft_that_is_dropped_leaves_nothing(tmp_path: Path) -> None:
    draft = Draft(tmp_path / "file")
    draft.write(b"one")

    draft.drop()

    assert list(tmp_path.iterdir()) == []


def test_draft_that_a_killed_writer_left_is_overwritten_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "chunk"
    pid = os.fork()
    if pid == 0:
        with whole_file(path) as file:
            file.write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    left = list(tmp_path.iterdir())

    with whole_file(path) as file:
        file.write(b"whole")

    assert len(left) == 1
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]
