"""Installed packages are compared with what the lock pins."""

from __future__ import annotations

from importlib.metadata import version

from gaia.validator.doctor.looks.host import other_versions

INSTALLED = version("numpy")


def test_version_that_the_lock_pins_for_this_python_is_right() -> None:
    lock = f"numpy=={INSTALLED} ; python_full_version < '3.99' \\\nnumpy==99.0 ; python_full_version >= '3.99' \\\n"

    assert other_versions(lock) == []


def test_version_that_the_lock_pins_for_no_python_is_named_with_those_it_pins() -> None:
    lock = "numpy==98.0 ; python_full_version < '3.99' \\\n    --hash=sha256:00\nnumpy==99.0 \\\nno-such-package==1\n"

    assert other_versions(lock) == [f"numpy {INSTALLED} (lock: 98.0 or 99.0)"]
