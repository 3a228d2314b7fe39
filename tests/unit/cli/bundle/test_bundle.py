"""A bundle explains a problem in one file of bounded size, and no secret is ever in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from gaia.cli.__main__ import main
from gaia.cli.bundle import command, parts
from gaia.cli.bundle.redaction import Redactor
from gaia.cli.source import Source
from gaia.validator.app.meeting import rendezvous
from gaia.validator.app.meeting.engine_note import EngineNotes
from gaia.validator.app.meeting.rendezvous import Board, DeathReport
from gaia.validator.core.clock import RealClock
from gaia.validator.utils.config import Settings
from tests.support.builders import a_metagraph
from tests.support.repository import ROOT

PASSWORD, KEY, OTHER = "canary/of:the@database", "canary-of-the-cds", "canary-that-we-do-not-know"
LOG = f'{{"event": "x", "url": "http://user:{OTHER}@host/"}}\nwith {KEY} and {PASSWORD} and token={OTHER}\n'
OFFERING = """
import sys
from pathlib import Path
from gaia.validator.app.meeting.stack_dumps import offer_stacks
offer_stacks(Path(sys.argv[1]))
print("here", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def validator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder with a board, a note, logs and one living process; its database does not answer."""
    data_dir = tmp_path / "data"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAIA_DATA_DIR", str(data_dir))
    monkeypatch.setenv("GAIA_DATABASE_URL", f"postgresql://u:{quote(PASSWORD, safe='')}@127.0.0.1:1/d")
    monkeypatch.setenv("GAIA_DATABASE_TIMEOUT_S", "0.2")
    monkeypatch.setenv("GAIA_CDS_KEY", KEY)
    monkeypatch.setenv("GAIA_GFS_URL", f"https://user:{OTHER}@example.org/gfs")
    run = rendezvous.run_directory(data_dir)
    rendezvous.make_private(run)
    EngineNotes(data_dir, RealClock()).write(a_metagraph())
    (data_dir / "logs").mkdir()
    (data_dir / "logs" / "io_engine-application.log").write_text(LOG)
    with subprocess.Popen(
        [sys.executable, "-c", OFFERING, run],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        death = DeathReport(role="x", pid=1, exit_code=1, cause=f"password={OTHER}", at=1.0, lived_s=1.0)
        board = Board(processes={"io_engine": process.pid, "chain_signer": 2**22 + 1}, deaths=[death])
        rendezvous.publish(board, rendezvous.board_path(data_dir))
        yield tmp_path
        process.kill()


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {
            entry.name.partition("/")[2]: file.read().decode()
            for entry in archive.getmembers()
            if (file := archive.extractfile(entry)) is not None
        }


def test_bundle_holds_what_explains_a_problem(validator: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["debug", "bundle", "-o", "b.tar.gz", "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    found = unpacked(validator / "b.tar.gz")
    assert said["parts"] == sorted(found)
    assert {"versions.txt", "status.txt", "status.json", "settings.txt", "board.json", "machine.txt"} <= set(
        found
    )
    assert json.loads(found["status.json"])["exit_code"] == 2
    assert "GAIA_CDS_KEY\t***" in found["settings.txt"]
    assert "numpy==" in found["versions.txt"]
    (stack,) = (text for name, text in found.items() if name.startswith("stacks/io_engine-"))
    assert "most recent call first" in stack
    (silent,) = (text for name, text in found.items() if name.startswith("stacks/chain_signer-"))
    assert "offers no stacks" in silent
    assert found["logs/io_engine-application.log"].startswith('{"event": "x"')
    assert (validator / "b.tar.gz").stat().st_mode & 0o777 == 0o600


def test_no_secret_is_in_a_bundle(validator: Path) -> None:
    assert main(["debug", "bundle", "-o", "b.tar.gz"]) == 0

    text = "".join(unpacked(validator / "b.tar.gz").values())
    for secret in (PASSWORD, quote(PASSWORD, safe=""), KEY, OTHER):
        assert secret not in text
    assert "***" in text


def test_bundle_of_another_folder_hides_the_secrets_of_this_place_too(validator: Path) -> None:
    members, problems = command.members_of(Source(without_secrets(validator)))

    assert KEY not in b"".join(members.values()).decode()
    assert not any("certainty" in problem for problem in problems)


def test_secrets_that_cannot_be_known_are_named(validator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = without_secrets(validator)
    monkeypatch.setenv("GAIA_COMPUTE_WORKERS", "many")

    _, problems = command.members_of(Source(settings))

    assert "certainty that no secret is inside: GAIA_COMPUTE_WORKERS cannot be read here" in problems


def without_secrets(validator: Path) -> Settings:
    """Return the settings that a validator publishes: its secrets are not among them."""
    return Settings(
        data_dir=validator / "data",
        database_url=SecretStr("postgresql://u@127.0.0.1:1/d"),
        database_timeout_s=0.2,
    )


def test_bundle_gets_a_name_with_its_time(validator: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["debug", "bundle"]) == 0

    (path,) = validator.glob("gaia-debug-*Z.tar.gz")
    assert path.name in capsys.readouterr().out


def test_size_is_bounded_and_what_is_cut_is_named(validator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PART_BYTES", 2000)
    monkeypatch.setattr(command, "WHOLE_BYTES", 9000)
    (validator / "data" / "logs" / "a.log").write_text("line\n" * 1000)

    assert main(["debug", "bundle", "-o", "b.tar.gz"]) == 0

    found = unpacked(validator / "b.tar.gz")
    problems = found.pop("problems.txt")
    assert max(len(text.encode()) for text in found.values()) <= 2000
    assert sum(len(text.encode()) for text in found.values()) <= 9000
    assert "the beginning of logs/a.log, of which 5000 bytes are too many" in problems
    assert "the bundle is full" in problems


def test_end_of_a_long_log_is_kept_in_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "TAIL_BYTES", 12)
    (tmp_path / "a.log").write_text("first\nsecond\nthird\n")

    assert parts.tail_of(tmp_path / "a.log") == "third\n"


def test_part_that_cannot_be_made_is_a_sentence_and_the_others_are_there(validator: Path) -> None:
    board = rendezvous.board_path(validator / "data")
    board.with_name("engine").unlink()
    board.with_name("engine").mkdir()

    assert main(["debug", "bundle", "-o", "b.tar.gz"]) == 0

    found = unpacked(validator / "b.tar.gz")
    assert "engine-note.json: IsADirectoryError" in found["problems.txt"]
    assert "status.json" in found


def test_file_that_cannot_be_written_is_one_sentence(
    validator: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (validator / "b.tar.gz").mkdir()

    assert main(["debug", "bundle", "-o", "b.tar.gz"]) == 1
    assert capsys.readouterr().err == "b.tar.gz cannot be written: Is a directory.\n"


def test_output_of_another_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["debug", "bundle", "-o", "b.zip"])

    assert "b.zip does not end in .tar.gz" in capsys.readouterr().err


@pytest.mark.parametrize("secret", ["", "abc"])
def test_secret_of_hardly_any_letters_does_not_blacken_the_text(secret: str) -> None:
    assert Redactor([secret]).clean("abc is a word") == "abc is a word"
