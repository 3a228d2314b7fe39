"""A whole validator tells of its start and its stop, and reports that it lives; a dead engine is no new start."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from gaia.localnet.options import Options, data_dir
from gaia.localnet.subnet import LocalSubnet
from gaia.validator.core.background.notifier import FILE
from tests.support.patience import patience
from tests.support.rehearsal import board_of, kill
from tests.support.webhooks import webhook


class ChosenSubnet(LocalSubnet):
    """A local subnet whose validator has some settings of its own."""

    def __init__(self, state_dir: Path, chosen: Mapping[str, Any]) -> None:
        super().__init__(state_dir, Options(miners=1, days=1, seed=3))
        self._chosen = dict(chosen)

    def start_validator(self) -> None:
        assert self.settings is not None
        self.settings = self.settings.model_copy(update=self._chosen)
        super().start_validator()


async def test_validator_tells_of_its_start_and_its_stop_and_not_of_a_new_engine(tmp_path: Path) -> None:
    async with webhook() as hook:
        chosen = {
            "notify_urls": [SecretStr(hook.address)],
            "notify_alive_url": SecretStr(f"http://127.0.0.1:{hook.port}/alive"),
            "notify_life": True,
        }
        async with ChosenSubnet(tmp_path, chosen) as subnet:
            await subnet.start()
            async with asyncio.timeout(patience(120)):
                assert await hook.gets.get() == "/alive"
            (started,) = hook.posted
            kill(board_of(subnet).processes["io_engine"])
            # The next engine looks at once, and it reports that the validator lives.
            async with asyncio.timeout(patience(120)):
                await hook.gets.get()
            assert hook.posted == [started]
            await subnet.stop()
        logs = "".join(path.read_text() for path in tmp_path.rglob("*.log"))

    stopped = hook.posted[-1]
    assert len(hook.posted) == 2
    assert started["title"].endswith(" started")
    assert stopped["title"] == started["title"].replace("started", "stopped")
    assert stopped["message"] == "It was told to stop."
    assert "hushhush" not in logs
    assert "hushhush" not in (data_dir(tmp_path) / FILE).read_text()
