"""Handler: are the spooled files of a forecast those the miner committed to, and of the right shape?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from gaia.tasks.defined_tasks.weather.validator.reading.chunks import Contract, MinerStore, check_metadata
from gaia.tasks.defined_tasks.weather.validator.reading.frames import check_frame
from gaia.tasks.defined_tasks.weather.variables import VARIABLES
from gaia.validator.utils.errors import MinerFault

_METADATA = ".zarray"


class StoreRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast in the spool, as every handler that reads one is told of it."""

    store_dir: str
    digests: dict[str, str]
    """Path in the store -> sha256 (hex) from the frozen manifest."""
    grid: str
    steps: int
    step_hours: int

    def store(self) -> MinerStore:
        contract = Contract(grid=self.grid, steps=self.steps, step_hours=self.step_hours)
        return MinerStore(Path(self.store_dir), self.digests, contract)


def forecast_verify(payload: dict[str, Any]) -> dict[str, Any]:
    """Hash every file in `digests`, and hold metadata and chunk headers against the contract.

    Parameters
    ----------
    payload
        A `StoreRequest`; its digests name the files to verify, no others are read.

    Returns
    -------
    dict
        ``verified``: number of files; ``bytes``: their total size.

    Raises
    ------
    MinerFault
        At the first file that is not as promised or against the contract, and for
        chunks of a variable whose ``.zarray`` is not among the files.
    OwnFailure
        If a file is not in our spool, or the disk fails.
    """
    store = msgspec.convert(payload, StoreRequest).store()
    compressors: dict[str, str] = {}
    total = 0
    # ".zarray" sorts before the chunks of its variable, so its codec is known when they come.
    for path in sorted(store.digests):
        content = store.read(path)
        total += len(content)
        variable, _, name = path.partition("/")
        if variable not in VARIABLES:
            continue
        if name == _METADATA:
            compressors[variable] = check_metadata(content, variable, store.contract)
        elif not name.startswith("."):
            if variable not in compressors:
                raise MinerFault(f"{variable}/{_METADATA} is not in the manifest")
            check_frame(content, path, store.contract.field_bytes, compressors[variable])
    return {"verified": len(store.digests), "bytes": total}
