"""Whatever the operator got wrong, the real validator ends with one sentence, its own exit code, and nothing left."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from gaia.localnet.chain.node import LocalChain
from gaia.localnet.chain.pallet import ChainNeuron
from gaia.localnet.wallets import keypair, write_hotkey
from gaia.validator.utils.errors import ExitCode
from tests.support.patience import patience
from tests.support.repository import ROOT

PATIENCE_S = 60.0
LONGEST_S = 30.0
"""A person waits no longer to be told."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a validator ended."""

    exit_code: int
    output: str
    seconds: float

    @property
    def sentences(self) -> list[str]:
        """What it said that is no line of the log."""
        return [line for line in self.output.splitlines() if line.strip() and not _is_log_line(line)]


class Operator:
    """Someone with a folder and a hotkey that is registered, whose chain and database are not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.hotkey = write_hotkey(folder / "wallets", "default", "default", "//Validator")
        self.settings = {
            "GAIA_DATA_DIR": str(self.data_dir),
            "GAIA_DATA_MIN_FREE_MIB": "1",
            "GAIA_WALLET_PATH": str(folder / "wallets"),
            "GAIA_METRICS_PORT": "0",
            "GAIA_COMPUTE_WORKERS": "1",
            "GAIA_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            "GAIA_DATABASE_TIMEOUT_S": "2",
            "GAIA_CHAIN_ENDPOINT": "ws://127.0.0.1:1",
            "GAIA_CHAIN_TIMEOUT_S": str(patience(2.0)),
        }

    async def start(self, **settings: str) -> asyncio.subprocess.Process:
        """Start the validator as an operator does, with these settings changed."""
        # Not measured either: a worker that is locked in cannot write what coverage wants written.
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("GAIA_", "COV"))
        }
        return await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "gaia.validator.validator"],
            env={**inherited, "PYTHONPATH": str(ROOT), **self.settings, **settings},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    async def run(self, **settings: str) -> Ended:
        """Start the validator and wait until it and all that it started have ended."""
        started_at = time.monotonic()
        process = await self.start(**settings)
        try:
            async with asyncio.timeout(patience(PATIENCE_S)):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode is not None
        ended = Ended(process.returncode, output.decode(), time.monotonic() - started_at)
        await self._is_alone()
        return ended

    async def _is_alone(self) -> None:
        # The fork server ends by itself a moment after its parent.
        async with asyncio.timeout(patience(5.0)):
            while list(self._left_running()):
                await asyncio.sleep(0.02)

    def _left_running(self) -> Iterator[psutil.Process]:
        """Whoever works in our folder, or was told of it."""
        for process in psutil.process_iter():
            try:
                known = [*process.cmdline(), process.environ().get("GAIA_DATA_DIR", "")]
            except psutil.Error:
                continue
            if process.pid != os.getpid() and any(str(self.folder) in each for each in known):
                yield process


def _is_log_line(line: str) -> bool:
    try:
        return "event" in json.loads(line)
    except (ValueError, TypeError):
        return False


def assert_told(ended: Ended, exit_code: ExitCode, setting: str, problem: str, remedy: str = "") -> None:
    """One sentence, its setting first, with problem and remedy; the code of its kind; in time."""
    assert "Traceback" not in ended.output
    assert len(ended.sentences) == 1, ended.output
    (sentence,) = ended.sentences
    assert sentence.startswith(f"{setting}: "), sentence
    assert sentence.endswith(".")
    assert not sentence.endswith("..")
    said, _, advice = sentence.rpartition("; ")
    assert problem in said, sentence
    assert advice
    assert remedy in advice
    assert ended.exit_code == exit_code, ended.output
    assert ended.seconds < patience(LONGEST_S)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four MiB."""
    yield from _mounted(tmp_path / "disk", "size=4m")


@pytest.fixture
def sealed_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system on which nobody can write, root included."""
    yield from _mounted(tmp_path / "disk", "size=1m,ro")


def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on which connections are taken and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
async def chain_without_us() -> AsyncIterator[str]:
    """URL of a chain whose subnet 57 has one neuron, somebody else."""
    stranger = keypair("//Stranger").ss58_address
    neuron = ChainNeuron(
        hotkey=stranger, coldkey=stranger, ip="", port=0, stake=1000.0, validator_permit=True
    )
    node = LocalChain([neuron], netuid=57)
    yield await node.start()
    await node.stop()


@pytest.mark.parametrize(
    ("settings", "setting", "problem", "remedy"),
    [
        ({"GAIA_NETIUD": "57"}, "GAIA_NETIUD", "is not a setting", "correct or remove it"),
        ({"GAIA_NETUID": "gaia"}, "GAIA_NETUID", '"gaia" is not allowed', "a whole number from 0 to 65535"),
        ({"BURN_RATE": "2"}, "BURN_RATE", '"2" is not allowed', "a number from 0 to 1"),
        ({"GAIA_DATABASE_URL": "mysql://db"}, "GAIA_DATABASE_URL", "not a PostgreSQL URL", "postgresql://"),
        (
            {"GAIA_METRICS_HOST": "203.0.113.7", "GAIA_METRICS_PORT": "9090"},
            "GAIA_METRICS_HOST",
            "listen",
            "",
        ),
    ],
)
async def test_setting_that_is_unknown_or_ill_typed(
    operator: Operator, settings: dict[str, str], setting: str, problem: str, remedy: str
) -> None:
    assert_told(await operator.run(**settings), ExitCode.BAD_SETTING, setting, problem, remedy)


async def test_setting_of_the_file_that_is_unknown(operator: Operator) -> None:
    (operator.folder / ".env").write_text("GAIA_BURN_FRACTON=0.5\n")

    ended = await operator.run()

    assert_told(ended, ExitCode.BAD_SETTING, "GAIA_BURN_FRACTON", ".env contains it (did you mean")


async def test_port_that_is_busy(operator: Operator, silent_port: int) -> None:
    ended = await operator.run(GAIA_METRICS_PORT=str(silent_port))

    assert_told(ended, ExitCode.PORT_BUSY, "GAIA_METRICS_PORT", f"port {silent_port}", "choose a free port")


async def test_data_folder_with_too_little_space(operator: Operator) -> None:
    ended = await operator.run(GAIA_DATA_MIN_FREE_MIB="1000000000")

    assert_told(ended, ExitCode.DATA_DIR_FULL, "GAIA_DATA_DIR", "MiB free", "free some space")


async def test_data_folder_on_a_disk_that_is_full(operator: Operator, tiny_disk: Path) -> None:
    (tiny_disk / "ballast").write_bytes(bytes(4 * 1024 * 1024))

    ended = await operator.run(GAIA_DATA_DIR=str(tiny_disk / "data"))

    assert_told(ended, ExitCode.DATA_DIR_FULL, "GAIA_DATA_DIR", str(tiny_disk), "free some space")


async def test_data_folder_that_fills_up_while_the_database_is_made(
    operator: Operator, tiny_disk: Path
) -> None:
    ended = await operator.run(GAIA_DATA_DIR=str(tiny_disk), GAIA_DATABASE_URL="")

    assert_told(ended, ExitCode.DATA_DIR_FULL, "GAIA_DATA_DIR", "database", "free some space")


async def test_data_folder_on_a_disk_that_is_sealed(operator: Operator, sealed_disk: Path) -> None:
    ended = await operator.run(GAIA_DATA_DIR=str(sealed_disk))

    assert_told(ended, ExitCode.DATA_DIR_READ_ONLY, "GAIA_DATA_DIR", "cannot be written", "choose another")


async def test_data_folder_that_cannot_be_made(operator: Operator) -> None:
    ended = await operator.run(GAIA_DATA_DIR="/proc/gaia")

    assert_told(ended, ExitCode.DATA_DIR_READ_ONLY, "GAIA_DATA_DIR", "cannot be created", "choose another")


async def test_data_folder_that_is_a_file(operator: Operator) -> None:
    operator.data_dir.write_text("")

    assert_told(await operator.run(), ExitCode.BAD_SETTING, "GAIA_DATA_DIR", "not a usable folder", "choose")


async def test_data_folder_of_another_validator(operator: Operator, silent_port: int) -> None:
    patient = {"GAIA_CHAIN_ENDPOINT": f"ws://127.0.0.1:{silent_port}", "GAIA_CHAIN_TIMEOUT_S": "60"}
    database = {"GAIA_DATABASE_URL": f"postgresql://me@127.0.0.1:{silent_port}/db"}
    first = await operator.start(**patient, **database, GAIA_DATABASE_TIMEOUT_S="60")
    assert first.stdout is not None
    while b"supervisor_started" not in (line := await first.stdout.readline()):
        assert line, "it ended"

    second = await operator.start()
    output, _ = await second.communicate()
    first.terminate()
    await first.communicate()

    ended = Ended(second.returncode or 0, output.decode(), 0.0)
    assert_told(ended, ExitCode.DATA_DIR_IN_USE, "GAIA_DATA_DIR", f"process {first.pid}", "stop that")


async def test_hotkey_that_has_no_file(operator: Operator) -> None:
    ended = await operator.run(GAIA_WALLET_HOTKEY="other")

    assert_told(
        ended, ExitCode.HOTKEY_MISSING, "GAIA_WALLET_HOTKEY", "there is no hotkey", "GAIA_WALLET_PATH"
    )


async def test_hotkey_whose_file_is_damaged(operator: Operator, empty_dsn: str) -> None:
    (operator.folder / "wallets" / "default" / "hotkeys" / "default").write_text("no key")

    ended = await operator.run(GAIA_DATABASE_URL=empty_dsn)

    assert_told(ended, ExitCode.HOTKEY_MISSING, "GAIA_WALLET_HOTKEY", "damaged", "restore it")


async def test_hotkey_that_is_not_registered(
    operator: Operator, empty_dsn: str, chain_without_us: str
) -> None:
    ended = await operator.run(
        GAIA_DATABASE_URL=empty_dsn,
        GAIA_CHAIN_ENDPOINT=chain_without_us,
        GAIA_CHAIN_TIMEOUT_S=f"{patience(10.0):g}",
    )

    problem = f"{operator.hotkey} is not registered on subnet 57"
    assert_told(ended, ExitCode.HOTKEY_NOT_REGISTERED, "GAIA_WALLET_HOTKEY", problem, "register it")


async def test_hotkey_that_is_not_registered_with_a_database_of_our_own(
    operator: Operator, chain_without_us: str
) -> None:
    ended = await operator.run(
        GAIA_DATABASE_URL="", GAIA_CHAIN_ENDPOINT=chain_without_us, GAIA_CHAIN_TIMEOUT_S=f"{patience(10.0):g}"
    )

    assert_told(ended, ExitCode.HOTKEY_NOT_REGISTERED, "GAIA_WALLET_HOTKEY", "not registered on subnet 57")


async def test_subnet_that_does_not_exist(operator: Operator, empty_dsn: str, chain_without_us: str) -> None:
    ended = await operator.run(
        GAIA_DATABASE_URL=empty_dsn,
        GAIA_CHAIN_ENDPOINT=chain_without_us,
        GAIA_CHAIN_TIMEOUT_S=f"{patience(10.0):g}",
        GAIA_NETUID="58",
    )

    assert_told(ended, ExitCode.BAD_SETTING, "GAIA_NETUID", "subnet 58 does not exist", "choose one that")


@pytest.mark.parametrize(
    "endpoint", ["ws://127.0.0.1:1", "ws://nowhere.invalid:9944", "ws://127.0.0.1:{silent}"]
)
async def test_chain_that_does_not_answer(
    operator: Operator, empty_dsn: str, silent_port: int, endpoint: str
) -> None:
    url = endpoint.format(silent=silent_port)

    ended = await operator.run(GAIA_DATABASE_URL=empty_dsn, GAIA_CHAIN_ENDPOINT=url)

    # The rest of the address may be a key.
    assert_told(
        ended, ExitCode.CHAIN_UNREACHABLE, "GAIA_CHAIN_ENDPOINT", urlsplit(url).netloc, "start the node"
    )


@pytest.mark.parametrize("host", ["127.0.0.1:1", "nowhere.invalid", "127.0.0.1:{silent}"])
async def test_database_that_does_not_answer(operator: Operator, silent_port: int, host: str) -> None:
    url = f"postgresql://me:hush@{host.format(silent=silent_port)}/db"

    ended = await operator.run(GAIA_DATABASE_URL=url)

    assert_told(ended, ExitCode.DATABASE_UNREACHABLE, "GAIA_DATABASE_URL", "", "start")
    assert "hush" not in ended.output


async def test_database_given_by_its_parts_that_does_not_answer(operator: Operator) -> None:
    ended = await operator.run(GAIA_DATABASE_URL="", DB_HOST="127.0.0.1", DB_PORT="1")

    assert_told(ended, ExitCode.DATABASE_UNREACHABLE, "GAIA_DATABASE_HOST", "", "start")


async def test_database_that_refuses_us(operator: Operator, postgres_dsn: str) -> None:
    url = postgres_dsn.replace("/postgres?", "/nowhere?")

    ended = await operator.run(GAIA_DATABASE_URL=url)

    assert_told(ended, ExitCode.DATABASE_UNREACHABLE, "GAIA_DATABASE_URL", '"nowhere" does not exist')
