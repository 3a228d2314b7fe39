"""The walls between processes, looked at from outside while a subnet runs."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gaia.localnet.options import Options, wallet_dir
from gaia.localnet.subnet import LocalSubnet
from tests.support.rehearsal import board_of, steps_done, until

NUMERICS = ("/numpy/", "/zarr/", "/xarray/", "/numcodecs/", "/eccodes")
NETWORK = ("/uvloop/", "/asyncpg/", "/httptools/")
SDK = ("/bittensor/",)
Running = tuple[dict[str, int], Path]


def libraries_of(pid: int) -> str:
    """Paths of everything that process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text()


def memory_of(pid: int) -> bytes:
    """All writable private memory of a process."""
    content = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in libraries_of(pid).splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw.p", line)
            if found is None or "[vvar]" in line:
                continue
            start, end = (int(text, 16) for text in found.groups())
            try:
                memory.seek(start)
                content += memory.read(end - start)
            except OSError:
                continue
    return bytes(content)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """Pids by role of a validator that has scored something, and where its wallet is."""
    state_dir = tmp_path_factory.mktemp("walls") / "state"
    async with LocalSubnet(state_dir, Options(miners=3)) as subnet:
        await subnet.start()
        await until(subnet, lambda progress: steps_done(progress) >= 12)
        board = board_of(subnet)
        assert subnet.validator is not None
        assert subnet.validator.pid is not None
        pids = {"supervisor": subnet.validator.pid, **board.processes}
        yield pids | {"compute_worker": next(iter(board.workers.values()))}, state_dir


@pytest.mark.asyncio(loop_scope="module")
async def test_supervisor_and_engine_have_no_numerics_in_memory(running: Running) -> None:
    pids, _ = running

    for role in ("supervisor", "io_engine", "chain_signer"):
        assert not [name for name in NUMERICS if name in libraries_of(pids[role])], role


@pytest.mark.asyncio(loop_scope="module")
async def test_workers_have_no_network_library_in_memory(running: Running) -> None:
    pids, _ = running

    for role in ("supervisor", "compute_worker"):
        assert not [name for name in NETWORK if name in libraries_of(pids[role])], role
    assert "/numpy/" in libraries_of(pids["compute_worker"])


@pytest.mark.asyncio(loop_scope="module")
async def test_key_is_in_the_memory_of_the_signer_and_of_nobody_else(running: Running) -> None:
    pids, state_dir = running
    (key_file,) = [path for path in wallet_dir(state_dir).rglob("hotkeys/default") if path.is_file()]
    wallet = json.loads(key_file.read_text())
    private = bytes.fromhex(wallet["privateKey"].removeprefix("0x"))
    secrets = [private[:32], wallet["privateKey"].removeprefix("0x")[:64].encode()]

    holders = {role for role, pid in pids.items() if any(s in memory_of(pid) for s in secrets)}

    assert holders == {"chain_signer"}
