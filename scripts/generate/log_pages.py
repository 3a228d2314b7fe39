"""Writes docs/reference/logs.md: every event that the code logs, with its level, logger, fields and meaning.

`python scripts/generate/log_pages.py`
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from generate.log_meanings import (  # noqa: E402 - where to find it is said above
    CONTEXT,
    INTRODUCTION,
    MEANINGS,
    OTHER_FIELDS,
    OTHER_LEVELS,
)

PAGE = ROOT / "docs" / "reference" / "logs.md"
LEVELS = ("debug", "info", "warning", "error", "critical")

_CALLS = {**{level: level for level in LEVELS}, "exception": "error"}
_MAKERS = ("get_logger", "getLogger")
_NOT_FIELDS = {"once", "exc_info", "extra", "level", "stacklevel"}


_Function = ast.FunctionDef | ast.AsyncFunctionDef


class UnclearCall(ValueError):
    """A log call whose event or level cannot be read from the code; names the place."""


@dataclass(slots=True)
class Spoken:
    """What the code says under one event."""

    levels: set[str] = field(default_factory=set)
    loggers: set[str] = field(default_factory=set)
    fields: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)


def main() -> None:
    PAGE.write_text(render())


def spoken(root: Path = ROOT / "gaia") -> dict[str, Spoken]:
    """Return event -> what the log calls below `root` say, read from their syntax.

    Raises
    ------
    UnclearCall
        If an event is not a literal, or a level is neither a literal nor listed in `OTHER_LEVELS`.
    """
    events: dict[str, Spoken] = {}
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] == "localnet":
            continue  # it rehearses, and no operator runs it
        _Reader(path, path.relative_to(root).as_posix(), events).read()
    for event, names in OTHER_FIELDS.items():
        if event in events:
            events[event].fields += [name for name in names if name not in events[event].fields]
    return events


def render() -> str:
    """Return the text of docs/reference/logs.md."""
    lines = [*INTRODUCTION.rstrip().splitlines(), "", "| field | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in CONTEXT.items()]
    lines += ["", "## Events", ""]
    lines += ["| event | level | logger | fields | meaning |", "|---|---|---|---|---|"]
    for event, said in sorted(spoken().items()):
        levels = ", ".join(level for level in LEVELS if level in said.levels)
        fields = ", ".join(f"`{name}`" for name in said.fields)
        lines.append(
            f"| `{event}` | {levels} | {', '.join(sorted(said.loggers))} | {fields} | {MEANINGS[event]} |"
        )
    return "\n".join(lines) + "\n"


class _Reader:
    """Reads the log calls of one file."""

    def __init__(self, path: Path, place: str, events: dict[str, Spoken]) -> None:
        self._tree = ast.parse(path.read_text())
        self._place = place
        self._events = events
        self._loggers = dict(self._named_loggers())

    def read(self) -> None:
        for scope in ast.walk(self._tree):
            if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in _own_nodes(scope):
                    if isinstance(node, ast.Call):
                        self._read_call(node, scope)

    def _named_loggers(self) -> Iterator[tuple[str, str]]:
        for node in self._tree.body:
            if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
                continue
            made = node.value.func
            name = node.targets[0]
            if isinstance(made, ast.Attribute) and made.attr in _MAKERS and isinstance(name, ast.Name):
                given = node.value.args
                is_named = bool(given) and isinstance(given[0], ast.Constant)
                yield name.id, str(given[0].value) if is_named else "application"  # type: ignore[attr-defined]

    def _read_call(self, call: ast.Call, scope: _Function) -> None:
        function = call.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            logger = self._loggers.get(function.value.id)
            if logger is None:
                return
            if function.attr in _CALLS:
                self._note(call, scope, logger, call.args[0], {_CALLS[function.attr]})
            elif function.attr == "log":
                self._note(call, scope, logger, call.args[1], self._levels(call.args[0], call.args[1], scope))
        elif isinstance(function, ast.Name) and function.id == "event":
            source = call.args[0]
            if isinstance(source, ast.Name) and source.id in self._loggers:
                level = call.args[2] if len(call.args) > 2 else None
                levels = {"info"} if level is None else self._levels(level, call.args[1], scope)
                self._note(call, scope, self._loggers[source.id], call.args[1], levels)

    def _note(self, call: ast.Call, scope: _Function, logger: str, event: ast.expr, levels: set[str]) -> None:
        for name in self._names(event, scope):
            said = self._events.setdefault(name, Spoken())
            said.levels |= levels
            said.loggers.add(logger)
            said.places.add(self._place)
            fields = [word.arg for word in call.keywords if word.arg is not None]
            fields += _extra_fields(call)
            said.fields += [word for word in fields if word not in {*_NOT_FIELDS, *said.fields}]

    def _names(self, event: ast.expr, scope: _Function) -> list[str]:
        """Return the events of a call: a literal, or those with which the function around it is called."""
        if isinstance(event, ast.Constant) and isinstance(event.value, str):
            return [event.value]
        parameters = [each.arg for each in scope.args.args]
        if isinstance(event, ast.Name) and event.id in parameters:
            place = parameters.index(event.id)
            calls = [
                node.args[place]
                for node in ast.walk(self._tree)
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == scope.name
                and len(node.args) > place
            ]
            names = [each.value for each in calls if isinstance(each, ast.Constant)]
            if names and len(names) == len(calls):
                return [str(name) for name in names]
        raise UnclearCall(f"{self._place}:{event.lineno}: the event is not a literal")

    def _levels(self, level: ast.expr, event: ast.expr, scope: _Function) -> set[str]:
        """Return the levels that the expression can have, as far as the function itself says."""
        match level:
            case ast.Attribute(value=ast.Name(id="logging"), attr=name):
                return {name.lower()}
            case ast.IfExp(body=one, orelse=other):
                return self._levels(one, event, scope) | self._levels(other, event, scope)
            case ast.Name(id=name):
                given = [
                    node.value
                    for node in ast.walk(scope)
                    if isinstance(node, ast.Assign)
                    and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
                ]
                if given:
                    return set().union(*(self._levels(each, event, scope) for each in given))
        (name,) = self._names(event, scope)
        if name not in OTHER_LEVELS:
            raise UnclearCall(f"{self._place}:{level.lineno}: the level of {name} is not a literal")
        return set(OTHER_LEVELS[name])


def _extra_fields(call: ast.Call) -> list[str]:
    """Return the names in ``extra={"values": {...}}``, with which code without structlog gives fields."""
    values = [
        pair
        for word in call.keywords
        if word.arg == "extra" and isinstance(word.value, ast.Dict)
        for pair in word.value.values
    ]
    names = [key for pair in values if isinstance(pair, ast.Dict) for key in pair.keys]
    return [str(key.value) for key in names if isinstance(key, ast.Constant)]


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without those of functions inside it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own_nodes(child)


if __name__ == "__main__":
    main()
