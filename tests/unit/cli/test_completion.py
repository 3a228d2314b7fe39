"""Completion offers what the parser accepts, in the shell itself where it is installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gaia.cli.__main__ import main
from gaia.cli.arguments import SHELLS
from gaia.cli.completion import script_for, words_of
from gaia.cli.parsers import parser
from tests.support.programs import program

ASK = """
source "$1"; shift
COMP_WORDS=(gaia "$@"); COMP_CWORD=$#
COMPREPLY=()
_gaia
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(tmp_path: Path, *words: str) -> set[str]:
    """Return what bash offers for the last of `words`."""
    script = tmp_path / "gaia.bash"
    script.write_text(script_for("bash", parser()))
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", str(script), *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "some", "none"),
    [
        (("",), {"status", "runs", "plot", "--version"}, {"show", "--watch"}),
        (("sta",), {"status"}, {"runs"}),
        (("weights", ""), {"preview", "history", "--help"}, {"status"}),
        (("weights", "history", "--"), {"--last", "--json", "--state"}, {"--watch"}),
        (("runs", ""), {"show", "--json"}, {"status"}),
        (("plot", "sk"), {"skill"}, {"scorecard", "runs"}),
        (("logs", "--level", "w"), {"warning"}, {"debug", "--run"}),
        (("completion", ""), set(SHELLS), {"status"}),
        (("replay", "last", "--work"), {"--workers"}, {"--diff"}),
        (("what-if", "--"), {"--set", "--rule-set", "--json", "--state"}, {"--diff"}),
    ],
)
def test_bash_offers_what_may_follow(
    tmp_path: Path, words: tuple[str, ...], some: set[str], none: set[str]
) -> None:
    found = offered(tmp_path, *words)

    assert some <= found
    assert not none & found


def test_value_that_may_be_a_file_is_completed_with_files(tmp_path: Path) -> None:
    (tmp_path / "picture.png").touch()

    assert "picture.png" in offered(tmp_path, "plot", "skill", "last", "-o", "pic")


@pytest.mark.parametrize("shell", SHELLS)
def test_script_names_every_command_and_option(shell: str) -> None:
    script = script_for(shell, parser())

    for path, words in words_of(parser()).items():
        for name in path:
            assert name in script
        for option in words.options:
            assert option.lstrip("-") in script


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_accepts_the_script(shell: str, tmp_path: Path) -> None:
    path = program(shell)
    script = tmp_path / "script"
    script.write_text(script_for(shell, parser()))

    done = subprocess.run([str(path), "-n", str(script)], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_command_prints_the_script_without_a_database(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == script_for("bash", parser())
