"""Checks of the settings: they can be read, mean what was meant, and fit the subnet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gaia.validator.doctor.checks.owners import owners_step
from gaia.validator.doctor.findings import Check, Finding, Group, failure, ok, skipped, warning
from gaia.validator.doctor.given import CREDENTIALS
from gaia.validator.doctor.sight import Trouble, seen
from gaia.validator.doctor.steps import run
from gaia.validator.utils.config import RETIRED, Settings, is_secret, names_of, variable_of

if TYPE_CHECKING:
    from gaia.validator.doctor.facts import Facts

_LONG_HOURS, _SHORT_HOURS, _LITTLE = 360.0, 0.5, 0.1
_REHEARSAL = (
    "test_mode",
    "clock_file",
    "last_run",
    "only_uid",
    "allow_private_miners",
    "miner_scheme",
)
_OFF: Mapping[str, Callable[[float], bool]] = {
    "weights_max_score_age_hours": lambda hours: hours > _LONG_HOURS,
    "weights_min_coverage": lambda part: part < _LITTLE,
    "weights_max_drift": lambda part: part > 1.0 - _LITTLE,
    "weights_min_spread": lambda part: part < _LITTLE,
    "weights_hold_hours": lambda hours: hours < _SHORT_HOURS,
}
"""Setting of a gate -> whether the gate lets nearly everything pass with this value."""
_SHARED = (
    "grid_degrees",
    "forecast_steps",
    "forecast_step_hours",
    "day1_lead_hours",
    "day1_fields",
    "final_lead_hours",
    "final_fields",
    "rule_set",
    "weights_window_days",
)
_LEAST_SILENCE_S = 5.0
_LONGEST_DRAIN_S = 85.0
"""systemd kills 90 s after it asked a service to stop."""


def _settings_readable(facts: Facts) -> Finding:
    error = facts.given.error
    if error is None:
        return ok("every setting is known and allowed")
    places = facts.places
    entry, uid = (None, None) if isinstance(places, Trouble) else (places.env_file, places.uid)
    return failure(f"{error.setting}: {error.problem}", *facts.given.cure(error, entry, uid))


def _env_file_private(facts: Facts) -> Finding:
    given, entry = facts.given, seen(facts.places).env_file
    if entry is None:
        return skipped(f"there is no file {given.env_file}")
    if not entry.mode & 0o077 or (not entry.mode & 0o037 and seen(facts.places).is_shared_by_root):
        return ok(f"{given.env_file} is private")
    steps = (run("chmod", "600", given.env_file),)
    secrets = {
        variable for name in Settings.model_fields if is_secret(name) for variable in names_of(name)
    } & given.in_file.keys()
    if secrets:
        return failure(
            f"others can read {', '.join(sorted(secrets))} in {given.env_file} (mode {entry.mode:04o})",
            *steps,
        )
    return warning(f"others can read {given.env_file} (mode {entry.mode:04o})", *steps)


def _env_file_owner(facts: Facts) -> Finding:
    entry, path = seen(facts.places).env_file, facts.given.env_file
    if entry is None:
        return skipped(f"there is no file {path}")
    step = owners_step(facts, entry.uid, path)
    if step is None:
        return ok(f"{path} belongs to the validator's user")
    if seen(facts.places).is_shared_by_root:
        return ok(f"{path} belongs to root, who shares it with the validator's group")
    return warning(f"{path} belongs to user {entry.uid}, who can change it", step)


def _env_file_lines(facts: Facts) -> Finding:
    given = facts.given
    if given.error is not None and given.error.setting == str(given.env_file):
        # Its correction may remove a line, and then the numbers of the others are wrong.
        return skipped(f"{given.env_file} cannot be read")
    twice = {name: lines for name, lines in given.lines.items() if len(lines) > 1}
    if not twice:
        return ok("no setting is written twice in the file")
    name, lines = min(twice.items(), key=lambda item: item[1][0])
    return warning(
        f"{name} is on lines {', '.join(map(str, lines))} of {given.env_file}; only the last counts",
        run("sed", "-i", ";".join(f"{line}d" for line in lines[:-1]), given.env_file),
    )


def _one_place(facts: Facts) -> Finding:
    given = facts.given
    for name in Settings.model_fields:
        for variable in names_of(name):
            here, there = given.environment.get(variable), given.in_file.get(variable)
            if here and there and here != there:
                return warning(
                    f"{variable} has one value in the environment, which counts, and another in {given.env_file}",
                    given.drop(variable, str(given.env_file)),
                )
        places = list(given.places(name))
        held = next((each for each in places if each[1] == CREDENTIALS), None)
        if held and len({given.value(*each) for each in places}) > 1:
            loser = places[-1]
            return warning(
                f"{places[0][0]} in {places[0][1] or 'the environment'} counts, and {loser[0]} in"
                f" {loser[1]} differs",
                given.drop(*loser),
            )
    return ok("no setting has two values in two places")


def _one_spelling(facts: Facts) -> Finding:
    given = facts.given
    both = {**given.in_file, **given.environment}
    for name in Settings.model_fields:
        set_here = [variable for variable in names_of(name) if both.get(variable)]
        if len({both[variable] for variable in set_here}) > 1:
            loser = set_here[-1]
            place = "" if given.environment.get(loser) else str(given.env_file)
            counts = given.winner(name)
            assert counts is not None
            return warning(
                f"{set_here[0]} and {loser} are one setting and differ; {counts[0]} counts",
                given.drop(loser, place),
            )
    return ok("no setting is given under two names")


def _retired(facts: Facts) -> Finding:
    given = facts.given
    found = [
        given.drop(variable, place)
        for place, variables in (("", given.environment), (str(given.env_file), given.in_file))
        for variable in sorted(RETIRED & variables.keys())
    ]
    if not found:
        return ok("no variable without meaning is set")
    return warning(f"{', '.join(step.variable for step in found)} has no meaning here", *found)


def _one_database(facts: Facts) -> Finding:
    database = seen(facts.settings).database
    if database.database_url.get_secret_value() and database.database_host:
        return warning(
            "GAIA_DATABASE_URL and GAIA_DATABASE_HOST are set; the host has no effect",
            *facts.given.unset("database_host"),
        )
    return ok("one place of the database is named")


def _rehearsal(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    default = Settings()
    used = [name for name in _REHEARSAL if getattr(settings, name) != getattr(default, name)]
    if not used:
        return ok("no setting for rehearsals is used")
    steps = tuple(step for name in used for step in facts.given.unset(name))
    return warning(f"{', '.join(map(variable_of, used))}: only for rehearsals", *steps)


def _clock_file(facts: Facts) -> Finding:
    path = seen(facts.settings).clock_file
    if path is None:
        return ok("the clock is this machine's")
    if seen(facts.places).has_clock_file:
        return ok(f"the simulated clock {path} is there")
    return failure(f"the simulated clock {path} is missing", *facts.given.unset("clock_file"))


def _sets_weights(facts: Facts) -> Finding:
    if seen(facts.settings).dry_run:
        return warning("a dry run sets no weights", *facts.given.unset("dry_run"))
    return ok("weights are set on chain")


def _gates(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    off = [name for name, lets_pass in _OFF.items() if lets_pass(getattr(settings, name))]
    if not off:
        return ok("all gates of the weights are on")
    steps = tuple(step for name in off for step in facts.given.unset(name))
    return warning(f"{', '.join(map(variable_of, off))}: wrong data can change the weights at once", *steps)


def _shared_rules(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    default = Settings()
    other = [name for name in _SHARED if getattr(settings, name) != getattr(default, name)]
    if not other:
        return ok("the contract and the rules are those of the subnet")
    steps = tuple(step for name in other for step in facts.given.unset(name))
    return warning(f"other validators use other values of {', '.join(map(variable_of, other))}", *steps)


def _silence(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    least = max(_LEAST_SILENCE_S, 2 * settings.supervisor_poll_s)
    if settings.engine_silence_s < least:
        return failure(
            f"an IO-Engine that is busy for {settings.engine_silence_s:g} s is killed",
            facts.given.put("engine_silence_s", f"{max(least, 30.0):g}"),
        )
    return ok(f"an IO-Engine is replaced after {settings.engine_silence_s:g} s of silence")


def _drain(facts: Facts) -> Finding:
    drain_s = seen(facts.settings).drain_timeout_s
    if drain_s > _LONGEST_DRAIN_S:
        return warning(
            f"a stop may take {drain_s:g} s, and service managers kill after 90 s",
            facts.given.put("drain_timeout_s", "25"),
        )
    return ok(f"a stop takes at most {drain_s:g} s")


def _polling(facts: Facts) -> Finding:
    settings = seen(facts.settings)
    if settings.miner_poll_minutes >= settings.freeze_window_hours * 60:
        return failure(
            f"miners are asked every {settings.miner_poll_minutes:g} min, but must be ready in"
            f" {settings.freeze_window_hours:g} h",
            facts.given.put("miner_poll_minutes", "5"),
        )
    return ok(f"miners are asked every {settings.miner_poll_minutes:g} min")


CHECKS = (
    Check(
        "settings",
        Group.CONFIGURATION,
        "every setting is known, allowed and fits the others",
        "the variable is corrected or removed",
        _settings_readable,
    ),
    Check(
        "env-file-private",
        Group.CONFIGURATION,
        "only our user, or root and our group, can read the file of settings",
        "`chmod 600`",
        _env_file_private,
    ),
    Check(
        "env-file-owner",
        Group.CONFIGURATION,
        "the file of settings belongs to our user or to root",
        "`chown`",
        _env_file_owner,
    ),
    Check(
        "env-file-lines",
        Group.CONFIGURATION,
        "no setting has two lines in the file",
        "the earlier lines are removed",
        _env_file_lines,
    ),
    Check(
        "one-place",
        Group.CONFIGURATION,
        "environment, credentials and file do not contradict each other",
        "the value that does not count is removed",
        _one_place,
    ),
    Check(
        "one-spelling",
        Group.CONFIGURATION,
        "our name and the original validator's name of a setting do not contradict each other",
        "the original's variable is removed",
        _one_spelling,
    ),
    Check(
        "retired",
        Group.CONFIGURATION,
        "no variable of the original validator without meaning is set",
        "the variable is removed",
        _retired,
    ),
    Check(
        "one-database",
        Group.CONFIGURATION,
        "the database is named once",
        "`GAIA_DATABASE_HOST` is removed",
        _one_database,
    ),
    Check(
        "rehearsal",
        Group.CONFIGURATION,
        "no setting for rehearsals is used",
        "the settings are removed",
        _rehearsal,
    ),
    Check(
        "clock-file",
        Group.CONFIGURATION,
        "the simulated clock exists, if one is named",
        "`GAIA_CLOCK_FILE` is removed",
        _clock_file,
    ),
    Check(
        "sets-weights",
        Group.CONFIGURATION,
        "it is no dry run",
        "`GAIA_DRY_RUN` is removed",
        _sets_weights,
    ),
    Check(
        "gates",
        Group.CONFIGURATION,
        "gates hold weights of partial data or of an odd change",
        "the settings are removed",
        _gates,
    ),
    Check(
        "shared-rules",
        Group.CONFIGURATION,
        "contract, rule set and window are the subnet's",
        "the settings are removed",
        _shared_rules,
    ),
    Check(
        "silence",
        Group.CONFIGURATION,
        "a busy IO-Engine is not taken for a dead one",
        "`GAIA_ENGINE_SILENCE_S` is raised",
        _silence,
    ),
    Check(
        "drain",
        Group.CONFIGURATION,
        "a stop ends before a service manager kills",
        "`GAIA_DRAIN_TIMEOUT_S` is lowered",
        _drain,
    ),
    Check(
        "polling",
        Group.CONFIGURATION,
        "miners are asked often enough within the freeze window",
        "`GAIA_MINER_POLL_MINUTES` is lowered",
        _polling,
    ),
)
