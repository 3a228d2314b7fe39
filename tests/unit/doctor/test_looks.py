"""Looks at what cannot be looked at, or lies: that is said, and nothing counts as well because of it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection, serve

from gaia.validator.app.startup.preflight import claim_data_dir
from gaia.validator.doctor.examination import examine
from gaia.validator.doctor.findings import Group, Result
from gaia.validator.doctor.looks.chain import look_at_node
from gaia.validator.doctor.looks.files import look_at_folder
from gaia.validator.doctor.looks.places import look_at_places
from gaia.validator.doctor.sight import Trouble
from gaia.validator.utils.config import Settings
from tests.support.patience import patience


def test_look_that_fails_is_a_failure_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file system has names of 300 letters."""
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path / ("d" * 300)))

    report = examine(tmp_path / ".env", patience_s=patience(8.0), groups=[Group.FILES])

    found = {check.name: finding for check, finding in report.findings}
    assert report.exit_code == 2
    assert found["in-time"].result is Result.FAILURE
    assert "folder (File name too long)" in found["in-time"].words
    assert found["data-space"].result is Result.SKIPPED


def test_database_whose_version_cannot_be_read_is_not_taken_for_half_a_database(tmp_path: Path) -> None:
    """A folder in place of the file refuses every reader, even root."""
    (tmp_path / "postgres" / "cluster" / "PG_VERSION").mkdir(parents=True)

    with pytest.raises(IsADirectoryError):
        look_at_folder(Settings(data_dir=tmp_path).files)


@pytest.mark.parametrize("answer", ["[]", '{"result": "x"}', '{"result": {"number": "0x1"}}'])
def test_node_that_answers_nonsense_is_no_node(answer: str) -> None:
    def talk(peer: ServerConnection) -> None:
        for _ in peer:
            peer.send(answer)

    with serve(talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        endpoint = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        found = look_at_node(Settings(chain_endpoint=endpoint).chain)
        server.shutdown()
        thread.join()

    assert isinstance(found, Trouble)
    assert found.words.startswith(f"{endpoint} is not a node that answers")


def test_holder_is_the_process_that_the_kernel_names_whatever_the_file_says(tmp_path: Path) -> None:
    lock = claim_data_dir(tmp_path)
    try:
        ours = look_at_folder(Settings(data_dir=tmp_path).files).holder_pid
        os.pwrite(lock, b"1\n", 0)
        os.ftruncate(lock, 2)
        named = look_at_folder(Settings(data_dir=tmp_path).files).holder_pid
    finally:
        os.close(lock)

    assert (ours, named) == (os.getpid(), os.getpid())


def test_a_machine_without_a_folder_for_temporary_files_is_looked_at_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a container whose files are read-only: none of the folders that Python tries can be written.
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: [str(tmp_path / "missing")])
    monkeypatch.setattr("tempfile.tempdir", None)

    assert look_at_places({}, tmp_path / ".env", None).temporary_folder == "/tmp"
