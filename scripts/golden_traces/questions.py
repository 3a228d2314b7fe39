"""Reads the requests that the miners of a local subnet recorded, in an order independent of speed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from gaia.tasks.defined_tasks.weather.wire.messages import (
    EXCHANGE_PATH,
    FORECASTS_PREFIX,
    INITIATE_PATH,
    POLL_PATH,
    PUBLIC_KEY_PATH,
    STORE_PATH,
    job_id_of,
    store_name_of,
)

SESSION: Final = "session"
"""Used in place of a run for requests that belong to none."""
STRANGE: Final = "strange"
"""Used in place of a run for an unknown job, file or path."""

_WORDS: Final = {
    PUBLIC_KEY_PATH: "public key",
    EXCHANGE_PATH: "exchange",
    INITIATE_PATH: "initiate",
    POLL_PATH: "poll",
    STORE_PATH: "store",
}


class Subjects:
    """Maps one miner's jobs and files to runs."""

    def __init__(self, hotkey: str, init_times: Mapping[str, datetime]) -> None:
        self._starts = {moment: run_id for run_id, moment in init_times.items()}
        self._jobs = {job_id_of(moment, hotkey): run_id for run_id, moment in init_times.items()}
        self._stores = {store_name_of(moment, hotkey): run_id for run_id, moment in init_times.items()}

    def run_and_words(self, line: Mapping[str, Any]) -> tuple[str, str, bool]:
        """Return (run, name of the request, whether it is a file)."""
        path, about = line["path"], line["about"]
        if line["method"] == "CONNECT":
            return SESSION, "connection", False
        if path.startswith(FORECASTS_PREFIX):
            store, _, file = path.removeprefix(FORECASTS_PREFIX).partition("/")
            return self._stores.get(store, STRANGE), file, True
        word = _WORDS.get(path, f"{line['method']} {path}")
        if path == INITIATE_PATH:
            return self._run_of_start(about), word, False
        if path in (POLL_PATH, STORE_PATH):
            return self._jobs.get(about, STRANGE), word, False
        return SESSION if path in _WORDS else STRANGE, word, False

    def _run_of_start(self, about: str) -> str:
        return self._starts.get(datetime.fromisoformat(about), STRANGE) if about else STRANGE


def questions_of(record: Iterable[str], subjects: Subjects) -> dict[str, dict[str, Any]]:
    """Return run -> simulated time -> requests to one miner.

    "asked" names the calls in order. Files are downloaded several at once, so "fetched" holds them
    by name, each with its answers.
    """
    asked: dict[tuple[str, str], list[str]] = defaultdict(list)
    fetched: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for text in record:
        line = json.loads(text)
        run, words, is_file = subjects.run_and_words(line)
        place = run, line["at"]
        if is_file:
            fetched[place][words].append(f"{line['status']}")
        elif line["status"] in (HTTPStatus.OK, 0):
            asked[place].append(words)
        else:
            asked[place].append(f"{words} ({line['status']})")
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for run, at in sorted({*asked, *fetched}):
        entry = {"asked": ", ".join(asked[run, at])} if (run, at) in asked else {}
        files = {name: " ".join(sorted(answers)) for name, answers in fetched[run, at].items()}
        found[run][at] = entry | ({"fetched": files} if files else {})
    return dict(found)
