"""Where the settings come from, and which step changes one of them."""

from __future__ import annotations

import errno
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dotenv.parser import parse_stream
from pydantic import ValidationError

from gaia.validator.app.startup.reading import read_settings, require_known_fields
from gaia.validator.doctor.sight import Trouble
from gaia.validator.doctor.steps import Step, StepKind, do, run, shell
from gaia.validator.utils.config import (
    Settings,
    credentials_of,
    given_credentials,
    is_secret,
    names_of,
    surroundings,
    variable_of,
)
from gaia.validator.utils.errors import ConfigurationError
from gaia.validator.utils.setting_sources import CREDENTIAL_PREFIX, FOLDER_VARIABLE, Variables

if TYPE_CHECKING:
    from gaia.validator.doctor.entries import Entry

CREDENTIALS = "the credentials"
"""Place of a variable that the service manager hands over."""
_MEANT = re.compile(r"did you mean (\w+)\?")
_LINE = re.compile(r"line (\d+) is not of the form")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The variables of the environment, the credentials and the file, as they are written."""

    environment: Mapping[str, str]
    env_file: Path
    in_file: Mapping[str, str]
    """Variable -> value on its last line; empty values are absent."""
    lines: Mapping[str, Sequence[int]]
    """Variable -> its lines in the file, from 1."""
    credentials: Mapping[str, str] = field(default_factory=dict)
    error: ConfigurationError | None
    """Why the settings cannot be used."""

    def winner(self, name: str) -> tuple[str, str] | None:
        """Return the variable that the field `name` is read from, and its place.

        The place is a file, `CREDENTIALS`, or "" for the environment.
        """
        return next(self.places(name), None)

    def places(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield every variable that gives the field `name` a value, and its place; the first counts."""
        for place, variables, names in (
            ("", self.environment, names_of),
            (CREDENTIALS, self.credentials, credentials_of),
            (str(self.env_file), self.in_file, names_of),
        ):
            yield from ((variable, place) for variable in names(name) if variables.get(variable))

    def value(self, variable: str, place: str) -> str:
        """Return the value that a variable has in its place."""
        there = {"": self.environment, CREDENTIALS: self.credentials}.get(place, self.in_file)
        return there[variable].strip()

    def unset(self, name: str) -> tuple[Step, ...]:
        """Return the step after which the field `name` has the value of the next place, or its default."""
        found = self.winner(name)
        return (self.drop(*found),) if found else ()

    def put(self, name: str, value: object, words: str = "") -> Step:
        """Return the step that gives the field `name` a value where it is read from."""
        variable, place = self.winner(name) or (variable_of(name), str(self.env_file))
        return self._set(variable, str(value), place, words)

    def _set(self, variable: str, value: str, place: str, words: str = "") -> Step:
        if place == CREDENTIALS:
            return do(f"correct the credential {variable}{f' ({words})' if words else ''}, and start again")
        return Step(kind=StepKind.SET, variable=variable, value=value, place=place, words=words)

    def drop(self, variable: str, place: str) -> Step:
        """Return the step that removes a variable from its place."""
        if place == CREDENTIALS:
            return do(f"take the credential {variable} from the service, and start again")
        return Step(kind=StepKind.UNSET, variable=variable, place=place)

    def cure(self, error: ConfigurationError, entry: Entry | None, uid: int | None) -> tuple[Step, ...]:
        """Return the steps that correct settings which cannot be read.

        Parameters
        ----------
        entry
            The file of settings; None: it cannot be looked at.
        uid
            User of this process; None: unknown.
        """
        if error.setting == str(self.env_file):
            return self._cure_of_file(error.problem, is_ours=entry is not None and entry.uid == uid)
        if error.setting == FOLDER_VARIABLE or error.setting.startswith(CREDENTIAL_PREFIX):
            return (do(f"{error.setting}: {error.remedy}"),)
        places = [("", self.environment), (str(self.env_file), self.in_file)]
        written = [place for place, variables in places if error.setting in variables]
        if "is not a setting" in error.problem and written:
            place = written[0]
            dropped = self.drop(error.setting, place)
            if meant := _MEANT.search(error.problem):
                value = (self.in_file if place else self.environment).get(error.setting, "")
                if _holds_secret(meant[1]):
                    return (dropped, self._set(meant[1], "", place, f"the value of {error.setting}"))
                return (dropped, self._set(meant[1], value, place))
            return (dropped,)
        return self._without_one() or (do(f"{error.setting}: {error.remedy}"),)

    def _cure_of_file(self, problem: str, *, is_ours: bool) -> tuple[Step, ...]:
        path = self.env_file
        if found := _LINE.search(problem):
            return (run("sed", "-i", f"{found[1]}d", path),)
        if "codec" in problem:
            quoted, draft = shlex.quote(str(path)), shlex.quote(f"{path}.utf8")
            return (
                shell(
                    f"(umask 077; iconv -f ISO-8859-1 -t UTF-8 {quoted} > {draft})"
                    f" && cat {draft} > {quoted} && rm {draft}"
                ),
            )
        if f"Errno {errno.EISDIR}]" in problem:
            return (run("mv", path, f"{path}.folder"),)
        if f"Errno {errno.EACCES}]" in problem and is_ours:
            return (run("chmod", "600", path),)
        if f"Errno {errno.EACCES}]" in problem:
            return (do(f"give {path}, and the way to it, to the user that runs the validator"),)
        return (do(f"repair or remove {path}"),)

    def _without_one(self) -> tuple[Step, ...]:
        """Return the step that removes the one setting without which the others are accepted."""
        values = self._values()
        for name in values:
            others = {other: value for other, value in values.items() if other != name}
            if _is_accepted(others):
                return self.unset(name)
        return ()

    def _values(self) -> Mapping[str, Any]:
        places = (
            Variables(Settings, "", self.in_file, names_of),
            Variables(Settings, "", self.credentials, credentials_of),
            Variables(Settings, "", self.environment, names_of),
        )
        return {name: value for place in places for name, value in place().items()}


def read_given(env_file: Path, **overrides: Any) -> tuple[Given, Settings | Trouble]:
    """Return what the environment, the credentials and `env_file` say, and the settings made from it."""
    path = env_file.absolute()
    error: ConfigurationError | None = None
    settings: Settings | Trouble
    try:
        settings = read_settings(path, **overrides)
    except ConfigurationError as refusal:
        error = refusal
        settings = Trouble("the settings cannot be read")
    in_file, lines = _file(path)
    given = Given(
        environment=surroundings(),
        env_file=path,
        in_file=in_file,
        lines=lines,
        credentials=_credentials(),
        error=error,
    )
    return given, settings


def _credentials() -> dict[str, str]:
    """Return the credentials; none of those that cannot be read, which are an error already."""
    try:
        return given_credentials()
    except ConfigurationError:
        return {}


def _file(path: Path) -> tuple[dict[str, str], dict[str, list[int]]]:
    """Return the values and lines of a file; nothing of one that cannot be read, which has an error already."""
    values: dict[str, str] = {}
    lines: dict[str, list[int]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except (OSError, UnicodeDecodeError):
        return {}, {}
    for binding in bindings:
        if binding.key is not None:
            values[binding.key] = binding.value or ""
            skipped = len(binding.original.string) - len(binding.original.string.lstrip("\n"))
            lines[binding.key].append(binding.original.line + skipped)
    return {name: value for name, value in values.items() if value}, dict(lines)


def _holds_secret(variable: str) -> bool:
    return any(variable in names_of(name) for name in Settings.model_fields if is_secret(name))


def _is_accepted(values: Mapping[str, Any]) -> bool:
    try:
        require_known_fields(Settings(**values).contract)
    except (ValidationError, ConfigurationError):
        return False
    return True
