"""An installed package has every file that a checkout has."""

from __future__ import annotations

import tomllib

from tests.support.repository import ROOT

PACKAGE = ROOT / "gaia"
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def in_the_tree() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }


def in_the_package() -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
        if path.is_file()
    }


def test_every_file_that_is_no_module_is_package_data() -> None:
    assert in_the_tree() == in_the_package()


def test_every_pattern_matches_something() -> None:
    for package, patterns in SETUPTOOLS["package-data"].items():
        for pattern in patterns:
            assert any((ROOT / package.replace(".", "/")).glob(pattern)), f"{package}: {pattern}"


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts}

    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
    assert SETUPTOOLS["packages"]["find"] == {"include": ["gaia*"], "namespaces": False}
