"""What doctor prints as a correction: it fits the cause, names the right user, and ends no stranger's program."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gaia.validator.doctor.entries import Entry
from gaia.validator.doctor.facts import Port, Session
from gaia.validator.doctor.findings import Result
from gaia.validator.doctor.given import read_given
from gaia.validator.doctor.sight import Trouble
from gaia.validator.doctor.steps import StepKind
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import ConfigurationError
from tests.support.builders import a_metagraph, a_neuron
from tests.support.doctor_facts import FOLDER, PLACES, SERVER, WALLET, finding, session

RUNNING = "python -m gaia.validator.app 3"
NO_FOLDER = Trouble("it was not looked at")


def steps(check: str, **changes: object) -> list[str]:
    """Return kind and text of each step."""
    return [f"{step.kind}: {step}" for step in finding(check, **changes).steps]


def owned(owner: int, folder: object, *, we: int) -> dict[str, object]:
    """Return the facts for user `we`, where `owner` owns the file of settings and the hotkey."""
    hotkey = Entry(path=WALLET.hotkey_path, mode=0o600, uid=owner, size=300, is_folder=False)
    env_file = Entry(path=Path("/srv/.env"), mode=0o600, uid=owner, size=100, is_folder=False)
    return {
        "places": replace(PLACES, uid=we, env_file=env_file),
        "wallet": replace(WALLET, hotkey=hotkey),
        "folder": folder,
    }


@pytest.mark.parametrize(
    ("check", "path"), [("env-file-owner", "/srv/.env"), ("hotkey-owner", WALLET.hotkey_path)]
)
def test_root_gives_a_file_to_the_user_that_runs_the_validator(check: str, path: object) -> None:
    of_1000 = FOLDER
    run_by_1001 = replace(FOLDER, holder_pid=5, holder=RUNNING, holder_uid=1001)
    hand = f"do: give {path} to the user that runs the validator, or run this as that user"

    assert steps(check, **owned(0, of_1000, we=0)) == [f"run: chown 1000 {path}"]
    assert steps(check, **owned(0, run_by_1001, we=0)) == [f"run: chown 1001 {path}"]
    assert steps(check, **owned(1000, NO_FOLDER, we=0)) == [hand]
    assert finding(check, **owned(1000, of_1000, we=0)).result is Result.OK


@pytest.mark.parametrize("check", ["env-file-owner", "hotkey-owner"])
def test_file_that_only_root_can_give_is_a_step_for_a_person(check: str) -> None:
    (step,) = steps(check, **owned(1001, FOLDER, we=1000))

    assert step.startswith("do: as root: chown 1000 ")


def test_data_folder_stays_with_the_user_that_owns_it() -> None:
    theirs = replace(FOLDER, entry=Entry(path=FOLDER.path, mode=0o700, uid=1001, size=1, is_folder=True))
    used = replace(theirs, holder_pid=5, holder=RUNNING, holder_uid=1001)
    root = replace(PLACES, uid=0)

    assert steps("data-owner", folder=theirs, places=root) == [
        "do: start the validator, and this, as user 1001"
    ]
    assert steps("data-owner", folder=used, places=root) == ["do: run this as user 1001"]
    assert steps("data-owner", folder=theirs) == ["do: as root: chown -R 1000 /srv/gaia"]
    strangers = replace(theirs, foreign=[Path("/srv/gaia/spool")])
    of_root = replace(strangers, entry=Entry(path=FOLDER.path, mode=0o700, uid=0, size=1, is_folder=True))
    assert steps("data-owner", folder=of_root, places=root) == ["run: chown -R 0 /srv/gaia"]


def test_only_a_proved_validator_is_killed() -> None:
    stranger = session(address="127.0.0.1", client_pid=70, client="psql gaia")
    ours = replace(stranger, client="python -c engine", supervisor_pid=60)

    def stopping(*others: Session) -> list[str]:
        return steps("other-validator", server=replace(SERVER, others=others))

    assert stopping(ours) == ["run: kill 60"]
    assert stopping(stranger) == [
        "do: stop the program at port 4000 of 127.0.0.1 (process 70, psql gaia)",
    ]
    assert stopping(session()) == ["do: stop the validator on 10.0.0.9"]


@pytest.mark.parametrize("command", ["backup --lock", "tail -f gaia.validator.app.log", ""])
def test_program_that_holds_the_data_folder_is_not_killed(command: str) -> None:
    (step,) = steps("data-lock", folder=replace(FOLDER, holder_pid=70, holder=command, holder_uid=1000))

    assert step.startswith("do: stop the program that holds /srv/gaia/lock (process 70, ")


def test_each_way_to_lose_a_commit_has_its_own_correction() -> None:
    def lost(name: str, source: str) -> list[str]:
        return steps("durable", server=replace(SERVER, durability={name: ("off", source)}))

    reload = "-c 'SELECT pg_reload_conf()'"
    psql = "run: psql -p 5432 -U postgres -d gaia -c"
    assert lost("fsync", "configuration file") == [f"{psql} 'ALTER SYSTEM SET fsync = on' {reload}"]
    assert lost("full_page_writes", "configuration file") == [
        f"{psql} 'ALTER SYSTEM SET full_page_writes = on' {reload}"
    ]
    assert lost("synchronous_commit", "user") == [f"{psql} 'ALTER ROLE gaia RESET synchronous_commit'"]
    assert lost("synchronous_commit", "database") == [
        f"{psql} 'ALTER DATABASE gaia RESET synchronous_commit'"
    ]
    assert lost("fsync", "command line") == [
        "do: start the server without fsync=off; its command line sets it"
    ]


def test_database_that_cannot_be_used_always_has_a_step() -> None:
    failing = Trouble("the server lets us in, and then fails: permission denied")

    found = finding("database", server=failing, settings=Settings(database_host="db"))

    assert found.result is Result.FAILURE
    assert found.words.endswith("permission denied")
    assert [step.kind for step in found.steps] == [StepKind.DO]


def test_key_of_this_wallet_that_mines_is_not_offered_to_the_validator() -> None:
    wallet = replace(WALLET, hotkeys={"default": "5Ours", "mine": "5Miner"})

    def offered(*, permit: bool) -> list[str]:
        neurons = [a_neuron(1, hotkey="5Miner", validator_permit=permit)]
        subnet = a_metagraph(neurons, own_hotkey="5Ours", own_uid=None)
        return steps("registered", wallet=wallet, subnet=subnet)

    assert offered(permit=True) == ["set: set GAIA_WALLET_HOTKEY=mine in /srv/.env"]
    (registration,) = offered(permit=False)
    assert registration.startswith("run: btcli subnets register --netuid ")
    assert "--wallet default --wallet-hotkey default --wallet-path /srv/wallets" in registration


def test_key_of_another_name_is_not_taken_for_a_misspelled_one() -> None:
    wallet = replace(WALLET, hotkey=None, hotkeys={"miner-7": "5Miner"})
    misspelled = replace(wallet, hotkeys={"defalt": "5Ours"})

    assert steps("hotkey-file", wallet=wallet) == [
        "do: name the validator's own in GAIA_WALLET_HOTKEY; there are miner-7"
    ]
    assert steps("hotkey-file", wallet=misspelled) == ["set: set GAIA_WALLET_HOTKEY=defalt in /srv/.env"]


def test_missing_permit_stops_all_but_a_dry_run() -> None:
    ours = a_neuron(1, hotkey="5Ours", validator_permit=False)
    subnet = a_metagraph([ours], own_hotkey="5Ours", own_uid=1)

    assert finding("permit", subnet=subnet).result is Result.FAILURE
    assert finding("permit", subnet=subnet, settings=Settings(dry_run=True)).result is Result.WARNING


@pytest.mark.parametrize(
    ("code", "owner", "step"),
    [
        (errno.EACCES, os.geteuid(), "run: chmod 600 {}"),
        (
            errno.EACCES,
            os.geteuid() + 1,
            "do: give {}, and the way to it, to the user that runs the validator",
        ),
        (errno.ELOOP, os.geteuid(), "do: repair or remove {}"),
    ],
)
def test_rights_are_changed_only_where_they_are_the_cause(
    tmp_path: Path, code: int, owner: int, step: str
) -> None:
    path = tmp_path / ".env"
    given, _ = read_given(path)
    problem = f"cannot be read ({OSError(code, os.strerror(code), str(path))})"
    error = ConfigurationError(str(path), problem, "correct or remove it")
    entry = Entry(path=path, mode=0, uid=owner, size=1, is_folder=False)

    (found,) = given.cure(error, entry, os.geteuid())

    assert f"{found.kind}: {found}" == step.format(path)


def test_port_of_the_metrics_is_never_zero_in_a_correction() -> None:
    used = Port(problem="port 9090 is in use", holder_pid=0, holder="", ancestors=frozenset(), free=None)

    (none_free,) = finding("metrics-port", port=used).steps
    (next_one,) = finding("metrics-port", port=replace(used, free=9091)).steps

    assert none_free.kind is StepKind.DO
    assert str(next_one) == "set GAIA_METRICS_PORT=9091 in /srv/.env"


def test_folder_with_too_many_files_is_judged_with_a_reservation() -> None:
    partly = replace(FOLDER, files=20_000, is_whole=False)

    for check in ("data-owner", "drafts", "data-growth"):
        assert finding(check, folder=partly).words.endswith("as far as the first 20000 files tell"), check
        assert "as far as" not in finding(check).words
