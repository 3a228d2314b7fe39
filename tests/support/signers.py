"""A real chain signer in a process of its own, which a test may kill."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from gaia.localnet.wallets import VALIDATOR_URI, write_hotkey
from gaia.validator.app.chain_signer import run_chain_signer
from gaia.validator.app.child import boot
from gaia.validator.utils.config import Settings
from gaia.validator.utils.entry_points import SIGNER
from tests.support.patience import patience


def _as_child(*arguments: Any) -> None:
    boot(SIGNER, os.getppid(), None, b"", arguments)


class SignerProcess:
    """A listening socket that outlives the signer, as the Supervisor keeps it, and signers upon it."""

    def __init__(self, tmp_path: Path) -> None:
        self._tmp_path = tmp_path
        self.path = tmp_path / "signer.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self.process: BaseProcess | None = None

    def start(
        self, url: str, uri: str = VALIDATOR_URI, *, as_child: bool = False, **changes: Any
    ) -> BaseProcess:
        """Start the signer; `as_child`: as the Supervisor does, so that an error becomes an exit code."""
        write_hotkey(self._tmp_path / "wallets", "validator", "default", uri)
        values: dict[str, Any] = {
            "chain_endpoint": url,
            "chain_timeout_s": patience(10.0),
            "wallet_name": "validator",
            "wallet_path": self._tmp_path / "wallets",
            "data_dir": self._tmp_path / "data",
        }
        settings = Settings(**values | changes).signer
        arguments = (settings, self._listener)
        self.process = multiprocessing.get_context("spawn").Process(
            target=_as_child if as_child else run_chain_signer, args=arguments
        )
        self.process.start()
        return self.process

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.join()

    async def close(self) -> None:
        """Stop it; the loop goes on, so that a node of the test's own answers the signer's farewell."""
        if self.process is not None:
            self.process.terminate()
            await asyncio.to_thread(self.process.join, patience(5))
        self.kill()
        self._listener.close()
