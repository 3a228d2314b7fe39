"""The hotkey's address is read from its public file, never from the secret one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gaia.localnet.wallets import VALIDATOR_URI, write_hotkey
from gaia.validator.app.startup.banner import public_hotkey


def test_address_is_that_of_the_public_file(tmp_path: Path) -> None:
    address = write_hotkey(tmp_path, "me", "key", VALIDATOR_URI)
    (tmp_path / "me" / "hotkeys" / "keypub.txt").write_text(json.dumps({"ss58Address": address}))

    assert public_hotkey(tmp_path / "me" / "hotkeys" / "key") == address


def test_secret_file_alone_is_not_opened(tmp_path: Path) -> None:
    write_hotkey(tmp_path, "me", "key", VALIDATOR_URI)

    assert public_hotkey(tmp_path / "me" / "hotkeys" / "key") == ""


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"ss58Address": 3}', '{"ss58Address": "not one\\n"}'])
def test_public_file_without_an_address_is_none(tmp_path: Path, content: str) -> None:
    write_hotkey(tmp_path, "me", "key", VALIDATOR_URI)
    (tmp_path / "me" / "hotkeys" / "keypub.txt").write_text(content)

    assert public_hotkey(tmp_path / "me" / "hotkeys" / "key") == ""
