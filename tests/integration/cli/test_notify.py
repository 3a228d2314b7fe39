"""`gaia notify test` and `gaia doctor --only notify` against webhooks on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from gaia.validator.utils.errors import ExitCode
from tests.support.patience import patience
from tests.support.repository import ROOT
from tests.support.webhooks import webhook


class Answer(NamedTuple):
    exit_code: int
    out: str
    err: str


async def gaia(home: Path, *arguments: str, **settings: str) -> Answer:
    environment = os.environ | {"HOME": str(home), "PYTHONPATH": str(ROOT)} | settings
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gaia.cli", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment, cwd=home,
    )  # fmt: skip
    async with asyncio.timeout(patience(60)):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"hushhush" not in out + err
    return Answer(process.returncode, out.decode(), err.decode())


async def test_test_message_is_sent_to_each_address_and_what_became_of_it_is_printed(tmp_path: Path) -> None:
    async with webhook() as sound, webhook("500 No") as broken:
        addresses = f"{sound.address},{broken.address}"
        answer = await gaia(tmp_path, "notify", "test", GAIA_NOTIFY_URLS=addresses)

        assert answer.out.splitlines() == [
            "address 1: JSON took the message",
            "address 2: JSON refused the message",
        ]
        assert answer.exit_code == 1
        assert [each["title"] for each in sound.posted] == ["Gaia validator: test"]


async def test_all_that_took_it_is_success_in_json_too(tmp_path: Path) -> None:
    async with webhook() as hook:
        answer = await gaia(tmp_path, "notify", "test", "--json", GAIA_NOTIFY_URLS=hook.address)

    assert (answer.exit_code, json.loads(answer.out)) == (0, [{"service": "JSON", "failure": ""}])


@pytest.mark.parametrize("address", ["", "tlgram://hushhush/1", "hushhush"])
async def test_test_without_a_usable_address_ends_as_a_bad_setting(tmp_path: Path, address: str) -> None:
    answer = await gaia(tmp_path, "notify", "test", GAIA_NOTIFY_URLS=address)

    assert answer.exit_code == ExitCode.BAD_SETTING
    assert answer.err.startswith("GAIA_NOTIFY_URLS: ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("GAIA_NOTIFY_ALIVE_URL", "ftp://hushhush"), ("GAIA_NOTIFY_URLS", '[{"hushhush": 1}]')],
)
async def test_address_that_is_refused_is_not_repeated(tmp_path: Path, variable: str, value: str) -> None:
    answer = await gaia(tmp_path, "config", "show", **{variable: value})

    assert answer.exit_code == ExitCode.BAD_SETTING
    assert answer.err.startswith(f"{variable}: ")


async def test_doctor_names_the_services_and_asks_for_a_deadman_switch(tmp_path: Path) -> None:
    options = ("doctor", "--json", "--only", "notify", "--patience", "60")
    answer = await gaia(tmp_path, *options, GAIA_NOTIFY_URLS="ntfy://hushhush,json://127.0.0.1/hushhush")

    checks = {check["name"]: check for check in json.loads(answer.out)["checks"]}
    assert checks["notify-urls"]["words"] == "messages go to ntfy, JSON"
    assert checks["notify-alive"]["result"] == "warning"
    assert checks["notify-alive"]["fix"][0]["variable"] == "GAIA_NOTIFY_ALIVE_URL"
