"""A real validator that is stopped in the middle of setting weights ends what it has in hand, and says no error."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gaia.localnet.chain.node import LocalChain
from gaia.validator.db.connection import Database
from gaia.validator.utils.errors import ExitCode
from tests.integration.test_bad_input import Operator
from tests.support.scored_run import record_scored_run
from tests.support.subnet import neurons


@pytest.fixture
async def chain() -> AsyncIterator[LocalChain]:
    # One epoch, and blocks slow enough that a hasty end would come before the next.
    chain = LocalChain(neurons(), block_time_s=1.0, tempo=9999)
    yield chain
    await chain.stop()


@pytest.mark.parametrize("to_all", [True, False], ids=["Ctrl-C", "SIGTERM"])
async def test_stop_in_the_middle_of_a_submission_leaves_no_row_in_doubt_and_no_error_line(
    chain: LocalChain, database: Database, empty_dsn: str, tmp_path: Path, *, to_all: bool
) -> None:
    await record_scored_run(database, datetime.now(UTC))
    operator = Operator(tmp_path)
    stopping: list[int] = []

    def stop(truth: Any) -> Any:
        if to_all:
            os.killpg(stopping[0], signal.SIGINT)
        else:
            os.kill(stopping[0], signal.SIGTERM)
        return truth

    submission = chain.lies.tell("author_submitAndWatchExtrinsic", stop)
    process = await operator.start(
        GAIA_DATABASE_URL=empty_dsn,
        GAIA_CHAIN_ENDPOINT=await chain.start(),
        GAIA_CHAIN_TIMEOUT_S="30",
        GAIA_METAGRAPH_INTERVAL_S="0.5",
        GAIA_TICK_INTERVAL_S="0.5",
        GAIA_LAST_RUN="2020-01-01T00:00:00Z",
        # Without one, the start says an error.
        GAIA_CDS_KEY="11111111-2222-3333-4444-555555555555",
    )
    stopping.append(process.pid)
    output, _ = await process.communicate()

    lines = [json.loads(line) for line in output.decode().splitlines() if line.startswith("{")]
    async with database.transaction() as connection:
        (row,) = await connection.fetch("SELECT * FROM weight_journal")
    assert submission.told == 1
    assert process.returncode == ExitCode.OK, output.decode()
    assert [line for line in lines if line["level"] in ("error", "critical")] == []
    assert (row["state"], row["block"]) == ("set", chain.last_update(0)), output.decode()
