"""The command export site: static pages about runs, miners and weights, for anybody to read."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import TYPE_CHECKING

from gaia.cli import tables
from gaia.cli.export.folder import write_site
from gaia.cli.select import NotThere
from gaia.cli.source import open_source
from gaia.cli.status.observing import observe
from gaia.validator.core.site.build import site_of
from gaia.validator.core.site.pages import files_of
from gaia.validator.db.published import read_published

if TYPE_CHECKING:
    from pathlib import Path

    from gaia.cli.source import Source
    from gaia.validator.core.site.model import Site


def export_site(arguments: argparse.Namespace) -> int:
    """Write the pages; an existing site stays as it is if the database cannot be read."""
    source = open_source(arguments.state, arguments.env_file)
    site, pictures = _site(source, arguments)
    folder: Path = arguments.folder
    pages = dict(files_of(site, arguments.base_url or ""))
    gone = write_site(folder, pages | pictures)
    if arguments.json:
        tables.print_json(
            {
                "folder": str(folder),
                "files": len(pages) + len(pictures),
                "removed": len(gone),
                "runs": len(site.runs),
                "open_runs": len(site.front.open_runs),
                "miners": len(site.miners),
                "pictures": len(pictures),
            }
        )
    else:
        still_open = f", {len(site.front.open_runs)} of them open" if site.front.open_runs else ""
        tables.print_lines(
            f"{folder}: {tables.counted(len(site.runs), 'run')}{still_open},"
            f" {tables.counted(len(site.miners), 'miner')}, {tables.counted(len(pictures), 'picture')}",
            f"open {folder / 'index.html'}",
        )
    return 0


def _site(source: Source, arguments: argparse.Namespace) -> tuple[Site, dict[str, bytes]]:
    """Return the site with its pictures; facts about the processes are taken before this command opens the database."""
    facts = observe(source, may_start_database=True)
    if facts.work is None:
        raise NotThere(f"the database cannot be read: {facts.database_error}")
    with source:
        stored = source.read(lambda connection: read_published(connection, arguments.last))
        window = timedelta(days=source.settings.weights.weights_window_days)
        site = site_of(facts, stored, window, for_operator=False)
        if not arguments.pictures:
            return site, {}
        # Not at the top, because it loads matplotlib.
        from gaia.cli.export.pictures import with_pictures

        return with_pictures(site, source, arguments.pictures)
