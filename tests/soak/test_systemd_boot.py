"""The unit under a real systemd: it is installed, starts, comes back after a kill, and stays down where hands are needed."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest

from gaia.validator.utils.errors import ExitCode
from tests.support.booted import Host, booted
from tests.support.doctor_world import KEY, World, free_port, whole_world
from tests.support.patience import patience

pytestmark = pytest.mark.slow

NAME = "main"
UNIT = f"gaia@{NAME}"
SETTINGS = f"/etc/gaia/{NAME}.env"
HOTKEY = f"/etc/gaia/{NAME}.secrets/hotkey"
QUICK = "[Service]\nRestartSec=1\n"
"""For the tests: a failure is tried again at once."""
WITHOUT_DOCTOR = "[Service]\nExecStartPre=\n"
PORT = free_port()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with whole_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, world: World) -> Iterator[Host]:
    """A host on which the installer ran."""
    with booted(tmp_path_factory.mktemp("host") / "root") as made:
        made.run("/opt/gaia/deploy/install.sh")
        made.write(f"/etc/systemd/system/{UNIT}.service.d/quick.conf", QUICK)
        made.write(f"/etc/gaia/{NAME}.secrets/cds_key", KEY)
        yield made


@pytest.fixture(autouse=True)
def _well(host: Host, world: World) -> Iterator[None]:
    """The settings and the hotkey of a healthy validator, before each test."""
    host.write(SETTINGS, settings(world))
    host.write(HOTKEY, hotkey(world, "default"))
    host.run("systemd-tmpfiles", "--create", "gaia.conf")
    yield
    host.run("systemctl", "stop", UNIT)
    host.run("systemctl", "reset-failed", UNIT, codes=(0, 1))


def settings(world: World, **changes: object) -> str:
    values = {
        "GAIA_DATA_DIR": f"/var/lib/gaia/{NAME}/data",
        "GAIA_METRICS_PORT": PORT,
        "GAIA_CHAIN_ENDPOINT": world.chain_url,
        "GAIA_GFS_URL": world.sources,
        "GAIA_CDS_URL": f"{world.sources}/api",
        "GAIA_CLIMATOLOGY_URL": f"{world.sources}/climatology.zarr",
        "GAIA_COMPUTE_WORKERS": 1,
    }
    return "".join(f"{name}={value}\n" for name, value in (values | changes).items())


def hotkey(world: World, name: str) -> str:
    return (world.home / "wallets" / "validator" / "hotkeys" / name).read_text()


def test_unit_starts_and_the_workers_sandbox_is_whole(host: Host) -> None:
    host.run("systemctl", "start", UNIT)

    assert host.state(UNIT)[0] == "running"
    host.wait(UNIT, lambda _: metric("gaia_pool_healthy_seats") == 1.0, patience(60))
    assert metric("gaia_sandbox_level") == 3.0
    rows = {row["name"]: row for row in json.loads(host.run("gaia-at", NAME, "config", "show", "--json"))}
    assert rows["GAIA_CDS_KEY"]["origin"] == "credential gaia_cds_key"
    path = rows["GAIA_HOTKEY_FILE"]["value"]
    assert path == f"/run/credentials/{UNIT}.service/gaia_hotkey"
    assert host.run("stat", "-c", "%a %U", path) == f"400 gaia-{NAME}\n"
    assert host.run("gaia-at", NAME, "config", "show", "--running", "--diff")
    host.run("gaia-at", NAME, "doctor", codes=(1,))


def metric(name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_killed_or_hung_validator_is_started_again_and_leaves_nothing(host: Host, signal: str) -> None:
    """A hung one is found by the watchdog."""
    host.write(f"/etc/systemd/system/{UNIT}.service.d/watchdog.conf", "[Service]\nWatchdogSec=5\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "start", UNIT)
    before = host.run("pgrep", "-u", f"gaia-{NAME}").split()
    first = host.run("systemctl", "show", "-P", "MainPID", UNIT).strip()

    host.run("kill", f"-{signal}", first)

    host.wait(UNIT, lambda state: state[0] != "running", patience(40))
    host.wait(UNIT, lambda state: state[0] == "running", patience(120))
    assert host.run("systemctl", "show", "-P", "NRestarts", UNIT).strip() == "1"
    after = host.run("pgrep", "-u", f"gaia-{NAME}").split()
    assert set(before) & set(after) == set()


def test_stop_is_orderly(host: Host) -> None:
    host.run("systemctl", "start", UNIT)

    host.run("systemctl", "stop", UNIT)

    assert host.state(UNIT) == ("dead", "success", "0")
    assert host.run("pgrep", "-u", f"gaia-{NAME}", codes=(1,)) == ""


HANDS = {
    ExitCode.BAD_SETTING: {"GAIA_NETUID": "many"},
    ExitCode.DATA_DIR_READ_ONLY: {"GAIA_DATA_DIR": "/usr/data"},
    ExitCode.HOTKEY_NOT_REGISTERED: {},
    ExitCode.HOTKEY_MISSING: {},
    ExitCode.PORT_BUSY: {"GAIA_METRICS_PORT": "{port}"},
    ExitCode.DATA_DIR_IN_USE: {"GAIA_DATA_DIR": "/var/lib/gaia/main/held"},
    ExitCode.SANDBOX_UNAVAILABLE: {},
}


def _break(code: ExitCode, host: Host, world: World) -> None:
    """Bring about what the exit code says."""
    changes = {name: value.format(port=world.postgres_port) for name, value in HANDS[code].items()}
    host.write(SETTINGS, settings(world, **changes))
    match code:
        case ExitCode.HOTKEY_NOT_REGISTERED:
            host.write(HOTKEY, hotkey(world, "other"))
        case ExitCode.HOTKEY_MISSING:
            host.run("rm", HOTKEY)
        case ExitCode.DATA_DIR_IN_USE:
            held = "/var/lib/gaia/main/held"
            host.run("install", "-d", "-o", f"gaia-{NAME}", held)
            host.run("install", "-o", f"gaia-{NAME}", "-m", "600", "/dev/null", f"{held}/lock")
            host.run("systemd-run", "--unit=holder", "--collect", "flock", f"{held}/lock", "sleep", "1h")
        case ExitCode.SANDBOX_UNAVAILABLE:
            without = "SystemCallFilter=~seccomp landlock_create_ruleset\n"
            host.write(f"/etc/systemd/system/{UNIT}.service.d/poor.conf", f"[Service]\n{without}")


@pytest.fixture
def without_doctor(host: Host) -> Iterator[None]:
    """Doctor decides nothing, and takes its time."""
    folder = f"/etc/systemd/system/{UNIT}.service.d"
    host.write(f"{folder}/doctor.conf", WITHOUT_DOCTOR)
    host.run("systemctl", "daemon-reload")
    yield
    host.run("systemctl", "stop", "holder", codes=(0, 5))
    host.run("rm", "-f", f"{folder}/doctor.conf", f"{folder}/poor.conf")
    host.run("systemctl", "daemon-reload")


@pytest.mark.usefixtures("without_doctor")
@pytest.mark.parametrize("code", HANDS, ids=lambda code: code.name)
def test_unit_stays_down_where_hands_are_needed(code: ExitCode, host: Host, world: World) -> None:
    _break(code, host, world)
    host.run("systemctl", "daemon-reload")

    host.run("systemctl", "start", UNIT, codes=(1,))

    assert host.state(UNIT) == ("failed", "exit-code", str(code.value)), host.journal(UNIT)
    assert host.run("systemctl", "show", "-P", "NRestarts", UNIT).strip() == "0"


@pytest.mark.usefixtures("without_doctor")
@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (ExitCode.DATA_DIR_FULL, {"GAIA_DATA_MIN_FREE_MIB": 10**9}),
        (ExitCode.DATABASE_UNREACHABLE, {"GAIA_DATABASE_URL": "postgresql://127.0.0.1:9/none"}),
        (ExitCode.CHAIN_UNREACHABLE, {"GAIA_CHAIN_ENDPOINT": "ws://127.0.0.1:9"}),
    ],
    ids=lambda value: value.name if isinstance(value, ExitCode) else "",
)
def test_what_may_pass_is_tried_again_and_a_correction_is_enough(
    code: ExitCode, changes: dict[str, object], host: Host, world: World
) -> None:
    host.write(SETTINGS, settings(world, **changes))

    host.run("systemctl", "start", "--no-block", UNIT)
    host.wait(UNIT, lambda state: state[0] == "auto-restart" and state[2] == str(code.value), patience(120))
    host.write(SETTINGS, settings(world))

    host.wait(UNIT, lambda state: state[0] == "running", patience(120))


def test_what_doctor_finds_is_in_the_journal_and_prevents_no_start(host: Host, world: World) -> None:
    host.write(SETTINGS, settings(world, GAIA_GFS_URL="http://127.0.0.1:9"))

    host.run("systemctl", "start", UNIT)

    assert "failure  gfs" in host.journal(UNIT)
    assert host.state(UNIT)[0] == "running"


def test_installer_may_run_again_and_takes_the_code_from_others(host: Host, world: World) -> None:
    """Whoever may write the code decides what the validator does with the hotkey."""
    host.run("chmod", "666", "/opt/gaia/gaia/__init__.py")
    host.run("chown", "nobody", "/opt/gaia/gaia/__init__.py")

    said = host.run("/opt/gaia/deploy/install.sh")

    assert host.run("stat", "-c", "%a %U", "/opt/gaia/gaia/__init__.py") == "644 root\n"
    assert host.run("cat", SETTINGS) == settings(world), "what the operator wrote stays"
    assert "+ useradd" not in said
    assert "+ write" not in said


def test_two_validators_share_no_user_port_or_folder_and_run_side_by_side(host: Host, world: World) -> None:
    host.write("/etc/gaia/other.env", "GAIA_METRICS_PORT=9090\n")
    host.run("/opt/gaia/deploy/install.sh", "north")
    assert host.run("grep", "GAIA_", "/etc/gaia/north.env") == (
        "GAIA_DATA_DIR=/var/lib/gaia/north/data\nGAIA_METRICS_PORT=9091\n"
    )
    assert host.run("stat", "-c", "%a %U %G", "/etc/gaia/north.env") == "640 root gaia-north\n"
    assert host.run("stat", "-c", "%a %U", "/etc/gaia/north.secrets") == "700 root\n"
    changed = settings(world, GAIA_DATA_DIR="/var/lib/gaia/north/data", GAIA_METRICS_PORT=free_port())
    host.write("/etc/gaia/north.env", changed)
    host.write("/etc/gaia/north.secrets/hotkey", hotkey(world, "default"))

    host.run("systemctl", "start", UNIT, "gaia@north")

    for folder in ("/var/lib/gaia/main", f"/run/credentials/{UNIT}.service"):
        assert host.run("runuser", "-u", "gaia-north", "--", "ls", folder, codes=(2,)) == ""
    host.run("systemctl", "stop", "gaia@north")
    assert host.state("gaia@north") == ("dead", "success", "0")
    host.run("gaia-at", NAME, "status", codes=(0, 1))
    assert host.state(UNIT)[0] == "running"


def test_dry_run_of_the_installer_prints_and_changes_nothing(host: Host) -> None:
    before = host.run("find", "/etc", "/var/lib/gaia", "/usr/local/bin", "-newer", "/etc/machine-id")

    said = host.run("/opt/gaia/deploy/install.sh", "--dry-run", "west")

    assert "+ useradd" in said
    assert "+ write /etc/gaia/west.env, with port" in said
    assert host.run("find", "/etc", "/var/lib/gaia", "/usr/local/bin", "-newer", "/etc/machine-id") == before
    host.run("id", "gaia-west", codes=(1,))


@pytest.mark.parametrize("name", ["Main", "a b", "-x", "x" * 27, "../etc"])
def test_installer_refuses_a_name_that_is_no_name(host: Host, name: str) -> None:
    host.run("/opt/gaia/deploy/install.sh", name, codes=(1,))
