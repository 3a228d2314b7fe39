"""A validator and three miners on a local chain, and extrinsics signed without the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gaia.localnet.chain.blocks import BlockChain
from gaia.localnet.chain.node import ChainNeuron
from gaia.localnet.chain.pallet import SubnetRules
from gaia.localnet.chain.runtime import ChainRuntime
from gaia.localnet.wallets import VALIDATOR_URI, keypair, miner_uri
from gaia.validator.utils.signer_messages import JournalledVector, WeightsSet, digest_of
from tests.support.patience import patience

if TYPE_CHECKING:
    from gaia.validator.core.chain.signer_client import SignerClient

NETUID = 57
VALIDATOR = keypair(VALIDATOR_URI).ss58_address
OWNER = keypair("//Owner").ss58_address
MINERS = [keypair(miner_uri(number)).ss58_address for number in range(3)]
RULES: dict[str, Any] = {
    "netuid": NETUID,
    "tempo": 10,
    "weights_rate_limit": 2,
    "min_allowed_weights": 2,
    "weights_version": 0,
    "commit_reveal": False,
    "owner_hotkey": OWNER,
    "owner_coldkey": OWNER,
}


def block_time_s() -> float:
    """Seconds between two blocks: few, but enough for a call to be signed and read back before its state is gone."""
    return min(patience(0.05), 0.25)


def neurons() -> list[ChainNeuron]:
    """The validator, uid 0, with 2000.5 tokens and a permit; three miners, the last of which serves no axon."""
    rows = [ChainNeuron(hotkey=VALIDATOR, coldkey=OWNER, ip="", port=0, stake=2000.5, validator_permit=True)]
    for number, hotkey in enumerate(MINERS):
        ip, port = (f"127.0.0.{number + 2}", 8000 + number) if number < 2 else ("", 0)
        rows.append(
            ChainNeuron(hotkey=hotkey, coldkey=OWNER, ip=ip, port=port, stake=0.0, validator_permit=False)
        )
    return rows


def vector(epoch: int, weights: Mapping[int, int], version_key: int = 0) -> JournalledVector:
    """The vector of an epoch as the journal promises it, from uid -> u16."""
    return JournalledVector(
        epoch=epoch,
        uids=list(weights),
        weights=list(weights.values()),
        version_key=version_key,
        sha256=digest_of(weights.items()),
    )


async def set_now(
    client: SignerClient, weights: Mapping[int, int], promised_block: int | None = None
) -> WeightsSet:
    """Set weights, uid -> u16, in the chain's present epoch."""
    epoch = (await client.read_metagraph()).epoch
    return await client.set_weights(vector(epoch, weights), promised_block)


def block_chain(finality_lag: int = 0, **rules: Any) -> BlockChain:
    """A chain without a server, sealed by hand."""
    rule_set = SubnetRules(**RULES | rules)
    return BlockChain(ChainRuntime.load(), rule_set, neurons(), finality_lag=finality_lag)


def signed_call(
    chain: BlockChain,
    uri: str,
    function: str,
    arguments: dict[str, Any],
    *,
    nonce: int | None = None,
    era: Any = "00",
    era_hash: str | None = None,
    pallet: str = "SubtensorModule",
) -> bytes:
    """Return an extrinsic as a client would sign it."""
    key = keypair(uri)
    codec = chain.runtime.codec
    call = chain.runtime.compose_call(pallet, function, arguments)
    nonce = chain.next_nonce(key.ss58_address) if nonce is None else nonce
    payload = codec.signature_payload(
        call,
        era=era,
        nonce=nonce,
        tip=0,
        tip_asset_id=None,
        genesis_hash=bytes.fromhex(chain.genesis_hash[2:]),
        era_block_hash=bytes.fromhex((era_hash or chain.genesis_hash)[2:]),
        metadata_hash=None,
    )
    encoded, _ = codec.encode_signed_extrinsic(
        call,
        public_key=bytes(key.public_key),
        signature=bytes(key.sign(bytes(payload))),
        signature_version=1,
        era=era,
        nonce=nonce,
        tip=0,
        tip_asset_id=None,
    )
    return bytes(encoded)
