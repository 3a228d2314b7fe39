"""`--env-file`: one file of settings names one validator, for every program and from every folder."""

from __future__ import annotations

import io
import json
import pickle
import socket
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import structlog
from generate.command_page import commands

from gaia.cli.__main__ import main
from gaia.cli.parsers import parser
from gaia.cli.source import open_source
from gaia.cli.status.command import place_of
from gaia.validator import validator
from gaia.validator.app.io_engine import IOEngine
from gaia.validator.app.meeting.rendezvous import make_private, run_directory
from gaia.validator.app.startup import reload
from gaia.validator.app.startup.published import last_settings
from gaia.validator.app.startup.reading import named_file, read_again, read_settings
from gaia.validator.app.startup.reload import merge
from gaia.validator.app.supervisor_options import Reloaded
from gaia.validator.doctor.examination import examine
from gaia.validator.doctor.findings import Group
from gaia.validator.doctor.report import as_json, lines
from tests.support.patience import patience

WITHOUT_SETTINGS = {"gaia watch"}


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of settings in another folder than the working one, which has a `.env` of its own."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    (here / ".env").write_text("GAIA_NETUID=1\n")
    file = there / "validator.env"
    file.write_text("GAIA_NETUID=2\nGAIA_LOG_DIR=logs\n")
    return file


def test_every_command_that_reads_settings_accepts_it() -> None:
    without = {each.prog for each in commands(parser()) if "--env-file" not in each._option_string_actions}

    assert without == WITHOUT_SETTINGS


def test_named_file_is_read_instead_of_the_one_here(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", "--origin", "--json", "--env-file", str(env_file)]) == 0

    said = capsys.readouterr()
    rows = {row["name"]: row for row in json.loads(said.out)}
    assert (rows["GAIA_NETUID"]["value"], rows["GAIA_NETUID"]["origin"]) == ("2", f"{env_file} GAIA_NETUID")
    assert said.err == f"Settings come from the environment and {env_file}.\n"


def test_relative_paths_count_from_the_folder_of_the_named_file(env_file: Path) -> None:
    settings = read_settings(named_file(env_file))

    assert settings.data_dir == env_file.parent / "data"
    assert settings.log_dir == env_file.parent / "logs"
    assert settings.wallet_path == Path("~/.bittensor/wallets")
    origins = {name: origin for name, _, origin in settings.describe()}
    assert origins["GAIA_DATA_DIR"] == f"default beside {env_file}"
    assert origins["GAIA_LOG_DIR"] == f"{env_file} GAIA_LOG_DIR"


def test_without_it_the_file_in_the_working_folder_is_read_and_paths_stay(env_file: Path) -> None:
    settings = read_settings(named_file(None))

    assert (settings.netuid, settings.data_dir) == (1, Path("data"))


def test_commands_open_the_validator_of_the_named_file_not_a_rehearsal(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = Path(".localnet", "20260101-000000", "validator", "postgres", "cluster", "PG_VERSION")
    version.parent.mkdir(parents=True)
    version.write_text("16\n")

    assert main(["runs", "--env-file", str(env_file)]) == 10
    assert f"there is no database in {env_file.parent / 'data'}" in capsys.readouterr().err
    assert open_source(None, env_file).settings.netuid == 2


def test_wrong_folder_is_named_whole_with_what_helps(
    env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs"]) == 10

    said = capsys.readouterr().err
    assert f"there is no database in {Path.cwd() / 'data'}" in said
    assert "--env-file" in said


def test_validator_reads_the_named_file(env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env_file.write_text("GAIA_BURN_FRACTON=0.5\n")

    assert validator.main(["--env-file", str(env_file)]) == 2
    assert f"but {env_file} contains it" in capsys.readouterr().err


@pytest.mark.parametrize("program", [["config", "show"], ["runs"], ["doctor"], []])
def test_named_file_that_is_not_there_is_refused(
    env_file: Path, capsys: pytest.CaptureFixture[str], program: list[str]
) -> None:
    run = main if program else validator.main

    assert run([*program, "--env-file", f"{env_file}.old"]) == 2
    sentence = f"--env-file: there is no file {env_file}.old; name the file of settings"
    assert capsys.readouterr().err.strip().startswith(sentence)


def test_reload_reads_the_file_that_was_named_at_the_start(env_file: Path) -> None:
    running = read_settings(named_file(env_file))
    env_file.write_text(env_file.read_text() + "GAIA_LOG_LEVEL=DEBUG\n")

    _, changed, refused = merge(running, partial(read_again, running.env_file))

    assert (changed, refused) == ({"log_level": "DEBUG"}, [])


def test_engine_reads_the_named_file_at_a_reload(
    env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = read_settings(named_file(env_file))
    make_private(run_directory(running.data_dir))
    env_file.write_text(env_file.read_text() + "GAIA_POOL_QUEUE_LIMIT=77\n")

    with socket.socket() as pool:
        engine = IOEngine(running, pool, "", tmp_path)
        monkeypatch.setattr(engine, "_pool", None, raising=False)
        engine.reload()

    published = last_settings(running.data_dir)
    assert published is not None
    assert published.given()["GAIA_POOL_QUEUE_LIMIT"] == "77"
    structlog.reset_defaults()


def test_program_of_the_supervisor_reads_the_named_file_at_a_reload(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = read_settings(named_file(env_file))
    env_file.write_text(env_file.read_text() + "GAIA_POOL_QUEUE_LIMIT=77\n")
    answer = io.BytesIO()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(pickle.dumps(running))))
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=answer))

    assert reload.main() == 0
    assert msgspec.msgpack.decode(answer.getvalue(), type=Reloaded).changed == {"pool_queue_limit": "77"}


def test_reload_finds_a_file_that_was_made_after_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    running = read_settings(named_file(None))
    (tmp_path / ".env").write_text("GAIA_LOG_LEVEL=DEBUG\n")

    _, changed, _ = merge(running, partial(read_again, running.env_file))

    assert changed == {"log_level": "DEBUG"}


def test_doctor_names_the_file_that_it_read(env_file: Path) -> None:
    report = examine(env_file, patience_s=patience(8.0), groups=[Group.FILES])
    elsewhere = examine(env_file.with_name(".env"), patience_s=patience(8.0), groups=[Group.FILES])

    sentence = f"Settings come from the environment and {env_file}."
    assert sentence in list(lines(report))
    assert json.loads(as_json(report))["sources"] == sentence
    assert f"Settings come from the environment; there is no {env_file.with_name('.env')}." in list(
        lines(elsewhere)
    )


def test_a_folder_and_a_file_cannot_both_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["status", "--state", "a", "--env-file", "b"])

    assert "not allowed with argument --state" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ([], ""),
        (["--state", "a folder"], "--state 'a folder'"),
        (["--env-file", "b.env"], "--env-file b.env"),
    ],
)
def test_remedies_of_status_name_the_validator_as_the_operator_did(options: list[str], place: str) -> None:
    assert place_of(parser().parse_args(["status", *options])) == place
