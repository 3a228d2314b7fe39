"""What is fetched, what it may cost, and whose fault it is when it fails."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from gaia.miner.sessions import write_certificate
from gaia.tasks.defined_tasks.base import StoreAccess
from gaia.tasks.defined_tasks.weather.wire.store_layout import chunk_max_bytes
from gaia.validator.core.miners.download import Downloads
from gaia.validator.core.miners.http import MinerHttp
from gaia.validator.core.miners.session import Peer
from gaia.validator.utils.errors import MinerFault, MinerUnreachable, OwnFailure
from gaia.validator.utils.identities import Hotkey
from tests.support.liars import Answer, beneath_tls, liar
from tests.support.miners import settings_for_miners

ACCESS = StoreAccess(url_path="/forecasts/a.zarr", manifest_sha256="0" * 64, token="t")
HOTKEY = Hotkey("5Miner")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


def serving(files: dict[str, bytes]) -> Answer:
    """Answers for the last part of the path, in whichever store."""

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        content = files[head.split(b" ")[1].decode().partition(".zarr/")[2]]
        writer.write(OK % len(content) + content)

    return answer


class Fetching:
    """Calling it downloads from a server of its own into one folder."""

    def __init__(self, folder: Path) -> None:
        self.clients: list[MinerHttp] = []
        self.downloads: list[Downloads] = []
        self._folder = folder

    async def __call__(
        self,
        answer: Answer,
        paths: list[str],
        access: StoreAccess = ACCESS,
        certificate: tuple[Path, Path] | None = None,
        grid: str = "0.25",
        **settings: Any,
    ) -> int:
        if not self.downloads:
            chosen = settings_for_miners(**settings)
            self.clients.append(MinerHttp(chosen.miner_timeout_s, chosen.miner_min_rate_kib_s))
            self.downloads.append(Downloads(self.clients[0], chosen, grid))
        async with liar(answer, certificate) as url:
            return await self.downloads[0].fetch(Peer(HOTKEY, url), access, paths, self._folder)


@pytest.fixture
async def fetching(tmp_path: Path) -> AsyncIterator[Fetching]:
    fetching = Fetching(tmp_path / "spool")
    yield fetching
    for client in fetching.clients:
        await client.close()


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let the kernel refuse to write any file beyond `size`."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_only_what_was_missing_is_fetched_and_counted(fetching: Fetching, tmp_path: Path) -> None:
    (tmp_path / "spool/2t").mkdir(parents=True)
    (tmp_path / "spool/2t/0").write_bytes(b"abc")

    size = await fetching(serving({"2t/1": b"defg"}), ["2t/0", "2t/1", "2t/1"])

    assert size == 4
    assert (tmp_path / "spool/2t/1").read_bytes() == b"defg"


async def test_forecast_costs_no_more_than_the_budget_however_often_its_address_changes(
    fetching: Fetching,
) -> None:
    files = {"a": bytes(700_000), "b": bytes(700_000)}
    elsewhere = StoreAccess(url_path="/forecasts/b.zarr", manifest_sha256="0" * 64, token="t")
    await fetching(serving(files), ["a"], miner_budget_mib=1)

    with pytest.raises(MinerFault, match="exceeds"):
        await fetching(serving(files), ["b"], elsewhere)


async def test_download_with_nothing_left_of_the_budget_is_not_begun(fetching: Fetching) -> None:
    await fetching(serving({"a": bytes(1 << 20)}), ["a"], miner_budget_mib=1)

    with pytest.raises(MinerFault, match="forecast exceeds 1 MiB"):
        await fetching(serving({"b": b""}), ["b"])


@pytest.mark.parametrize(
    ("path", "limit"),
    [("2t/0.0.0", chunk_max_bytes("1.0")), ("2t/.zarray", 64 * 1024)],
)
async def test_file_is_no_larger_than_the_contract_allows(fetching: Fetching, path: str, limit: int) -> None:
    whole = await fetching(serving({path: bytes(limit)}), [path], grid="1.0")

    with pytest.raises(MinerFault, match=f"exceeds {limit}"):
        await fetching(serving({f"x/{path}": bytes(limit + 1)}), [f"x/{path}"])
    assert whole == limit


async def test_download_does_not_leave_its_folder(fetching: Fetching) -> None:
    with pytest.raises(MinerFault, match="not allowed"):
        await fetching(serving({}), ["../x"])


async def test_place_that_takes_no_files_is_not_the_miners_fault(fetching: Fetching, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool/2t").write_bytes(b"a file where a folder must be")

    with pytest.raises(OwnFailure, match="cannot be stored"):
        await fetching(serving({"2t/0": b"abc"}), ["2t/0"])


@pytest.mark.parametrize("size", [70_000, 1_000_000], ids=["last piece", "first piece"])
async def test_disk_that_takes_no_more_is_not_the_miners_fault(
    fetching: Fetching, tmp_path: Path, size: int
) -> None:
    with pytest.raises(OwnFailure, match=r"0\.0 cannot be stored: File too large"), files_end_at(65_536):
        await fetching(serving({"0.0": bytes(size)}), ["0.0"])

    assert not list(tmp_path.rglob("*.part"))


async def test_what_our_disk_refused_is_not_charged_to_the_miner(fetching: Fetching) -> None:
    big = {"0.0": bytes(700_000)}
    for _ in range(3):
        with pytest.raises(OwnFailure), files_end_at(650_000):
            await fetching(serving(big), ["0.0"], miner_budget_mib=1)

    assert await fetching(serving(big), ["0.0"]) == 700_000


@pytest.mark.parametrize("said_before", [b"", OK % 100 + b"begun"], ids=["at once", "in the body"])
async def test_socket_error_is_never_our_disks(
    fetching: Fetching, tmp_path: Path, said_before: bytes
) -> None:
    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        if said_before:
            writer.write(said_before)
        beneath_tls(writer, b"this is no TLS record, by no means")
        await asyncio.Event().wait()

    with pytest.raises(MinerUnreachable, match="SSLError"):
        await fetching(answer, ["2t/0.0.0"], certificate=write_certificate(tmp_path / "tls"))

    assert not list(tmp_path.rglob("*.part"))


async def test_fault_of_the_miner_weighs_more_than_our_failure_in_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = Downloads(None, settings_for_miners(), "0.25")  # type: ignore[arg-type] # its lanes fetch nothing

    async def lane(*_: object) -> NoReturn:
        raise [OwnFailure("disk"), MinerFault("lie"), MinerUnreachable("silent")][next(order)]

    order = iter(range(3))
    monkeypatch.setattr(downloads, "_lane", lane)
    monkeypatch.setattr(downloads, "_concurrency", 3)

    with pytest.raises(MinerFault, match="lie"):
        await downloads.fetch(Peer(HOTKEY, ""), ACCESS, ["a"], tmp_path)


async def test_nothing_is_remembered_of_a_miner_that_is_not_being_spoken_to(fetching: Fetching) -> None:
    await fetching(serving({"a": b"a", "b": b"b"}), ["a", "b"])

    assert len(fetching.downloads[0]._per_miner) == 0
