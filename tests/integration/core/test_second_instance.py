"""Two signers with one key and records of their own: each ends before its second signature."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gaia.localnet.chain.beacon import KNOWN_ROUND
from gaia.localnet.chain.node import LocalChain
from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.utils.errors import ConfigurationError, ExitCode, SigningRefused, TransientError
from tests.support.patience import Deadline, patience
from tests.support.signers import SignerProcess
from tests.support.subnet import block_time_s, neurons, vector

_TEMPO = 24
_ONE, _OTHER = {1: 65535, 2: 500}, {1: 65535, 2: 600}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK keeps caches in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
async def chain(request: pytest.FixtureRequest) -> AsyncIterator[LocalChain]:
    chain = LocalChain(
        neurons(),
        block_time_s=block_time_s(),
        tempo=_TEMPO,
        weights_rate_limit=1,
        commit_reveal=request.param,
    )
    yield chain
    await chain.stop()


class Instance:
    """A signer with a folder, and so a record, of its own; it signs as its engine would ask it to."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.signer = SignerProcess(folder)

    async def vote(self, chain: LocalChain, weights: dict[int, int]) -> int:
        """Set or commit a vector once, in an epoch with time left and without an update; return the epoch."""
        deadline = Deadline(60.0)
        while True:
            graph = await self.client.read_metagraph()
            assert not deadline.has_passed
            try:
                promised = vector(graph.epoch, weights)
                if graph.commit_reveal:
                    await self.client.commit_weights(promised, await self.client.seal_weights(promised))
                else:
                    await self.client.set_weights(promised)
            except TransientError as error:
                # All are the chain's: the end of an epoch, weights of an epoch that the record lacks, and a round
                # that is published before blocks as short as these include the commit; the pool then drops it.
                if not any(words in str(error) for words in ("epoch", "InvalidRevealRound", ": Invalid: ")):
                    raise
                await chain.wait_for_block(chain.block + 1)
            else:
                return graph.epoch

    async def kill(self) -> None:
        self.signer.kill()
        await self.client.close()

    def start(self, url: str) -> None:
        """Start the signer, also after a kill."""
        self.signer.start(url, beacon_round=KNOWN_ROUND)
        self.client = SignerClient(self.signer.path, chain_timeout_s=patience(10.0))

    async def close(self) -> None:
        await self.client.close()
        await self.signer.close()


@pytest.fixture
async def instances(tmp_path: Path) -> AsyncIterator[tuple[Instance, Instance]]:
    pair = (Instance(tmp_path / "a"), Instance(tmp_path / "b"))
    yield pair
    for instance in pair:
        await instance.close()


@pytest.fixture
async def url(chain: LocalChain, instances: tuple[Instance, Instance]) -> str:
    """Address of the chain, to which both signers are connected."""
    url = await chain.start()
    for instance in instances:
        instance.start(url)
    return url


def _signed(chain: LocalChain) -> int:
    return len(chain.submitted)


async def test_instance_whose_weights_were_replaced_signs_no_second_vector(
    chain: LocalChain, instances: tuple[Instance, Instance], url: str
) -> None:
    one, other = instances
    first = await one.vote(chain, _ONE)
    second = await other.vote(chain, _OTHER)
    assert second > first, "an epoch that has weights of this key gets none of another record"
    before = _signed(chain)

    with pytest.raises(SigningRefused, match="are not of this validator"):
        await one.vote(chain, _ONE)

    assert _signed(chain) == before
    await other.client.check_update()


async def test_instance_ends_although_it_never_wants_to_sign(
    chain: LocalChain, instances: tuple[Instance, Instance], url: str
) -> None:
    one, other = instances
    await one.vote(chain, _ONE)
    await one.client.check_update()
    await other.vote(chain, _OTHER)

    for _ in range(2):
        with pytest.raises(SigningRefused):
            await one.client.check_update()
        await chain.wait_for_block(chain.block + 1)
    with pytest.raises(ConfigurationError, match="another program signs with its hotkey") as raised:
        await one.client.check_update()

    assert raised.value.exit_code is ExitCode.SECOND_INSTANCE


async def test_killed_signer_knows_its_own_weights_again(
    chain: LocalChain, instances: tuple[Instance, Instance], url: str
) -> None:
    one, _ = instances
    epoch = await one.vote(chain, _ONE)
    await one.kill()
    one.start(url)

    await one.client.check_update()
    assert await one.vote(chain, _OTHER) > epoch
    await one.client.check_update()


async def test_signer_goes_on_once_the_operator_has_moved_its_record_away(
    chain: LocalChain, instances: tuple[Instance, Instance], url: str, tmp_path: Path
) -> None:
    one, other = instances
    await one.vote(chain, _ONE)
    await other.vote(chain, _OTHER)
    with pytest.raises(SigningRefused, match="are not of this validator"):
        await one.vote(chain, _ONE)
    await other.kill()
    await one.kill()
    (record,) = (tmp_path / "a" / "wallets" / "validator").glob("gaia-signed-epochs-*.json")
    record.rename(record.with_suffix(".old"))
    one.start(url)

    await one.vote(chain, _ONE)
    await one.client.check_update()
