"""Miners that attack the validator itself: each sends one thing that an honest server never sends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.responses import JSONResponse, Response, StreamingResponse

from gaia.localnet.miners.local_miner import LocalMiner, World
from gaia.localnet.miners.tls_breaker import TlsBreaker
from gaia.localnet.options import MINER_TIMEOUT_S
from gaia.localnet.population import Behaviour, MinerSpec
from gaia.tasks.defined_tasks.weather.wire.manifest import MANIFEST_NAME, SIGNATURE_NAME
from gaia.tasks.defined_tasks.weather.wire.messages import INITIATE_PATH, POLL_PATH, STORE_PATH

if TYPE_CHECKING:
    from starlette.requests import Request

    from gaia.miner.inference import ForecastModel

PADDED_BYTES = int(7.8 * 1024 * 1024)
DRIP_S = 0.8 * MINER_TIMEOUT_S
"""Seconds that a drip miner takes for each call and each file."""
_DROPS = 40
_RSA_BITS = 2048
_CHUNK = re.compile(r"/(\d+)(?:\.\d+)+\Z")
_LAST_TRUE_LEAD_H = 72


class RedirectingMiner(LocalMiner):
    """Answers every request with a redirect to an unusable address."""

    location: ClassVar[str] = "javascript:1"

    async def before(self, request: Request) -> Response | None:
        return Response(status_code=302, headers={"Location": self.location})


class IdnaRedirectingMiner(RedirectingMiner):
    """Redirects to a host whose name claims an encoding that it does not have."""

    location = "http://xn--/"


class NoTlsMiner(LocalMiner):
    """Completes the TLS handshake, then sends bytes that are not a TLS record."""

    broken: ClassVar[re.Pattern[str]] = re.compile("")
    """Paths that are answered like this; all others are answered honestly."""

    def __init__(self, spec: MinerSpec, world: World, model: ForecastModel) -> None:
        super().__init__(spec, world, model)
        self._breaker = TlsBreaker(self.broken)

    async def serve(
        self, host: str, port: int = 0, *, certificate: tuple[Path, Path] | None = None
    ) -> tuple[str, int]:
        behind = await super().serve(host)
        return await self._breaker.start(host, port, certificate, behind)

    async def stop(self) -> None:
        await self._breaker.stop()
        await super().stop()


class NoTlsChunksMiner(NoTlsMiner):
    """Behaves honestly until its chunks are fetched."""

    broken = _CHUNK


class EvenKeyMiner(LocalMiner):
    """Publishes a key that cannot encrypt anything."""

    async def public_key(self, request: Request) -> Response:
        numbers = rsa.RSAPublicNumbers(65537, 1 << (_RSA_BITS - 1))
        pem = numbers.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return JSONResponse({"public_key": pem.decode(), "timestamp": 0.0})


class PaddedManifestMiner(LocalMiner):
    """Signs a manifest that consists mostly of spaces."""

    def write_store(self, init_time: datetime) -> str:
        super().write_store(init_time)
        directory = self.store_directory(init_time)
        padded = (directory / MANIFEST_NAME).read_bytes().ljust(PADDED_BYTES)
        (directory / SIGNATURE_NAME).write_bytes(self.sign(padded))
        (directory / MANIFEST_NAME).write_bytes(padded)
        return sha256(padded).hexdigest()


class DrippingMiner(LocalMiner):
    """Sends each answer as slowly as the validator allows.

    From the fourth day on it serves other bytes than it committed to. Its forecast then scores
    nothing, whether or not a busy machine makes it miss a deadline.
    """

    async def before(self, request: Request) -> Response | None:
        if request.url.path in (INITIATE_PATH, POLL_PATH, STORE_PATH):
            await asyncio.sleep(DRIP_S)
        return None

    async def read_file(self, path: str) -> bytes | None:
        content = await super().read_file(path)
        chunk = _CHUNK.search(path)
        if content is None or chunk is None:
            return content
        lead = self.options.step_hours * (int(chunk[1]) + 1)
        return content if lead <= _LAST_TRUE_LEAD_H else content[::-1]

    async def file_response(self, request: Request, path: str) -> Response:
        content = await self.read_file(path)
        if content is None:
            return await super().file_response(request, path)
        # Manifest and signature are fetched within one deadline.
        shares = 2 if path.endswith((MANIFEST_NAME, SIGNATURE_NAME)) else 1
        return StreamingResponse(
            _drops(content, DRIP_S / shares), headers={"Content-Length": str(len(content))}
        )


async def _drops(content: bytes, seconds: float) -> AsyncIterator[bytes]:
    size = -(-len(content) // _DROPS)
    for start in range(0, len(content), size):
        await asyncio.sleep(seconds / _DROPS)
        yield content[start : start + size]


HOSTILE_MINERS: Mapping[Behaviour, type[LocalMiner]] = {
    Behaviour.BAD_REDIRECT: RedirectingMiner,
    Behaviour.IDNA_REDIRECT: IdnaRedirectingMiner,
    Behaviour.NO_TLS: NoTlsMiner,
    Behaviour.NO_TLS_CHUNKS: NoTlsChunksMiner,
    Behaviour.EVEN_KEY: EvenKeyMiner,
    Behaviour.PADDED_MANIFEST: PaddedManifestMiner,
    Behaviour.DRIP: DrippingMiner,
}
