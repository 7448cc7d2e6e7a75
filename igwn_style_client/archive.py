"""`Archive(path)` is a callback that stores alerts.

::

    with Archive("alerts.db") as archive:
        client.listen(archive, topics)

One SQLite file in WAL mode, a transaction per alert, and the disk has confirmed it when `store`
returns.  A file is shared safely by threads and by processes of one machine.  Never open it by
other means than SQLite in a process that uses it: closing such a descriptor takes SQLite's locks
away (https://sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from .alert import Alert, Message
from .errors import ArchiveError, ArchiveFull

__all__ = ["Archive"]

_APPLICATION = 0x69677363  # "igsc"
_VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)

# AUTOINCREMENT: the number of a removed alert is never given again.  The long columns stand last,
# so that filters do not read them.
_SCHEMA = f"""
    CREATE TABLE alerts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        identity BLOB NOT NULL UNIQUE,
        stored INTEGER NOT NULL,
        topic TEXT NOT NULL,
        full_name TEXT NOT NULL,
        partition INTEGER NOT NULL,
        "offset" INTEGER NOT NULL,
        time INTEGER,
        key BLOB,
        headers TEXT NOT NULL,
        reason TEXT,
        raw BLOB
    );
    PRAGMA application_id = {_APPLICATION};
    PRAGMA user_version = {_VERSION}
"""
_INSERT = """
    INSERT INTO alerts VALUES
        (NULL, :identity, :stored, :topic, :full_name, :partition, :offset, :time, :key, :headers,
         :reason, :raw)
    ON CONFLICT (identity) DO UPDATE SET reason = excluded.reason
        WHERE alerts.reason IS NOT excluded.reason
"""
# One row at a time, from the last one on: memory stays flat, and no reading transaction stays
# open between two alerts, so that the write-ahead log does not grow.
_NEXT = """
    SELECT * FROM alerts
    WHERE id > :last AND id <= :end
        AND (:topics IS NULL OR topic IN (SELECT value FROM json_each(:topics)))
        AND (:since IS NULL OR coalesce(time, stored) >= :since)
        AND (:until IS NULL OR coalesce(time, stored) < :until)
        AND (:set_aside IS NULL OR (reason IS NOT NULL) = :set_aside)
    ORDER BY id LIMIT 1
"""
_USED = """
    SELECT (page_count - freelist_count) * page_size
    FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""
_STATE = """
    SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)
    FROM pragma_application_id, pragma_user_version
"""
_FULL = "the disk is full; make room"
_ACCESS = "make sure that the file and its folder may be read and written"
_MENDS = {
    "disk is full": _FULL,  # SQLite
    "No space left": _FULL,  # the system, when the file is made
    "quota": _FULL,
    "disk I/O error": "the disk fails or your quota of it is used up; mend that first",
    "No such file": "file or folder is missing; look at the path, and make the folder first",
    "Not a directory": "a part of the path is a file; give another path",
    "database is locked": "another process keeps it locked; end that process, or try again",
    "not a database": "the file is something else, and is left as it is; give another path",
    "readonly": "the file is read-only; copy it to a folder of your own, or mend its permissions",
    "unable to open": _ACCESS,
    "Permission denied": _ACCESS,
    "malformed": "the file is damaged; keep it, and see what `sqlite3 FILE .recover` brings back",
}

# One lock for all archives of the process: it is also held while the process forks.
_lock = threading.RLock()
_opened: weakref.WeakSet[Archive] = weakref.WeakSet()


def _before_fork() -> None:
    # SQLite takes what it remembers of locks into the child, which does not have them; even a
    # connection that the child opens itself loses alerts then.  So that none crosses.
    _lock.acquire()
    for archive in list(_opened):
        archive.close()


os.register_at_fork(
    before=_before_fork, after_in_parent=_lock.release, after_in_child=_lock.release
)


class Archive:
    """Alerts in one SQLite file: a callback, an iterable and a context manager.

    The file is opened when it is first needed, made (for its owner only) when the first alert is
    stored or by `open`, and opened again when needed after `close` or a fork.  Any thread may
    call anything.

    An alert that comes again is stored once: the same alert is the one that agrees in every
    field, delivered and set aside counted apart.  So several servers may share one file, and a
    topic that was deleted and made anew loses nothing.  Setting aside again keeps the latest
    reason.  What is kept of the payload is `raw`; an alert made by hand needs it.

    Parameters
    ----------
    path
        The file; its folder must exist.
    ceiling
        Most bytes of the file, beside SQLite's write-ahead log of some MB; None: what the disk
        holds.  Removed alerts make room, though the file does not shrink.
    decode
        Called with a stored message when the payload of its alert is first asked for; may raise
        `DecodeError`.  None: JSON where it is JSON, else the bytes.
    timeout
        Longest wait, in seconds, for another process that writes.
    make_folder
        Whether the file's folder is made with it.

    Raises
    ------
    ArchiveError
        From every method but `close`: the file cannot be used, and nothing was stored.
    ArchiveFull
        From storing: the ceiling is reached or the disk is full.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ceiling: int | None = None,
        decode: Callable[[Message], Any] | None = None,
        timeout: float = 30.0,
        make_folder: bool = False,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        self.ceiling = ceiling
        self._decode = decode or _json_or_bytes
        self._timeout = timeout
        self._make_folder = make_folder
        self._connection: sqlite3.Connection | None = None
        self._status: os.stat_result | None = None

    def __call__(self, topic: str, payload: Any, alert: Alert) -> None:  # noqa: ARG002
        """Store a delivered alert, as the callback of `listen`."""
        self.store(alert)

    def store(self, alert: Alert, reason: str | None = None) -> None:
        """Store an alert; when this returns, it is on the disk.

        Parameters
        ----------
        alert
            What was received.
        reason
            Why it is set aside; None for one that was delivered.
        """
        row = _row(alert, reason)
        with self._transaction() as connection:
            grows = connection.execute(_INSERT, row).rowcount > 0
            if grows and self.ceiling is not None:
                [used] = connection.execute(_USED).fetchone()
                if used > self.ceiling:
                    raise ArchiveFull(
                        f'the archive "{self.path}" has reached its ceiling of {self.ceiling} '
                        "bytes; raise it, or remove alerts that are no longer needed"
                    )

    def __iter__(self) -> Iterator[Alert]:
        return self.alerts()

    def alerts(
        self,
        topic: str | Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        set_aside: bool | None = None,
    ) -> Iterator[Alert]:
        """Yield alerts in the order of storing, up to the one that is the last at the start.

        Parameters
        ----------
        topic
            Short name, or several; None for all.
        since, until
            From this time on, and before that time; None for no limit.  The time is the alert's,
            or that of storing where it has none.
        set_aside
            True for what was set aside, False for what was delivered, None for both.
        """
        return (alert for _, alert in self.items(topic, since, until, set_aside))

    def items(
        self,
        topic: str | Iterable[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        set_aside: bool | None = None,
    ) -> Iterator[tuple[int, Alert]]:
        """Yield pairs of an alert's number, for `remove`, and the alert; see `alerts`."""
        topics = None if topic is None else [topic] if isinstance(topic, str) else list(topic)
        values = {
            "topics": None if topics is None else json.dumps(topics),
            "since": _microseconds(since),
            "until": _microseconds(until),
            "set_aside": set_aside,
            "last": 0,
        }
        return self._items(values)

    def _items(self, values: dict[str, Any]) -> Iterator[tuple[int, Alert]]:
        [row] = self._read("SELECT coalesce(max(id), 0) FROM alerts")
        values["end"] = row[0]
        while rows := self._read(_NEXT, values):
            [row] = rows
            values["last"] = row["id"]
            yield row["id"], self._alert(row)

    def remove(self, number: int) -> None:
        """Remove the alert of this number, where there is one."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM alerts WHERE id = ?", (number,))

    def __len__(self) -> int:
        [row] = self._read("SELECT count(*) FROM alerts")
        return int(row[0])

    def __bool__(self) -> bool:
        return True  # an empty archive is a callback all the same

    def open(self) -> Archive:
        """Open the file, making it where there is none, so that trouble shows at once."""
        with self._errors():
            self._connect(make=True)
        return self

    def close(self) -> None:
        """Close the file."""
        with _lock:
            _opened.discard(self)
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # For executors whose workers are processes: each opens the file for itself.
        return {**self.__dict__, "_connection": None, "_status": None}

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:
            self.close()

    def __repr__(self) -> str:
        return f"Archive({str(self.path)!r})"

    def _alert(self, row: sqlite3.Row) -> Alert:
        alert = Alert.received(_Stored(row), row["topic"], self._decode)
        alert._time, alert._reason = _datetime(row["time"]), row["reason"]
        return alert

    def _read(self, query: str, values: dict[str, Any] | None = None) -> list[sqlite3.Row]:
        with self._errors():
            return self._connect(make=False).execute(query, values or {}).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            connection = self._connect(make=True)
            with _transaction(connection):
                yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Hold the lock, and say what is wrong with the file and how to mend it."""
        try:
            with _lock:
                yield
        except (OSError, sqlite3.Error) as error:
            text = str(error)
            mend = next((mend for part, mend in _MENDS.items() if part in text), "see the cause")
            kind = ArchiveFull if mend is _FULL else ArchiveError
            raise kind(f'cannot use the archive "{self.path}": {mend} ({text})') from error

    def _connect(self, *, make: bool) -> sqlite3.Connection:
        if make and self._connection is None:
            if self._make_folder:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        status = self.path.stat()
        if self._connection is not None:
            if self._status is None or not os.path.samestat(status, self._status):
                raise ArchiveError(
                    f'the archive "{self.path}" was replaced while it was open; '
                    "put it back, or close it and start anew"
                )
            return self._connection
        connection = sqlite3.connect(
            self.path.as_uri() + "?mode=rw",
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.row_factory = sqlite3.Row
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._status = connection, status
        _opened.add(self)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if not self._is_archive(connection):
            with _transaction(connection):
                if not self._is_archive(connection):  # no other process was quicker
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
        _use_wal(connection, self._timeout)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk

    def _is_archive(self, connection: sqlite3.Connection) -> bool:
        """Whether the file is an archive, rather than empty; raise for anything else."""
        application, version, tables = connection.execute(_STATE).fetchone()
        if (application, version, tables) == (0, 0, 0):
            return False
        if application != _APPLICATION:
            raise ArchiveError(
                f'"{self.path}" is a database of another program, and is left as it is; '
                "give another path"
            )
        if version > _VERSION:
            raise ArchiveError(
                f'the archive "{self.path}" was made by a newer version of this package '
                f"(format {version}; this one knows {_VERSION}); upgrade igwn-style-client"
            )
        return True


class _Stored:
    """A row with the methods of a Kafka message."""

    def __init__(self, row: sqlite3.Row) -> None:
        self._row = row

    def topic(self) -> Any:
        return self._row["full_name"]

    def partition(self) -> Any:
        return self._row["partition"]

    def offset(self) -> Any:
        return self._row["offset"]

    def timestamp(self) -> Any:
        microseconds = self._row["time"]
        return (0, -1) if microseconds is None else (1, microseconds // 1000)

    def key(self) -> Any:
        return self._row["key"]

    def headers(self) -> list[tuple[str, bytes | None]]:
        return [
            (name, None if value is None else value.encode("latin-1"))
            for name, value in json.loads(self._row["headers"])
        ]

    def value(self) -> Any:
        return self._row["raw"]


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _use_wal(connection: sqlite3.Connection, timeout: float) -> None:
    # While several processes make the file, SQLite refuses this at once instead of waiting.
    # Where the file system knows no shared memory the mode stays another: slower, as safe.
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _row(alert: Alert, reason: str | None) -> dict[str, Any]:
    headers = [(name, None if v is None else v.decode("latin-1")) for name, v in alert.headers]
    row = {
        "topic": alert.topic,
        "full_name": alert.full_name,
        "partition": alert.partition,
        "offset": alert.offset,
        "time": _microseconds(alert.time),
        "key": alert.key,
        "headers": json.dumps(headers),
    }
    raw = alert.raw
    identity = hashlib.blake2b(digest_size=16)
    identity.update(repr((row, reason is None, raw is None)).encode())
    identity.update(raw or b"")
    if reason is not None:  # tracebacks may hold what UTF-8 does not
        reason = reason.encode(errors="backslashreplace").decode()
    stored = time.time_ns() // 1000
    return {**row, "reason": reason, "raw": raw, "stored": stored, "identity": identity.digest()}


def _microseconds(time: datetime | None) -> int | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError(f"{time} has no time zone; give one, such as datetime.timezone.utc")
    return (time - _EPOCH) // _MICROSECOND


def _datetime(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + microseconds * _MICROSECOND


def _json_or_bytes(message: Message) -> Any:
    value = message.value()
    if value is None:
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
