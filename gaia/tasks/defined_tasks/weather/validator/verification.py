"""Handler that checks the digests and the shape of a forecast's spooled files."""

from __future__ import annotations

from gaia.tasks.defined_tasks.weather.units import Verified, VerifyForecast
from gaia.tasks.defined_tasks.weather.validator.reading.chunks import MinerStore, check_metadata
from gaia.tasks.defined_tasks.weather.validator.reading.frames import check_frame
from gaia.tasks.defined_tasks.weather.variables import VARIABLES
from gaia.validator.utils.errors import InvalidManifest

_METADATA = ".zarray"


def forecast_verify(unit: VerifyForecast) -> Verified:
    """Hash every file in `digests`, and check metadata and chunk headers against the contract.

    Raises
    ------
    MinerFault
        If a file differs from its digest or breaks the contract. Also if the ``.zarray`` of a
        chunk's variable is not among the files.
    OwnFailure
        If a file is missing in our spool, or the disk fails.
    """
    store = MinerStore.of(unit)
    compressors: dict[str, str] = {}
    total = 0
    # ".zarray" sorts before the chunks of its variable, so their codec is known.
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
                raise InvalidManifest(f"{variable}/{_METADATA} is not in the manifest")
            check_frame(content, path, store.contract.field_bytes, compressors[variable])
    return Verified(verified=len(store.digests), bytes=total)
