"""Authenticates validators: handshake, signed headers, tokens, certificate."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bittensor_core
import jwt
from cryptography import x509
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from gaia.tasks.defined_tasks.weather.wire.messages import NO_SYMMETRIC_KEY, NONCE_TOLERANCE_S

_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_KEY_BYTES = 32


class RefusedError(Exception):
    """The request is answered with an error status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Caller:
    """A validator with valid signed headers."""

    hotkey: str
    key_uuid: str


class Nonces:
    """Remembers the nonces of the last minutes, so that each is used only once."""

    def __init__(self, tolerance_s: float = NONCE_TOLERANCE_S) -> None:
        self._tolerance_ns = int(tolerance_s * 1e9)
        self._seen: dict[str, int] = {}

    def accept(self, nonce: str, now_ns: int) -> bool:
        """Remember `nonce` ("<time_ns>_<random>"); return whether it is recent and unused."""
        stamp, _, _ = nonce.partition("_")
        if not stamp.isascii() or not stamp.isdigit() or len(nonce) > 64:
            return False
        if abs(now_ns - int(stamp)) > self._tolerance_ns or nonce in self._seen:
            return False
        self._seen = {old: at for old, at in self._seen.items() if now_ns - at <= self._tolerance_ns}
        self._seen[nonce] = int(stamp)
        return True


class Sessions:
    """The RSA key of this process, and the symmetric keys that validators encrypted with it."""

    def __init__(self, private_key: rsa.RSAPrivateKey | None = None, hours: float = 5.0) -> None:
        self._private_key = private_key or rsa.generate_private_key(65537, 2048)
        self._lifetime_s = hours * 3600.0
        self._keys: dict[Caller, tuple[Fernet, float]] = {}
        self._nonces = Nonces()

    @property
    def public_pem(self) -> str:
        """The RSA public key as PEM SubjectPublicKeyInfo."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._private_key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """Check the signed headers of a request (protocol.md, 2.3).

        Raises
        ------
        RefusedError
            401, if the nonce is old or used, or the signature is wrong.
        """
        hotkey, uuid = headers.get("validator-hotkey", ""), headers.get("symmetric-key-uuid", "")
        nonce, miner = headers.get("nonce", ""), headers.get("miner-hotkey", "")
        if not _is_genuine(f"{nonce}:{miner}:{uuid}", headers.get("signature", ""), hotkey):
            raise RefusedError(401, "Oi, invalid signature")
        if not self._nonces.accept(nonce, time.time_ns()):
            raise RefusedError(401, "Oi, that nonce is not valid!")
        return Caller(hotkey, uuid)

    def exchange(self, caller: Caller, encrypted_symmetric_key: str) -> None:
        """Store the symmetric key that `caller` encrypted with our public key.

        Raises
        ------
        RefusedError
            400, if it is not a valid key.
        """
        try:
            key = self._private_key.decrypt(base64.b64decode(encrypted_symmetric_key, validate=True), _OAEP)
        except ValueError as error:
            raise RefusedError(400, "Symmetric key cannot be decrypted") from error
        if len(key) != _KEY_BYTES:
            raise RefusedError(400, "Symmetric key must have 32 bytes")
        now = time.monotonic()
        self._keys = {known: held for known, held in self._keys.items() if held[1] > now}
        self._keys[caller] = (Fernet(base64.urlsafe_b64encode(key)), now + self._lifetime_s)

    def decrypt(self, caller: Caller, content: bytes) -> bytes:
        """Return the decrypted content from `caller`.

        Raises
        ------
        RefusedError
            400, if its key is unknown, expired or wrong.
        """
        fernet, expires_at = self._keys.get(caller, (None, 0.0))
        if fernet is None or time.monotonic() >= expires_at:
            raise RefusedError(400, NO_SYMMETRIC_KEY)
        try:
            return fernet.decrypt(content)
        except InvalidToken as error:
            raise RefusedError(400, "Body cannot be decrypted") from error


def issue_token(secret: str, job_id: str, store_name: str, minutes: float) -> str:
    """Return a JWT that lets its bearer read one store for `minutes`."""
    expires_at = int(time.time() + minutes * 60)
    claims = {"job_id": job_id, "file_path": store_name, "exp": expires_at}
    return jwt.encode(claims, secret, algorithm="HS256")


def require_token(secret: str, token: str, path: str) -> None:
    """Check that `token` permits reading `path`.

    Raises
    ------
    RefusedError
        401, if it is missing, forged or expired; 403, if it is for another store.
    """
    try:
        options = {"require": ["exp", "file_path"]}
        claims = jwt.decode(token, secret, algorithms=["HS256"], options=options)  # type: ignore[arg-type]
    except jwt.InvalidTokenError as error:
        raise RefusedError(401, "Token is missing, invalid or expired") from error
    store = str(claims["file_path"])
    if not store or (path != store and not path.startswith(f"{store}/")):
        raise RefusedError(403, "Token is not for this path")


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate; return the paths of certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gaia-miner")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=3650))
    certificate = builder.sign(key, hashes.SHA256())
    directory.mkdir(parents=True, exist_ok=True)
    certificate_file, key_file = directory / "miner.crt", directory / "miner.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate_file, key_file


def _is_genuine(message: str, signature: str, hotkey: str) -> bool:
    try:
        return bool(
            bittensor_core.verify(message.encode(), bytes.fromhex(signature.removeprefix("0x")), hotkey)
        )
    except ValueError:
        return False
