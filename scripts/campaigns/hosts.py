"""Runs README's first command, of the last commit, on hosts of many kinds; compares every score to the last bit."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from campaigns.host_kinds.place import HostNotMade, Place, debian, here, package_sources
from campaigns.host_kinds.table import HOSTS, Base, Host

ROOT = Path(__file__).resolve().parents[2]
_LIMIT_S = 900.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--only",
        action="append",
        choices=[host.name for host in HOSTS],
        metavar="NAME",
        help="this host alone; may be given again",
    )
    add("--unprivileged", action="store_true", help="the hosts that need no root")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the hosts; return {figures, ratios, violations}.

    Other releases of Debian, other users and other mounts need root, on Linux.
    """
    hosts = [
        host
        for host in HOSTS
        if (not arguments.only or host.name in arguments.only)
        and not (arguments.unprivileged and host.needs_root)
    ]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hosts-", dir="/var/tmp") as scratch, ExitStack() as stack:
        Path(scratch).chmod(0o755)
        bases = {
            base: _entered(stack, base, Path(scratch) / base.name.lower())
            for base in dict.fromkeys(host.base for host in hosts)
        }
        rows = [_row(host, bases[host.base]) for host in hosts]
    return judged(rows, time.monotonic() - began)


def _entered(stack: ExitStack, base: Base, folder: Path) -> Place | HostNotMade:
    """Return the place of a base, or why there is none, because the other hosts can be run all the same."""
    try:
        return stack.enter_context(_made(base, folder))
    except HostNotMade as error:
        return error


@contextmanager
def _made(base: Base, folder: Path) -> Iterator[Place]:
    print(f"{base.name.lower()} ...", file=sys.stderr, flush=True)
    folder.mkdir()
    with here(folder) if base is Base.HERE else debian(base, folder, package_sources()) as place:
        yield place


def _row(host: Host, place: Place | HostNotMade) -> dict[str, Any]:
    """Clone the project on the host, run the first command, and return what came of it."""
    print(f"{host.name} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    version = ""
    try:
        if isinstance(place, HostNotMade):
            raise place
        version = place.version(host)
        with place.clone(ROOT, host) as clone:
            done = place.run(host, clone, ["scripts/run.py", "--once", "--json", "--seed", "7"], _LIMIT_S)
    except (HostNotMade, subprocess.SubprocessError) as error:
        done = subprocess.CompletedProcess([], -1, "", f"{type(error).__name__}: {error}")
    said = " ".join(done.stderr.strip().splitlines()[-2:])
    return {
        "host": host.name,
        "what": host.what,
        "python": version,
        "seconds": round(time.monotonic() - began),
        "exit_code": done.returncode,
        "bits": bits_of(done.stdout) if done.returncode == 0 else "",
        "said": "" if done.returncode == 0 else said,
        "is_right": done.returncode == 0 if not host.sentence else host.sentence in said,
        "runs": not host.sentence,
    }


def bits_of(report: str) -> str:
    """Return the SHA-256 of what each miner of a report scored and earned, every number to the last bit."""
    names = ("uid", "day1", "leads", "overall", "weight")
    miners = [{name: miner.get(name) for name in names} for miner in json.loads(report)["miners"]]
    return hashlib.sha256(json.dumps(miners, sort_keys=True).encode()).hexdigest()[:16]


def judged(rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return {figures, ratios, violations} of the rows."""
    bits = {row["bits"] for row in rows if row["runs"] and row["bits"]}
    right = sum(row["is_right"] for row in rows)
    shown = [{name: row[name] for name in row if name not in ("is_right", "runs")} for row in rows]
    return {
        "figures": {"hosts": len(rows), "right": right, "seconds": round(seconds), "rows": shown},
        "ratios": {"right": round(right / len(rows), 3) if rows else 0.0},
        "violations": [
            *(f"{row['host']}: {row['exit_code']}: {row['said']}" for row in rows if not row["is_right"]),
            *([f"scores and weights differ: {', '.join(sorted(bits))}"] if len(bits) > 1 else []),
            *([] if rows else ["no host was chosen"]),
        ],
    }
