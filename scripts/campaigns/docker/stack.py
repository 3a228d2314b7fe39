"""Starts docker-compose.yml on an engine, kills its containers, and looks at what is left; standard library only."""

from __future__ import annotations

import json
import re
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from campaigns.docker.engine import ROOT, Engine, EngineError, say, wait_for

PROJECT = "gaia-trial"
PORTS = {
    "VALIDATOR_PORT": 39090,
    "PROMETHEUS_PORT": 39095,
    "ALERTMANAGER_PORT": 39093,
    "PROXY_HTTPS_PORT": 38443,
    "PROXY_HTTP_PORT": 38080,
}
CORE = ("validator", "postgres")
EXTRA = ("prometheus", "alertmanager", "postgres-exporter", "redis", "nginx")
"""Services of the profiles, without Grafana, of which no stand-in can be made."""
_MARKS = 1000
_HEALTHY_S = 180.0
_ROWS = (
    "select coalesce(sum((xpath('/row/n/text()', query_to_xml(format('select count(*) as n from %I.%I', "
    "schemaname, tablename), false, true, '')))[1]::text::bigint), 0) from pg_tables "
    "where schemaname not in ('pg_catalog', 'information_schema')"
)


class Stack:
    """The services of docker-compose.yml and a chain of their own, under a name that nobody else uses."""

    def __init__(self, engine: Engine, images: dict[str, str]) -> None:
        self._engine = engine
        self._folder = Path(tempfile.mkdtemp(prefix="gaia-trial-"))
        self._images = images
        self._variables = {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "SECRETS": str(self._folder / "secrets"),
            "REHEARSAL": str(self._folder),
            "VALIDATOR_CPUS": str(min(4.0, _cores(engine))),
            "SUBNET": "172.28.157.0/24",
            **{name: str(port) for name, port in PORTS.items()},
            **images,
        }

    def prepare(self) -> None:
        """Write secrets and neurons, which belong to the user of the containers."""
        mounts = ("-v", f"{self._folder}:/out", "-v", f"{ROOT / 'tests/docker/prepare.py'}:/prepare.py:ro")
        tools = self._images["TOOLS_IMAGE"]
        self._engine.run(
            "run", "--rm", "--network=none", "--user=0", *mounts, tools, "python", "/prepare.py", "/out"
        )

    def clear(self) -> None:
        """Remove all that this left on the engine and the disk."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout=60")
        self._engine.tried(
            *("run", "--rm", "--network=none", "--user=0", "-v", f"{self._folder}:/out"),
            *(self._images["TOOLS_IMAGE"], "python", "-c"),
            "import shutil, pathlib\n"
            "for p in pathlib.Path('/out').iterdir(): shutil.rmtree(p) if p.is_dir() else p.unlink()",
        )
        self._folder.rmdir()

    def compose(self, *arguments: str, timeout_s: float = 600.0) -> str:
        """Return the output of a compose command about these services."""
        files = ("--file", "docker-compose.yml", "--file", "tests/docker/rehearsal.yml", "--profile", "*")
        return self._engine.run("compose", *files, *arguments, timeout_s=timeout_s, more=self._variables)

    def up(self, services: Sequence[str]) -> float:
        """Start services and wait until they are healthy; return the seconds."""
        began = time.monotonic()
        self.compose("up", "--detach", "--no-build", "--wait", *services, timeout_s=_HEALTHY_S)
        return time.monotonic() - began

    def inside(self, service: str, *command: str) -> str:
        return self.compose("exec", "--no-TTY", service, *command)

    def said(self, service: str, *command: str) -> str:
        """Return what a command in a service's container writes, whatever its exit code."""
        name = f"{PROJECT}-{service}-1"
        done = self._engine.tried("exec", name, *command)
        return done.stdout + done.stderr

    def container(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of the container of a service."""
        return self._engine.inspect(f"{PROJECT}-{service}-1")

    def kill(self, service: str) -> float:
        """Kill the first process of a service with SIGKILL, as a crash does; return the seconds until it is well."""
        before = self.container(service)
        # Not `docker kill`, which the engine takes for a stop that was asked for. A helper sees all processes.
        program = f"import os; os.kill({before['State']['Pid']}, 9)"
        helper = ("run", "--rm", "--pid=host", "--network=none", "--user=0")
        self._engine.run(*helper, self._images["TOOLS_IMAGE"], "python", "-c", program)

        def is_back() -> bool:
            now = self.container(service)
            health = now["State"].get("Health", {"Status": "healthy"})["Status"]
            is_new = now["State"]["StartedAt"] != before["State"]["StartedAt"]
            return bool(now["State"]["Running"] and is_new and health == "healthy")

        return wait_for(f"{service} is well after a kill -9", is_back, _HEALTHY_S)

    def query(self, statement: str) -> str:
        """Return what PostgreSQL answers to one statement."""
        program = f'exec psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" -At -c "{statement}"'
        return self.inside("postgres", "sh", "-c", program).strip()

    def mark(self) -> None:
        """Write rows that must not be lost."""
        self.query(
            "create table if not exists mark (n int primary key); "
            f"insert into mark select generate_series(1, {_MARKS}) on conflict do nothing"
        )

    def marks_kept(self) -> int:
        return int(self.query("select count(*) from mark"))

    def rows(self) -> int:
        """Return the number of rows of all tables."""
        return int(self.query(_ROWS))

    def metric(self, name: str) -> float | None:
        """Return one metric of the validator; None if it has none of that name."""
        _, text = get("/metrics", PORTS["VALIDATOR_PORT"])
        found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def readiness(self) -> dict[str, str]:
        """Return each check of /readyz and its state."""
        _, text = get("/readyz?verbose", PORTS["VALIDATOR_PORT"])
        return {check["name"]: check["state"] for check in json.loads(text)["checks"]}


@contextmanager
def stack(engine: Engine, images: dict[str, str]) -> Iterator[Stack]:
    """Yield a stack that is prepared, and clear it at the end."""
    made = Stack(engine, images)
    made.prepare()
    try:
        yield made
    except EngineError:
        say(engine.tried("ps", "--all").stdout)
        for service in ("chain", *CORE, *EXTRA):
            logs = engine.tried("logs", "--tail=15", f"{PROJECT}-{service}-1")
            say(f"-- {service}\n{logs.stdout}{logs.stderr}")
        raise
    finally:
        made.clear()


def get(path: str, port: int, *, tls: bool = False, host: str = "127.0.0.1") -> tuple[int, str]:
    """Return status and content of a page on this machine; status 0 if nothing answers."""
    connection: HTTPConnection
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection(host, port, timeout=20, context=context)
    else:
        connection = HTTPConnection(host, port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()


def _cores(engine: Engine) -> float:
    return float(engine.run("info", "--format", "{{.NCPU}}"))
