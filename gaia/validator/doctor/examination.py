"""Runs all looks at once, each with a time limit, and judges what they found."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaia.validator.app.startup.reading import sources_of
from gaia.validator.doctor.checks import (
    backups,
    chain,
    configuration,
    database,
    files,
    host,
    notify,
    sources,
    wallet,
)
from gaia.validator.doctor.facts import Facts, Places
from gaia.validator.doctor.findings import Check, Finding, Group, Result
from gaia.validator.doctor.given import Given, read_given
from gaia.validator.doctor.looks.backups import look_at_backups
from gaia.validator.doctor.looks.chain import look_at_further_nodes, look_at_node, look_at_subnet
from gaia.validator.doctor.looks.database import look_at_server
from gaia.validator.doctor.looks.files import look_at_folder, look_at_wallet
from gaia.validator.doctor.looks.host import look_at_host
from gaia.validator.doctor.looks.notify import look_at_addresses
from gaia.validator.doctor.looks.places import look_at_places
from gaia.validator.doctor.looks.ports import look_at_port, look_at_proxies
from gaia.validator.doctor.looks.sources import (
    look_at_cds,
    look_at_climatology,
    look_at_gfs,
    look_at_scheduler,
)
from gaia.validator.doctor.sight import Trouble
from gaia.validator.utils.proxies import spare_loopback
from gaia.validator.utils.secrecy import without_secrets

if TYPE_CHECKING:
    Look = Callable[[], object]

PATIENCE_S = 8.0
"""Seconds for all looks together; they run side by side."""

CHECKS: Sequence[Check] = (
    *configuration.CHECKS,
    *host.CHECKS,
    *files.CHECKS,
    *backups.CHECKS,
    *wallet.CHECKS,
    *database.CHECKS,
    *chain.CHECKS,
    *sources.CHECKS,
    *notify.CHECKS,
)
"""All checks, in the order in which they are printed."""

_NEEDED: Mapping[Group, Collection[str]] = {
    Group.CONFIGURATION: ("places", "folder"),
    Group.HOST: ("host", "places"),
    Group.ISOLATION: ("host",),
    Group.FILES: ("folder", "places", "backups"),
    Group.HOTKEY: ("wallet", "places", "folder"),
    Group.CHAIN: ("node", "further_nodes", "subnet", "wallet"),
    Group.DATABASE: ("server", "folder", "backups"),
    Group.SOURCES: ("gfs", "cds", "climatology", "proxies", "places"),
    Group.PORTS: ("port", "dask", "folder"),
    Group.NOTIFY: ("addresses",),
    Group.TIME: ("gfs", "cds", "climatology", "node", "host"),
}
"""Group of checks -> fields of `Facts` that they need."""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of the checks."""

    findings: Sequence[tuple[Check, Finding]]
    seconds: float
    sources: str = ""
    """A sentence that names the file of settings."""

    @property
    def worst(self) -> Result:
        """The worst result; skipped checks do not count."""
        results = {finding.result for _, finding in self.findings}
        return next((each for each in (Result.FAILURE, Result.WARNING) if each in results), Result.OK)

    @property
    def exit_code(self) -> int:
        """0: all is well; 1: warnings; 2: failures."""
        return {Result.FAILURE: 2, Result.WARNING: 1}.get(self.worst, 0)


def examine(
    env_file: Path = Path(".env"),
    *,
    patience_s: float = PATIENCE_S,
    groups: Collection[Group] = tuple(Group),
    **overrides: Any,
) -> Report:
    """Look at everything that the checks of `groups` need, and return their findings.

    It starts no process of the validator, and changes no file, setting or database. To see whether
    they can be written, it makes a file without a name in the data folder and in the temporary one.

    Parameters
    ----------
    env_file
        File of the settings, as for `load_settings`.
    patience_s
        Seconds after which a look that has not ended counts as failed.
    overrides
        Settings by field name, as given on the command line.
    """
    began = time.monotonic()
    facts = gather(env_file, patience_s, groups, **overrides)
    chosen = [check for check in CHECKS if check.group in groups or check is host.IN_TIME]
    findings = [(check, check.finding(facts)) for check in chosen]
    return Report(findings, time.monotonic() - began, sources_of(env_file))


def gather(env_file: Path, patience_s: float, groups: Collection[Group], **overrides: Any) -> Facts:
    """Return the facts that the checks of `groups` need."""
    given, settings = read_given(env_file, **overrides)
    if isinstance(settings, Trouble):
        # These do not depend on the settings.
        alone: Mapping[str, Look] = {"host": look_at_host, "places": partial(_places, given, None)}
        return Facts(given=given, settings=settings, **_looked(alone, patience_s))
    spare_loopback(*settings.chain.endpoints)
    chain, sources, contract = settings.chain, settings.sources, settings.contract
    looks: Mapping[str, Look] = {
        "host": look_at_host,
        "places": partial(_places, given, settings.clock_file),
        "folder": partial(look_at_folder, settings.files),
        "backups": partial(look_at_backups, settings.backup, settings.data_dir),
        "wallet": partial(look_at_wallet, chain, settings.data_dir),
        "port": partial(look_at_port, settings.observation),
        "proxies": partial(look_at_proxies, given.environment),
        "dask": partial(look_at_scheduler, settings.pool),
        "server": partial(look_at_server, settings.database, settings.files),
        "node": partial(look_at_node, chain),
        "further_nodes": partial(look_at_further_nodes, chain),
        "subnet": partial(look_at_subnet, chain),
        "gfs": partial(look_at_gfs, sources, contract, settings.schedule),
        "cds": partial(look_at_cds, sources),
        "climatology": partial(look_at_climatology, sources, contract),
        "addresses": partial(look_at_addresses, settings.notify),
    }
    needed = {name for group in groups for name in _NEEDED[group]}
    chosen = {name: look for name, look in looks.items() if name in needed}
    return Facts(given=given, settings=settings, **_looked(chosen, patience_s))


def _places(given: Given, clock_file: Path | None) -> Places:
    return look_at_places(given.environment, given.env_file, clock_file)


def _looked(looks: Mapping[str, Look], patience_s: float) -> Mapping[str, Any]:
    """Run each look in a thread of its own; return fields of `Facts` by the end of the time.

    The threads are daemons, because one that hangs over a dead disk or peer cannot be stopped.
    """
    end = time.monotonic() + patience_s
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}

    def look(name: str) -> None:
        try:
            found[name] = looks[name]()
        except Exception as error:  # noqa: BLE001 - what nobody foresaw is told too, and the other looks count
            failed[name] = _said(error)
            found[name] = Trouble(f"looking at the {name} failed: {failed[name]}")

    threads = {name: threading.Thread(target=look, args=(name,), daemon=True) for name in looks}
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    late = sorted(looks.keys() - found.keys())
    missing = dict.fromkeys(late, Trouble(f"no answer within {patience_s:g} s"))
    return {**found, **missing, "late": late, "failed": dict(failed)}


def _said(error: Exception) -> str:
    words = error.strerror if isinstance(error, OSError) else None
    return without_secrets(words or f"{type(error).__name__}: {error}")
