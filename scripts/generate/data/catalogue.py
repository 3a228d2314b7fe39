"""Writes gaia/validator/db/migrations/catalogue.txt from what the migrations make in an empty database.

`python scripts/generate/data/catalogue.py`
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from gaia.validator.app.children.embedded_postgres import (  # noqa: E402 - where to find it is said above
    EmbeddedPostgres,
    embedded_dsn,
)
from gaia.validator.db.connection import Database  # noqa: E402 - likewise
from gaia.validator.db.schema.catalogue import EXPECTED, as_text, read_catalogue  # noqa: E402 - likewise
from gaia.validator.db.schema.files import read_migrations  # noqa: E402 - likewise
from gaia.validator.db.schema.migrating import Migrator  # noqa: E402 - likewise

_PATIENCE_S = 60.0


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder))
        server.prepare()
        process = server.start()
        try:
            while not server.is_ready():
                time.sleep(0.05)
            EXPECTED.write_text(asyncio.run(render(embedded_dsn(Path(folder)))), encoding="utf-8")
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)


async def render(dsn: str) -> str:
    """Return the text of catalogue.txt, made in the empty database at `dsn`."""
    database = await Database.connect(dsn, timeout_s=_PATIENCE_S, pool_size=2)
    try:
        await Migrator(database, _PATIENCE_S).migrate(read_migrations())
        return as_text(await database.run(read_catalogue))
    finally:
        await database.close()


if __name__ == "__main__":
    main()
