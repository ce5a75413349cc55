"""The service's log on stderr: text on a terminal, a line of JSON for each record elsewhere."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from crossan.common.console import is_terminal, printable_lines

__all__ = ["JsonLines", "TextLines", "start_logging"]

_QUIET = ("uvicorn.error", "uvicorn.access", "asyncio")


class JsonLines(logging.Formatter):
    """A record as one line of JSON.

    What a caller gives by ``extra={"fields": {...}}`` stands beside time, level, logger and
    message.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)


class TextLines(logging.Formatter):
    """A record as people read it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, more where there is a traceback."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = "".join(f"  {name}={value}" for name, value in _fields(record).items())
        text = f"{time}  {record.levelname.lower():<7}  {record.getMessage()}{fields}"
        if record.exc_info:
            text += f"\n{self.formatException(record.exc_info)}"
        return printable_lines(text)


def start_logging() -> None:
    """Have what this process logs go to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextLines() if is_terminal(sys.stderr) else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", {})
    return fields if isinstance(fields, dict) else {}
