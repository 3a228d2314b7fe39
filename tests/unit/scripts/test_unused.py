"""Production code that only tests call, or nobody, is found; today there is none."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
import unused


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "gaia").mkdir()
    return tmp_path


def write(tree: Path, path: str, text: str) -> None:
    (tree / path).write_text(dedent(text))


def names(tree: Path, *exceptions: str) -> list[str]:
    return [one.name for one in unused.unused(tree, exceptions)]


def test_all_production_code_is_used_by_production_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert unused.main() == 0, capsys.readouterr().out


def test_function_class_method_and_constant_that_nobody_names_are_found(tree: Path) -> None:
    write(
        tree,
        "gaia/one.py",
        """
        LIMIT = 3
        class Book:
            KIND = "b"
            field: int = 0
            def read(self): return self.read()
        def rate(): return rate()
        """,
    )

    assert names(tree) == ["LIMIT", "Book", "Book.KIND", "Book.read", "rate"]


def test_name_that_another_module_has_too_is_no_use_of_ours(tree: Path) -> None:
    write(tree, "gaia/one.py", "def rate(): ...\n")
    write(tree, "gaia/two.py", "def rate(): ...\nrate()\n")

    assert names(tree) == ["rate"]


@pytest.mark.parametrize(
    "use",
    [
        "from gaia.one import rate\nrate()\n",
        "from gaia.one import rate as r\nr()\n",
        "from gaia import one\none.rate()\n",
        'TARGET = "gaia.one:rate"\nprint(TARGET)\n',
        "from gaia.two import rate\nrate()\n",
    ],
)
def test_function_is_used_by_whoever_imports_or_names_it(tree: Path, use: str) -> None:
    write(tree, "gaia/one.py", "def rate(): ...\n")
    write(tree, "gaia/two.py", "from gaia.one import rate\n")
    write(tree, "scripts/user.py", use)

    assert names(tree) == []


def test_import_alone_and_a_sentence_are_no_use(tree: Path) -> None:
    write(tree, "gaia/one.py", "def rate(): ...\n")
    write(tree, "gaia/two.py", '"""Calls rate."""\nfrom gaia.one import rate\nprint("the rate is")\n')

    assert names(tree) == ["rate"]


def test_what_only_unused_code_uses_is_unused(tree: Path) -> None:
    write(tree, "gaia/one.py", "def rate(): return half()\ndef half(): ...\n")

    assert names(tree) == ["rate", "half"]
    assert names(tree, "gaia.one:rate") == []
    assert names(tree, "gaia.one") == []


def test_what_libraries_call_is_used(tree: Path) -> None:
    write(
        tree,
        "gaia/one.py",
        """
        class Link:
            def data_received(self): ...
            @model_validator(mode="after")
            def agree(self): ...
            def __str__(self): ...
        Link()
        """,
    )

    assert names(tree) == []


def test_exception_that_is_not_needed_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(unused, "EXCEPTIONS", {**unused.EXCEPTIONS, "gaia.gone:rate": "was"})

    assert unused.main() == 1
    assert "gaia.gone:rate is no exception" in capsys.readouterr().out
