"""Real signer processes, each with a socket that outlives it."""

from __future__ import annotations

import multiprocessing
import socket
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from gaia.localnet.wallets import VALIDATOR_URI, write_hotkey
from gaia.validator.app.chain_signer import run_chain_signer
from gaia.validator.utils.config import Settings


class SignerProcess:
    """A listening socket that outlives the signer, as the Supervisor keeps it, and signers upon it."""

    def __init__(self, tmp_path: Path) -> None:
        self._tmp_path = tmp_path
        self.path = tmp_path / "signer.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self.process: BaseProcess | None = None

    def start(self, url: str, uri: str = VALIDATOR_URI, **changes: Any) -> BaseProcess:
        write_hotkey(self._tmp_path / "wallets", "validator", "default", uri)
        values: dict[str, Any] = {
            "chain_endpoint": url,
            "chain_timeout_s": 10.0,
            "wallet_name": "validator",
            "wallet_path": self._tmp_path / "wallets",
            "data_dir": self._tmp_path / "data",
        }
        self.process = multiprocessing.get_context("spawn").Process(
            target=run_chain_signer, args=(Settings(**values | changes), self._listener)
        )
        self.process.start()
        return self.process

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.join()

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.join(5)
        self.kill()
        self._listener.close()
