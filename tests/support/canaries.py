"""Canaries: secrets that stand for real ones, found again in any output and in any form."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from urllib.parse import quote, quote_plus

from gaia.validator.utils.config import Settings, is_secret

SPECIAL = "/+"
"""Signs that an address writes otherwise."""


def canary(name: str) -> str:
    """Return the secret that stands for `name`; it is the same in each run and occurs nowhere else."""
    return f"Canary{SPECIAL}{hashlib.sha256(name.encode()).hexdigest()[:20]}"


def secret_settings() -> list[str]:
    """Return the fields of the settings that hold a secret."""
    return [name for name in Settings.model_fields if is_secret(name)]


def values_of_secret_settings(database: str) -> dict[str, str]:
    """Return field -> value with its canary for each secret setting, also for those added later.

    Parameters
    ----------
    database
        Address of a database without a password; "{password}" is where it goes.
    """
    values = {}
    for name in secret_settings():
        if name == "database_url":
            values[name] = database.format(password=quote(canary(name), safe=""))
        elif name.endswith(("_url", "_urls")):
            scheme = "json" if name.endswith("s") else "http"
            values[name] = f"{scheme}://operator:{quote(canary(name), safe='')}@127.0.0.1:9/"
        else:
            values[name] = canary(name)
    return values


def forms(secret: str) -> dict[bytes, str]:
    """Return each form of a secret and its name: plain, in an address, in base64 at any place of a longer text."""
    found = {secret.encode(): "plain", quote(secret, safe="").encode(): "in an address"}
    found |= {quote(secret).encode(): "in an address", quote_plus(secret).encode(): "in an address"}
    found[secret.encode("unicode_escape").replace(b"/", rb"\/")] = "in JSON"
    for before in range(3):
        text = b"\0" * before + secret.encode()
        text = text[: len(text) // 3 * 3]
        # The first letters depend on what stands before the secret.
        for code in (base64.b64encode, base64.urlsafe_b64encode):
            found[code(text)[4 if before else 0 :]] = "in base64"
    return found


def leaks(outputs: Iterable[tuple[str, bytes]], secrets: Mapping[str, str]) -> list[str]:
    """Return a sentence for each secret that an output holds."""
    wanted = [(name, form, how) for name, secret in secrets.items() for form, how in forms(secret).items()]
    return sorted(
        {
            f"{where} holds {name} {how}"
            for where, content in outputs
            for name, form, how in wanted
            if form in content
        }
    )


def members_of(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file in a compressed archive."""
    with tarfile.open(fileobj=BytesIO(archive.read_bytes())) as opened:
        for entry in opened.getmembers():
            file = opened.extractfile(entry)
            if file is not None:
                yield f"{archive.name}/{entry.name}", file.read()
