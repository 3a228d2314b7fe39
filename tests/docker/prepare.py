"""Writes what a trial of docker-compose.yml needs into a folder; runs as root in the image `tools`.

The files belong to the user of the containers: the neurons of a local chain, and the secrets.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import sys
import uuid
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gaia.localnet.wallets import VALIDATOR_URI, write_hotkey

USER = 10001


def main(folder: Path) -> None:
    """Write everything below `folder`."""
    kept = folder / "secrets"
    kept.mkdir(exist_ok=True)
    address = write_hotkey(folder / "wallets", "default", "default", VALIDATOR_URI)
    (folder / "wallets/default/hotkeys/default").rename(kept / "gaia_hotkey")
    neuron = {
        "hotkey": address,
        "coldkey": address,
        "ip": "",
        "port": 0,
        "stake": 100_000.0,
        "validator_permit": True,
    }
    (folder / "neurons.json").write_text(json.dumps([neuron]))
    (kept / "gaia_cds_key").write_text(str(uuid.uuid4()))
    (kept / "gaia_database_password").write_text(secrets.token_hex(24))
    (kept / "grafana_admin_password").write_text(secrets.token_hex(24))
    certificate, key = self_signed("localhost")
    (kept / "tls_certificate.pem").write_bytes(certificate)
    (kept / "tls_key.pem").write_bytes(key)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, USER, USER)
        path.chmod(0o700 if path.is_dir() else 0o600)


def self_signed(name: str) -> tuple[bytes, bytes]:
    """Return a certificate for a host, valid for two days, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


if __name__ == "__main__":
    main(Path(sys.argv[1]))
