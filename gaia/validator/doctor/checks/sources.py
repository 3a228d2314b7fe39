"""Checks of the data sources, of ports, and of the clock."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING

from gaia.validator.doctor.findings import Check, Finding, Group, failure, ok, skipped, warning
from gaia.validator.doctor.sight import Trouble, seen
from gaia.validator.doctor.steps import Step, do, run
from gaia.validator.utils.machine.hosts import is_loopback

if TYPE_CHECKING:
    from gaia.validator.doctor.facts import Facts, Source

_OLD_KEY = re.compile(r"\d+:[\w-]+", re.ASCII)
_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_KEY_HINT = "the key shown on https://cds.climate.copernicus.eu/profile"
_SUSPECT_S, _WRONG_S = 5.0, 60.0
_WHOLE_MACHINE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - these are what is warned of


def _gfs(facts: Facts) -> Finding:
    return _source(facts, seen(facts.gfs), "gfs_url", "GFS")


def _climatology(facts: Facts) -> Finding:
    return _source(facts, seen(facts.climatology), "climatology_url", "the climatology")


def _cds(facts: Facts) -> Finding:
    found = seen(facts.cds)
    if found.is_key_refused:
        return skipped("the store answers, and judges the key")
    return _source(facts, found, "cds_url", "the Climate Data Store")


def _cds_key(facts: Facts) -> Finding:
    key = seen(facts.settings).cds_key.get_secret_value().strip()
    if not key:
        return failure("GAIA_CDS_KEY is empty, so no lead is scored against ERA5", _key_step(facts))
    if _OLD_KEY.fullmatch(key):
        return failure(
            "GAIA_CDS_KEY has the form UID:KEY of the store that was closed in 2024", _key_step(facts)
        )
    if key != key.strip("\"' ") or len(key.split()) > 1:
        return failure("GAIA_CDS_KEY contains blanks or quotes", _key_step(facts))
    return ok("GAIA_CDS_KEY is set")


def _cds_key_form(facts: Facts) -> Finding:
    key = seen(facts.settings).cds_key.get_secret_value().strip()
    if not key:
        return skipped("there is no key")
    if not _KEY.fullmatch(key) and not _OLD_KEY.fullmatch(key):
        return warning("GAIA_CDS_KEY does not look like a key: 8-4-4-4-12 digits", _key_step(facts))
    return ok("GAIA_CDS_KEY looks like a key")


def _cds_accepted(facts: Facts) -> Finding:
    found = seen(facts.cds)
    if not seen(facts.settings).cds_key.get_secret_value().strip():
        return skipped("there is no key")
    if found.is_key_refused:
        return failure(found.problem, _key_step(facts))
    if found.problem:
        return skipped("the store does not answer")
    return ok("the Climate Data Store accepts the key")


def _proxy(facts: Facts) -> Finding:
    proxies = seen(facts.proxies)
    lost = next((proxy for proxy in proxies if proxy.problem), None)
    if lost is not None:
        return failure(
            f"{lost.variable} names {lost.place}, which cannot be reached ({lost.problem})",
            facts.given.drop(lost.variable, ""),
        )
    return ok(f"{proxies[0].variable} answers" if proxies else "no proxy is used")


def _certificates(facts: Facts) -> Finding:
    for name, path in seen(facts.places).missing_certificates.items():
        return failure(f"{name} names {path}, which is missing", facts.given.drop(name, ""))
    return ok("certificates are where they are looked for")


def _metrics_port(facts: Facts) -> Finding:
    port, settings = seen(facts.port), seen(facts.settings)
    if settings.metrics_port == 0:
        return skipped("no metrics are served")
    if not port.problem:
        return ok(f"port {settings.metrics_port} on {settings.metrics_host} is free")
    if "in use" not in port.problem:
        return failure(port.problem, *facts.given.unset("metrics_host"))
    folder = facts.folder
    if not isinstance(folder, Trouble) and (
        folder.holder_pid in port.ancestors
        # Files of a process in another user namespace, such as systemd's PrivateUsers, cannot be looked at.
        or (folder.holder_pid > 0 and not port.holder_pid and folder.served_port == settings.metrics_port)
    ):
        return ok(f"the running validator serves port {settings.metrics_port}")
    who = f" by process {port.holder_pid}: {port.holder[:120]}" if port.holder_pid else ""
    if port.free is None:
        return failure(f"{port.problem}{who}", do("end a program that listens near it, or free a port"))
    return failure(f"{port.problem}{who}", facts.given.put("metrics_port", port.free))


def _metrics_host(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    if settings.metrics_port == 0:
        return skipped("no metrics are served")
    if is_loopback(settings.metrics_host):
        return ok("only this machine can read the metrics")
    whom = "everybody" if settings.metrics_host in _WHOLE_MACHINE else f"whom {settings.metrics_host} reaches"
    return warning(f"metrics are open to {whom}, without a password", *facts.given.unset("metrics_host"))


def _scheduler(facts: Facts) -> Finding:
    if seen(facts.settings).compute_backend != "dask":
        return skipped("no cluster is used")
    problem = seen(facts.dask)
    if problem:
        return failure(problem, *facts.given.unset("compute_backend"))
    return ok(f"{seen(facts.settings).dask_scheduler} answers")


def _clock_offset(facts: Facts) -> Finding:
    # A Date has whole seconds, so it is half a second behind on average.
    offsets = [
        (found.asked_at - found.date).total_seconds() - 0.5
        for found in (facts.gfs, facts.cds, facts.climatology)
        if not isinstance(found, Trouble) and found.date is not None and found.asked_at is not None
    ]
    if not offsets:
        return skipped("no source tells the time")
    offset_s = statistics.median_low(offsets)
    words = f"this machine's clock is {abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} the sources'"
    step = run("timedatectl", "set-ntp", "true")
    if abs(offset_s) > _WRONG_S:
        return failure(words, step)
    if abs(offset_s) > _SUSPECT_S:
        return warning(words, step)
    return ok(words)


def _time_server(facts: Facts) -> Finding:
    is_followed = seen(facts.host).is_clock_synchronised
    if is_followed is None:
        return skipped("the kernel does not say")
    if not is_followed:
        return warning("the clock follows no time server", run("timedatectl", "set-ntp", "true"))
    return ok("the clock follows a time server")


def _chain_clock(facts: Facts) -> Finding:
    node = seen(facts.node)
    if node.time is None:
        return skipped("the node does not tell the time of its newest block")
    ahead_s = (node.time - node.asked_at).total_seconds()
    if ahead_s > _SUSPECT_S:
        return warning(
            f"this machine's clock is {ahead_s:.0f} s behind the chain's",
            run("timedatectl", "set-ntp", "true"),
        )
    return ok("the chain's clock is not ahead of ours")


def _source(facts: Facts, found: Source, name: str, what: str) -> Finding:
    if not found.problem:
        return ok(f"{what} answers within {found.seconds:.2f} s")
    steps = facts.given.unset(name)
    return failure(found.problem, *(steps or (do("look whether this machine reaches the internet"),)))


def _key_step(facts: Facts) -> Step:
    return facts.given.put("cds_key", "", _KEY_HINT)


_S, _P, _T = Group.SOURCES, Group.PORTS, Group.TIME
CHECKS = (
    Check("gfs", _S, "a published cycle of GFS, with the fields of day 1", "`GAIA_GFS_URL`", _gfs),
    Check("cds", _S, "the Climate Data Store answers", "`GAIA_CDS_URL`", _cds),
    Check("cds-key", _S, "the key is set, and not of the old store", "`GAIA_CDS_KEY`", _cds_key),
    Check("cds-key-form", _S, "the key looks like one", "`GAIA_CDS_KEY`", _cds_key_form),
    Check("cds-accepted", _S, "the store accepts the key", "`GAIA_CDS_KEY`", _cds_accepted),
    Check("climatology", _S, "the store has all scored fields", "`GAIA_CLIMATOLOGY_URL`", _climatology),
    Check("proxy", _S, "the environment's proxy answers", "the variable is unset", _proxy),
    Check("certificates", _S, "`SSL_CERT_FILE` and `SSL_CERT_DIR` exist", "unset", _certificates),
    Check(
        "metrics-port",
        _P,
        "the port of the metrics is free, or whose it is",
        "`GAIA_METRICS_PORT`",
        _metrics_port,
    ),
    Check("metrics-host", _P, "only this machine reads the metrics", "`GAIA_METRICS_HOST`", _metrics_host),
    Check("scheduler", _P, "the Dask scheduler answers", "`GAIA_COMPUTE_BACKEND`", _scheduler),
    Check("clock-offset", _T, "our clock, against the sources'", "`timedatectl`", _clock_offset),
    Check("chain-clock", _T, "our clock, against the chain's", "`timedatectl`", _chain_clock),
    Check("time-server", _T, "the clock follows a time server", "`timedatectl`", _time_server),
)
