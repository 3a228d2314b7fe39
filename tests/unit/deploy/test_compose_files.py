"""The compose files keep what they promise, as far as their text shows; scripts/docker_ci.py runs them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # its stubs are not worth a package
from campaigns.docker.bases import TARGETS

from gaia.validator.utils.config import Settings, names_of
from tests.support.repository import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
FOR_TESTS = yaml.safe_load((ROOT / "docker-compose.test.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
NGINX = (ROOT / "deploy/docker/nginx.conf").read_text()
VARIABLE = re.compile(r"\$\{(\w+):?-([^}]*)\}")


def default(text: Any) -> str:
    """Return a value as it is without any variable."""
    return VARIABLE.sub(lambda match: match[2], str(text))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded_and_has_no_rights(name: str) -> None:
    service = SERVICES[name]

    assert {"mem_limit", "pids_limit", "restart"} <= service.keys()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "demo"])
def test_a_service_is_in_our_network_and_reserves_memory(name: str) -> None:
    assert SERVICES[name]["networks"] == ["gaia"]
    assert "mem_reservation" in SERVICES[name]


def test_every_port_is_published_on_this_machine_alone() -> None:
    for services in (SERVICES, FOR_TESTS["services"]):
        for service in services.values():
            for port in service.get("ports", ()):
                assert default(port).startswith("127.0.0.1:"), port


def test_the_demo_needs_no_key_no_network_and_no_other_service() -> None:
    demo = SERVICES["demo"]

    assert demo["network_mode"] == "none"
    assert not {"secrets", "env_file", "depends_on", "volumes", "ports"} & demo.keys()


def test_only_validator_and_database_start_without_a_profile() -> None:
    started = [name for name, service in SERVICES.items() if "profiles" not in service]

    assert started == ["validator", "postgres"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_setting_that_a_service_is_given_is_a_setting(name: str) -> None:
    known = {variable for field in Settings.model_fields for variable in names_of(field)}
    given = [variable for variable in SERVICES[name].get("environment", {}) if variable.startswith("GAIA_")]

    # Grafana reads this one, in our provisioning.
    assert [variable for variable in given if variable not in known | {"GAIA_DASHBOARDS"}] == []


def test_no_variable_of_the_compose_file_is_refused_by_the_validator() -> None:
    """A person writes both into .env, and the validator refuses names of its own that it does not know."""
    known = {variable for field in Settings.model_fields for variable in names_of(field)}
    variables = {found[1] for found in re.finditer(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())}

    assert [name for name in variables if name.startswith("GAIA_") and name not in known] == []


def test_each_public_image_but_grafana_has_a_stand_in() -> None:
    images = {default(service["image"]) for service in SERVICES.values()}
    bases = {match[2] for match in re.finditer(r"^ARG (\w+)=(python:\S+)", DOCKERFILE, re.MULTILINE)}
    public = {image for image in images if ":" in image} | bases

    assert public - set(TARGETS.values()) == {"grafana/grafana:11.6.0"}
    assert set(TARGETS.values()) <= public


def test_every_file_that_is_mounted_is_there() -> None:
    sources = [
        default(volume).split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
    ]
    files = [source for source in sources if source.startswith("./")]

    assert len(files) >= 6
    assert [file for file in files if not Path(ROOT, file).exists()] == []


def test_the_database_for_tests_shares_nothing_with_the_real_one() -> None:
    assert FOR_TESTS["name"] != COMPOSE["name"]
    assert "volumes" not in FOR_TESTS
    assert FOR_TESTS["services"]["postgres"]["tmpfs"][0].startswith("/var/lib/postgresql/data")


def test_the_image_starts_the_daemon_as_its_user() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]

    assert last.startswith("base AS validator")
    assert 'CMD ["python", "-m", "gaia.validator.validator"]' in last
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "--require-hashes" in DOCKERFILE
    assert not re.search(r"\b(curl|wget)\b", DOCKERFILE)


def test_nothing_private_is_sent_to_the_engine() -> None:
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]

    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {
        "LICENSE", "README.md", "pyproject.toml", "gaia", "monitoring", "requirements", "scripts", "deploy",
        "deploy/docker",
    }  # fmt: skip


def public_paths() -> re.Pattern[str]:
    found = re.search(r'location ~ "(.+)" \{', NGINX)
    assert found is not None
    return re.compile(found[1])


@pytest.mark.parametrize(
    "path",
    ["/", "/index.html", "/leaderboard.html", "/runs/2026-03-25T00Z.html", "/data/miners/5DRonQmU.json"],
)
def test_the_proxy_shows_pages(path: str) -> None:
    assert public_paths().search(path)


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/livez", "/readyz", "/startupz", "/readyz/x", "/.env", "/runs/", "/a.html.bak", "//x"],
)
def test_the_proxy_shows_nothing_else(path: str) -> None:
    assert not public_paths().search(path)
