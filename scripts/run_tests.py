#!/usr/bin/env python3
"""Runs the tests by tier, in an environment that it makes; standard library only until then."""

from __future__ import annotations

import argparse
import configparser
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import bootstrap

TIERS = {
    "unit": "fast; no network, no other process than Python",
    "integration": "real processes, servers and PostgreSQL on this machine",
    "performance": "benchmarks",
    "soak": "long runs on simulated time",
    "docker": "images and compose on a Docker engine, and the tests of the database on docker-compose.test.yml",
}
MEASURED = ("unit", "integration")
BENCHMARKS = "performance"
SPREAD = ("--dist", "loadfile", "--no-loadscope-reorder", "--max-worker-restart", "2")
"""How tests are spread: files stay whole, for their fixtures, in the order of collection; a test that kills its
process is not tried for ever."""
MOST_WORKERS = 4
"""Processes that run tests where there are more cores; each may run a subnet of twenty processes."""
NO_TESTS = 5
"""Exit code of pytest if it collects no test."""
DATABASE_FOR_TESTS = ("docker", "compose", "--file", "docker-compose.test.yml")
NEED_THE_EMBEDDED_SERVER = ("test_failures.py", "access/test_places.py", "test_trouble.py")
"""Files of tests/integration/db that change how the server lets roles in, or that reach it by its socket."""
DATABASE_URL = "postgresql://gaia_test:{password}@127.0.0.1:{port}/validator_test"
SIGNALLED = 128
"""Base of the exit code after a fatal signal, as in shells."""


def main(arguments: Sequence[str]) -> int:
    """Run the requested tiers; return the first exit code that is not 0."""
    options, for_pytest = parser().parse_known_args(arguments)
    # A shell ignores SIGINT in what it starts in the background, and tests of Ctrl-C would then wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    named = [tier for tier in TIERS if getattr(options, tier)]
    tiers = list(TIERS) if options.all else named or list(MEASURED)
    locks = [bootstrap.RUNTIME_LOCK, bootstrap.DEVELOPMENT_LOCK]
    python = bootstrap.ensure_environment(locks)
    if code := _run([str(python), str(Path(__file__).with_name("supplies") / "requirements_met.py"), *locks]):
        return code
    for_pytest = [each for each in for_pytest if each != "--"]
    measured = not for_pytest and set(MEASURED) <= set(tiers)
    # Whole tiers only: named tests are looked at one after the other.
    spread = ["-n", str(options.workers), *SPREAD] if options.workers > 1 and not for_pytest else []
    if measured:
        _coverage(python, "erase")
    codes, lines = [], []
    for tier in tiers:
        began = time.monotonic()
        code = _run_tier(
            tier,
            python,
            [*(spread if tier in MEASURED else []), *for_pytest],
            measured=measured and tier in MEASURED,
        )
        lines.append(outcome(tier, code, time.monotonic() - began))
        codes.append(0 if options.all and code == NO_TESTS else code)
    failed = next((code for code in codes if code != 0), 0)
    if measured and failed == 0:
        failed = _judge_coverage(python)
    if len(tiers) > 1:
        print("\n".join(["== tiers ==", *lines]), flush=True)
    return failed


def outcome(tier: str, code: int, seconds: float) -> str:
    """Return the line about a tier that has run.

    >>> outcome("unit", 0, 61.0)
    'unit            61 s  passed'
    """
    word = {0: "passed", NO_TESTS: "not run"}.get(code, f"failed with exit code {code}")
    return f"{tier:<12}{seconds:6.0f} s  {word}"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="scripts/run_tests.py",
        description="Run the tests. Without a flag: unit and integration, and then the line coverage of gaia/, "
        "processes it starts included, must reach the bar of pytest.ini. What follows is handed to pytest.",
        epilog=f"A tier that has no tests says so and ends with exit code {NO_TESTS}; --all goes on without it.",
    )
    for tier, meaning in TIERS.items():
        options.add_argument(f"--{tier}", action="store_true", help=meaning)
    options.add_argument("--all", action="store_true", help="every tier that has tests")
    options.add_argument(
        "--workers",
        type=int,
        default=min(os.cpu_count() or 1, MOST_WORKERS),
        metavar="N",
        help="processes that run unit and integration tests side by side; 1: none; default: %(default)s",
    )
    return options


def _run_tier(tier: str, python: Path, for_pytest: Sequence[str], *, measured: bool) -> int:
    folder = bootstrap.ROOT / "tests" / tier
    if not any(folder.rglob("test_*.py")):
        print(f"The {tier} tier has no tests yet.", file=sys.stderr, flush=True)
        return NO_TESTS
    runner = ["-m", "coverage", "run", "-m", "pytest"] if measured else ["-m", "pytest"]
    print(f"== {tier} ==", flush=True)
    command = [
        str(python),
        *runner,
        str(folder),
        *for_pytest,
        *(_against_the_last() if tier == BENCHMARKS else []),
    ]
    code = _with_database(command) if tier == "docker" else _run(command)
    if code < 0:
        print(ended_by_signal(tier, -code), file=sys.stderr, flush=True)
        return SIGNALLED - code
    return code


def _with_database(command: Sequence[str]) -> int:
    """Run the tests of the docker tier beside the database of docker-compose.test.yml, which is removed after them."""
    if shutil.which("docker") is None or _run(["docker", "version", "--format", "{{.Server.Version}}"]) != 0:
        print("There is no Docker engine here, which the docker tier needs.", file=sys.stderr, flush=True)
        return NO_TESTS
    port = os.environ.setdefault("TEST_POSTGRES_PORT", "55432")
    password = os.environ.setdefault("TEST_POSTGRES_PASSWORD", secrets.token_hex(16))
    try:
        code = _run([*DATABASE_FOR_TESTS, "up", "--detach", "--wait"])
        if code != 0:
            return code
        os.environ["TEST_DATABASE_URL"] = DATABASE_URL.format(password=password, port=port)
        folder = bootstrap.ROOT / "tests" / "integration" / "db"
        left_out = [f"--ignore={folder / name}" for name in NEED_THE_EMBEDDED_SERVER]
        return _run([*command, str(folder), *left_out])
    finally:
        os.environ.pop("TEST_DATABASE_URL", None)
        _run([*DATABASE_FOR_TESTS, "down", "--volumes"])


def ended_by_signal(tier: str, number: int) -> str:
    """Return a sentence for a tier whose pytest was killed and said nothing.

    >>> ended_by_signal("unit", 2)
    'The unit tier was ended by signal 2 (SIGINT) before its last test; the tests that ran are above.'
    """
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:
        name = ""
    return (
        f"The {tier} tier was ended by signal {number}{name} before its last test;"
        " the tests that ran are above."
    )


def _judge_coverage(python: Path) -> int:
    """Report the coverage on the terminal, as pages in htmlcov/ and in coverage.xml; 0 if it reaches the bar."""
    _coverage(python, "combine", "--quiet")
    _coverage(python, "html", "--quiet")
    _coverage(python, "xml", "--quiet")
    return _coverage(python, "report", f"--fail-under={coverage_wanted()}")


def coverage_wanted() -> int:
    """Return the bar in per cent, which pytest.ini holds for pytest-cov too."""
    ini = configparser.ConfigParser(interpolation=None)
    ini.read_string((bootstrap.ROOT / "pytest.ini").read_text())
    _, _, bar = ini["pytest"]["addopts"].partition("--cov-fail-under=")
    return int(bar.split()[0])


def _against_the_last() -> list[str]:
    """Return options that keep the figures of the benchmarks in .benchmarks/, and show them beside the last."""
    kept = any((bootstrap.ROOT / ".benchmarks").rglob("*.json"))
    # A machine that changed since is said, not an error.
    tolerant = ["-W", "default::pytest_benchmark.logger.PytestBenchmarkWarning"]
    return ["--benchmark-autosave", *tolerant, *(["--benchmark-compare"] if kept else [])]


def _coverage(python: Path, *arguments: str) -> int:
    return _run([str(python), "-m", "coverage", *arguments])


def _run(command: Sequence[str]) -> int:
    # Processes of tests have other working directories, but their coverage data belong here.
    environment = os.environ | {"COVERAGE_FILE": str(bootstrap.ROOT / ".coverage")}
    try:
        return subprocess.run(command, cwd=bootstrap.ROOT, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
