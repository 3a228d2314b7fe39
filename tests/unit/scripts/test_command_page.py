"""The reference page of the command line is what the parsers say."""

from __future__ import annotations

from generate.command_page import PAGE, commands, render

from gaia.cli.parsers import parser


def test_page_is_what_the_parsers_say() -> None:
    assert PAGE.read_text() == render(), "run scripts/generate/command_page.py"


def test_page_has_every_command_with_a_sentence() -> None:
    found = list(commands(parser()))

    assert {"gaia status", "gaia runs show", "gaia weights preview"} <= {each.prog for each in found}
    assert [each.prog for each in found if not (each.description or "").endswith(".")] == []
