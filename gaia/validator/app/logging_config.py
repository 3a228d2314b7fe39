"""Logging: JSON or console lines, without secrets, with strangers' text capped."""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

LOGGERS = ("application", "performance", "security")
MAX_TEXT = 512
MAX_TRACE = 16 * 1024
FILE_BYTES = 16 * 1024 * 1024
FILES_KEPT = 5

_SECRET_KEY = re.compile(
    r"(?i)(^|_)(password|passwd|secret|token|mnemonic|seed|api_?key|private_?key|symmetric_?key|cds_key)$"
    r"|^authorization$"
)
_SECRET_TEXT = (
    (re.compile(r"(\w+://[^/\s:@]*:)[^/\s@]+@"), r"\1***@"),
    (re.compile(r"(?i)(bearer\s+)[\w.~+/=-]+"), r"\1***"),
    (re.compile(r"(?i)\b((?:password|secret|token|api_?key)=)[^\s&\"',;]+"), r"\1***"),
)


def configure_logging(
    level: str, fmt: Literal["json", "console"], log_dir: Path | None = None, role: str = ""
) -> None:
    """Send the log lines of this process to standard error and, with `log_dir`, to rotated files.

    The loggers `application`, `performance` and `security` each have their own file
    (`<role>-<logger>.log`); lines of libraries go to the application's. Both
    `structlog.get_logger("security").info("event", key=value)` and
    `event(logging.getLogger("security"), "event", key=value)` are handled here. The Supervisor uses
    the second, because structlog loads asyncio.

    Parameters
    ----------
    level
        Lowest level that is logged, such as ``INFO``.
    role
        Name of the process, added to every line.
    """
    root = logging.getLogger()
    root.handlers[:] = [_handler(logging.StreamHandler(sys.stderr), fmt, role)]
    root.setLevel(level)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            handler.close()
        logger.handlers[:] = []
        if log_dir is not None:
            logger.addHandler(_file_handler(log_dir, name, role))
    if log_dir is not None:
        root.addHandler(_foreign_only(_file_handler(log_dir, "application", role)))
    if role != "supervisor":
        _configure_structlog()


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
    text = value if isinstance(value, str) else str(value)
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
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


def _file_handler(log_dir: Path, name: str, role: str) -> logging.Handler:
    log_dir.mkdir(parents=True, exist_ok=True)
    path = log_dir / f"{role or 'gaia'}-{name}.log"
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8", delay=True
    )
    return _handler(handler, "json", role)


def _foreign_only(handler: logging.Handler) -> logging.Handler:
    handler.addFilter(lambda record: record.name not in LOGGERS)
    return handler


def _configure_structlog() -> None:
    import structlog

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
        processors=[structlog.contextvars.merge_contextvars, hand_over],
        logger_factory=_named_logger,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _named_logger(*names: str) -> logging.Logger:
    return logging.getLogger(names[0] if names else "application")
