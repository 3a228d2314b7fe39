"""Plays refusals against the signer's own code, over a connection to a local chain, and counts its signatures."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from campaigns.chain_refusals.cases import NETUID, OWN, Form, Trial, When
from gaia.localnet.chain.beacon import KNOWN_ROUND
from gaia.localnet.chain.node import ChainNeuron, LocalChain
from gaia.localnet.wallets import VALIDATOR_URI, keypair, miner_uri
from gaia.validator.core.chain.client import ChainClient
from gaia.validator.core.chain.signing.signed_epochs import SignedEpochs
from gaia.validator.core.chain.signing.signing_policy import SigningPolicy
from gaia.validator.core.chain.weight_answers import WeightAnswers
from gaia.validator.utils.chain.refusals import refusal_named
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import GaiaError, WeightsRefused
from gaia.validator.utils.signer_messages import (
    CommitWeights,
    JournalledVector,
    SealWeights,
    SetWeights,
    digest_of,
)

BLOCK_S: Final = 0.15
_TEMPO: Final = 9999
"""Blocks of an epoch that no campaign outlives."""
_PAIRS: Final = ((1, 65535), (2, 65535), (3, 30000))
_TIMEOUT_S: Final = 20.0
_SUBMIT: Final = "author_submitAndWatchExtrinsic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one trial."""

    name: str
    form: Form
    when: When
    told: str
    """Name that the signer told; "": none."""
    error: str
    """Kind of the error; "": the weights were taken."""
    cause: str
    """Who must act, as this validator says."""
    signatures: int

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Row:
        """Return the row of plain values."""
        return cls(**values | {"form": Form(values["form"]), "when": When(values["when"])})


class CountingKey:
    """A hotkey that counts what it signs."""

    def __init__(self) -> None:
        self._key = keypair(VALIDATOR_URI)
        self.signatures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)

    def sign(self, payload: bytes) -> bytes:
        self.signatures += 1
        return bytes(self._key.sign(payload))


class _Wallet:
    def __init__(self) -> None:
        self.hotkey = CountingKey()


@dataclass
class Stage:
    """A chain with four miners, and one connection to it."""

    chain: LocalChain
    client: ChainClient
    settings: Settings

    async def play(self, trial: Trial) -> Row:
        """Provoke one refusal on a chain that is otherwise as it was."""
        restore = self.chain.restore_state()
        wallet = _Wallet()
        self.chain.write_storage("CommitRevealWeightsEnabled", NETUID, value=trial.form is Form.SEALED)
        error: GaiaError | None = None
        with tempfile.TemporaryDirectory(prefix="refusals-") as folder:
            try:
                await self._ask(trial, wallet, Path(folder))
            except GaiaError as raised:
                error = raised
        told = error.name if isinstance(error, WeightsRefused) else ""
        self.chain.lies.end()
        restore()
        await self.chain.wait_for_block(self.chain.block + 1)
        return Row(
            name=trial.name,
            form=trial.form,
            when=trial.when,
            told=told,
            error=type(error).__name__ if error is not None else "",
            cause=refusal_named(told).cause if told else "",
            signatures=wallet.hotkey.signatures,
        )

    async def _ask(self, trial: Trial, wallet: Any, folder: Path) -> None:
        record = SignedEpochs.open(folder / "signed.json", OWN, NETUID)
        record.close()
        answers = WeightAnswers(self.client, self.settings.chain, wallet, SigningPolicy(lambda: record))
        vector = _vector()
        await self._provoke(trial, When.BEFORE)
        if trial.form is Form.PLAIN:
            await self._arm(trial)
            await answers.answer(SetWeights(request_id=1, vector=vector))
            return
        sealed: Any = await answers.answer(SealWeights(request_id=1, vector=vector))
        await self._provoke(trial, When.SEALED)
        await self._arm(trial)
        await answers.answer(CommitWeights(request_id=2, vector=vector, sealed=sealed.sealed))

    async def _provoke(self, trial: Trial, when: When) -> None:
        """Act if it is time, and wait until a block shows it."""
        if trial.when is when:
            trial.act(self.chain)
        await self.chain.wait_for_block(self.chain.block + 1)

    async def _arm(self, trial: Trial) -> None:
        """Let the refusal happen at the submission, or after it."""
        if trial.when in (When.POOL, When.BLOCK):
            trial.act(self.chain)
        elif trial.when is When.SIGNED:

            def act(truth: Any) -> Any:
                trial.act(self.chain)
                return truth

            self.chain.lies.tell(_SUBMIT, act)


def _vector() -> JournalledVector:
    return JournalledVector(
        epoch=0,
        uids=[uid for uid, _ in _PAIRS],
        weights=[weight for _, weight in _PAIRS],
        version_key=4000,
        sha256=digest_of(_PAIRS),
    )


@asynccontextmanager
async def a_stage(block_s: float = BLOCK_S) -> AsyncIterator[Stage]:
    """Start the chain and connect to it; close both afterwards."""
    hotkeys = [OWN, *(str(keypair(miner_uri(number)).ss58_address) for number in range(3))]
    neurons = [
        ChainNeuron(
            hotkey=hotkey, coldkey=hotkey, ip="", port=0, stake=0.0 if uid else 5e4, validator_permit=not uid
        )
        for uid, hotkey in enumerate(hotkeys)
    ]
    chain = LocalChain(neurons, block_time_s=block_s, tempo=_TEMPO)
    url = await chain.start()
    settings = Settings(chain_endpoint=url, beacon_round=KNOWN_ROUND)
    client = await ChainClient.connect(url, _TIMEOUT_S)
    try:
        yield Stage(chain=chain, client=client, settings=settings)
    finally:
        await client.close()
        await chain.stop()
