"""Plays all stages, and checks that each fault fires its alerts: from the validator to a webhook."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
from alerting.rule import PREFIX
from alerting.table import ALERTS

from gaia.cli.runbook import NOTHING
from gaia.localnet.children import ChildFailed
from monitored.alertmanager import Alertmanager, Webhook
from monitored.faults.scene import ChosenSubnet, Fault, Scene, Stage, Stuck
from monitored.faults.table import ALWAYS, FASTER, NOT_INJECTED, SPEED, STAGES
from monitored.programs import ROOT, disk, free_port
from monitored.prometheus import Prometheus

_CALM_S = 90.0
_MOST_NOT_INJECTED = 3


async def check(folder: Path, *, names: Sequence[str], patience: float) -> dict[str, Any]:
    """Play the stages that have one of the faults `names`, or all; return {figures, ratios, violations}."""
    seen: dict[str, dict[str, Any]] = {}
    violations: list[str] = []
    for stage in STAGES:
        faults = [fault for fault in stage.faults if not names or fault.name in names]
        if not faults:
            continue
        print(f"{stage.name} ...", file=sys.stderr, flush=True)
        chosen = replace(stage, faults=faults)
        try:
            with disk(folder / stage.name, stage.tmpfs_mib) as place:
                violations += await _play(chosen, place, folder / f"{stage.name}-prometheus", patience, seen)
        except (Stuck, ChildFailed, OSError, httpx.HTTPError) as error:
            violations.append(f"{stage.name} did not come to its end: {type(error).__name__}: {error}")
        # A campaign that is cut off leaves what it saw so far.
        so_far = {"fired": seen, "violations": violations}
        (folder / "so_far.json").write_text(json.dumps(so_far, indent=1))
    return _judged(seen, violations, is_whole=not names)


def _judged(seen: dict[str, dict[str, Any]], violations: list[str], *, is_whole: bool) -> dict[str, Any]:
    wanted = {alert.name for alert in ALERTS} - {*NOT_INJECTED, *ALWAYS}
    missing = sorted(wanted - seen.keys()) if is_whole else []
    if len(NOT_INJECTED) > _MOST_NOT_INJECTED:
        violations.append(f"{len(NOT_INJECTED)} alerts are not injected, more than {_MOST_NOT_INJECTED}")
    return {
        "figures": {"speed": SPEED, "faster": FASTER, "not_injected": NOT_INJECTED, "fired": seen},
        "ratios": {
            "fired": len(seen) / len(wanted),
            "diagnosed": sum(each["right"] for each in seen.values()) / max(1, len(seen)),
        },
        "violations": [*violations, *(f"{name} was not fired by any fault" for name in missing)],
    }


async def _play(
    stage: Stage, place: Path, folder: Path, patience: float, seen: dict[str, dict[str, Any]]
) -> list[str]:
    violations: list[str] = []
    began = time.time()
    async with _scene(stage, place, folder, patience) as scene:
        await stage.ready(scene)
        for fault in stage.faults:
            print(f"  {fault.name} ...", file=sys.stderr, flush=True)
            try:
                violations += await _inject(fault, scene, began, seen)
            except Stuck as error:
                violations.append(f"{fault.name}: {error}")
    return violations


async def _inject(fault: Fault, scene: Scene, began: float, seen: dict[str, dict[str, Any]]) -> list[str]:
    """Inject one fault, wait for its alerts at the webhook, end it, and note how long each took."""
    if not fault.is_standing:
        await _until_silent(fault, scene)
    since = began if fault.is_standing else time.time()
    async with fault.cause(scene):
        injected = time.time()
        missing = await _until_arrived(fault, scene, since)
        said = {name: await _diagnosed(name, scene) for name in fault.alerts if name not in missing}
    wrong = [f"{fault.name} did not fire {name}" for name in missing]
    expected = {branch.sentence for branch in fault.branches}
    wrong += [
        f"{fault.name}: gaia runbook {name} said: {' '.join(found) or NOTHING}"
        for name, found in said.items()
        if expected.isdisjoint(found)
    ]
    for name in fault.alerts:
        arrival = scene.arrived(PREFIX + name, since)
        if arrival is None:
            continue
        alert = next(each for each in ALERTS if each.name == name)
        receiver = "page" if alert.page else "ticket"
        if arrival.receiver != receiver:
            wrong.append(f"{name} went to {arrival.receiver}, not to {receiver}")
        seen[name] = {
            "fault": fault.name,
            "seconds": round(max(0.0, arrival.at - injected), 1),
            "receiver": arrival.receiver,
            "runbook": said[name],
            "right": not expected.isdisjoint(said[name]),
        }
    return wrong


async def _diagnosed(name: str, scene: Scene) -> list[str]:
    """Return the causes that `gaia runbook` finds, as an operator would ask."""
    state = str(scene.subnet.state_dir)
    command = [sys.executable, "-m", "gaia.cli", "runbook", name, "--json", "--state", state]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, complaint = await process.communicate()
    try:
        found = json.loads(told)["findings"]
    except ValueError:
        return [f"(exit {process.returncode}: {complaint.decode()[-300:]})"]
    return [finding["cause"] for finding in found]


async def _until_silent(fault: Fault, scene: Scene) -> None:
    """Wait until the validator is up and none of the alerts of `fault` fires."""
    names = {PREFIX + name for name in fault.alerts}

    async def is_silent() -> bool:
        return await scene.prometheus.is_scraping() and not names & await scene.prometheus.firing()

    await scene.until(is_silent, _CALM_S, f"silence of {', '.join(sorted(names))}")


async def _until_arrived(fault: Fault, scene: Scene, since: float) -> list[str]:
    """Return the alerts of `fault` that did not arrive in time."""

    async def is_complete() -> bool:
        return all(scene.arrived(PREFIX + name, since) for name in fault.alerts)

    try:
        await scene.until(is_complete, fault.seconds, "the alert")
    except Stuck:
        return [name for name in fault.alerts if scene.arrived(PREFIX + name, since) is None]
    return []


@asynccontextmanager
async def _scene(stage: Stage, place: Path, folder: Path, patience: float) -> AsyncIterator[Scene]:
    """Start the webhook, Alertmanager, Prometheus and the subnet; end them in the reverse order."""
    port = free_port()
    options = msgspec.structs.replace(stage.options, metrics_port=port)
    with Webhook() as webhook:
        settings = {
            name: value.format(webhook=webhook.address) if isinstance(value, str) else value
            for name, value in stage.settings.items()
        }
        async with (
            Alertmanager(folder / "alertmanager", webhook.address) as alertmanager,
            Prometheus(
                folder / "prometheus",
                f"127.0.0.1:{port}",
                alertmanager.address,
                speed=SPEED,
                faster=FASTER,
            ) as prometheus,
            ChosenSubnet(place, options, settings) as subnet,
        ):
            await subnet.start()
            yield Scene(subnet=subnet, prometheus=prometheus, webhook=webhook, patience=patience)
