"""Talks to a Docker engine by its command line; standard library only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
ENGINE_FLAGS = ("--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false")
"""They leave the network of the machine as it is; then builds need --network=host, and only compose's networks work."""
_START_S = 60.0
ENGINE_POLL_S = 0.25


class EngineError(Exception):
    """A command of the engine failed; the message quotes its last output."""


class Engine:
    """One Docker engine.

    Parameters
    ----------
    environment
        Variables for its commands, besides those of this process.
    build_network
        Network of RUN commands: "default", or "host" for an engine without a network of its own.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, build_network: str = "default") -> None:
        self.environment = {**os.environ, "DOCKER_BUILDKIT": "1", **(environment or {})}
        self.build_network = build_network

    def run(self, *arguments: str, timeout_s: float = 600.0, more: Mapping[str, str] | None = None) -> str:
        """Return the output of `docker ARGUMENTS`.

        Raises
        ------
        EngineError
            If it fails or takes longer than `timeout_s`.
        """
        done = self.tried(*arguments, timeout_s=timeout_s, more=more)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-1500:]
            raise EngineError(f"docker {' '.join(arguments[:6])} ended with {done.returncode}: {said}")
        return done.stdout

    def tried(
        self, *arguments: str, timeout_s: float = 600.0, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Return how `docker ARGUMENTS` ended.

        Raises
        ------
        EngineError
            If there is no such program, or it takes longer than `timeout_s`.
        """
        try:
            return subprocess.run(
                ["docker", *arguments],
                cwd=ROOT,
                env={**self.environment, **(more or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError:
            raise EngineError("docker is not installed") from None
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"docker {' '.join(arguments[:6])} took longer than {timeout_s:.0f} s"
            ) from None

    def build(self, target: str, tag: str, *more: str, context: Path = ROOT) -> float:
        """Build one target of the Dockerfile in `context`; return the seconds it took."""
        began = time.monotonic()
        network = f"--network={self.build_network}"
        self.run("build", network, "--target", target, "--tag", tag, *more, str(context), timeout_s=1800)
        return time.monotonic() - began

    def has_image(self, name: str) -> bool:
        return self.tried("image", "inspect", name).returncode == 0

    def size(self, image: str) -> int:
        """Return the bytes of all layers of an image."""
        return int(self.run("image", "inspect", "--format", "{{.Size}}", image))

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what the engine knows of one container or image."""
        (found,) = json.loads(self.run("inspect", name))
        return dict(found)


def wait_for(what: str, is_so: Callable[[], bool], timeout_s: float) -> float:
    """Return the seconds until `is_so` returned true.

    Raises
    ------
    EngineError
        If that takes longer than `timeout_s`.
    """
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > timeout_s:
            raise EngineError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(ENGINE_POLL_S)
    return time.monotonic() - began


@contextmanager
def own_engine() -> Iterator[Engine]:
    """Yield an engine that is started here, and stopped at the end; it needs root and the program dockerd.

    Raises
    ------
    EngineError
        If it does not start.
    """
    if shutil.which("dockerd") is None:
        raise EngineError(
            "dockerd is not installed; on Debian: apt-get install --no-install-recommends docker.io"
        )
    folder = Path(tempfile.mkdtemp(prefix="gaia-engine-"))
    address = f"unix://{folder}/docker.sock"
    places = ("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"))
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", *ENGINE_FLAGS, *places, "-p", str(folder / "pid"), "-H", address],
            stdout=log,
            stderr=log,
        )
    engine = Engine({"DOCKER_HOST": address}, build_network="host")
    try:
        wait_for("the engine answers", lambda: engine.tried("version").returncode == 0, _START_S)
        yield engine
    finally:
        process.terminate()
        process.wait(60)
        subprocess.run(["umount", str(folder / "exec/netns/default")], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def commit_of(root: Path = ROOT) -> str:
    """Return the full commit of the checkout."""
    asked: Sequence[str] = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
