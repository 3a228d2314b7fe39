"""Whole subnets of which some miners are hostile, and what the others and the chain make of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaia.localnet.options import Options
from gaia.localnet.population import DEFAULT_SIZE, HOSTILE, Behaviour
from gaia.localnet.subnet import LocalSubnet
from tests.support.rehearsal import scores_of, until

STRANGERS = range(DEFAULT_SIZE - len(HOSTILE), DEFAULT_SIZE)
"""Indices of the miners whose place is given to all hostile ones at once; before them stand honest ones."""
PATIENCE_S = 400.0
_SEED = 7


@dataclass(frozen=True, slots=True)
class HostileRun:
    """What is left of a run of one day."""

    scores: dict[str, Any]
    """Of the miners that were not recast, down to the scores of single fields."""
    vector: list[list[int]]
    """As it stands on chain."""
    verdicts: dict[str, tuple[str, str]]
    """Behaviour of each miner that was -> its state and the reason."""
    log: str
    """The validator's."""

    @property
    def compared(self) -> str:
        """How much there is to be compared with another run."""
        fields, vector = len(self.scores["fields"]), len(self.vector)
        return f"{len(self.scores) - 1} miners, {fields} scores of fields, {vector} weights"


async def run_with(recast: Mapping[int, Behaviour], state_dir: Path) -> HostileRun:
    """Run the default population with some miners recast, until its weights rest on the finished run."""
    options = Options(seed=_SEED, recast=dict(recast))
    async with LocalSubnet(state_dir, options) as subnet:
        await subnet.start()
        progress = await until(subnet, lambda progress: progress.is_complete(1), PATIENCE_S)
        report = await subnet.report(progress, {})
    assert subnet.validator is not None
    strangers = {hotkey for hotkey, spec in subnet.specs.items() if spec.index in recast}
    summary = json.loads((state_dir / "summary.json").read_text())
    fields = [row for row in summary["components"] if row["hotkey"] not in strangers]
    scores = {hotkey: row for hotkey, row in scores_of(report).items() if hotkey not in strangers}
    return HostileRun(
        scores=scores | {"fields": fields},
        vector=report["chain"]["vector"],
        verdicts={
            miner["behaviour"]: (miner["verdict"], miner["reason"])
            for miner in report["miners"]
            if miner["hotkey"] in strangers
        },
        log=subnet.validator.log_path.read_text(),
    )
