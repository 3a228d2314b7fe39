"""The client's own decisions: what JSON holds, what is fetched, when a key is exchanged."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from gaia.tasks.defined_tasks.base import StoreAccess
from gaia.validator.core.miner_comms import MinerComms, custom_serializer
from gaia.validator.core.miner_download import Downloads
from gaia.validator.core.miner_http import MinerHttp, Reply
from gaia.validator.core.miner_session import MinerSessions, Peer
from gaia.validator.core.miner_tally import Tally
from gaia.validator.utils.errors import MinerFault, MinerUnreachable, TransientError
from tests.support.miners import INIT_TIME, LocalSigner, a_neuron, settings_for_miners

PEER = Peer("5Miner", "http://127.0.0.1:1")
ACCESS = StoreAccess(url_path="/forecasts/a.zarr", manifest_sha256="0" * 64, token="t")
RSA_KEY = rsa.generate_private_key(65537, 2048)


def pem_of(key) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


class ScriptedHttp(MinerHttp):
    """A miner in memory: holds symmetric keys, counts handshakes, answers calls with `answers`."""

    def __init__(self, *answers: dict | Reply | Exception, pem: str = pem_of(RSA_KEY)) -> None:
        self.answers = list(answers)
        self.pem = pem
        self.handshakes = 0
        self.keys: dict[str, Fernet] = {}
        self.bodies: list[dict] = []
        self.files: dict[str, bytes] = {}

    async def close(self) -> None:
        pass

    async def exchange(self, method, url, *, limit_bytes, headers=None, content=None, sink=None) -> Reply:
        await asyncio.sleep(0)
        if method == "GET" and "/forecasts/" in url:
            return self.serve(url, limit_bytes, sink)
        if method == "GET":
            return Reply(200, json.dumps({"public_key": self.pem, "timestamp": 1.0}).encode())
        if url.endswith("/exchange-symmetric-key"):
            return self.accept_key(headers, content)
        if headers["symmetric-key-uuid"] not in self.keys:
            return Reply(400, b'{"detail": "No symmetric key found for that hotkey and uuid"}')
        self.bodies.append(json.loads(self.keys[headers["symmetric-key-uuid"]].decrypt(content)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Reply) else Reply(200, json.dumps(answer).encode())

    def accept_key(self, headers, content) -> Reply:
        self.handshakes += 1
        encrypted = base64.b64decode(json.loads(content)["encrypted_symmetric_key"])
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        key = base64.b64encode(RSA_KEY.decrypt(encrypted, oaep))
        self.keys = {headers["symmetric-key-uuid"]: Fernet(key)}
        return Reply(200, b"{}")

    def serve(self, url, limit_bytes, sink) -> Reply:
        content = self.files.get(url.partition("/forecasts/a.zarr/")[2])
        if content is None:
            return Reply(404, b"")
        if len(content) > limit_bytes:
            raise MinerFault(f"body exceeds {limit_bytes} bytes")
        sink(content)
        return Reply(200, b"")


@pytest.fixture
async def comms() -> AsyncIterator[MinerComms]:
    async with MinerComms(settings_for_miners(), LocalSigner()) as client:
        yield client


async def scripted(comms: MinerComms, *answers: dict | Reply | Exception, **options) -> ScriptedHttp:
    """Put a miner in memory behind the client."""
    http = ScriptedHttp(*answers, **options)
    await comms.close()
    comms._http = http
    comms._sessions = MinerSessions(http, LocalSigner(), session_hours=2.0)
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
def test_serializer_knows_what_requests_hold(value, text):
    assert json.dumps(value, default=custom_serializer) == text


def test_serializer_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="object is not JSON"):
        json.dumps(object(), default=custom_serializer)


async def test_request_names_time_validator_and_expected_miner(comms):
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
async def test_offer_is_accepted_only_by_the_miner_asked(comms, reply, accepted):
    await scripted(comms, reply)

    assert (await comms.request_forecast(a_neuron("5Miner"), INIT_TIME)).accepted is accepted


async def test_acceptance_without_a_job_is_the_miners_fault(comms):
    await scripted(comms, {"status": "fetch_accepted"})

    with pytest.raises(MinerFault, match="without a job id"):
        await comms.request_forecast(a_neuron("5Miner"), INIT_TIME)


@pytest.mark.parametrize("status", ["processing", "received", "running_inference", "not_found", "new word"])
async def test_job_that_has_not_failed_is_waited_for(comms, status):
    await scripted(comms, {"status": status})

    assert await comms.forecast_ready(a_neuron("5Miner"), "j") is False


@pytest.mark.parametrize("status", ["failed", "error", "fetch_error", "input_hash_mismatch"])
async def test_job_that_failed_is_the_miners_fault(comms, status):
    await scripted(comms, {"status": status, "message": "why"})

    with pytest.raises(MinerFault, match=f"{status}: why"):
        await comms.forecast_ready(a_neuron("5Miner"), "j")


async def test_server_errors_are_counted_in_a_row(comms):
    broken = Reply(500, b"")
    await scripted(comms, broken, broken, {"status": "running"}, broken, broken, broken)
    outcomes = []

    for _ in range(6):
        try:
            outcomes.append(await comms.forecast_ready(a_neuron("5Miner"), "j"))
        except (MinerFault, MinerUnreachable) as error:
            outcomes.append(type(error))

    passing, final = MinerUnreachable, MinerFault
    assert outcomes == [passing, passing, False, passing, passing, final]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"status": "processing"}, MinerUnreachable),
        ({"status": "error"}, MinerFault),
        ({"status": "completed"}, MinerFault),
    ],
)
async def test_store_that_is_not_complete_is_not_opened(comms, reply, error):
    await scripted(comms, reply)

    with pytest.raises(error):
        await comms.open_store(a_neuron("5Miner"), "j")


async def test_one_handshake_serves_many_calls_even_at_once(comms):
    http = await scripted(comms, *[{"status": "running"}] * 5)

    await asyncio.gather(*(comms.forecast_ready(a_neuron("5Miner"), "j") for _ in range(5)))

    assert http.handshakes == 1


async def test_key_the_miner_lost_is_exchanged_anew_once(comms):
    http = await scripted(comms, *[{"status": "running"}] * 2)
    await comms.forecast_ready(a_neuron("5Miner"), "j")
    http.keys.clear()

    assert await comms.forecast_ready(a_neuron("5Miner"), "j") is False
    assert http.handshakes == 2


async def test_lost_connection_under_a_cached_key_is_tried_again_once(comms):
    http = await scripted(comms, {"status": "running"}, MinerUnreachable("reset"), {"status": "completed"})
    await comms.forecast_ready(a_neuron("5Miner"), "j")

    assert await comms.forecast_ready(a_neuron("5Miner"), "j") is True
    assert http.handshakes == 2


async def test_miner_that_forgets_every_key_is_unreachable(comms):
    http = await scripted(comms)
    http.accept_key = lambda headers, content: Reply(200, b"{}")

    with pytest.raises(MinerUnreachable, match="just been given"):
        await comms.forecast_ready(a_neuron("5Miner"), "j")


async def test_expired_key_is_not_used(comms):
    http = await scripted(comms, *[{"status": "running"}] * 2)
    comms._sessions = MinerSessions(http, LocalSigner(), session_hours=0.0)

    for _ in range(2):
        await comms.forecast_ready(a_neuron("5Miner"), "j")

    assert http.handshakes == 2


@pytest.mark.parametrize(
    "pem",
    [
        "junk",
        pem_of(ec.generate_private_key(ec.SECP256R1())),
        pem_of(rsa.generate_private_key(65537, 1024)),
    ],
    ids=["junk", "elliptic", "short"],
)
async def test_public_key_that_is_none_of_ours_is_the_miners_fault(comms, pem):
    await scripted(comms, pem=pem)

    with pytest.raises(MinerFault, match="public key"):
        await comms.forecast_ready(a_neuron("5Miner"), "j")


def downloads_of(files: dict[str, bytes], **settings) -> Downloads:
    http = ScriptedHttp()
    http.files = files
    return Downloads(http, asyncio.Semaphore(4), settings_for_miners(**settings))


async def test_downloads_count_only_what_was_missing(tmp_path):
    downloads = downloads_of({"2t/0": b"abc", "2t/1": b"defg"})
    (tmp_path / "2t").mkdir()
    (tmp_path / "2t/0").write_bytes(b"abc")

    assert await downloads.fetch(PEER, ACCESS, ["2t/0", "2t/1", "2t/1"], tmp_path) == 4
    assert (tmp_path / "2t/1").read_bytes() == b"defg"


async def test_downloads_beyond_the_budget_are_refused(tmp_path):
    downloads = downloads_of({"a": bytes(700_000), "b": bytes(700_000)}, miner_budget_mib=1)
    await downloads.fetch(PEER, ACCESS, ["a"], tmp_path)

    with pytest.raises(MinerFault, match="exceeds"):
        await downloads.fetch(PEER, ACCESS, ["b"], tmp_path)


async def test_download_with_nothing_left_of_the_budget_is_not_begun(tmp_path):
    downloads = downloads_of({"a": bytes(1 << 20), "b": b""}, miner_budget_mib=1)
    await downloads.fetch(PEER, ACCESS, ["a"], tmp_path)

    with pytest.raises(MinerFault, match="forecast exceeds 1 MiB"):
        await downloads.fetch(PEER, ACCESS, ["b"], tmp_path)


async def test_download_to_a_place_that_takes_no_files_is_not_the_miners_fault(tmp_path):
    (tmp_path / "2t").write_bytes(b"a file where a folder must be")

    with pytest.raises(TransientError, match="cannot be stored"):
        await downloads_of({"2t/0": b"abc"}).fetch(PEER, ACCESS, ["2t/0"], tmp_path)


async def test_download_does_not_leave_its_folder(tmp_path):
    with pytest.raises(MinerFault, match="not allowed"):
        await downloads_of({}).fetch(PEER, ACCESS, ["../x"], tmp_path)


def test_tally_forgets_what_was_unused_for_longest():
    tally: Tally[str] = Tally(capacity=2)
    for key in ("a", "b", "a", "c"):
        tally.add(key)

    assert [tally.total(key) for key in "abc"] == [2, 0, 1]
