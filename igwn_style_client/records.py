"""Log records as JSON, one object on each line.

::

    handler = logging.StreamHandler()
    handler.setFormatter(JSONLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone

__all__ = ["JSONLines"]

# Everything else in a record was given by `extra=`.
_OF_EVERY_RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JSONLines(logging.Formatter):
    """A formatter: each record becomes a JSON object without line breaks.

    It has ``time`` (UTC, ISO 8601), ``level``, ``logger`` and ``message``; ``exception`` and
    ``stack`` where the record has them; and what was handed over as ``extra``, as text where JSON
    does not have it.

    Examples
    --------
    >>> record = logging.makeLogRecord({"levelname": "INFO", "name": "a", "msg": "b", "created": 0})
    >>> JSONLines().format(record)
    '{"time": "1970-01-01T00:00:00.000+00:00", "level": "INFO", "logger": "a", "message": "b"}'
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        created = datetime.fromtimestamp(record.created, timezone.utc)
        line = {
            "time": created.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        extra = {
            name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD
        }
        return json.dumps({**line, **extra, **line}, default=str, skipkeys=True)
