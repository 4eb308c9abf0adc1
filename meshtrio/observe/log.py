"""Shell. The log: one line an event on standard error, as JSON or as text. Does not decide what is worth one.

The standard library's logging carries it: structlog would cost each process 6 MB (measured).
"""

import ctypes
import logging
import sys
import time
from typing import Any

import msgspec

from meshtrio.config.schema import Log
from meshtrio.messages import Connection
from meshtrio.outcome import Outcome

_logger = logging.getLogger("meshtrio")
_RARELY_S = 10.0
_said: dict[str, float] = {}
"""When `rarely` last said something. Bounded by the number of calls in our code."""


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {"at": round(record.created, 3), "level": record.levelname.lower()}
        fields["event"] = record.getMessage()
        fields.update(getattr(record, "fields", {}))
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields, enc_hook=str).decode()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={_shown(value)}" for name, value in getattr(record, "fields", {}).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _shown(value: object) -> str:
    """One line, whatever a stranger has put into a name or the verifier into its complaint."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def set_up(settings: Log) -> None:
    """Log from now on as the configuration says."""
    writer = logging.StreamHandler(sys.stderr)
    writer.setFormatter(_Json() if settings.format == "json" else _Text())
    _logger.handlers[:] = [writer]
    _logger.setLevel(settings.level.upper())
    _logger.propagate = False


def debug(event: str, **fields: object) -> None:
    """Log what only helps to find a fault."""
    _logger.debug(event, extra={"fields": fields})


def info(event: str, **fields: object) -> None:
    """Log what an operator may want to know."""
    _logger.info(event, extra={"fields": fields})


def warning(event: str, **fields: object) -> None:
    """Log what an operator should look at."""
    _logger.warning(event, extra={"fields": fields})


def error(event: str, **fields: object) -> None:
    """Log what somebody must mend."""
    _logger.error(event, extra={"fields": fields})


def rarely(event: str, **fields: object) -> None:
    """Warn, but not again for ten seconds: for what can happen ten thousand times a second."""
    now = time.monotonic()
    if now - _said.get(event, -_RARELY_S) >= _RARELY_S:
        _said[event] = now
        warning(event, **fields)


def bug(event: str, fault: BaseException) -> None:
    """Log a fault of ours with its trace."""
    _logger.error(event, exc_info=fault, extra={"fields": {}})


def heeds(outcome: Outcome) -> bool:
    """Say whether `ended` logs a connection that ended so."""
    return _logger.isEnabledFor(logging.DEBUG if outcome is Outcome.CARRIED else logging.INFO)


def ended(connection: Connection) -> None:
    """Log how a connection ended: at debug level if all went well, for that is what most do."""
    assert connection.outcome is not None
    if not heeds(connection.outcome):
        return
    level = logging.DEBUG if connection.outcome is Outcome.CARRIED else logging.INFO
    fields = msgspec.to_builtins(connection, enc_hook=str)
    fields["flag"] = connection.outcome.flag
    said = {name: value for name, value in fields.items() if value not in ("", False)}
    _logger.log(level, "connection", extra={"fields": said})


def wall_now() -> float:
    """Return the wall time, seconds since 1970."""
    return time.time()


def keep_memory_private() -> None:
    """Let nobody but root look into this process from now on, and no core dump show its keys (prctl
    PR_SET_DUMPABLE). Programs that it starts are as they always were."""
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)


def name_process(name: str) -> None:
    """Give this process a name that ps and top show (prctl PR_SET_NAME, 15 bytes)."""
    ctypes.CDLL(None).prctl(15, name.encode()[:15], 0, 0, 0)
