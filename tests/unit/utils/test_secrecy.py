"""No secret is written: not one that this process holds, in any form, and not what has the shape of one."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from urllib.parse import quote

import pytest

from gaia.validator.utils import secrecy
from gaia.validator.utils.config import Settings
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.secrecy import hold, shown_url, without_secrets
from tests.support.patience import patience
from tests.support.repository import ROOT

SECRET = "S3cret/of+the:test"
CRASHING = """
from gaia.validator.app import child
from gaia.validator.utils.secrecy import hold
hold(["S3cret/of+the:test"])
child.boot("tests.unit.utils.test_secrecy:crash", __import__("os").getppid(), None, b"", ())
"""


@pytest.fixture(autouse=True)
def _nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "_held", secrecy._Held())


def crash() -> None:
    """End as a bug does, with a secret in the text of the error."""
    raise ValueError(f"cannot log in with {SECRET}")


@pytest.mark.parametrize(
    "written",
    [SECRET, quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode(), repr(SECRET)],
)
def test_held_secret_is_found_in_each_form(written: str) -> None:
    hold([SECRET])

    assert "***" in without_secrets(f"the server says {written} is wrong")
    assert written not in without_secrets(f"the server says {written} is wrong")


def test_password_in_a_held_address_is_found_without_the_address() -> None:
    hold([f"postgresql://me:{quote(SECRET, safe='')}@db.example/x"])

    assert without_secrets(f"password {SECRET} of me") == "password *** of me"


def test_short_secret_is_not_searched_in_other_words() -> None:
    hold(["postgres", "1234567"])

    assert without_secrets("postgres at port 1234567") == "postgres at port 1234567"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://me:pa@ss@host/x", "http://me:***@host/x"),
        ("postgresql://me:with/slash@host/x", "postgresql://me:***@host/x"),
        ("http://127.0.0.1:8080/of@x", "http://127.0.0.1:8080/of@x"),
        ("write postgresql://user:password@host", "write postgresql://user:password@host"),
        ("GET /x?access_token=abc&n=1", "GET /x?access_token=***&n=1"),
        ('{"access_token": "abc"}', '{"access_token": "***"}'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("eyJhbGciOiJI.eyJqb2JfaWQi.c2lnbmF0 is refused", "*** is refused"),
    ],
)
def test_shape_of_a_secret_is_enough(text: str, clean: str) -> None:
    assert without_secrets(text) == clean


def test_address_is_shown_without_password_and_without_values_of_its_query() -> None:
    assert (
        shown_url("wss://me:abc@node.example/ws?apikey=abc&x=1")
        == "wss://me:***@node.example/ws?apikey=***&x=***"
    )


def test_no_error_of_ours_holds_a_secret() -> None:
    hold([SECRET])

    assert str(TransientError(f"the source says: {SECRET}")) == "the source says: ***"


def test_settings_show_no_secret_inside_an_address() -> None:
    settings = Settings.model_validate(
        {
            "chain_endpoint": "wss://me:hush-hush@node.example/ws",
            "update_url": "https://releases.example/latest?token=hush-hush",
        }
    )

    assert not [row for row in settings.describe() if "hush" in row[1]]
    assert set(settings.secrets()) == {"hush-hush"}


def test_child_that_crashes_writes_its_trace_without_secrets() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASHING],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=patience(60),
        check=False,
    )

    assert done.returncode == 1
    assert "cannot log in with ***" in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize("piece", ["a://b:", "token", "1", "eyJ.", '"', "a://", "-", "bearer "])
def test_hostile_text_takes_no_more_than_a_moment(piece: str) -> None:
    began = time.process_time()

    without_secrets(piece * 4000)

    assert time.process_time() - began < 1
