"""Logging: JSON or console lines, without secrets, with strangers' text capped."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections import Counter
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

from gaia.validator.utils.logs.files import LogFiles, open_log, tell_of_trouble
from gaia.validator.utils.logs.repeats import Repeats
from gaia.validator.utils.secrecy import without_secrets

LOGGERS = ("application", "performance", "security")
MAX_TEXT = 512
MAX_TRACE = 16 * 1024

_COUNTED = ("warning", "error")

_SECRET_KEY = re.compile(
    r"(?i)(^|_)(password|passwd|secret|token|mnemonic|seed|api_?key|private_?key|symmetric_?key|cds_key)$"
    r"|^authorization$"
)


class _Present:
    """How this process logs at present."""

    role = ""
    seat: int | None = None
    files: LogFiles | None = None
    repeats = Repeats()


_present = _Present()
_logged: Counter[str] = Counter()


def configure_logging(
    level: str,
    fmt: Literal["json", "console"],
    files: LogFiles | None = None,
    role: str = "",
    *,
    seat: int | None = None,
) -> None:
    """Send the log lines of this process to standard error and, with `files`, to rotated files.

    The loggers `application`, `performance` and `security` each have their own file
    (`<role>-<logger>.log`); lines of libraries go to the application's. Both
    `structlog.get_logger("security").info("event", key=value)` and
    `event(logging.getLogger("security"), "event", key=value)` are handled here. The Supervisor uses
    the second, because structlog loads asyncio.

    Files that cannot be made are reported on standard error, and the process goes on without them.

    Parameters
    ----------
    level
        Lowest level that is logged, such as ``INFO``.
    role
        Name of the process, added to every line.
    seat
        Seat of a compute worker, which names its files and opens them at once; see `open_log`.
    """
    root = logging.getLogger()
    stream = _handler(logging.StreamHandler(sys.stderr), fmt, role)
    stream.addFilter(_count)
    root.handlers[:] = [stream]
    root.setLevel(level)
    _present.role, _present.seat, _present.repeats = role, seat, Repeats()
    _write_files(files)
    if role != "supervisor":
        _configure_structlog()


def change_logging(level: str, files: LogFiles | None) -> None:
    """Apply the settings that may change while the process runs; unchanged files stay open."""
    logging.getLogger().setLevel(level)
    if files != _present.files:
        _write_files(files)


def lines_logged() -> dict[str, int]:
    """Return level -> number of lines that this process has logged: warnings, and errors with what is worse."""
    return {level: _logged[level] for level in _COUNTED}


def event(logger: logging.Logger, name: str, level: int = logging.INFO, **values: Any) -> None:
    """Log the event `name` with `values`, using only the standard library."""
    logger.log(level, name, extra={"values": values}, stacklevel=2)


def redact(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with secrets replaced by *** at any depth; names or shapes identify them."""
    return {
        key: "***" if _SECRET_KEY.search(key) and value else _clean(value) for key, value in values.items()
    }


def untrusted(text: object) -> str:
    """Return a stranger's text safe for logs: at most 512 characters, no control sequences."""
    whole = text if isinstance(text, str) else str(text)
    kept = _escaped(whole[:MAX_TEXT])
    dropped = len(whole) - MAX_TEXT
    return f"{kept[:MAX_TEXT]}... ({dropped} more)" if dropped > 0 else kept[:MAX_TEXT]


def one_line(text: str) -> str:
    """Return `text` as one line without control sequences, for a terminal."""
    return _escaped(" ".join(text.split()))


class EventFormatter(logging.Formatter):
    """Formats a log record as one line of JSON or of console text."""

    def __init__(self, fmt: Literal["json", "console"], role: str) -> None:
        super().__init__()
        self._as_json = fmt == "json"
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        values = redact(self._values(record))
        return _json_line(values) if self._as_json else _console_line(values)

    def _values(self, record: logging.LogRecord) -> dict[str, Any]:
        bound = record.__dict__.get("values", {})
        values: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if self._role:
            values["role"] = self._role
        values.update((key, value) for key, value in bound.items() if key not in values)
        if record.exc_info and record.exc_info[0] is not None:
            values["exception"] = _Trace("".join(traceback.format_exception(*record.exc_info)))
        return values


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


class _Trace(str):
    """Return a stack trace, which may have several lines, unlike a stranger's text."""

    __slots__ = ()


def _clean(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return redact({str(key): each for key, each in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(each) for each in value]
    text = without_secrets(value if isinstance(value, str) else str(value))
    if isinstance(value, _Trace):
        return _Trace("\n".join(_escaped(line) for line in text[-MAX_TRACE:].rstrip().split("\n")))
    return untrusted(text)


def _json_line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, default=str)


def _console_line(values: Mapping[str, Any]) -> str:
    rest = dict(values)
    trace = rest.pop("exception", "")
    head = " ".join(
        str(rest.pop(key)).ljust(width) for key, width in (("timestamp", 0), ("level", 8), ("event", 32))
    )
    pairs = " ".join(f"{key}={value}" for key, value in rest.items())
    return f"{head} {pairs}" + (f"\n{trace}" if trace else "")


def _handler(handler: logging.Handler, fmt: Literal["json", "console"], role: str) -> logging.Handler:
    handler.setFormatter(EventFormatter(fmt, role))
    return handler


def _write_files(files: LogFiles | None) -> None:
    """Close the present files, and write to `files` from now on."""
    _present.files = files
    root = logging.getLogger()
    for foreign in [one for one in root.handlers if isinstance(one, _Foreign)]:
        root.removeHandler(foreign)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:] = []
        if files is None:
            continue
        try:
            handler = _handler(open_log(files, _present.role, name, _present.seat), "json", _present.role)
        except OSError as error:
            tell_of_trouble(files.folder, error)
            continue
        logger.addHandler(handler)
        if name == "application":
            root.addHandler(_Foreign(handler))


class _Foreign(logging.Handler):
    """Hands the lines of libraries to the handler of the application's file."""

    def __init__(self, application: logging.Handler) -> None:
        super().__init__()
        self._application = application

    def emit(self, record: logging.LogRecord) -> None:
        if record.name not in LOGGERS:
            self._application.handle(record)


def _count(record: logging.LogRecord) -> bool:
    _logged["error" if record.levelno >= logging.ERROR else record.levelname.lower()] += 1
    return True


def _configure_structlog() -> None:
    import structlog

    from gaia.validator.utils.logs.context import add_bound

    def say_once(
        logger: logging.Logger, _method: str, values: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Withhold a line whose value `once` was heard before: a subject, or a subject and its words.

        At DEBUG no line is withheld.
        """
        once = values.pop("once", None)
        if once is None:
            return values
        subject, words = once if isinstance(once, tuple) else (once, "")
        withheld = _present.repeats.heard((values["event"], subject), words)
        if withheld is None and not logger.isEnabledFor(logging.DEBUG):
            raise structlog.DropEvent
        return {**values, "withheld": withheld} if withheld else values

    def hand_over(
        _logger: Any, _method: str, values: MutableMapping[str, Any]
    ) -> tuple[tuple[str], dict[str, Any]]:
        given = dict(values)
        keywords: dict[str, Any] = {"exc_info": given.pop("exc_info", None)}
        name = str(given.pop("event", ""))
        keywords["extra"] = {"values": given}
        # The standard library formats a message only if it has arguments, so a % in an event is safe.
        return (name,), keywords

    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, say_once, add_bound, hand_over],
        logger_factory=_named_logger,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _named_logger(*names: str) -> logging.Logger:
    return logging.getLogger(names[0] if names else "application")
