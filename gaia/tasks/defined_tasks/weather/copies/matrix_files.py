"""Files of Gram matrices in this data folder, and the same bytes in the database.

The unit that computes overlaps reads files. A validator with another data folder writes them anew from
the database. Compute workers can write to the folder, so nothing in it is trusted that was not hashed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gaia.tasks.defined_tasks.weather.copies.sketch_layout import matrix_name
from gaia.validator.db import gram_matrices
from gaia.validator.utils.errors import TransientError
from gaia.validator.utils.files import put_file

if TYPE_CHECKING:
    from gaia.validator.db.connection import Database

log = structlog.get_logger(__name__)


class MatrixFiles:
    """The files <sha256>.f64 in `folder`."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder
        self._database = database

    async def read(self, sha256: str, size: int) -> bytes:
        """Return the file of the matrix of `size` forecasts.

        Raises
        ------
        TransientError
            If it is missing or another, or the disk fails.
        """
        return await asyncio.to_thread(_checked, self._folder / matrix_name(sha256), sha256, size)

    async def restore(self, digests: Sequence[str]) -> bool:
        """Write missing files anew from the database; return whether it holds any of them.

        Raises
        ------
        TransientError
            If the disk fails.
        OwnFailure
            If the database fails.
        """
        restored = 0
        for sha256 in digests:
            async with self._database.reading() as connection:
                content = await gram_matrices.content_of(connection, sha256)
            if content is not None:
                await asyncio.to_thread(_put, self._folder / matrix_name(sha256), content)
                restored += 1
        if restored:
            log.info("gram_matrices_restored", count=restored)
        return restored > 0

    async def save_earlier(self) -> None:
        """Add to the database what only files of this folder hold, because an earlier release made them.

        Raises
        ------
        OwnFailure
            If the database fails.
        """
        async with self._database.reading() as connection:
            lacking = await gram_matrices.without_content(connection)
        for sha256, size in lacking.items():
            try:
                content = await self.read(sha256, size)
            except TransientError:
                continue  # the former validator's folder may still have it
            await self._database.run(partial(gram_matrices.add_content, sha256=sha256, content=content))


def _checked(path: Path, sha256: str, size: int) -> bytes:
    length = 8 * size * (size + 1)
    try:
        # A link would lead out of the folder, and a pipe would never end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            is_whole = stat.S_ISREG(status.st_mode) and status.st_size == length
            content = file.read(length) if is_whole else b""
    except OSError as error:
        raise TransientError(f"{path.name} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise TransientError(f"{path.name} is not the Gram matrix that it is named for")
    return content


def _put(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        put_file(path, content)
    except OSError as error:
        raise TransientError(f"{path.name} cannot be written: {error.strerror or error}") from error
