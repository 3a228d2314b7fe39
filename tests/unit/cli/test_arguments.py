"""Words that mean nothing are refused by argparse; an answer that cannot be given away is one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gaia.cli.parsers import parser
from gaia.validator.utils.version import described
from tests.support.repository import ROOT

MOST_MODULES = 120
"""Loaded for --help; an interpreter that does nothing has some 35 of them."""

WITH_DATABASE = """
import sys
from gaia.cli import __main__ as command
from gaia.cli import source
from gaia.cli.lists import overview

class Silent:
    def __enter__(self):
        return self
    def __exit__(self, *_):
        pass

def talk(source, arguments):
    print("x" * 100_000)
    return 0

source.open_source = lambda state, env_file, makes_cluster: Silent()
overview.runs = talk
sys.exit(command.main(["runs"]))
"""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["replay", "last", "--workers", "-3"], "-3 is not 1 or more"),
        (["replay", "last", "--workers", "0"], "0 is not 1 or more"),
        (["replay", "last", "--workers", "many"], "invalid at_least_one value: 'many'"),
        (["plot", "clones", "last", "-o", "x.png", "--workers", "0"], "0 is not 1 or more"),
        (["plot", "clones", "last", "-o", "x.jpg"], "x.jpg does not end in .png"),
        (["plot", "clones", "last", "-o", "nowhere/x.png"], "there is no folder nowhere"),
        (["debug", "bundle", "-o", "nowhere/x.tar.gz"], "there is no folder nowhere"),
    ],
)
def test_word_that_means_nothing_is_refused(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)

    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("redirection", "code", "sentence"),
    [
        (">/dev/full", 1, "Standard output cannot be written: No space left on device.\n"),
        (">&-", 1, "Standard output is closed, so nothing can be printed.\n"),
        ("| true", 0, ""),
    ],
)
def test_answer_that_cannot_be_given_away_is_one_sentence(
    redirection: str, code: int, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "command.py").write_text(WITH_DATABASE)

    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.executable} command.py {redirection}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (code, sentence)


def test_version_is_printed_without_a_database(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"gaia {described()}\n"


def test_help_loads_no_library_that_only_a_command_needs() -> None:
    show = "import sys; from gaia.cli.parsers import parser; parser().format_help(); print(len(sys.modules), *sys.modules)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

    words = subprocess.check_output(
        [sys.executable, "-c", show], cwd=ROOT, env=environment, text=True
    ).split()

    assert not set(words) & {"asyncio", "asyncpg", "matplotlib", "msgspec", "numpy", "pydantic", "xarray"}
    assert int(words[0]) <= MOST_MODULES
