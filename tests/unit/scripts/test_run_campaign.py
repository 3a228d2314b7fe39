"""The deck of faults: how it is made up, and that a cut commit is what it says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from campaigns.run import deck_of
from campaigns.run_faults.deck import CARDS
from campaigns.run_faults.service import ServedSubnet
from campaigns.run_faults.wire import moved, trapped

from gaia.localnet.children import Child, ChildFailed
from gaia.localnet.options import Options
from gaia.validator.utils.errors import ExitCode


def test_deck_has_each_kind_as_often_as_any_other_or_once_more() -> None:
    counts = Counter(deck_of(list(CARDS), 300, 7))

    assert set(counts) == set(CARDS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert min(counts.values()) >= 10


def test_deck_of_a_seed_is_always_the_same_and_of_another_is_not() -> None:
    assert deck_of(list(CARDS), 40, 1) == deck_of(list(CARDS), 40, 1)
    assert deck_of(list(CARDS), 40, 1) != deck_of(list(CARDS), 40, 2)


def message(text: bytes) -> bytes:
    return b"Q" + (len(text) + 5).to_bytes(4) + text + b"\0"


STARTUP = (8).to_bytes(4) + b"abcd"


class Server:
    """A server that answers every message with one byte, and keeps what it got."""

    def __init__(self) -> None:
        self.got = b""
        self.has_ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1000):
            self.got += piece
            writer.write(b".")
        writer.close()
        await writer.wait_closed()
        self.has_ended.set()


async def spoken(folder: Path, when: str, *texts: bytes) -> tuple[bytes, bytes, bool]:
    """Say `texts` through the proxy; return what the server got, what the client got, and whether a commit was met."""
    server = Server()
    listening = await asyncio.start_unix_server(server.serve, str(folder / ".s.PGSQL.5432"))

    async def on_commit(send: Callable[[], Awaitable[None]]) -> None:
        if when == "after":
            await send()

    dsn = f"postgresql://postgres@/postgres?host={folder}"
    async with trapped(dsn, on_commit) as met:
        reader, writer = await asyncio.open_unix_connection(str(folder / ".s.PGSQL.5432"))
        writer.write(STARTUP)
        answers = await reader.readexactly(1)
        for text in texts:
            writer.write(message(text))
            piece = await reader.read(1)
            answers += piece
            if not piece:
                break
        writer.close()
        await writer.wait_closed()
        await server.has_ended.wait()
        is_met = met.is_set()
    listening.close()
    return server.got, answers, is_met


@pytest.mark.parametrize(("when", "reaches"), [("before", False), ("after", True)])
async def test_commit_of_a_transaction_that_writes_is_cut(tmp_path: Path, when: str, reaches: bool) -> None:
    got, answers, is_met = await spoken(tmp_path, when, b"BEGIN;", b"COMMIT;")

    assert is_met
    assert answers == b".."
    assert (message(b"COMMIT;") in got) is reaches


async def test_commit_of_a_transaction_that_only_reads_passes(tmp_path: Path) -> None:
    got, answers, is_met = await spoken(tmp_path, "before", b"BEGIN READ ONLY;", b"COMMIT;")

    assert not is_met
    assert answers == b"..."
    assert message(b"COMMIT;") in got


async def test_socket_is_where_it_was_after_the_fault(tmp_path: Path) -> None:
    (tmp_path / ".s.PGSQL.5432").write_text("real")
    async with moved(f"postgresql://postgres@/postgres?host={tmp_path}"):
        assert not (tmp_path / ".s.PGSQL.5432").exists()

    assert (tmp_path / ".s.PGSQL.5432").read_text() == "real"


async def test_socket_of_a_server_that_started_meanwhile_stays(tmp_path: Path) -> None:
    (tmp_path / ".s.PGSQL.5432").write_text("old")
    async with moved(f"postgresql://postgres@/postgres?host={tmp_path}"):
        (tmp_path / ".s.PGSQL.5432").write_text("new")

    assert (tmp_path / ".s.PGSQL.5432").read_text() == "new"
    assert not (tmp_path / ".s.PGSQL.5433").exists()


class Ended:
    """A validator that has ended."""

    is_running = False

    def __init__(self, code: int) -> None:
        self.exit_code = code

    def obituary(self) -> str:
        return f"exit code {self.exit_code}"


@pytest.mark.parametrize("code", [ExitCode.CHAIN_UNREACHABLE, ExitCode.DATABASE_UNREACHABLE])
def test_validator_whose_start_found_others_away_is_started_again_and_counted(
    code: ExitCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subnet = ServedSubnet(tmp_path, Options(), {})
    started: list[None] = []
    subnet.validator = cast("Child", Ended(code))

    def start() -> None:
        subnet.validator = None
        started.append(None)

    monkeypatch.setattr(subnet, "start_validator", start)
    subnet.check()

    assert (len(started), subnet.started_again) == (1, Counter({int(code): 1}))


@pytest.mark.parametrize("code", [ExitCode.BAD_SETTING, ExitCode.CRASH, ExitCode.CRASH_LOOP, ExitCode.OK, -9])
def test_validator_that_a_person_must_look_after_ends_the_campaign(code: int, tmp_path: Path) -> None:
    subnet = ServedSubnet(tmp_path, Options(), {})
    subnet.validator = cast("Child", Ended(code))

    with pytest.raises(ChildFailed, match=f"exit code {int(code)}"):
        subnet.check()

    assert not subnet.started_again
