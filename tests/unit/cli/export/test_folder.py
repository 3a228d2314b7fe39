"""The folder of a site: replaced file by file, and never somebody else's."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gaia.cli.__main__ import main
from gaia.cli.arguments import NotWritten
from gaia.cli.export.folder import LIST, write_site
from tests.support.repository import ROOT

FIRST = {"index.html": b"1", "runs/a.html": b"a", "data/index.json": b"{}"}


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_files_that_the_site_no_longer_has_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "site"
    assert write_site(folder, FIRST) == []

    gone = write_site(folder, {"index.html": b"2", "data/index.json": b"{}"})

    assert gone == ["runs/a.html"]
    found = content_of(folder)
    assert json.loads(found.pop(LIST)) == {"files": ["data/index.json", "index.html"]}
    assert found == {"index.html": b"2", "data/index.json": b"{}"}


def test_file_that_did_not_change_is_not_touched(tmp_path: Path) -> None:
    write_site(tmp_path / "site", FIRST)
    os.utime(tmp_path / "site" / "index.html", (1, 1))

    write_site(tmp_path / "site", FIRST)

    assert (tmp_path / "site" / "index.html").stat().st_mtime == 1


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")

    with pytest.raises(NotWritten, match="holds files but no site"):
        write_site(tmp_path, FIRST)

    assert content_of(tmp_path) == {"letter.txt": b"mine"}


def test_files_beside_the_site_stay(tmp_path: Path) -> None:
    write_site(tmp_path / "site", FIRST)
    (tmp_path / "site" / "CNAME").write_text("example.org")

    write_site(tmp_path / "site", {"index.html": b"2"})

    assert (tmp_path / "site" / "CNAME").read_text() == "example.org"


@pytest.mark.parametrize("name", ["../letter.txt", "/etc/hostname", "runs/../../letter.txt"])
def test_list_of_files_cannot_name_one_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    write_site(tmp_path / "site", FIRST)
    (tmp_path / "site" / LIST).write_text(json.dumps({"files": [name]}))

    assert write_site(tmp_path / "site", FIRST) == []
    assert (tmp_path / "letter.txt").exists()


def test_damaged_list_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    write_site(tmp_path, FIRST)
    (tmp_path / LIST).write_text("[")

    with pytest.raises(NotWritten, match="is damaged; remove"):
        write_site(tmp_path, FIRST)


def test_full_disk_leaves_whole_files_and_the_next_export_mends_them(tmp_path: Path) -> None:
    write_site(tmp_path, FIRST)
    again = (
        "import pathlib, sys; from gaia.cli.export.folder import write_site;"
        "write_site(pathlib.Path(sys.argv[1]), {'index.html': b'2' * 9000, 'new.html': b'3' * 9000})"
    )

    def only_small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(
        [sys.executable, "-c", again, tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=only_small_files,
        check=False,
    )

    assert "cannot be written: File too large" in done.stderr
    found = content_of(tmp_path)
    assert {path: content for path, content in found.items() if path in FIRST} == FIRST
    write_site(tmp_path, {"index.html": b"4"})
    assert set(content_of(tmp_path)) == {"index.html", LIST}


@pytest.mark.parametrize(
    "url", ["ftp://a.org", "a.org", "https://", "https://me@a.org", "https://a.org/?x=1"]
)
def test_address_that_is_none_is_refused(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["export", "site", str(tmp_path / "site"), "--base-url", url])

    assert "is not an address such as" in capsys.readouterr().err


def test_site_stays_if_the_database_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAIA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("GAIA_DATABASE_URL", "postgresql://nobody:canary@127.0.0.1:1/nothing")
    monkeypatch.setenv("GAIA_DATABASE_TIMEOUT_S", "0.2")
    write_site(tmp_path / "site", FIRST)
    before = content_of(tmp_path / "site")

    assert main(["export", "site", str(tmp_path / "site")]) == 1

    said = capsys.readouterr().err
    assert said.startswith("the database cannot be read: the database cannot be reached")
    assert "canary" not in said
    assert content_of(tmp_path / "site") == before
