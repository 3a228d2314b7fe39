"""Tests of the IO-Engine's side of the signer's socket, against a signer the test plays."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

import pytest
import uvloop

from gaia.validator.core.chain.signer_client import SignerClient
from gaia.validator.utils.chain.metagraph import Metagraph
from gaia.validator.utils.errors import (
    ConfigurationError,
    DeadlineExceeded,
    ExitCode,
    GaiaError,
    OwnFailure,
    TransientError,
)
from gaia.validator.utils.ipc_types import Failure, FrameReader, encode_frame
from gaia.validator.utils.signer_messages import (
    AuthSigned,
    MetagraphRead,
    ReadMetagraph,
    SetWeights,
    SignAuth,
    SignerFailed,
    ToSigner,
    WeightsSet,
)
from tests.support.subnet import vector

_EMPTY = Metagraph(
    netuid=57,
    block=9,
    neurons=[],
    own_hotkey="5Own",
    own_uid=None,
    tempo=10,
    epoch=10,
    next_epoch_block=None,
    weights_rate_limit=2,
    min_allowed_weights=1,
    weights_version=0,
    commit_reveal=False,
    owner_hotkey="",
)
Play = Callable[[ToSigner, asyncio.StreamWriter], Awaitable[None]]


class FakeSigner:
    """A listening socket whose answers the test decides."""

    def __init__(self, path: Path, play: Play) -> None:
        self._path = path
        self._play = play
        self._open: list[asyncio.StreamWriter] = []

    @property
    def connections(self) -> int:
        return len(self._open)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._converse, self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.close()
            await writer.wait_closed()
        await self._server.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        frames: FrameReader[ToSigner] = FrameReader(ToSigner)
        while data := await reader.read(4096):
            for request in frames.feed(data):
                await self._play(request, writer)


async def _honest(request: ToSigner, writer: asyncio.StreamWriter) -> None:
    if isinstance(request, SignAuth):
        nonce = f"{request.miner_hotkey}/{request.symmetric_key_uuid}"
        writer.write(
            encode_frame(
                AuthSigned(
                    request_id=request.request_id, validator_hotkey="5Own", nonce=nonce, signature="0x"
                )
            )
        )
    elif isinstance(request, ReadMetagraph):
        writer.write(encode_frame(MetagraphRead(request_id=request.request_id, metagraph=_EMPTY)))
    elif isinstance(request, SetWeights):
        pairs = [
            [uid, weight] for uid, weight in zip(request.vector.uids, request.vector.weights, strict=True)
        ]
        writer.write(
            encode_frame(
                WeightsSet(
                    request_id=request.request_id,
                    block=3,
                    block_hash="0x03",
                    extrinsic="3-0001",
                    read_back=pairs,
                )
            )
        )


async def _hang_up(request: ToSigner, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _silent(request: ToSigner, writer: asyncio.StreamWriter) -> None:
    return


async def _babble(request: ToSigner, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x00\x00\x01\xc1")


async def test_each_of_many_concurrent_requests_gets_its_own_answer(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"
    async with FakeSigner(path, _honest) as signer:
        client = SignerClient(path)
        answers = await asyncio.gather(*(client.sign_auth(f"5M{n}", f"u{n}") for n in range(50)))
        metagraph = await client.read_metagraph()
        landed = await client.set_weights(vector(1, {1: 65535, 2: 7}))
        await client.close()

    assert [answer.nonce for answer in answers] == [f"5M{n}/u{n}" for n in range(50)]
    assert metagraph == _EMPTY
    assert landed.read_back == [[1, 65535], [2, 7]]
    assert signer.connections == 1


def test_it_works_under_uvloop(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"

    async def scenario() -> Metagraph:
        async with FakeSigner(path, _honest):
            client = SignerClient(str(path))
            metagraph = await client.read_metagraph()
            await client.close()
            return metagraph

    assert uvloop.run(scenario()) == _EMPTY


async def test_requests_under_way_fail_when_the_signer_dies_and_the_next_one_reconnects(
    tmp_path: Path,
) -> None:
    path = tmp_path / "signer.sock"
    client = SignerClient(path)
    async with FakeSigner(path, _hang_up):
        outcomes = await asyncio.gather(
            client.read_metagraph(), client.sign_auth("5M", "u"), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [OwnFailure, OwnFailure]
    path.unlink(missing_ok=True)
    async with FakeSigner(path, _honest):
        assert await client.read_metagraph() == _EMPTY
        await client.close()


async def test_a_signer_that_is_not_there_is_our_own_failure(tmp_path: Path) -> None:
    with pytest.raises(OwnFailure, match="cannot be reached"):
        await SignerClient(tmp_path / "nobody.sock").read_metagraph()


async def test_a_signature_that_is_not_to_be_had_is_our_own_failure(tmp_path: Path) -> None:
    async def fail(request: ToSigner, writer: asyncio.StreamWriter) -> None:
        failure = Failure.of(TransientError("the keyfile is away"))
        writer.write(encode_frame(SignerFailed(request_id=request.request_id, failure=failure)))

    outcomes = [await _asked(tmp_path / "nobody.sock")]
    for number, play in enumerate([fail, _hang_up, _babble]):
        path = tmp_path / f"{number}.sock"
        async with FakeSigner(path, play):
            outcomes.append(await _asked(path))

    assert [type(outcome) for outcome in outcomes] == [OwnFailure] * 4


async def _asked(path: Path) -> Exception | AuthSigned:
    client = SignerClient(path)
    try:
        return await client.sign_auth("5M", "u")
    except GaiaError as error:
        return error
    finally:
        await client.close()


async def test_a_signer_that_never_answers_meets_the_deadline(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"
    async with FakeSigner(path, _silent):
        client = SignerClient(path, chain_timeout_s=0.02)
        with pytest.raises(DeadlineExceeded):
            await client.sign_auth("5M", "u")
        await client.close()


async def test_a_stream_out_of_step_ends_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"
    async with FakeSigner(path, _babble):
        client = SignerClient(path)
        with pytest.raises(OwnFailure, match="invalid message"):
            await client.read_metagraph()
        await client.close()


async def test_the_signers_configuration_error_arrives_with_its_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"
    fault = ConfigurationError(
        "GAIA_WALLET_HOTKEY", "not registered", "register it", ExitCode.HOTKEY_NOT_REGISTERED
    )

    async def refuse(request: ToSigner, writer: asyncio.StreamWriter) -> None:
        writer.write(encode_frame(SignerFailed(request_id=request.request_id, failure=Failure.of(fault))))

    async with FakeSigner(path, refuse):
        client = SignerClient(path)
        with pytest.raises(ConfigurationError) as raised:
            await client.set_weights(vector(1, {1: 65535}))
        await client.close()
    assert str(raised.value) == str(fault)
    assert raised.value.exit_code is ExitCode.HOTKEY_NOT_REGISTERED


async def test_an_answer_of_the_wrong_kind_is_not_taken_for_success(tmp_path: Path) -> None:
    path = tmp_path / "signer.sock"

    async def confuse(request: ToSigner, writer: asyncio.StreamWriter) -> None:
        writer.write(encode_frame(MetagraphRead(request_id=request.request_id, metagraph=_EMPTY)))

    async with FakeSigner(path, confuse):
        client = SignerClient(path)
        with pytest.raises(OwnFailure, match="sent an unexpected"):
            await client.sign_auth("5M", "u")
        await client.close()


def test_neither_side_of_the_socket_loads_the_sdk_or_numpy_before_it_must() -> None:
    code = (
        "import sys, gaia.validator.core.chain.signer_client, gaia.validator.app.chain_signer;"
        "print([m for m in ('numpy', 'bittensor', 'bittensor_core', 'websockets') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
