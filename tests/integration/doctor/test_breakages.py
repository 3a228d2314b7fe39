"""Doctor names each breakage of settings or machine, and is content once what it prints was done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
import pytest

from tests.support.doctor_machine import Checks, Machine
from tests.support.doctor_world import NETUID, PASSWORD, free_port

NOBODY = 65534
_OTHER_VALIDATOR = """
import asyncio, asyncpg, sys
async def stay():
    connection = await asyncpg.connect(sys.argv[1], server_settings={"application_name": "gaia-validator"})
    print("connected", flush=True)
    await asyncio.sleep(600)
asyncio.run(stay())
"""


@dataclass(frozen=True)
class Breakage:
    """What goes wrong, and the check that must say so."""

    name: str
    check: str
    happens: Callable[[Machine], object]
    needs_root: bool = False
    before: Sequence[str] = ()
    """Lines of the file without which a healthy machine may fail the check already."""


def given(name: str, check: str, variable: str, value: object) -> Breakage:
    """Return the breakage of a variable in the environment, which wins over the file."""
    return Breakage(name, check, lambda machine: machine.put(variable, value))


def written(name: str, check: str, *lines: str) -> Breakage:
    """Return the breakage of lines at the end of the file."""

    def append(machine: Machine) -> None:
        with machine.env_file.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    return Breakage(name, check, append)


def said(name: str, check: str, command: str) -> Breakage:
    """Return the breakage of the shell that starts the validator."""
    return Breakage(name, check, lambda machine: machine.shell.append(command))


def sql(name: str, check: str, *statements: str) -> Breakage:
    """Return the breakage of the database by its administrator; NAME is role and database."""

    def execute(machine: Machine) -> None:
        for statement in statements:
            machine.world.psql(statement.replace("NAME", machine.database), database=machine.database)

    return Breakage(name, check, execute)


def _latin1(machine: Machine) -> None:
    machine.env_file.write_bytes(b"# Z\xfcrich\n" + machine.env_file.read_bytes())


def _two_databases(machine: Machine) -> None:
    url = f"postgresql://{machine.database}@127.0.0.1:{machine.world.postgres_port}/{machine.database}"
    machine.put("GAIA_DATABASE_URL", url)


def _old_draft(machine: Machine) -> None:
    draft = machine.data("spool", "chunk.part")
    draft.parent.mkdir(mode=0o700)
    draft.write_bytes(b"half")
    os.utime(draft, (0, 0))


def _programs_elsewhere(machine: Machine) -> None:
    machine.remove("GAIA_DATABASE_HOST")
    machine.put("PG_BINDIR", "/nowhere")


def _partial_cluster(machine: Machine) -> None:
    machine.remove("GAIA_DATABASE_HOST")
    machine.data("postgres", "cluster", "base").mkdir(parents=True)


def _foreign_file(machine: Machine) -> None:
    file = machine.data("spool")
    file.write_bytes(b"")
    os.chown(file, NOBODY, NOBODY)


def _foreign_database(machine: Machine) -> None:
    machine.world.psql(f"CREATE DATABASE {machine.database}_l1 ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    machine.write("GAIA_DATABASE_NAME", f"{machine.database}_l1")


def _locked_role(machine: Machine) -> None:
    machine.world.psql(
        "DROP ROLE IF EXISTS locked", f"CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{PASSWORD}'"
    )
    machine.write("GAIA_DATABASE_USER", "locked")
    machine.put("GAIA_DATABASE_PASSWORD", "guessed")


def _other_validator(machine: Machine) -> None:
    url = f"postgresql://{machine.database}@127.0.0.1:{machine.world.postgres_port}/{machine.database}"
    machine.start(*machine.supervisor(_OTHER_VALIDATOR), url)


def _busy_port(machine: Machine) -> None:
    port = next(line for line in machine.lines() if line.startswith("GAIA_METRICS_PORT=")).partition("=")[2]
    machine.start(
        sys.executable,
        "-u",
        "-c",
        f"import socket,time;s=socket.create_server(('127.0.0.1',{port}));print();time.sleep(600)",
    )


def _cluster_of_workers(machine: Machine) -> None:
    machine.put("GAIA_COMPUTE_BACKEND", "dask")
    machine.write("GAIA_DASK_SCHEDULER", f"tcp://127.0.0.1:{free_port()}")
    machine.write("GAIA_SANDBOX", "required")


def _cutoff(machine: Machine) -> None:
    machine.world.chain.write_storage("ActivityCutoff", NETUID, value=5000)
    machine.world.wait_for_blocks(2)
    machine.put("GAIA_WEIGHTS_INTERVAL_BLOCKS", 50_000)


_HEALTHY: list[Checks] = []
CLOSED = "127.0.0.1:1"


def _messages_to_no_service(machine: Machine) -> None:
    machine.put("GAIA_NOTIFY_ALIVE_URL", "https://127.0.0.1/alive")
    machine.put("GAIA_NOTIFY_URLS", "tlgram://canary/1")


BREAKAGES = [
    written("a misspelled setting in the file", "settings", "GAIA_BURN_FRACTON=0.5"),
    given("a misspelled setting in the environment", "settings", "GAIA_NETUDI", 57),
    given("a number out of range", "settings", "GAIA_METRICS_PORT", 99_999),
    given("a word in place of yes or no", "settings", "GAIA_DRY_RUN", "maybe"),
    given("a soft limit above the hard one", "settings", "GAIA_WORKER_SOFT_LIMIT_MIB", 4096),
    given("a cluster without a scheduler", "settings", "GAIA_COMPUTE_BACKEND", "dask"),
    given("a lead that no forecast has", "settings", "GAIA_FINAL_LEAD_HOURS", 25),
    given("a field that does not exist", "settings", "GAIA_DAY1_FIELDS", "2tt"),
    given("an address without a protocol", "settings", "GAIA_CHAIN_ENDPOINT", "localhost"),
    given("an alias with a wrong value", "settings", "NETUID", "many"),
    written("a line that is no setting", "settings", "GAIA NETUID 57"),
    Breakage("a file in another encoding", "settings", _latin1),
    Breakage("a file that others read", "env-file-private", lambda m: m.env_file.chmod(0o644)),
    Breakage(
        "a file of another user", "env-file-owner", lambda m: os.chown(m.env_file, NOBODY, NOBODY), True
    ),
    written("a setting twice", "env-file-lines", "GAIA_BURN_FRACTION=0.5", "GAIA_BURN_FRACTION=0.6"),
    given("two values in two places", "one-place", "GAIA_WALLET_NAME", "validator "),
    given("two names of one setting", "one-spelling", "NETUID", 58),
    given("a variable of the original", "retired", "GAIA_ASYNC_THRESHOLD", 5),
    Breakage("two databases", "one-database", _two_databases),
    given("miners at private addresses", "rehearsal", "GAIA_ALLOW_PRIVATE_MINERS", "true"),
    given("test mode", "rehearsal", "WEATHER_TASK_TEST_MODE", "true"),
    given("a clock that is missing", "clock-file", "GAIA_CLOCK_FILE", "/nowhere/clock.json"),
    given("a dry run", "sets-weights", "GAIA_DRY_RUN", "true"),
    given("a gate that is off", "gates", "GAIA_WEIGHTS_MAX_DRIFT", "1"),
    given("another grid", "shared-rules", "GAIA_GRID_DEGREES", "1.0"),
    given("impatience with the engine", "silence", "GAIA_ENGINE_SILENCE_S", 1),
    given("a long stop", "drain", "GAIA_DRAIN_TIMEOUT_S", 300),
    given("rare polls", "polling", "GAIA_MINER_POLL_MINUTES", 500),
    written(
        "workers that are too large",
        "memory",
        "GAIA_WORKER_SOFT_LIMIT_MIB=9000000",
        "GAIA_WORKER_HARD_LIMIT_MIB=9000000",
    ),
    given("more workers than cores", "cores", "GAIA_COMPUTE_WORKERS", len(os.sched_getaffinity(0)) + 1),
    said("few open files", "open-files", "ulimit -Sn 256"),
    said("few processes", "processes", "prlimit --pid $$ --nproc=100:"),
    said("small files", "file-size", "ulimit -Sf 1000"),
    said("a small address space", "address-space", "ulimit -Sv 8000000"),
    said("core dumps", "core-dumps", "ulimit -Sc 1000"),
    said("first to be killed", "oom-score", "echo 500 > /proc/$$/oom_score_adj"),
    given("a temporary folder that is missing", "temporary-folder", "TMPDIR", "missing"),
    Breakage("programs that are missing", "postgres-programs", _programs_elsewhere),
    given("no sandbox", "sandbox-mode", "GAIA_SANDBOX", "off"),
    Breakage("a folder below a file", "data-folder", lambda m: m.put("GAIA_DATA_DIR", m.env_file / "data")),
    given("a folder that cannot be made", "data-writable", "GAIA_DATA_DIR", "/proc/gaia"),
    Breakage("a folder that others enter", "data-mode", lambda m: m.data().chmod(0o755)),
    Breakage("a file of another user in it", "data-owner", _foreign_file, True),
    given("more space than there is", "data-space", "GAIA_DATA_MIN_FREE_MIB", 10**9),
    Breakage(
        "inputs kept for ever",
        "data-growth",
        lambda m: m.put("GAIA_KEEP_INPUTS_DAYS", 100_000),
        # What 256 miners send of one field fits on any disk; of all fields it needs more than many have.
        before=("GAIA_DAY1_FIELDS=2t", "GAIA_FINAL_FIELDS=2t"),
    ),
    given("a folder in memory", "data-file-system", "GAIA_DATA_DIR", "/dev/shm/gaia-doctor-test"),
    Breakage("drafts of killed processes", "drafts", _old_draft),
    Breakage("half a database", "cluster", _partial_cluster),
    given("a misspelled wallet", "wallet", "GAIA_WALLET_NAME", "vaildator"),
    given("a misspelled hotkey", "hotkey-file", "GAIA_WALLET_HOTKEY", "defualt"),
    given("no folder of wallets", "wallet", "GAIA_WALLET_PATH", "/nowhere"),
    Breakage(
        "a hotkey that others read", "hotkey-mode", lambda m: m.wallet("hotkeys", "default").chmod(0o644)
    ),
    Breakage(
        "a hotkey of another user",
        "hotkey-owner",
        lambda m: os.chown(m.wallet("hotkeys", "default"), NOBODY, NOBODY),
        True,
    ),
    Breakage("hotkeys that others replace", "hotkeys-folder", lambda m: m.wallet("hotkeys").chmod(0o777)),
    Breakage(
        "a damaged record of signed epochs",
        "signed-epochs",
        lambda m: m.wallet("gaia-signed-epochs-default-57.json").write_text("{"),
    ),
    Breakage(
        "a record of another hotkey",
        "signed-epochs",
        lambda m: m.wallet("gaia-signed-epochs-default-57.json").write_text(
            '{"hotkey": "5Other", "netuid": 57}'
        ),
    ),
    Breakage(
        "a record that tells of a second instance",
        "signed-epochs",
        lambda m: m.wallet("gaia-signed-epochs-default-57.json").write_text(
            '{"hotkey": "5Other", "netuid": 57, "foreign": 900}'
        ),
    ),
    given(
        "a record in a folder that is not there",
        "signed-epochs",
        "GAIA_SIGNED_EPOCHS_FILE",
        "/nowhere/signed.json",
    ),
    given("a node that is not there", "chain", "GAIA_CHAIN_ENDPOINT", f"ws://{CLOSED}"),
    Breakage(
        "wss to a node that speaks ws",
        "chain",
        lambda m: m.put("GAIA_CHAIN_ENDPOINT", m.world.chain_url.replace("ws://", "wss://")),
    ),
    Breakage(
        "a web server in place of a node",
        "chain",
        lambda m: m.put("GAIA_CHAIN_ENDPOINT", m.world.sources.replace("http://", "ws://")),
    ),
    given("a subnet that does not exist", "subnet", "GAIA_NETUID", 58),
    given("a hotkey that is not registered", "registered", "GAIA_WALLET_HOTKEY", "other"),
    given("weights too often", "rate-limit", "GAIA_WEIGHTS_INTERVAL_BLOCKS", 1),
    Breakage("weights too rarely", "activity", _cutoff),
    given("a closed database port", "database", "GAIA_DATABASE_HOST", "127.0.0.2"),
    Breakage(
        "a database that is missing",
        "database",
        lambda m: m.write("GAIA_DATABASE_NAME", f"{m.database}_new"),
    ),
    Breakage("a wrong password", "database", _locked_role),
    Breakage("a database in Latin 1", "database-encoding", _foreign_database),
    sql("no right to make tables", "database-rights", "ALTER DATABASE NAME OWNER TO postgres"),
    sql(
        "a role that only reads",
        "database-writable",
        "ALTER ROLE NAME SET default_transaction_read_only = on",
    ),
    sql("statements cancelled early", "statement-time", "ALTER ROLE NAME SET statement_timeout = '2s'"),
    sql("commits that are lost", "durable", "ALTER ROLE NAME SET synchronous_commit = off"),
    sql("commits of a database that are lost", "durable", "ALTER DATABASE NAME SET synchronous_commit = off"),
    sql("few connections", "pool-size", "ALTER ROLE NAME CONNECTION LIMIT 3"),
    sql(
        "tables of a later release",
        "migrations",
        "CREATE TABLE schema_migrations (version integer, name text, sha256 text, applied_at timestamptz)",
        "INSERT INTO schema_migrations VALUES (9999, 'later', 'ff')",
        "GRANT SELECT ON schema_migrations TO NAME",
    ),
    Breakage("another validator on the database", "other-validator", _other_validator),
    given("GFS that is not there", "gfs", "GAIA_GFS_URL", f"http://{CLOSED}"),
    Breakage("GFS elsewhere", "gfs", lambda m: m.put("GAIA_GFS_URL", f"{m.world.sources}/api")),
    given("no Climate Data Store", "cds", "CDSAPI_URL", f"http://{CLOSED}/api"),
    Breakage("no key", "cds-key", lambda m: m.remove("GAIA_CDS_KEY")),
    given("a key of the old store", "cds-key", "GAIA_CDS_KEY", "12345:0f8fad5b-d9cb-469f-a165-70867728950e"),
    given("a key that is none", "cds-key-form", "GAIA_CDS_KEY", "secret"),
    given("a key that is refused", "cds-accepted", "GAIA_CDS_KEY", "00000000-0000-0000-0000-000000000000"),
    Breakage(
        "a climatology elsewhere",
        "climatology",
        lambda m: m.put("GAIA_CLIMATOLOGY_URL", f"{m.world.sources}/other.zarr"),
    ),
    given("a proxy that is gone", "proxy", "HTTPS_PROXY", f"http://{CLOSED}"),
    given("certificates that are gone", "certificates", "SSL_CERT_FILE", "/nowhere/ca.pem"),
    Breakage("a port in use", "metrics-port", _busy_port),
    given("an address of another machine", "metrics-port", "GAIA_METRICS_HOST", "192.0.2.1"),
    given("metrics for everybody", "metrics-host", "GAIA_METRICS_HOST", "0.0.0.0"),
    Breakage("messages to no service", "notify-urls", _messages_to_no_service),
    given("messages without a deadman switch", "notify-alive", "GAIA_NOTIFY_URLS", "ntfy://topic"),
]


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name.replace(" ", "-"))
def test_doctor_names_the_breakage_and_is_content_after_its_own_fix(
    machine: Machine, breakage: Breakage
) -> None:
    if breakage.needs_root and os.geteuid() != 0:
        pytest.skip("only root can give files to others")
    before = psutil.Process().children(recursive=True)
    for line in breakage.before:
        machine.write(*line.split("=", 1))
    healthy = machine.doctor() if breakage.before else _healthy(machine)
    assert healthy[breakage.check]["result"] in ("ok", "skipped")

    breakage.happens(machine)
    broken = machine.doctor()

    found = broken[breakage.check]
    assert found["result"] in ("warning", "failure"), found
    known = {*before, *(psutil.Process(child.pid) for child in machine.children)}
    assert not [child for child in psutil.Process().children() if child not in known and _is_ours(child)]

    machine.obey(found["fix"])
    mended = machine.doctor()

    assert mended[breakage.check]["result"] == "ok", mended[breakage.check]
    assert _worse(mended, healthy) == {}


def _healthy(machine: Machine) -> Checks:
    """Return what doctor says of a machine before anything breaks; one is like another, so it is asked once."""
    if not _HEALTHY:
        _HEALTHY.append(machine.doctor())
    return _HEALTHY[0]


def _is_ours(child: psutil.Process) -> bool:
    return "gaia.validator" in " ".join(child.cmdline())


def _worse(now: Checks, before: Checks) -> dict[str, object]:
    """Return what doctor complains of now and did not before.

    The disk's free space is left out, because other programs fill the disk meanwhile.
    """
    bad = ("warning", "failure")
    before = {name: check for name, check in before.items() if name != "data-growth"}
    return {
        name: check
        for name, check in now.items()
        if check["result"] in bad and name in before and before[name]["result"] not in bad
    }
