"""Makes the page of one miner: its scores by run, lead and field, and why it got them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gaia.validator.core.site import charts
from gaia.validator.core.site.frame import (
    NONE,
    Place,
    facts,
    json_path,
    miner_path,
    moment,
    note,
    number,
    run_link,
    score_cell,
    state,
    table,
)
from gaia.validator.core.site.markup import Child, Markup, element
from gaia.validator.core.site.model import FinalScore
from gaia.validator.core.site.plain_text import visible
from gaia.validator.db.states import ForecastState

if TYPE_CHECKING:
    from gaia.validator.core.site.model import MinerPage, RunPage


def miner_place(miner: MinerPage) -> Place:
    """Return the place of a miner's page."""
    path = miner_path(miner.hotkey)
    return Place(path, f"Miner {miner.uid}", json_path(path))


def miner_content(
    miner: MinerPage, place: Place, runs: Sequence[RunPage], known: frozenset[str]
) -> Iterator[Child]:
    """Yield the content of a miner's page.

    Parameters
    ----------
    runs
        All runs of the site.
    known
        Ids of runs that have a page.
    """
    yield element("p", element("bdi", visible(miner.hotkey)), class_="key lead")
    newest = miner.outcomes[0]
    if newest.state is ForecastState.REJECTED:
        yield note("notice", "Its newest forecast was rejected: ", element("bdi", newest.reason), ".")
    yield facts(
        [
            ("Rank", NONE if miner.rank is None else f"{miner.rank}"),
            ("Mean overall score", _mean(miner)),
            ("Newest run", run_link(place, newest.run_id, known)),
            ("Its state there", state(newest.state)),
            ("Weight in the newest vector", number(miner.weights[0].weight, 6) if miner.weights else NONE),
        ]
    )
    yield element("h2", "Scores by run")
    yield from _history(miner, runs)
    yield table(
        "Forecasts, newest run first",
        ("run", "state", "committed", ">day 1", ">overall", "~reason"),
        [
            (
                run_link(place, outcome.run_id, known),
                state(outcome.state),
                moment(outcome.committed_at),
                number(outcome.score.day1 if outcome.score else None),
                score_cell(outcome.score),
                outcome.reason,
            )
            for outcome in miner.outcomes
        ],
    )
    yield element("h2", "Scores by lead")
    yield _leads(miner, place, known)
    yield element("h2", "Errors by field")
    yield _fields(miner)
    yield from _pictures(miner, place)
    yield element("h2", "Weights")
    yield element(
        "p",
        "The weight of a vector follows from the scores of the runs in its window. It is 0 for a miner whose mean is too"
        " low, who shares the work of another, or who is not registered any more.",
        class_="lead",
    )
    yield table(
        "Weight in each vector, newest first",
        (">epoch", "state of the vector", ">weight"),
        [(row.epoch, state(row.state), number(row.weight, 6)) for row in miner.weights],
        "no weights were computed yet.",
    )


def _mean(miner: MinerPage) -> Child:
    standing = miner.standing
    if standing is None:
        return "no completed run yet"
    width = "" if standing.half_width is None else f" \u00b1 {standing.half_width:.4f}"
    return f"{number(standing.mean)}{width} over {standing.runs} run{'s' if standing.runs > 1 else ''}"


def _history(miner: MinerPage, runs: Sequence[RunPage]) -> Iterator[Child]:
    final = [outcome.score for outcome in reversed(miner.outcomes) if isinstance(outcome.score, FinalScore)]
    if not final:
        yield element("p", "No run of this miner is completed yet, so nothing is drawn.", class_="lead")
        return
    asked = {outcome.run_id for outcome in miner.outcomes}
    moments = [run.init_time for run in runs if run.is_open and run.run_id in asked]
    yield charts.history("Overall score of each completed run", final, moments)


def _leads(miner: MinerPage, place: Place, known: frozenset[str]) -> Markup:
    rows = [
        (
            run_link(place, outcome.run_id, known),
            f"{'GFS' if lead.kind == 'day1' else 'ERA5'}",
            f"{lead.lead_hours} h",
            number(lead.score),
            lead.reason,
        )
        for outcome in miner.outcomes
        for lead in outcome.leads
    ]
    columns = ("run", "truth", ">lead", ">score", "~reason")
    return table("Score of each lead, newest run first", columns, rows, "no lead is scored yet.")


def _fields(miner: MinerPage) -> Markup:
    rows = [
        (
            row.field,
            "GFS" if row.kind == "day1" else "ERA5",
            f"{row.lead_hours} h",
            f"{row.rmse:.4g}",
            f"{row.bias:.3g}".replace("-", "\u2212"),
            number(row.acc, 3),
            number(row.skill_climatology, 3),
            number(row.skill_gfs, 3),
        )
        for row in miner.fields
    ]
    columns = (
        *("field", "truth", ">lead", ">RMSE", ">bias"),
        *(">ACC", ">skill against climatology", ">skill against GFS"),
    )
    caption = "Errors of each field" + (f" in run {visible(miner.fields_run)}" if miner.fields_run else "")
    return table(caption, columns, rows, "none is stored for the run that is shown.")


def _pictures(miner: MinerPage, place: Place) -> Iterator[Child]:
    for picture in miner.pictures:
        image = element("img", src=place.to(picture.file), alt=picture.title, loading="lazy")
        yield element("figure", image, element("figcaption", picture.title))
