"""The client's own decisions: what JSON holds, what is fetched, when a key is exchanged."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from gaia.validator.core.miner_comms import MinerComms, custom_serializer
from gaia.validator.core.miners import session
from gaia.validator.core.miners.http import MinerHttp, Reply
from gaia.validator.core.miners.session import MinerSessions
from gaia.validator.core.miners.tally import Tally
from gaia.validator.utils.borders import UNFORESEEN, Party
from gaia.validator.utils.errors import DeadlineExceeded, JobFailed, MinerFault, MinerUnreachable, OwnFailure
from gaia.validator.utils.identities import MinerJobId
from gaia.validator.utils.signer_messages import AuthSigned
from tests.support.miners import INIT_TIME, LocalSigner, a_neuron, settings_for_miners

RSA_KEY = rsa.generate_private_key(65537, 2048)
JOB = MinerJobId("j")
NUMBERS = RSA_KEY.public_key().public_numbers()

Scripted = dict[str, Any] | Reply | Exception
"""JSON of a good answer, an answer as it is, or what is raised in its place."""


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def pem_of_numbers(modulus: int, exponent: int) -> str:
    """A key of any numbers, whether or not it can encrypt."""
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


class ScriptedHttp(MinerHttp):
    """A miner in memory: holds symmetric keys, counts handshakes, answers calls with `answers`."""

    def __init__(self, *answers: Scripted, pem: str = pem_of(RSA_KEY)) -> None:
        self.answers = list(answers)
        self.pem = pem
        self.handshakes = 0
        self.keys: dict[str, Fernet] = {}
        self.bodies: list[dict[str, Any]] = []

    async def close(self) -> None:
        pass

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        limit_bytes: int,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        sink: Callable[[bytes], object] | None = None,
    ) -> Reply:
        await asyncio.sleep(0)
        if method == "GET":
            return Reply(200, json.dumps({"public_key": self.pem, "timestamp": 1.0}).encode())
        assert headers is not None
        assert content is not None
        if url.endswith("/exchange-symmetric-key"):
            return self.accept_key(headers, content)
        if headers["symmetric-key-uuid"] not in self.keys:
            return Reply(400, b'{"detail": "No symmetric key found for that hotkey and uuid"}')
        self.bodies.append(json.loads(self.keys[headers["symmetric-key-uuid"]].decrypt(content)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Reply) else Reply(200, json.dumps(answer).encode())

    def accept_key(self, headers: Mapping[str, str], content: bytes) -> Reply:
        self.handshakes += 1
        encrypted = base64.b64decode(json.loads(content)["encrypted_symmetric_key"])
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        key = base64.b64encode(RSA_KEY.decrypt(encrypted, oaep))
        self.keys = {headers["symmetric-key-uuid"]: Fernet(key)}
        return Reply(200, b"{}")


@pytest.fixture
async def comms() -> AsyncIterator[MinerComms]:
    async with MinerComms(settings_for_miners(), "0.25", LocalSigner()) as client:
        yield client


async def scripted(
    comms: MinerComms, *answers: Scripted, signer: LocalSigner | None = None, **options: str
) -> ScriptedHttp:
    """Put a miner in memory behind the client."""
    http = ScriptedHttp(*answers, **options)
    await comms.close()
    comms._http = http
    comms._sessions = MinerSessions(http, signer or LocalSigner(), session_hours=2.0)
    return http


class Colour(Enum):
    RED = "red"


@dataclass
class Pair:
    left: int
    right: Path


class Point(msgspec.Struct):
    x: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 1, 2, tzinfo=UTC), '"2026-01-02T00:00:00+00:00"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (b"\x00\xff", '"AP8="'),
        (Path("a/b"), '"a/b"'),
        (Decimal("1.10"), '"1.10"'),
        (UUID(int=0), '"00000000-0000-0000-0000-000000000000"'),
        (Colour.RED, '"red"'),
        ({2, 1}, "[1, 2]"),
        (Pair(1, Path("c")), '{"left": 1, "right": "c"}'),
        (Point(1), '{"x": 1}'),
    ],
)
def test_serializer_knows_what_requests_hold(value: object, text: str) -> None:
    assert json.dumps(value, default=custom_serializer) == text


def test_serializer_refuses_what_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="object is not JSON"):
        json.dumps(object(), default=custom_serializer)


async def test_request_names_time_validator_and_expected_miner(comms: MinerComms) -> None:
    http = await scripted(comms, {"status": "fetch_accepted", "job_id": "j"})

    await comms.request_forecast(a_neuron("5Miner"), INIT_TIME)

    assert http.bodies[0]["data"] == {
        "forecast_start_time": "2026-03-25T00:00:00+00:00",
        "previous_step_time": "2026-03-24T18:00:00+00:00",
        "validator_hotkey": LocalSigner().keypair.ss58_address,
        "expected_miner_hotkey": "5Miner",
    }


@pytest.mark.parametrize(
    ("reply", "accepted"),
    [
        ({"status": "fetch_accepted", "job_id": "j"}, True),
        ({"status": "completed", "job_id": "j", "zarr_store_url": "/forecasts/a"}, True),
        ({"status": "fetch_rejected", "message": "busy"}, False),
        ({"status": "error"}, False),
        ({"status": "fetch_accepted", "job_id": "j", "actual_hotkey": "5Other"}, False),
    ],
)
async def test_offer_is_accepted_only_by_the_miner_asked(
    comms: MinerComms, reply: dict[str, str], accepted: bool
) -> None:
    await scripted(comms, reply)

    assert (await comms.request_forecast(a_neuron("5Miner"), INIT_TIME)).accepted is accepted


async def test_acceptance_without_a_job_is_the_miners_fault(comms: MinerComms) -> None:
    await scripted(comms, {"status": "fetch_accepted"})

    with pytest.raises(MinerFault, match="without a job id"):
        await comms.request_forecast(a_neuron("5Miner"), INIT_TIME)


@pytest.mark.parametrize("status", ["processing", "received", "running_inference", "not_found", "new word"])
async def test_job_that_has_not_failed_is_waited_for(comms: MinerComms, status: str) -> None:
    await scripted(comms, {"status": status})

    assert await comms.forecast_ready(a_neuron("5Miner"), JOB) is False


@pytest.mark.parametrize("status", ["failed", "error", "fetch_error", "input_hash_mismatch"])
async def test_job_that_failed_is_the_miners_fault(comms: MinerComms, status: str) -> None:
    await scripted(comms, {"status": status, "message": "why"})

    with pytest.raises(MinerFault, match=f"{status}: why"):
        await comms.forecast_ready(a_neuron("5Miner"), JOB)


async def test_server_errors_are_counted_in_a_row(comms: MinerComms) -> None:
    broken = Reply(500, b"")
    await scripted(comms, broken, broken, {"status": "running"}, broken, broken, broken)
    outcomes: list[bool | type[Exception]] = []

    for _ in range(6):
        try:
            outcomes.append(await comms.forecast_ready(a_neuron("5Miner"), JOB))
        except (MinerFault, MinerUnreachable) as error:
            outcomes.append(type(error))

    passing, final = MinerUnreachable, JobFailed
    assert outcomes == [passing, passing, False, passing, passing, final]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"status": "processing"}, MinerUnreachable),
        ({"status": "error"}, MinerFault),
        ({"status": "completed"}, MinerFault),
    ],
)
async def test_store_that_is_not_complete_is_not_opened(
    comms: MinerComms, reply: dict[str, str], error: type[Exception]
) -> None:
    await scripted(comms, reply)

    with pytest.raises(error):
        await comms.open_store(a_neuron("5Miner"), JOB)


async def test_one_handshake_serves_many_calls_even_at_once(comms: MinerComms) -> None:
    http = await scripted(comms, *[{"status": "running"}] * 5)

    await asyncio.gather(*(comms.forecast_ready(a_neuron("5Miner"), JOB) for _ in range(5)))

    assert http.handshakes == 1


async def test_key_the_miner_lost_is_exchanged_anew_once(comms: MinerComms) -> None:
    http = await scripted(comms, *[{"status": "running"}] * 2)
    await comms.forecast_ready(a_neuron("5Miner"), JOB)
    http.keys.clear()

    assert await comms.forecast_ready(a_neuron("5Miner"), JOB) is False
    assert http.handshakes == 2


async def test_lost_connection_under_a_cached_key_is_tried_again_once(comms: MinerComms) -> None:
    http = await scripted(comms, {"status": "running"}, MinerUnreachable("reset"), {"status": "completed"})
    await comms.forecast_ready(a_neuron("5Miner"), JOB)

    assert await comms.forecast_ready(a_neuron("5Miner"), JOB) is True
    assert http.handshakes == 2


async def test_miner_that_forgets_every_key_is_unreachable(
    comms: MinerComms, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = await scripted(comms)
    monkeypatch.setattr(http, "accept_key", lambda headers, content: Reply(200, b"{}"))

    with pytest.raises(MinerUnreachable, match="just been given"):
        await comms.forecast_ready(a_neuron("5Miner"), JOB)


async def test_expired_key_is_not_used(comms: MinerComms) -> None:
    http = await scripted(comms, *[{"status": "running"}] * 2)
    comms._sessions = MinerSessions(http, LocalSigner(), session_hours=0.0)

    for _ in range(2):
        await comms.forecast_ready(a_neuron("5Miner"), JOB)

    assert http.handshakes == 2


@pytest.mark.parametrize(
    "pem",
    [
        "junk",
        pem_of(ec.generate_private_key(ec.SECP256R1())),
        pem_of(rsa.generate_private_key(65537, 1024)),
        pem_of_numbers(NUMBERS.n - 1, NUMBERS.e),
        pem_of_numbers(NUMBERS.n, (1 << 2000) + 1),
        pem_of_numbers((1 << 2047) + 1, (1 << 33) + 1),
    ],
    ids=["junk", "elliptic", "short", "even modulus", "great exponent", "exponent of 34 bits"],
)
async def test_public_key_that_is_none_of_ours_is_the_miners_fault(comms: MinerComms, pem: str) -> None:
    await scripted(comms, pem=pem)

    with pytest.raises(MinerFault, match="public key"):
        await comms.forecast_ready(a_neuron("5Miner"), JOB)


async def test_error_of_a_handshake_that_nobody_foresaw_is_the_miners(
    comms: MinerComms, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(pem: bytes) -> None:
        raise OverflowError("int too large")

    await scripted(comms)
    monkeypatch.setattr(session, "load_pem_public_key", broken)
    before = UNFORESEEN[Party.MINER]

    with pytest.raises(MinerUnreachable, match="handshake: OverflowError"):
        await comms.forecast_ready(a_neuron("5Miner"), JOB)
    assert UNFORESEEN[Party.MINER] == before + 1


class SlowSigner(LocalSigner):
    """Is silent for a while before its first answer."""

    def __init__(self, silence_s: float) -> None:
        super().__init__()
        self.silence_s = silence_s

    async def sign_auth(self, miner_hotkey: str, symmetric_key_uuid: str) -> AuthSigned:
        silence_s, self.silence_s = self.silence_s, 0.0
        await asyncio.sleep(silence_s)
        return await super().sign_auth(miner_hotkey, symmetric_key_uuid)


@pytest.mark.parametrize("calls", [1, 3])
async def test_silence_of_our_signer_costs_the_miner_nothing_of_its_time(calls: int) -> None:
    settings = settings_for_miners(miner_timeout_s=1.0)
    signer = SlowSigner(silence_s=1.5)
    async with MinerComms(settings, "0.25", signer) as comms:
        http = await scripted(comms, *[{"status": "completed"}] * calls, signer=signer)

        answers = await asyncio.gather(*(comms.forecast_ready(a_neuron("5Miner"), JOB) for _ in range(calls)))

    assert answers == [True] * calls
    assert http.handshakes == 1


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (OwnFailure("the signer is away"), OwnFailure),
        (DeadlineExceeded("the signer is silent"), DeadlineExceeded),
        (TimeoutError("an error nobody foresaw"), OwnFailure),
        (BrokenPipeError("an error nobody foresaw"), OwnFailure),
    ],
)
@pytest.mark.parametrize("has_key", [False, True], ids=["handshake", "call"])
async def test_failure_of_our_signer_is_never_the_miners(
    comms: MinerComms,
    failure: Exception,
    kind: type[Exception],
    has_key: bool,
) -> None:
    class BrokenSigner(LocalSigner):
        works = True

        async def sign_auth(self, miner_hotkey: str, symmetric_key_uuid: str) -> AuthSigned:
            if not self.works:
                raise failure
            return await super().sign_auth(miner_hotkey, symmetric_key_uuid)

    signer = BrokenSigner()
    await scripted(comms, *[{"status": "running"}] * 2, signer=signer)
    if has_key:
        await comms.forecast_ready(a_neuron("5Miner"), JOB)
    signer.works = False

    with pytest.raises(OwnFailure) as caught:
        await comms.forecast_ready(a_neuron("5Miner"), JOB)
    assert type(caught.value) is kind


async def test_nothing_is_remembered_of_addresses_that_are_no_longer_used(comms: MinerComms) -> None:
    http = await scripted(comms, *[{"status": "running"}] * 3)
    comms._sessions = MinerSessions(http, LocalSigner(), session_hours=0.0)

    for port in (1, 2, 3):
        await comms.forecast_ready(a_neuron("5Miner", port=port), JOB)

    assert [peer.base_url for peer in comms._sessions._sessions] == ["https://127.0.0.1:3"]
    assert len(comms._sessions._handshakes) == 0


def test_tally_forgets_what_was_unused_for_longest() -> None:
    tally: Tally[str] = Tally(capacity=2)
    for key in ("a", "b", "a", "c"):
        tally.add(key)

    assert [tally.total(key) for key in "abc"] == [2, 0, 1]
