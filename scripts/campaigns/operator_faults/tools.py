"""Runs the commands of `gaia` beside a local subnet, as an operator does."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gaia.localnet.options import validator_environment

if TYPE_CHECKING:
    from gaia.localnet.subnet import LocalSubnet

_TOOL_S: Final = 90.0
_SCRIPTS: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one command printed as JSON."""

    exit_code: int
    answer: Any


class ToolFailed(Exception):
    """A command of the operator ended without an answer."""


def inherit_scripts() -> None:
    """Let the subnet's own processes import modules of scripts/, where a node of a campaign is."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_SCRIPTS), str(_SCRIPTS.parent)])


async def run_tool(subnet: LocalSubnet, patience: float, *words: str) -> Said:
    """Run `gaia` with the settings of a subnet's validator, and return what it says.

    Raises
    ------
    ToolFailed
        If it says no JSON, or takes longer than a minute and a half.
    """
    assert subnet.settings is not None
    values = subnet.settings.model_dump(exclude_unset=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gaia.cli", *words, "--json"),
        cwd=subnet.state_dir,
        env=validator_environment(subnet.state_dir, values),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), _TOOL_S * patience)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ToolFailed(f"gaia {' '.join(words)} does not end") from None
    try:
        answer = json.loads(output)
    except ValueError:
        said = errors.decode(errors="replace").strip()[-300:]
        raise ToolFailed(f"gaia {' '.join(words)} ends with {process.returncode}: {said}") from None
    return Said(exit_code=process.returncode or 0, answer=answer)
