"""An Alertmanager with the routes of monitoring/alertmanager.yml, and a webhook that notes what arrives."""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from monitored.programs import ROOT, Server, free_port

NEWEST = b"9999.0.0"
SAMPLE = ROOT / "monitoring" / "alertmanager.yml"
_WAITS = re.compile(r"^( +)(group_wait|group_interval|repeat_interval): .*$", re.MULTILINE)
_SHORT = {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
_INHIBITION = re.compile(r"^inhibit_rules:\n(?:[ #].*\n)+", re.MULTILINE)
_SECRETS = re.compile(r"^ +http_config:\n +authorization:\n +credentials_file: .*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An alert that reached the webhook."""

    at: float
    """Time in Unix seconds."""
    receiver: str
    name: str
    labels: dict[str, str]
    is_firing: bool


class Webhook:
    """Notes every alert that is posted to it; used as a context."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        arrivals = self.arrivals

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in told["alerts"]:
                    arrivals.append(
                        Arrival(
                            at=time.time(),
                            receiver=self.path.strip("/"),
                            name=alert["labels"]["alertname"],
                            labels=alert["labels"],
                            is_firing=alert["status"] == "firing",
                        )
                    )
                self.send_response(200)
                self.end_headers()

            def do_GET(self) -> None:
                """Name a release newer than any, as an address of releases does."""
                self.send_response(200)
                self.end_headers()
                self.wfile.write(NEWEST)

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Alertmanager(Server):
    """Sends to `webhook` by the routes of the sample, at once and without inhibition."""

    def __init__(self, folder: Path, webhook: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "alertmanager.yml").write_text(routes_to(webhook))
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        super().__init__(
            "prometheus-alertmanager",
            folder,
            [
                "--config.file=alertmanager.yml",
                f"--web.listen-address={self.address}",
                # Alone: without it a port of the host is opened for others of its kind.
                "--cluster.listen-address=",
                "--storage.path=data",
            ],
            port,
            "/-/ready",
        )


def routes_to(webhook: str) -> str:
    """Return the sample with the address of a webhook, no token, no wait and no inhibition."""
    text = _SECRETS.sub("", SAMPLE.read_text()).replace("127.0.0.1:9096", webhook)
    text = _INHIBITION.sub("", text)
    return _WAITS.sub(lambda found: f"{found[1]}{found[2]}: {_SHORT[found[2]]}", text)
