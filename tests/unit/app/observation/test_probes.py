"""Answers made from checks: a status, words for people, JSON for programs."""

from __future__ import annotations

import json

import pytest

from gaia.validator.app.observation.probes import Check, Endpoints, probe_answer
from gaia.validator.app.observation.serving import Request

WELL = Check(name="loop", is_well=True, reason="it turned 0.1 s ago", fix="wait")
ILL = Check(name="chain", is_well=False, reason="no answer", fix="start the node")


def test_all_well_is_ok() -> None:
    answer = probe_answer("io_engine", [WELL], is_verbose=False)

    assert (answer.status, answer.body) == (200, b"ok\n")


def test_what_fails_is_named_with_its_remedy_and_nothing_else_is() -> None:
    answer = probe_answer("io_engine", [WELL, ILL], is_verbose=False)

    assert (answer.status, answer.body) == (503, b"chain: no answer; start the node.\n")


def test_verbose_names_every_check_with_state_reason_and_remedy() -> None:
    answer = probe_answer("io_engine", [WELL, ILL], is_verbose=True)

    assert (answer.status, answer.content_type) == (503, "application/json")
    assert json.loads(answer.body) == {
        "status": "failing",
        "answered_by": "io_engine",
        "checks": [
            {"name": "loop", "state": "ok", "reason": "it turned 0.1 s ago", "fix": ""},
            {"name": "chain", "state": "failing", "reason": "no answer", "fix": "start the node"},
        ],
    }


@pytest.mark.parametrize("is_verbose", [False, True])
def test_words_of_outside_parties_are_shown_without_secrets_and_controls(*, is_verbose: bool) -> None:
    quoting = Check(name="database", is_well=False, reason="postgresql://me:hush@db/x said \x1b[31mno")

    body = probe_answer("io_engine", [quoting], is_verbose=is_verbose).body

    assert b"hush" not in body
    assert b"\x1b" not in body


@pytest.mark.parametrize(
    ("path", "status"), [("/livez", 200), ("/metrics", 200), ("/", None), ("/livez/x", None), ("", None)]
)
def test_only_known_paths_have_an_answer(path: str, status: int | None) -> None:
    endpoints = Endpoints(role="x", probes={"/livez": lambda: [WELL]}, metrics=lambda: b"gaia_x 1\n")

    answer = endpoints.answer(Request(path, is_verbose=False))

    assert (answer.status if answer is not None else None) == status
