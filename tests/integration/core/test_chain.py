"""The real SDK, in a real signer process, against the local chain."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

import bittensor as bt
import pytest

from gaia.localnet.chain.lies import silence
from gaia.localnet.chain.node import LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, keypair, write_hotkey
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.utils.errors import DeadlineExceeded, ExitCode, TransientError
from tests.support.patience import Deadline, patience
from tests.support.signers import SignerProcess
from tests.support.subnet import MINERS, NETUID, OWNER, VALIDATOR, block_time_s, neurons, set_now

_RATE_LIMIT = 4
_TEMPO = 9999
"""Blocks of an epoch that no test outlives."""
_MINER = MINERS[0]
_WEIGHTS = {0: 100, 1: 65535, 2: 32000}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK keeps caches in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    chain = LocalChain(neurons(), block_time_s=block_time_s(), tempo=_TEMPO, weights_rate_limit=_RATE_LIMIT)
    yield chain
    await chain.stop()


async def test_the_sdk_itself_reads_the_subnet_and_sets_weights(chain: LocalChain, tmp_path: Path) -> None:
    url = await chain.start()
    write_hotkey(tmp_path / "wallets", "validator", "default", VALIDATOR_URI)
    wallet = bt.Wallet(name="validator", hotkey="default", path=str(tmp_path / "wallets"))
    async with bt.Subtensor(url) as sdk:
        graph = await sdk.subnets.metagraph(NETUID)
        lite = await sdk.neurons.all(netuid=NETUID)
        call = bt.calls.SubtensorModule.set_mechanism_weights(
            netuid=NETUID, mecid=0, dests=[1, 2], weights=[65535, 5], version_key=0
        )
        result = await sdk.submit_call(call, wallet, signer="hotkey")
        stored = await sdk.query(("SubtensorModule", "Weights"), [NETUID, 0])

    assert graph is not None
    assert graph.hotkeys == [VALIDATOR, *MINERS, OWNER]
    assert [neuron.axon for neuron in graph.neurons] == [None, "127.0.0.2:8000", "127.0.0.3:8001", None, None]
    assert len(lite) == 5
    assert result.success
    assert stored == [(1, 65535), (2, 5)]


async def test_the_metagraph_crosses_the_signers_socket(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())

    metagraph = await client.read_metagraph()

    assert (metagraph.netuid, metagraph.own_hotkey, metagraph.own_uid) == (NETUID, VALIDATOR, 0)
    assert metagraph.weights_rate_limit == _RATE_LIMIT
    assert metagraph.owner_hotkey == OWNER
    assert [neuron.hotkey for neuron in metagraph.neurons] == [VALIDATOR, *MINERS, OWNER]
    validator, first, *_ = metagraph.neurons
    assert (validator.stake, validator.validator_permit, validator.ip) == (2000.5, True, "")
    assert (first.ip, first.port) == ("127.0.0.2", 8000)


async def test_weights_are_set_read_back_and_refused_when_set_again_too_soon(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start())

    landed = await set_now(client, _WEIGHTS)
    with pytest.raises(TransientError, match="SettingWeightsTooFast"):
        await set_now(client, _WEIGHTS)
    await chain.wait_for_block(landed.block + _RATE_LIMIT)
    again = await set_now(client, _WEIGHTS)

    assert landed.read_back == [[0, 100], [1, 65535], [2, 32000]]
    assert landed.extrinsic == f"{landed.block}-0001"
    assert chain.weights(0) == list(_WEIGHTS.items())
    assert chain.last_update(0) == again.block >= landed.block + _RATE_LIMIT


async def test_weights_can_be_set_on_a_chain_that_carries_an_earlier_one_on(
    signer: SignerProcess, client: SignerClient
) -> None:
    later = LocalChain(neurons(), block_time_s=block_time_s(), tempo=_TEMPO, first_block=1_000_000)
    signer.start(await later.start())
    landed = await set_now(client, {1: 65535})
    await later.stop()
    assert landed.block > 1_000_000
    assert later.weights(0) == [(1, 65535)]


async def test_an_unregistered_hotkey_is_a_fact_that_may_change(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    signer.start(await chain.start(), uri="//Stranger")

    metagraph = await client.read_metagraph()
    with pytest.raises(TransientError, match=keypair("//Stranger").ss58_address):
        await set_now(client, {1: 65535})

    assert metagraph.own_uid is None


async def test_what_the_runtime_refuses_keeps_its_name(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    chain.write_storage("CommitRevealWeightsEnabled", NETUID, value=True)
    signer.start(await chain.start())
    with pytest.raises(TransientError, match="CommitRevealEnabled"):
        await set_now(client, {1: 65535})
    assert (await client.read_metagraph()).commit_reveal


async def test_a_killed_signer_is_replaced_without_the_client_noticing_more_than_one_error(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    url = await chain.start()
    signer.start(url)
    before = await client.sign_auth(_MINER, "a-uuid")

    signer.kill()
    waiting = asyncio.create_task(client.sign_auth(_MINER, "a-uuid"))
    first = (await asyncio.gather(waiting, return_exceptions=True))[0]
    signer.start(url)
    after = await client.sign_auth(_MINER, "a-uuid")

    assert isinstance(first, TransientError)
    assert after.validator_hotkey == before.validator_hotkey == VALIDATOR
    assert after.nonce != before.nonce


async def test_the_signer_reconnects_after_the_node_was_away(
    signer: SignerProcess, client: SignerClient
) -> None:
    first = LocalChain(neurons(), block_time_s=block_time_s())
    url = await first.start()
    signer.start(url)
    assert (await client.read_metagraph()).own_uid == 0

    await first.stop()
    with pytest.raises(TransientError):
        await client.read_metagraph()
    second = LocalChain(neurons(), block_time_s=block_time_s())
    await second.start(port=int(url.rpartition(":")[2]))

    assert (await client.read_metagraph()).own_uid == 0
    await second.stop()


async def test_weights_that_landed_though_the_node_hung_up_are_not_called_a_failure(
    chain: LocalChain, signer: SignerProcess, client: SignerClient
) -> None:
    upstream = await chain.start()
    async with _HangUpOnce(upstream) as proxy:
        signer.start(proxy.url)
        landed = await set_now(client, {1: 65535, 2: 9})

    assert proxy.hung_up
    assert (landed.read_back, landed.extrinsic) == ([[1, 65535], [2, 9]], "")
    assert chain.last_update(0) == landed.block


async def test_node_that_falls_silent_during_a_submission_holds_up_no_later_one(
    signer: SignerProcess, client: SignerClient
) -> None:
    chain = LocalChain(neurons(), block_time_s=3600.0, tempo=_TEMPO)
    signer.start(await chain.start(), chain_timeout_s=patience(2.0))
    # The SDK, when it is cancelled, waits for the answer to this.
    chain.lies.tell("author_unwatchExtrinsic", silence, times=None)

    with pytest.raises(DeadlineExceeded, match="while submitting the weights"):
        await set_now(client, {1: 65535, 2: 9})
    # It has the number of the first, which still waits: no block can include both.
    with pytest.raises(TransientError, match="PriorityTooLow"):
        await set_now(client, {1: 65535, 2: 9})

    await chain.stop()


async def test_the_signer_ends_in_order_on_sigterm(chain: LocalChain, signer: SignerProcess) -> None:
    process = signer.start(await chain.start())
    client = SignerClient(signer.path)
    await client.read_metagraph()

    process.terminate()
    await asyncio.to_thread(process.join, patience(10))

    assert process.exitcode == 0
    await client.close()


async def test_the_signer_reaches_a_node_of_this_machine_past_a_dead_proxy(
    chain: LocalChain, signer: SignerProcess, client: SignerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    signer.start(await chain.start())

    assert (await client.read_metagraph()).netuid == NETUID


async def test_the_signer_dies_with_its_parent(chain: LocalChain, tmp_path: Path) -> None:
    url = await chain.start()
    write_hotkey(tmp_path / "wallets", "validator", "default", VALIDATOR_URI)
    program = [sys.executable, "-c", _PARENT, url, str(tmp_path)]
    parent = await asyncio.create_subprocess_exec(*program, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    client = SignerClient(tmp_path / "signer.sock")
    await client.sign_auth(_MINER, "a-uuid")

    parent.kill()

    await asyncio.wait_for(_gone(pid), patience(5))
    await parent.communicate()
    await client.close()


async def test_a_missing_hotkey_ends_the_process_with_its_exit_code(
    signer: SignerProcess, tmp_path: Path
) -> None:
    process = signer.start("ws://127.0.0.1:9", as_child=True, wallet_hotkey="nobody")
    await asyncio.to_thread(process.join, patience(20))
    assert process.exitcode == ExitCode.HOTKEY_MISSING


_PARENT = """
import multiprocessing, socket, sys, time
from pathlib import Path
from gaia.validator.app.chain_signer import run_chain_signer
from gaia.validator.app.child import boot
from gaia.validator.utils.config import Settings

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "signer.sock"))
    listener.listen()
    settings = Settings(
        chain_endpoint=sys.argv[1], wallet_name="validator", wallet_path=folder / "wallets", data_dir=folder
    )
    child = multiprocessing.get_context("spawn").Process(target=run_chain_signer, args=(settings.signer, listener))
    child.start()
    print(child.pid, flush=True)
    child.join()
"""


async def _gone(pid: int) -> None:
    deadline = Deadline(30)
    while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert not deadline.has_passed, f"process {pid} still lives after {deadline}"
        await asyncio.sleep(0.01)


class _HangUpOnce:
    """A TCP relay that cuts the first connection right after a submission has passed."""

    def __init__(self, upstream: str) -> None:
        self._port = int(upstream.rpartition(":")[2])
        self.hung_up = False
        self._pumps: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._server.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        ends = (writer, upstream_writer)
        self._pumps += [
            asyncio.create_task(self._pump(upstream_reader, writer, ends, self._is_ready)),
            asyncio.create_task(self._pump(reader, upstream_writer, ends, lambda data: False)),
        ]

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        cut_at: Callable[[bytes], bool],
    ) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
                if cut_at(data):
                    self.hung_up = True
                    break
        except ConnectionError:
            return
        finally:
            for end in ends:
                end.close()

    def _is_ready(self, data: bytes) -> bool:
        return not self.hung_up and b"author_extrinsicUpdate" in data
