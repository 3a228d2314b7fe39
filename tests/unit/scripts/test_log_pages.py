"""The page of log events says what the log calls in the code say."""

from __future__ import annotations

from pathlib import Path

import pytest
from generate.log_meanings import MEANINGS, OTHER_FIELDS, OTHER_LEVELS
from generate.log_pages import PAGE, UnclearCall, render, spoken


def test_page_is_what_the_code_logs() -> None:
    assert PAGE.read_text() == render(), "run scripts/generate/log_pages.py"


def test_every_event_has_a_meaning_and_no_meaning_is_left_over() -> None:
    assert set(MEANINGS) == set(spoken()), "correct scripts/generate/log_meanings.py"
    assert set(OTHER_FIELDS) | set(OTHER_LEVELS) <= set(MEANINGS)


def test_every_logger_has_lines() -> None:
    loggers = {logger for said in spoken().values() for logger in said.loggers}

    assert loggers == {"application", "performance", "security"}


def test_names_of_events_are_words_that_can_be_searched() -> None:
    assert [event for event in spoken() if not event.replace("_", "").islower()] == []


def _tree(tmp_path: Path, text: str) -> Path:
    (tmp_path / "module.py").write_text(text)
    return tmp_path


def test_level_logger_and_fields_are_read_from_the_call(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        "log = structlog.get_logger(__name__)\n"
        "_security = logging.getLogger('security')\n"
        "def one(bad):\n"
        "    log.exception('broken', state=1, once='x')\n"
        "    level = logging.INFO if bad else logging.WARNING\n"
        "    event(_security, 'entered', level, worker=2)\n"
        "    log.debug('plain', extra={'values': {'path': 1}})\n"
        "    other.error('not a log call')\n",
    )

    said = spoken(root)

    assert {name: (sorted(one.levels), one.loggers, one.fields) for name, one in said.items()} == {
        "broken": (["error"], {"application"}, ["state"]),
        "entered": (["info", "warning"], {"security"}, ["worker"]),
        "plain": (["debug"], {"application"}, ["path"]),
    }


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("log.info(name)", "the event is not a literal"),
        ("log.log(level_of(name), 'event')", "the level of event is not a literal"),
    ],
)
def test_call_that_cannot_be_read_is_refused(tmp_path: Path, call: str, problem: str) -> None:
    root = _tree(tmp_path, f"log = structlog.get_logger()\ndef one():\n    name = 1\n    {call}\n")

    with pytest.raises(UnclearCall, match=problem):
        spoken(root)
