"""A healthy validator's machine, which each test breaks in its own way."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.support.doctor_machine import Machine
from tests.support.doctor_world import World, whole_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with whole_world(tmp_path_factory.mktemp("world")) as served:
        yield served


@pytest.fixture
def machine(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Machine]:
    name = f"gaia_{uuid.uuid4().hex[:8]}"
    world.psql(f"CREATE ROLE {name} LOGIN", f"CREATE DATABASE {name} OWNER {name}")
    shutil.copytree(world.home / "wallets", tmp_path / "wallets")
    built = Machine(world, tmp_path, monkeypatch, capsys, name)
    built.prepare()
    yield built
    structlog.reset_defaults()
    for child in built.children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
    world.psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"DROP DATABASE IF EXISTS {name}_new")
