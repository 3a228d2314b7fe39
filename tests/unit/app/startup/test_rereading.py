"""Settings that are read again: one reading at a time, and a failed one changes nothing."""

from __future__ import annotations

import sys

import pytest

from gaia.validator.app.startup.rereading import Rereading


def program(text: str) -> tuple[str, str, str]:
    return (sys.executable, "-c", text)


def test_program_is_given_the_settings_and_its_answer_is_returned() -> None:
    answer = (
        "import msgspec, sys\n"
        "from gaia.validator.app.supervisor_options import Options, Reloaded\n"
        "read = sys.stdin.buffer.read()\n"
        "options = Options(data_dir='', settings=read + b' anew', signer_settings=b'', workers=1, embedded_database=False)\n"
        "sys.stdout.buffer.write(msgspec.msgpack.encode(Reloaded(options=options)))\n"
    )
    rereading = Rereading(program(answer))

    rereading.begin(b"settings")
    reloaded = rereading.outcome()

    assert reloaded is not None
    assert reloaded.options.settings == b"settings anew"
    assert rereading.pid is None


def test_second_reading_waits_for_the_end_of_the_first_and_is_remembered() -> None:
    rereading = Rereading(program("import sys; sys.exit(2)"))

    assert rereading.begin(b"") is rereading.pipe
    assert not rereading.is_asked_again
    assert rereading.begin(b"") is None
    assert rereading.is_asked_again
    assert rereading.outcome() is None
    assert rereading.begin(b"") is not None
    assert not rereading.is_asked_again
    rereading.abandon()


def test_failed_reading_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    rereading = Rereading(program("import sys; sys.exit(2)"))

    rereading.begin(b"")

    assert rereading.outcome() is None
    assert "reload_failed" in caplog.text


def test_abandoned_reading_has_ended() -> None:
    rereading = Rereading(program("import time; time.sleep(600)"))
    pipe = rereading.begin(b"")

    rereading.abandon()
    rereading.abandon()

    assert pipe is not None
    assert pipe.closed
