"""What is gone or made up is left out of products and overlaps; what can't be read just now is not gone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaia.tasks.defined_tasks.weather.validator.copies.sketches import POINTS
from gaia.validator.utils.errors import TransientError
from tests.support.scarcity import no_descriptors_left
from tests.support.weather_handlers import compute_gram_matrix, pairwise_overlaps

MINERS = ["alpha", "beta"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sketches of one field of a lead."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "lead"
    folder.mkdir()
    for name, count in {"alpha": 1, "beta": 1, "public": 3}.items():
        rng.standard_normal((count, POINTS)).astype("<f4").tofile(folder / f"{name}.f32")
    return folder


def make(folder: Path) -> dict[str, Any]:
    return compute_gram_matrix(
        {"folder": str(folder), "hotkeys": MINERS, "fields": 1, "out_dir": str(folder.parent / "products")}
    )


def find(path: Path, sha256: str, size: int = len(MINERS)) -> dict[str, Any]:
    entry = {"path": str(path), "sha256": sha256, "size": size, "places": list(range(len(MINERS)))}
    return pairwise_overlaps({"hotkeys": MINERS, "products": [entry]})


def test_products_that_cannot_be_opened_just_now_are_not_called_missing(folder: Path) -> None:
    sha256 = make(folder)["sha256"]
    path = folder.parent / "products" / f"{sha256}.f64"

    with no_descriptors_left(), pytest.raises(TransientError, match="cannot be read"):
        find(path, sha256)

    assert find(path, sha256)["missing"] == []


def test_products_below_what_is_no_folder_are_trouble_and_not_missing(tmp_path: Path) -> None:
    (tmp_path / "products").write_text("in the way")

    with pytest.raises(TransientError, match="cannot be examined"):
        find(tmp_path / "products" / "0.f64", "0" * 64)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("length", [0, 8, 24, 41, 64])
def test_a_file_of_another_length_than_its_forecasts_need_is_missing(
    tmp_path: Path, size: int, length: int
) -> None:
    path = tmp_path / "made-up.f64"
    path.write_bytes(bytes(length))
    sha256 = hashlib.sha256(bytes(length)).hexdigest()

    assert find(path, sha256, size)["missing"] == [sha256]


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_what_is_no_file_holds_nothing_up(folder: Path, kind: str) -> None:
    sha256 = make(folder)["sha256"]
    products = folder.parent / "products" / f"{sha256}.f64"
    for path in (products, folder / "beta.f32"):
        path.unlink()
        match kind:
            case "folder":
                path.mkdir()
            case "pipe":
                os.mkfifo(path)
            case "link":
                path.symlink_to(path.name)

    assert find(products, sha256)["missing"] == [sha256]
    value = make(folder)
    assert (value["hotkeys"], value["absent"]) == (["alpha"], ["beta"])


def test_sketches_that_cannot_be_looked_at_are_trouble_and_nobody_is_absent(folder: Path) -> None:
    not_a_folder = folder / "alpha.f32"

    with pytest.raises(TransientError, match="cannot be examined"):
        compute_gram_matrix(
            {"folder": str(not_a_folder), "hotkeys": MINERS, "fields": 1, "out_dir": str(folder.parent)}
        )
