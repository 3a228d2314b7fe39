"""Makes the pages of a site from its model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import msgspec

from gaia.validator.core.site import charts
from gaia.validator.core.site.frame import (
    NONE,
    Place,
    facts,
    json_path,
    miner_link,
    moment,
    note,
    number,
    page,
    run_link,
    run_path,
    score_cell,
    state,
    table,
)
from gaia.validator.core.site.markup import Child, Markup, element, joined
from gaia.validator.core.site.miner_page import miner_content, miner_place
from gaia.validator.core.site.plain_text import visible

if TYPE_CHECKING:
    from gaia.validator.core.site.model import RunPage, Site, VectorShown

FRONT: Final = Place("index.html", "Overview", json_path("index.html"))
BOARD: Final = Place("leaderboard.html", "Leaderboard", json_path("leaderboard.html"))
_MOST_NAMED: Final = 3
_HEALTH: Final = {
    "well": "All is well.",
    "degraded": "The validator works, but something needs its operator's attention.",
    "stuck": "The validator does not run, or it cannot set weights. Its operator has to act.",
}
_STANDBY: Final = (
    " This validator stands by: another one holds the lease of the database and sets the weights."
)
_HEALTH_WORDS: Final = {"well": "notice", "degraded": "degraded", "stuck": "stuck"}


def files_of(site: Site, base_url: str = "") -> Iterator[tuple[str, bytes]]:
    """Yield (path, content) of every page and of the data behind it, the first page first.

    Parameters
    ----------
    base_url
        Address at which the site will be published, without a slash at its end; "" if it is not known.
    """
    for path, make in renderers(site, base_url).items():
        yield path, make()


def renderers(site: Site, base_url: str = "") -> dict[str, Callable[[], bytes]]:
    """Return path -> function that makes the file; a server makes only those that are asked for, each once."""
    front, known = site.front, frozenset(site.front.runs)

    def made(place: Place, content: Callable[[], Iterator[Child]], data: object) -> None:
        found[place.path] = cache(lambda: page(place, front, base_url, *content()))
        found[place.json] = cache(lambda: _json(data))

    found: dict[str, Callable[[], bytes]] = {}
    made(FRONT, lambda: _front(site, known), {"front": front, "operator": site.operator})
    made(BOARD, lambda: _board(site, known), site.leaderboard)
    for run in site.runs:
        place = _run_place(run)
        made(place, partial(_run, run, place), run)
    for miner in site.miners:
        place = miner_place(miner)
        made(place, partial(miner_content, miner, place, site.runs, known), miner)
    return found


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _front(site: Site, known: frozenset[str]) -> Iterator[Child]:
    front, notes = site.front, site.operator
    names = f" ({', '.join(front.trouble_names)})" if front.trouble_names else ""
    standby = _STANDBY if front.stands_by else None
    yield note(
        _HEALTH_WORDS[front.health],
        element("strong", front.health),
        ": ",
        _HEALTH[front.health],
        names,
        standby,
    )
    if not front.is_database_read:
        reason = f": {notes.database_error}" if notes is not None and notes.database_error else ""
        yield note(
            "stuck", f"The database could not be read{reason}. Runs and scores are those of the last reading."
        )
    yield facts(
        [
            ("Run in progress", _open_runs(site, known)),
            ("Next truth awaited", _truth(site)),
            ("Weights last set", _weights(front.weights_set) or _known(site, "never")),
            ("Trust", _trust(site)),
            *_lease(site),
            ("Rules", front.rule_set),
        ]
    )
    yield from _operator(site)
    yield element("h2", "Miners by state")
    if front.states:
        yield element("p", "Forecasts in open runs.", class_="lead")
        yield charts.counts("Number of forecasts in open runs by state", front.states)
    yield table(
        "Forecasts in open runs by state",
        ("state", ">forecasts"),
        [(state(word), count) for word, count in front.states.items()],
        _empty(site, "no run is open."),
    )
    yield element("h2", "What happens next")
    yield table(
        "Next events",
        ("event", "time"),
        [(due.what, moment(due.at)) for due in front.due],
        _empty(site, "none is known."),
    )
    yield table(
        "Truth that is awaited",
        ("source", ">sets", "next attempt"),
        [(visible(row.source), row.sets, moment(row.retry_at)) for row in front.awaited],
        _empty(site, "no set is missing."),
    )
    yield element("h2", "Runs")
    yield _runs(site)
    yield element("h2", "Weights")
    yield _vectors(site)


def _vectors(site: Site) -> Markup:
    return table(
        "Weight vectors, newest first",
        (">epoch", "state", "computed", ">block", "rules", ">runs"),
        [
            (
                row.epoch,
                state(row.state),
                moment(row.intended_at),
                row.block or NONE,
                row.rule_set,
                len(row.run_ids),
            )
            for row in site.front.vectors
        ],
        _empty(site, "no weights were computed yet."),
    )


def _empty(site: Site, words: str) -> str:
    """Return the words for a table without rows; those of a database that does not answer are unknown, not absent."""
    return words if site.front.is_database_read else "unknown while the database does not answer."


def _known(site: Site, words: str) -> str:
    return words if site.front.is_database_read else "unknown"


def _open_runs(site: Site, known: frozenset[str]) -> Child:
    ids = site.front.open_runs
    if not ids:
        return "none" if site.runs else _known(site, "no run has opened yet")
    links = [
        (", " if place else None, run_link(FRONT, run_id, known))
        for place, run_id in enumerate(ids[:_MOST_NAMED])
    ]
    more = len(ids) - _MOST_NAMED
    return joined(links, f" and {more} more" if more > 0 else None)


def _truth(site: Site) -> Child:
    published = [due for due in site.front.due if "ERA5" in due.what or "asked again" in due.what]
    if not published:
        return _known(site, "none is known")
    return joined(published[0].what, ": ", moment(published[0].at))


def _weights(vector: VectorShown | None) -> Markup | None:
    if vector is None:
        return None
    return joined(
        moment(vector.settled_at or vector.intended_at), f", epoch {vector.epoch}, block {vector.block}"
    )


def _trust(site: Site) -> str:
    front, notes = site.front, site.operator
    if front.validator_trust is None:
        return "not read yet"
    parts = [f"{front.validator_trust:.4f} in the last epoch"]
    if notes is not None and notes.next_trust is not None:
        parts.append(f"{notes.next_trust:.4f} in the next one, with the newest vector")
    if front.dividends is not None:
        parts.append(f"dividends {front.dividends:.4f}")
    return ", ".join(parts)


def _lease(site: Site) -> Iterator[tuple[str, Child]]:
    """Yield who may write to the database, for the operator."""
    lease = site.operator.lease if site.operator is not None else None
    if lease is None:
        return
    holder = "this validator" if lease.is_ours else lease.holder
    if not lease.is_held:
        holder = f"nobody; the last holder was {lease.holder}"
    yield "Lease", joined(holder, ", since ", moment(lease.since))


def _operator(site: Site) -> Iterator[Child]:
    notes = site.operator
    if notes is None:
        return
    yield element("h2", "What is wrong")
    yield table(
        "Troubles, the worst first",
        ("alert", "health", "~problem", "~what helps"),
        [(one.name, state(one.health), one.problem, one.remedy) for one in notes.troubles],
        "none.",
        is_stacked=True,
    )
    yield table(
        "Outside parties that fail now",
        ("party", "since", "last failure", "~evidence"),
        [(one.party, moment(one.began_at), moment(one.last_at), one.evidence) for one in notes.incidents],
        _empty(site, "none."),
        is_stacked=True,
    )


def _runs(site: Site) -> Markup:
    rows: list[Sequence[Child]] = [
        (
            element("a", visible(run.run_id), href=FRONT.to(run_path(run.run_id))),
            state(run.state),
            moment(run.opened_at),
            moment(run.completed_at),
            *(
                sum(run.states.values()),
                *(run.states.get(word, 0) for word in ("scored", "rejected", "excused")),
            ),
        )
        for run in site.runs
    ]
    earlier = site.front.earlier_runs
    left_out = f"; {earlier} older ones have no page" if earlier else ""
    return table(
        f"Runs, newest first{left_out}",
        ("run", "state", "opened", "completed", ">forecasts", ">scored", ">rejected", ">excused"),
        rows,
        _empty(site, "no run has opened yet. The first one appears here when it opens."),
    )


def _board(site: Site, known: frozenset[str]) -> Iterator[Child]:
    board = site.leaderboard
    yield element(
        "p",
        f"Mean overall score over the completed runs of {board.window_days:g} days, with 95 % intervals",
        f", under the rules {board.rule_set}." if board.rule_set else ".",
        class_="lead",
    )
    if board.open_runs:
        many = len(board.open_runs)
        yield note(
            "open", f"{many} open run{'s are' if many > 1 else ' is'} left out, because scores are missing."
        )
    if not board.miners:
        yield note(
            "notice", "No run is completed with scores yet, so there are no means.", _first_scores(site)
        )
    else:
        moments = [run.init_time for run in site.runs if run.is_open]
        yield element("h2", "Means now")
        yield charts.intervals("Mean overall score of the best miners with 95 % intervals", board.miners)
        yield element("h2", "Means over time")
        yield charts.lines(
            "Mean overall score of the best miners after each completed run", board.miners, moments
        )
    yield element("h2", "All miners")
    yield table(
        "Miners by mean score",
        (">rank", ">uid", "hotkey", ">mean", ">95 % interval", ">runs", "newest run", ">weight on chain"),
        [
            (
                row.rank,
                row.uid,
                miner_link(BOARD, row.hotkey),
                number(row.standings[-1].mean),
                _width(row.standings[-1].half_width),
                row.standings[-1].runs,
                run_link(BOARD, row.standings[-1].run_id, known),
                number(row.weight, 6),
            )
            for row in board.miners
        ],
        "no miner has a final score yet.",
    )
    ranked = {row.hotkey for row in board.miners}
    yield table(
        "Miners without a final score in the window",
        (">uid", "hotkey", "newest run", "state"),
        [
            (
                miner.uid,
                miner_link(BOARD, miner.hotkey),
                run_link(BOARD, miner.outcomes[0].run_id, known),
                state(miner.outcomes[0].state),
            )
            for miner in site.miners
            if miner.hotkey not in ranked
        ],
        "none.",
    )


def _first_scores(site: Site) -> str:
    if not site.runs:
        return " No run has opened yet."
    if not any(run.is_open for run in site.runs):
        return " Every completed run ended without a score: no forecast could be scored."
    return " A run is completed once the truth of its last lead is published, about two weeks after it opens."


def _width(half_width: float | None) -> str:
    return NONE if half_width is None else f"\u00b1 {half_width:.4f}"


def _run_place(run: RunPage) -> Place:
    path = run_path(run.run_id)
    return Place(path, f"Run {run.run_id}", json_path(path))


def _run(run: RunPage, place: Place) -> Iterator[Child]:
    if run.is_open:
        yield note(
            "open",
            "This run is open. Scores of its leads are final, but leads are missing: nobody has an overall score.",
        )
    elif run.outcomes and all(outcome.state == "rejected" for outcome in run.outcomes):
        yield note("notice", "Every forecast of this run was rejected. The reasons are below.")
    yield facts(
        [
            ("State", state(run.state)),
            ("Initial time", moment(run.init_time)),
            ("Opened", moment(run.opened_at)),
            ("Completed", moment(run.completed_at)),
            ("Rules", run.rule_set),
        ]
    )
    yield element("h2", "Outcomes")
    yield table(
        "Forecasts, the best final score first",
        (">uid", "hotkey", "state", "committed", ">day 1", ">overall", "~reason"),
        [
            (
                outcome.uid,
                miner_link(place, outcome.hotkey),
                state(outcome.state),
                moment(outcome.committed_at),
                number(outcome.score.day1 if outcome.score else None),
                score_cell(outcome.score),
                outcome.reason,
            )
            for outcome in run.outcomes
        ],
        "no miner was asked yet.",
    )
    yield element("h2", "Scores by lead")
    yield _leads_table(run, place)


def _leads_table(run: RunPage, place: Place) -> Markup:
    """Return one row a miner and one column a lead."""
    leads = sorted(
        {(lead.kind != "day1", lead.lead_hours) for outcome in run.outcomes for lead in outcome.leads}
    )
    rows = []
    for outcome in run.outcomes:
        scores = {(lead.kind != "day1", lead.lead_hours): lead for lead in outcome.leads}
        if scores:
            cells: Sequence[Child] = [
                number(scores[lead].score, 3) if lead in scores else NONE for lead in leads
            ]
            rows.append((outcome.uid, miner_link(place, outcome.hotkey), *cells))
    titles = [f">{'ERA5' if is_final else 'GFS'} {hours} h" for is_final, hours in leads]
    return table("Score of each lead", (">uid", "hotkey", *titles), rows, "no lead is scored yet.")
