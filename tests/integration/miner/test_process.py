"""The reference miner as an operator starts it: a process, a wallet, a folder of analyses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gaia.miner.miner import main
from gaia.tasks.defined_tasks.weather.wire.manifest import verify_manifest
from gaia.validator.core.miner_comms import MinerComms
from tests.support.miners import INIT_TIME, LocalSigner, a_neuron, an_atmosphere, settings_for_miners
from tests.support.patience import Deadline, patience

SEED = "0x" + "11" * 32


def a_wallet(folder: Path) -> list[str]:
    hotkeys = folder / "default" / "hotkeys"
    hotkeys.mkdir(parents=True)
    (hotkeys / "default").write_text(json.dumps({"secretSeed": SEED}))
    return ["--wallet-path", str(folder)]


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gaia.miner.miner", "--host", "127.0.0.1", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
async def comms() -> AsyncIterator[MinerComms]:
    async with MinerComms(settings_for_miners(), "0.25", LocalSigner()) as client:
        yield client


async def test_miner_process_forecasts_from_its_wallet_and_analyses_and_ends_on_sigterm(
    tmp_path: Path, comms: MinerComms
) -> None:
    state = tmp_path / "forecasts" / "analyses" / "2026032500"
    state.mkdir(parents=True)
    for name, values in an_atmosphere().items():
        values.astype("<f4").tofile(state / f"{name}.f32")
    options = ["--directory", str(tmp_path / "forecasts"), "--grid", "1.0", "--steps", "2", "--port", "0"]
    with start(*a_wallet(tmp_path / "wallets"), *options) as process:
        assert process.stdout is not None
        hotkey, _, _, address = process.stdout.readline().split()
        ip, _, port = address.partition(":")
        neuron = a_neuron(hotkey, ip, int(port))

        offer = await comms.request_forecast(neuron, INIT_TIME)
        deadline = Deadline(20)
        while not await comms.forecast_ready(neuron, offer.job_id):
            assert not deadline.has_passed
        access = await comms.open_store(neuron, offer.job_id)
        signed = await comms.fetch_manifest(neuron, access)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=patience(20))

    assert verify_manifest(signed.content, signed.signature, access.manifest_sha256, hotkey).files
    assert process.returncode == 0


def test_miner_without_a_wallet_says_so_in_one_line(tmp_path: Path) -> None:
    with start("--wallet-path", str(tmp_path), "--port", "0") as process:
        _, complaint = process.communicate(timeout=patience(20))

    assert process.returncode == 2
    assert complaint.startswith("miner cannot start: ")
    assert complaint.count("\n") == 1


def test_environment_that_cannot_be_read_is_named_and_a_model_is_looked_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--hotkey-uri", "//A", "--model", "gaia.miner.inference:Nowcast"]

    assert main([], {"PORT": "many"}) == 2
    assert capsys.readouterr().err.startswith('PORT: "many" is not allowed')
    assert main(model, {"MINER_FORECAST_DIR": str(tmp_path)}) == 2
    assert "no attribute 'Nowcast'" in capsys.readouterr().err


def test_miner_whose_port_is_taken_says_so_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start("--hotkey-uri", "//A", "--directory", str(tmp_path), "--port", str(port)) as process:
            _, complaint = process.communicate(timeout=patience(20))

    assert process.returncode == 2
    assert complaint.startswith("--port: ")
    assert complaint.count("\n") == 1
