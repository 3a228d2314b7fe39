"""The services of a local subnet, whose archives and miners repeat our secrets, and note those that they were given.

As a program it takes the place of `gaia.localnet.services`.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from gaia.localnet import services
from gaia.localnet.archives import server as archive_server
from gaia.localnet.archives import troubles
from gaia.miner import server as miner_server
from gaia.miner.sessions import Caller, RefusedError, Sessions, issue_token, require_token
from tests.support.canaries import canary

NOTES: Final = "secrets-of-miners.jsonl"
"""File of the subnet's folder in which the miners note tokens and symmetric keys."""
ECHOES: Final = "echoes"
"""File of the subnet's folder in which the miners count how often they repeated a token."""
_MOST_ECHOES = 1


def _echoing_problem(title: str, detail: str) -> Response:
    key = canary("cds_key")
    echoed = f"{detail} Your key {key} ({quote(key, safe='')}, {base64.b64encode(key.encode()).decode()}) is known."
    return JSONResponse({"type": title, "title": title, "status": 403, "detail": echoed}, 403)


class _Noting:
    """What the miners do besides."""

    def __init__(self, state_dir: Path) -> None:
        self._notes = state_dir / NOTES
        self._echoes = state_dir / ECHOES
        self._echoed = 0

    def issue_token(self, *arguments: Any) -> str:
        token = issue_token(*arguments)
        self._note("token", token)
        return token

    def require_token(self, secret: str, token: str, path: str) -> None:
        """Refuse some requests, and repeat their token in the answer."""
        if self._echoed < _MOST_ECHOES:
            self._echoed += 1
            self._echoes.write_text(str(self._echoed))
            raise RefusedError(401, f"{token} is not accepted, access_token={token}")
        require_token(secret, token, path)

    def exchange(self, sessions: Sessions, caller: Caller, encrypted: str) -> None:
        exchange(sessions, caller, encrypted)
        key = sessions._private_key.decrypt(base64.b64decode(encrypted), miner_sessions_padding)
        self._note("symmetric key", key.hex())
        self._note("symmetric key", base64.b64encode(key).decode())

    def _note(self, kind: str, secret: str) -> None:
        with self._notes.open("a") as file:
            file.write(json.dumps([kind, secret]) + "\n")


exchange = Sessions.exchange
miner_sessions_padding = vars(sys.modules[Sessions.__module__])["_OAEP"]


def main() -> None:
    """Run one service as `gaia.localnet.services` does, with its changed behaviour."""
    state_dir = Path(sys.argv[sys.argv.index("--state") + 1])
    noting = _Noting(state_dir)
    vars(troubles)["_problem"] = _echoing_problem
    vars(archive_server)["_CDS_KEY"] = canary("cds_key")
    vars(miner_server)["issue_token"] = noting.issue_token
    vars(miner_server)["require_token"] = noting.require_token

    def noted(self: Sessions, caller: Caller, encrypted_symmetric_key: str) -> None:
        noting.exchange(self, caller, encrypted_symmetric_key)

    vars(miner_server)["Sessions"].exchange = noted
    services.main()


if __name__ == "__main__":
    main()
