"""Makes stand-ins under the names of public images, where an engine can pull none; standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from campaigns.docker.engine import ROOT, Engine, EngineError, say

STANDINS = ROOT / "tests" / "docker" / "standins"
ROOT_IMAGE = "debian:bookworm-slim"
TARGETS = {
    "python-slim": "python:3.12-slim-bookworm",
    "python": "python:3.12-bookworm",
    "postgres": "postgres:16-alpine",
    "redis": "redis:7-alpine",
    "nginx": "nginx:1.27-alpine",
    "prometheus": "prom/prometheus:v2.53.3",
    "alertmanager": "prom/alertmanager:v0.28.1",
    "postgres-exporter": "prometheuscommunity/postgres-exporter:v0.15.0",
}
"""Target of tests/docker/standins/Dockerfile -> name that our files use. Grafana has none."""
_LEFT_OUT = ("test", "tests", "__pycache__", "idlelib", "site-packages", "*.a", "config-3.12*", "pkgconfig")
_DOCUMENTS = tuple(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale"))


def make_bases(engine: Engine, python: Path) -> None:
    """Build every stand-in that is missing, from Debian's packages and an installed Python 3.12.

    Raises
    ------
    EngineError
        If a program is missing or a build fails.
    """
    if all(map(engine.has_image, TARGETS.values())):
        return
    with tempfile.TemporaryDirectory(prefix="gaia-bases-") as scratch:
        context = Path(scratch)
        if not engine.has_image(ROOT_IMAGE):
            _import_debian(engine, context)
        _copy_python(python, context / "python")
        certificates = os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt"
        shutil.copy(certificates, context / "certificates.crt")
        for file in STANDINS.iterdir():
            shutil.copy(file, context)
        for target, name in TARGETS.items():
            if not engine.has_image(name):
                say(f"Building the stand-in of {name} ...")
                engine.build(target, name, context=context)


def _import_debian(engine: Engine, scratch: Path) -> None:
    if shutil.which("mmdebstrap") is None:
        raise EngineError("mmdebstrap is not installed; on Debian: apt-get install mmdebstrap")
    archive = scratch / "debian.tar"
    sources = next(
        path
        for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
        if path.exists()
    )
    packages = "--include=ca-certificates,netbase,tzdata"
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", packages, *_DOCUMENTS]
    say(f"Making {ROOT_IMAGE} ...")
    done = subprocess.run(
        [*command, "bookworm", str(archive), str(sources)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise EngineError(f"mmdebstrap failed: {done.stderr[-500:]}")
    engine.run("import", str(archive), ROOT_IMAGE)
    archive.unlink()


def _copy_python(python: Path, folder: Path) -> None:
    """Copy the installation of an interpreter, without what no program needs."""
    asked = "import sys; print(sys.base_prefix, '%d.%d' % sys.version_info[:2])"
    told = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    if told[-1] != "3.12":
        raise EngineError(f"{python} is Python {told[-1]}, and the images have 3.12; name one with --python")
    prefix = Path(told[0])
    (folder / "bin").mkdir(parents=True)
    shutil.copy2(prefix / "bin" / "python3.12", folder / "bin")
    shutil.copytree(
        prefix / "lib",
        folder / "lib",
        symlinks=True,
        ignore=shutil.ignore_patterns(*_LEFT_OUT),
    )
    (folder / "lib" / "python3.12" / "site-packages").mkdir(exist_ok=True)
