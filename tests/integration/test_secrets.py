"""A whole subnet runs with canaries for secrets, among faults that repeat them; nothing that it writes holds one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
import pytest_asyncio

from gaia.localnet.children import Child
from gaia.localnet.options import Options, data_dir, validator_environment, wallet_dir
from gaia.localnet.subnet import VALIDATOR, LocalSubnet
from gaia.validator.app.children.embedded_postgres import EmbeddedPostgres, embedded_dsn
from gaia.validator.app.meeting.rendezvous import run_directory
from gaia.validator.utils.config import variable_of
from gaia.validator.utils.entry_points import VALIDATOR as PROGRAM
from tests.support import canary_services
from tests.support.canaries import canary, leaks, members_of, secret_settings, values_of_secret_settings
from tests.support.canary_memory import dump, forms_of_key, held_in_memory
from tests.support.doctor_world import free_port
from tests.support.liar import Liar, Lie, lying
from tests.support.patience import Deadline, patience
from tests.support.rehearsal import board_of, processes_of, steps_done, until
from tests.support.unmeasured import unmeasured

PUBLISHED = "published"
"""Folder of the subnet into which a command of the table may write files for others."""
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("config", "show", "--effective", "--origin", "--running"),
    ("config", "show", "--running", "--json"),
    ("doctor", "--json"),
    ("doctor", "--all"),
    ("status", "--json"),
    ("status",),
    ("runs", "--json"),
    ("runs", "show", "last"),
    ("scores", "list", "--json"),
    ("weights", "history", "--json"),
    ("weights", "preview"),
    ("what-if", "--set", "GAIA_BURN_FRACTION=0.5", "--json"),
    ("explain", "last", "1", "--json"),
    ("logs", "--json"),
    ("budget", "--json"),
    ("runbook", "ValidatorTruthLate"),
    ("export", "site", PUBLISHED),
)
"""Commands of `gaia` whose output is searched."""
PATHS = ("/metrics", "/readyz?verbose", "/livez?verbose", "/startupz?verbose", "/")
"""Endpoints that are searched, with the pages that they link to."""
LINK = re.compile(rb'(?:href|src)="([^":#]+)"')
MOST_PAGES = 200
NOT_WRITTEN_FOR_OTHERS = ("secrets", "postgres/cluster", "spool")
"""Folders of the data folder: what is kept to be used, and what miners sent."""

Outputs = list[tuple[str, bytes]]


class CanarySubnet(LocalSubnet):
    """A local subnet whose services repeat secrets, and whose validator gets further variables of the environment."""

    services_program = canary_services.__name__
    extra: dict[str, str]

    async def start_services(self) -> None:
        """Start everything but the validator."""
        self._prepare()
        await self._start_services()

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the validator, and of the commands that an operator runs beside it."""
        assert self.settings is not None
        return (
            validator_environment(self.state_dir, self.settings.model_dump(exclude_unset=True)) | self.extra
        )

    def start_validator(self) -> None:
        arguments = [sys.executable, "-m", PROGRAM]
        self.validator = Child(VALIDATOR, self.state_dir, arguments, self.environment)
        self.validator.start()


@dataclass
class World:
    """What a run with canaries left."""

    secrets: dict[str, str] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=list)
    key_in_memory: dict[str, set[str]] = field(default_factory=dict)
    """Process -> forms of the hotkey that its memory holds, of those whose memory may be read here."""
    echoed: dict[str, int] = field(default_factory=dict)
    """Fault -> how often it repeated a secret."""
    log: str = ""


def _echo(method: str, path: str, headers: Mapping[str, str]) -> Lie:
    """Answer as Earthdata Login, and as a proxy: repeat what the caller sent, but give a token at the second login."""
    if path.startswith("http"):
        return Lie(500, f"{path} with {headers.get('proxy-authorization')}".encode())
    token = {"access_token": canary("earthdata_token"), "expiration_date": "12/31/2099"}
    _echo.logins += 1  # type: ignore[attr-defined]
    if _echo.logins == 1:  # type: ignore[attr-defined]
        password = canary("earthdata_password")
        return Lie(401, f'{{"error": "invalid", "error_description": "{password} is wrong"}}'.encode())
    return Lie(body=json.dumps([] if method == "GET" else token).encode())


def _extra(state_dir: Path, side: Liar) -> dict[str, str]:
    """Return the variables with the canaries; `side` plays Earthdata Login and the proxy."""
    database = f"{embedded_dsn(data_dir(state_dir)).replace('postgres@', 'postgres:{password}@')}"
    values = values_of_secret_settings(database) | {
        "earthdata_username": "operator",
        "earthdata_url": side.url,
        "update_url": f"http://updates.invalid/latest?token={quote(canary('update_token'), safe='')}",
        "log_dir": str(data_dir(state_dir) / "logs"),
        "log_level": "DEBUG",
        "metrics_port": str(free_port()),
    }
    proxy = side.url.replace("//", f"//operator:{quote(canary('proxy'), safe='')}@")
    return {variable_of(name): value for name, value in values.items()} | {
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
    }


async def _begin_faults(subnet: CanarySubnet) -> None:
    """Let the store refuse twice, before it is asked for the first time."""
    assert subnet.settings is not None
    root = subnet.settings.gfs_url.partition("@")[2] or subnet.settings.gfs_url.partition("//")[2]
    url = f"http://{root}/troubles?source=cds&trouble=licence&times=2"
    request = urllib.request.Request(url, method="POST")
    await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=patience(10)).read())


async def _run_commands(subnet: CanarySubnet) -> Outputs:
    outputs: Outputs = []
    programs = [("gaia.cli", *command) for command in COMMANDS]
    bundle = subnet.state_dir / "bundle.tar.gz"
    programs += [("gaia.cli", "debug", "bundle", "-o", str(bundle)), (PROGRAM, "--check")]
    for module, *words in programs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *words),
            cwd=subnet.state_dir,
            env=unmeasured(subnet.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        written, _ = await asyncio.wait_for(process.communicate(), patience(60))
        assert b"usage:" not in written, (words, written)
        assert b"Traceback" not in written, (words, written)
        outputs.append((f"`{module} {' '.join(words)}`", written))
    return outputs + list(members_of(bundle))


async def _ask_endpoints(subnet: CanarySubnet) -> Outputs:
    port = subnet.environment["GAIA_METRICS_PORT"]

    def asked(path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=patience(10)) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as refusal:
            return refusal.read()

    answers: dict[str, bytes] = {}
    waiting = list(PATHS)
    while waiting and len(answers) < MOST_PAGES:
        path = waiting.pop(0)
        answers[path] = await asyncio.to_thread(asked, path)
        found = (urljoin(path, link.decode()) for link in LINK.findall(answers[path]))
        waiting += [each for each in dict.fromkeys(found) if each not in answers and each not in waiting]
    return list(answers.items())


def _processes(subnet: CanarySubnet) -> Iterator[tuple[str, bytes]]:
    """Yield the command lines of all processes, which everybody reads, and the environment of the workers."""
    for pid in processes_of(subnet.state_dir):
        with suppress(OSError):
            yield f"command line of {pid}", Path(f"/proc/{pid}/cmdline").read_bytes()
    # The environment of the others holds settings, but never the hotkey's secret.
    workers = [*board_of(subnet).workers.values(), board_of(subnet).processes.get("fork_server", 0)]
    for pid in filter(None, workers):
        with suppress(OSError):
            yield f"environment of the worker {pid}", Path(f"/proc/{pid}/environ").read_bytes()


def _look_for_the_key(subnet: CanarySubnet, world: World) -> None:
    """Look for the hotkey's secrets in the memory and the environment of all processes."""
    hotkey = {name: secret for name, secret in world.secrets.items() if name.startswith("hotkey's")}
    wanted = forms_of_key(hotkey)
    names = {pid: name for name, pid in board_of(subnet).processes.items()}
    names |= {pid: f"worker {name}" for name, pid in board_of(subnet).workers.items()}
    for pid in processes_of(subnet.state_dir):
        name = names.get(pid, f"process {pid}")
        held = held_in_memory(pid, wanted)
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue  # it has ended, as a worker does when another takes its place
        if held is None:
            continue
        held |= {f"{form} in the environment" for form, content in wanted.items() if content in environment}
        world.key_in_memory[name] = held


def _files(state_dir: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what the validator wrote: logs, the run folder, notes, stacks, pictures; and what a command published."""
    folder = data_dir(state_dir)
    left_out = [folder / name for name in NOT_WRITTEN_FOR_OTHERS]
    paths = [
        *folder.rglob("*"),
        *run_directory(folder).rglob("*"),
        state_dir / "logs" / "validator.log",
        *(state_dir / PUBLISHED).rglob("*"),
    ]
    for path in paths:
        if path.is_file() and not any(path.is_relative_to(each) for each in left_out):
            yield (
                str(path.relative_to(state_dir) if path.is_relative_to(state_dir) else path),
                path.read_bytes(),
            )


def _secrets(state_dir: Path) -> dict[str, str]:
    """Return all canaries, and the secrets that the run made: of the hotkey and of the miners."""
    named = [*secret_settings(), "earthdata_token", "update_token", "proxy", "gfs"]
    found = {name: canary(name) for name in named}
    (path,) = [path for path in wallet_dir(state_dir).rglob("hotkeys/default") if path.is_file()]
    hotkey = json.loads(path.read_text())
    for name in ("secretPhrase", "secretSeed", "privateKey"):
        if hotkey.get(name):
            found[f"hotkey's {name}"] = str(hotkey[name]).removeprefix("0x")
    for number, line in enumerate((state_dir / canary_services.NOTES).read_text().splitlines()):
        kind, secret = json.loads(line)
        found[f"miner's {kind} {number}"] = secret
    return found


async def _play(subnet: CanarySubnet, side: Liar) -> World:
    """Run the subnet from schedule to weights with all faults, and gather what it writes."""
    await subnet.start_services()
    assert subnet.settings is not None
    gfs = subnet.settings.gfs_url.replace("//", f"//operator:{quote(canary('gfs'), safe='')}@")
    subnet.settings = subnet.settings.model_copy(update={"gfs_url": gfs})
    await _begin_faults(subnet)
    subnet.start_validator()
    assert subnet.validator is not None
    await until(subnet, lambda progress: steps_done(progress) >= 8)
    board = board_of(subnet)
    os.kill(next(iter(board.workers.values())), signal.SIGSEGV)
    os.kill(board.processes["io_engine"], signal.SIGKILL)
    # An operator puts the address of the database behind the name of another setting.
    (subnet.state_dir / ".env").write_text(
        f"GAIA_RUN_MINUTE_UTC=postgresql://u:{canary('database_url')}@db/x\n"
    )
    os.kill(subnet.validator.pid or 0, signal.SIGHUP)
    log = data_dir(subnet.state_dir) / "logs" / "supervisor-application.log"
    deadline = Deadline(30)
    while "reload_failed" not in (text := log.read_text()):
        assert not deadline.has_passed, text
        await asyncio.sleep(0.05)
    (subnet.state_dir / ".env").unlink()
    await until(subnet, lambda progress: progress.is_complete(1))
    deadline = Deadline(60)
    while _echo.logins < 3:  # type: ignore[attr-defined]
        assert not deadline.has_passed, "the second engine did not log in"
        await asyncio.sleep(0.1)
    world = World(secrets=_secrets(subnet.state_dir))
    world.outputs += _processes(subnet)
    await asyncio.to_thread(_look_for_the_key, subnet, world)
    content = await asyncio.to_thread(dump, embedded_dsn(data_dir(subnet.state_dir)))
    world.outputs.append(("the dump of the database", content))
    world.outputs += await _ask_endpoints(subnet)
    world.outputs += await _run_commands(subnet)
    assert await subnet.stop_validator()
    world.outputs += _files(subnet.state_dir)
    world.log = (subnet.state_dir / "logs" / "validator.log").read_text()
    world.echoed = {
        "proxy": sum(path.startswith("http") for _, path, _ in side.seen),
        "Earthdata": sum(not path.startswith("http") for _, path, _ in side.seen),
        "miners": int((subnet.state_dir / canary_services.ECHOES).read_text()),
        "store": world.log.count("Your key"),
        "settings": world.log.count("reload_failed"),
    }
    return world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A finished run of four miners with canaries and faults."""
    state_dir = tmp_path_factory.mktemp("secrets") / "state"
    _echo.logins = 0  # type: ignore[attr-defined]
    state_dir.mkdir()
    database = EmbeddedPostgres(data_dir(state_dir))
    data_dir(state_dir).mkdir()
    database.prepare()
    server = database.start()
    async with lying(_echo) as side, CanarySubnet(state_dir, Options(miners=4, seed=3)) as subnet:
        subnet.extra = _extra(state_dir, side)
        yield await _play(subnet, side)
    server.send_signal(signal.SIGINT)
    await asyncio.to_thread(server.wait, patience(30))


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_no_output_of_a_run_with_faults_holds_a_secret(world: World) -> None:
    assert len(world.secrets) >= 10
    assert len(world.outputs) > 40

    assert leaks(world.outputs, world.secrets) == []


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_each_fault_repeated_its_secret(world: World) -> None:
    """Otherwise the test above would prove nothing."""
    assert [fault for fault, times in world.echoed.items() if not times] == []
    assert [name for name in world.secrets if "token" in name]
    assert "signal 11" in world.log


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_hotkey_is_in_the_memory_of_the_signer_alone(world: World) -> None:
    if "io_engine" not in world.key_in_memory:
        pytest.skip("the memory of processes may not be read here")
    assert len(world.key_in_memory) >= 5

    signer = world.key_in_memory.pop("chain_signer", None)

    # Nobody but root may read the signer's memory; the key in it shows that the search finds keys.
    assert signer if os.geteuid() == 0 else signer is None
    assert {name: held for name, held in world.key_in_memory.items() if held} == {}


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_dump_of_the_database_was_searched(world: World) -> None:
    """Otherwise that it holds no secret would prove nothing."""
    (content,) = [content for name, content in world.outputs if name == "the dump of the database"]

    assert b"COPY public.weight_journal" in content
