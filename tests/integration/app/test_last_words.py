"""What a child finds out is the last line of the validator, and its first line says what starts."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gaia.localnet.wallets import VALIDATOR_URI, write_hotkey
from gaia.validator.utils.errors import ExitCode
from gaia.validator.utils.version import commit, version
from tests.support.patience import patience
from tests.support.repository import ROOT


class Ended(NamedTuple):
    exit_code: int
    lines: list[str]
    folder: Path


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, and which nobody else gets meanwhile."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield kept.getsockname()[1]


def run(folder: Path, **settings: str) -> Ended:
    """Run the validator's program until it ends by itself."""
    write_hotkey(folder / "wallets", "default", "default", VALIDATOR_URI)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GAIA_DATA_DIR": str(folder / "data"),
        "GAIA_WALLET_PATH": str(folder / "wallets"),
        "GAIA_METRICS_PORT": "0",
        "GAIA_COMPUTE_WORKERS": "1",
        **settings,
    }
    command = [sys.executable, "-m", "gaia.validator.validator", "--dry-run"]
    program = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=patience(120)
    )
    return Ended(program.returncode, program.stderr.splitlines(), folder)


def require_last_sentence(ended: Ended, exit_code: ExitCode, beginning: str) -> None:
    """Require that the last line is the sentence, said once as a line, and named by `halt_ordered`."""
    *log, sentence = ended.lines
    assert ended.exit_code == exit_code, ended.lines
    assert sentence.startswith(beginning), ended.lines[-5:]
    assert sentence.endswith(".")
    events = [json.loads(line) for line in log]  # nothing else stands between the log lines
    assert [each["reason"] for each in events if each["event"] == "halt_ordered"] == [sentence]
    assert events[-1]["event"] == "supervisor_ended"


def test_database_that_refuses_is_the_last_sentence(tmp_path: Path, closed_port: int) -> None:
    url = f"postgresql://nobody@127.0.0.1:{closed_port}/none"

    ended = run(tmp_path, GAIA_DATABASE_URL=url, GAIA_DATABASE_TIMEOUT_S="1")

    require_last_sentence(ended, ExitCode.DATABASE_UNREACHABLE, "GAIA_DATABASE_URL: the database cannot be")


def test_host_that_is_unknown_is_the_last_sentence(tmp_path: Path) -> None:
    ended = run(tmp_path, GAIA_DATABASE_HOST="nowhere.invalid", GAIA_DATABASE_TIMEOUT_S="1")

    require_last_sentence(ended, ExitCode.DATABASE_UNREACHABLE, "GAIA_DATABASE_HOST: the database cannot be")


def test_address_for_messages_that_names_no_service_is_the_last_sentence_and_not_repeated(
    tmp_path: Path, closed_port: int
) -> None:
    url = f"postgresql://nobody@127.0.0.1:{closed_port}/none"

    ended = run(tmp_path, GAIA_NOTIFY_URLS="ntfy://hushhush,tlgram://hushhush/1", GAIA_DATABASE_URL=url)

    require_last_sentence(ended, ExitCode.BAD_SETTING, "GAIA_NOTIFY_URLS: address 2 (tlgram) is none")
    assert "hushhush" not in "".join(ended.lines)


@pytest.mark.parametrize("content", [pytest.param("not a key", id="broken"), pytest.param("", id="empty")])
def test_hotkey_file_that_holds_no_key_is_the_last_sentence(tmp_path: Path, content: str) -> None:
    wallets = tmp_path / "other"
    write_hotkey(wallets, "default", "default", VALIDATOR_URI)
    (wallets / "default" / "hotkeys" / "default").write_text(content)

    # The signer reads the file long before the IO-Engine gives up waiting for a chain.
    ended = run(tmp_path, GAIA_WALLET_PATH=str(wallets))

    require_last_sentence(ended, ExitCode.HOTKEY_MISSING, "GAIA_WALLET_HOTKEY: the file of hotkey default/")


def test_chain_that_does_not_answer_is_the_last_sentence(tmp_path: Path, closed_port: int) -> None:
    ended = run(tmp_path, GAIA_CHAIN_ENDPOINT=f"ws://127.0.0.1:{closed_port}", GAIA_CHAIN_TIMEOUT_S="2")

    require_last_sentence(
        ended, ExitCode.CHAIN_UNREACHABLE, "GAIA_CHAIN_ENDPOINT: the chain cannot be reached"
    )
    _require_private(ended.folder / "data")
    _require_banner(ended, closed_port)


def _require_private(data_dir: Path) -> None:
    """Require that neither the data folder nor anything in it is open to other users."""
    found = [data_dir, *data_dir.rglob("*")]
    open_to_others = {
        str(path.relative_to(data_dir)): oct(stat.S_IMODE(path.lstat().st_mode))
        for path in found
        if not path.is_symlink() and stat.S_IMODE(path.lstat().st_mode) & 0o077
    }

    assert len(found) > 100, "the cluster of PostgreSQL is among them"
    assert open_to_others == {}


def _require_banner(ended: Ended, port: int) -> None:
    banner = json.loads(ended.lines[0])

    assert banner["event"] == "starting"
    expected = {
        "version": version(),
        "commit": commit(),
        "network": f"ws://127.0.0.1:{port}",
        "netuid": 57,
        "hotkey": "",  # there is no public file, and the secret one is the signer's alone
        "rule_set": "gaia-2.9",
        "dry_run": True,
        "data_dir": str(ended.folder / "data"),
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    assert {name: banner[name] for name in expected} == expected
