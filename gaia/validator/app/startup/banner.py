"""The first log line: what starts, for whom, and with which rules."""

from __future__ import annotations

import json
import logging
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gaia.validator.app.logging_config import configure_logging, event
from gaia.validator.utils.version import commit, version

if TYPE_CHECKING:
    from gaia.validator.utils.settings.chain import ChainSettings
    from gaia.validator.utils.settings.observation import ObservationSettings

_ADDRESS = re.compile(r"[1-9A-HJ-NP-Za-km-z]{47,48}")
_log = logging.getLogger("application")


def announce(chain: ChainSettings, observation: ObservationSettings, data_dir: Path, rule_set: str) -> None:
    """Log the line `starting`."""
    # The Supervisor continues in this process, and the line is its first.
    configure_logging(observation.log_level, observation.log_format, role="supervisor")
    event(
        _log,
        "starting",
        version=version(),
        commit=commit(),
        network=chain.chain_endpoint,
        netuid=chain.netuid,
        hotkey=public_hotkey(chain.hotkey_path),
        rule_set=rule_set,
        dry_run=chain.dry_run,
        data_dir=str(data_dir.resolve()),
        python=platform.python_version(),
    )


def public_hotkey(hotkey_path: Path) -> str:
    """Return the hotkey's address from the public file beside it; "" if there is none.

    The hotkey's own file is not opened, because it holds the secret; the signer logs the address too.
    """
    path = hotkey_path.expanduser().with_name(f"{hotkey_path.name}pub.txt")
    try:
        address = json.loads(path.read_text(encoding="utf-8")).get("ss58Address", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return address if isinstance(address, str) and _ADDRESS.fullmatch(address) else ""
