"""`Archive` stores alerts, and loses none."""

import contextlib
import inspect
import multiprocessing
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from igwn_style_client import archive as room
from igwn_style_client.alert import Alert
from igwn_style_client.archive import Archive, ArchiveError, ArchiveFull
from igwn_style_client.errors import DecodeError

NOON = datetime(2026, 5, 17, 12, tzinfo=timezone.utc)
FIELDS = ("topic", "full_name", "partition", "offset", "time", "key", "headers", "raw", "reason")


def make(
    offset=0, topic="superevent", *, raw=b'{"superevent_id": "S260517a"}', time=NOON, **kwargs
):
    return Alert(topic, None, f"gracedb.{topic}", offset=offset, raw=raw, time=time, **kwargs)


def fields(alert):
    return {name: getattr(alert, name) for name in FIELDS}


def offsets(alerts):
    return [alert.offset for alert in alerts]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "alerts.db"


@pytest.fixture
def archive(path):
    with Archive(path) as archive:
        yield archive


# Storing and reading


blobs = st.none() | st.binary(max_size=40)


@settings(max_examples=50, deadline=None)
@given(
    headers=st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=5), blobs)),
    key=blobs,
    raw=blobs,
    time=st.none() | st.datetimes(timezones=st.just(timezone.utc)),
    reason=st.none() | st.text(max_size=20),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
)
@example([("a", b""), ("a", None), ("a", b"\xff\x00")], b"", b"", NOON, "", 0, 0)
@example([], None, None, None, None, 0, 0)
def test_every_field_comes_back_as_it_went(headers, key, raw, time, reason, partition, offset):
    alert = Alert(
        "superevent", None, "gracedb.superevent", partition, offset, time, key, tuple(headers), raw
    )
    with tempfile.TemporaryDirectory() as folder, Archive(f"{folder}/alerts.db") as archive:
        archive.store(alert, reason)
        [back] = archive
    if reason is not None:
        reason = reason.encode(errors="backslashreplace").decode()
    assert fields(back) == fields(alert) | {"reason": reason}


def test_what_hop_adds_is_found_again(archive):
    archive.store(make(headers=(("_id", bytes(16)), ("_sender", b"scimma-1"))))
    [alert] = archive
    assert (alert.id.int, alert.sender) == (0, "scimma-1")


@pytest.mark.parametrize(
    ("raw", "payload"),
    [
        (b'"{\\"uid\\": 1}"', '{"uid": 1}'),
        (b'{"a": [1]}', {"a": [1]}),
        (b"\x00\xff", b"\x00\xff"),
        (b"", b""),
        (None, None),
        (b"[" * 200_000, b"[" * 200_000),
    ],
    ids=["string", "object", "bytes", "empty", "tombstone", "deep"],
)
def test_the_payload_is_json_where_it_is_json(archive, raw, payload):
    archive.store(make(raw=raw))
    [alert] = archive
    assert alert.payload == payload


def test_the_payload_is_decoded_when_it_is_asked_for(path):
    def decode(message):
        assert (message.topic(), message.partition(), message.offset()) == ("gracedb.t", 2, 7)
        assert message.key() == b"key"
        assert message.headers() == [("_format", b"avro")]
        assert message.timestamp() == (1, 1_779_019_200_000)
        raise DecodeError("Avro", f"{message.value()!r} has no schema")

    alert = Alert("t", None, "gracedb.t", 2, 7, NOON, b"key", (("_format", b"avro"),), b"no")
    with Archive(path, decode=decode) as archive:
        archive.store(alert, "no schema")
        [back] = archive
    assert (back.raw, back.reason) == (b"no", "no schema")
    with pytest.raises(DecodeError, match=r'"gracedb\.t", partition 2, offset 7.*has no schema'):
        back.payload  # noqa: B018


def test_no_time_is_told_to_the_decoder(path):
    with Archive(path, decode=lambda message: message.timestamp()) as archive:
        archive.store(make(time=None))
        [alert] = archive
    assert (alert.time, alert.payload) == (None, (0, -1))


def test_it_is_a_callback(archive):
    assert "alert" in inspect.signature(archive).parameters
    archive(topic="superevent", payload={}, alert=make(5))
    assert offsets(archive) == [5]
    assert [alert.reason for alert in archive] == [None]


def test_alerts_come_in_the_order_of_storing(archive):
    for offset in (3, 1, 2):
        archive.store(make(offset))
    assert offsets(archive) == [3, 1, 2]
    assert len(archive) == 3


def test_filters(archive):
    for offset, topic in enumerate(["superevent", "cbc_gstlal", "superevent", "burst"]):
        time = NOON + timedelta(hours=offset)
        archive.store(make(offset, topic, time=time), "it failed" if offset > 1 else None)
    assert offsets(archive.alerts("superevent")) == [0, 2]
    assert offsets(archive.alerts(["burst", "cbc_gstlal"])) == [1, 3]
    assert offsets(archive.alerts([])) == []
    assert offsets(archive.alerts(since=NOON + timedelta(hours=2))) == [2, 3]
    assert offsets(archive.alerts(until=NOON + timedelta(hours=2))) == [0, 1]
    assert offsets(archive.alerts(set_aside=True)) == [2, 3]
    assert offsets(archive.alerts(set_aside=False)) == [0, 1]
    assert offsets(archive.alerts("superevent", NOON, set_aside=True)) == [2]


def test_the_time_of_storing_stands_in_for_a_missing_one(archive):
    archive.store(make(time=None))
    now = datetime.now(timezone.utc)
    assert offsets(archive.alerts(since=now - timedelta(hours=1), until=now)) == [0]
    assert offsets(archive.alerts(since=now + timedelta(hours=1))) == []


def test_times_have_a_zone(archive):
    with pytest.raises(ValueError, match="time zone"):
        archive.alerts(since=datetime(2026, 5, 17))
    archive.store(make(time=NOON.astimezone(timezone(timedelta(hours=2)))))
    assert [alert.time for alert in archive] == [NOON]


def test_what_is_stored_while_iterating_comes_the_next_time(archive):
    archive.store(make(0))
    for alert in archive:
        archive.store(make(alert.offset + 1))
    assert len(archive) == 2


def test_memory_stays_flat(archive):
    for offset in range(30):
        archive.store(make(offset, raw=os.urandom(500_000)))
    tracemalloc.start()
    assert sum(len(alert.raw) for alert in archive) == 15_000_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3_000_000


# What is the same, and what is not


def test_a_repeat_is_stored_once(archive):
    for _ in range(3):
        archive.store(make(1, headers=(("_id", b"1"),)))
    archive.store(make(2))
    assert offsets(archive) == [1, 2]


def test_a_topic_made_anew_loses_nothing(archive):
    archive.store(make(1, raw=b"old"))
    archive.store(make(1, raw=b"new"))
    archive.store(make(1, raw=b"new", time=NOON + timedelta(days=1)))
    archive.store(make(1, raw=b"new", key=b"key"))
    archive.store(make(1, raw=b""))
    archive.store(make(1, raw=None))
    assert [alert.raw for alert in archive] == [b"old", b"new", b"new", b"new", b"", None]


def test_delivered_and_set_aside_count_apart(archive):
    archive.store(make(1), "Traceback ...")
    archive.store(make(1))
    assert [alert.reason for alert in archive] == ["Traceback ...", None]


def test_the_latest_reason_is_kept(archive):
    for reason in ("first", "second", "second"):
        archive.store(make(1), reason)
    assert [alert.reason for alert in archive] == ["second"]


def test_a_reason_beyond_utf8_is_kept(archive):
    archive.store(make(1), "no file \udcff")
    assert [alert.reason for alert in archive] == ["no file \\udcff"]


def test_removed_alerts_are_gone_and_their_numbers_are_not_given_again(archive):
    archive.store(make(1))
    archive.store(make(2), "failed")
    [(number, alert)] = archive.items(set_aside=True)
    archive.remove(number)
    archive.remove(number)
    assert offsets(archive) == [1]
    archive.store(alert, alert.reason)
    [(again, _)] = archive.items(set_aside=True)
    assert again > number


# The file


def test_nothing_is_made_until_it_is_needed(path):
    with Archive(path) as archive:
        assert not path.exists()
        archive.open()
        assert path.exists()
        assert len(archive) == 0
        assert archive  # else `callback or print` would take the print
    assert repr(archive) == f"Archive({str(path)!r})"


def test_reading_makes_no_file(archive, path):
    for read in (lambda: len(archive), lambda: list(archive)):
        with pytest.raises(ArchiveError, match=r"alerts\.db.*missing"):
            read()
    assert not path.exists()


def test_only_the_owner_may_read(archive, path):
    before = os.umask(0)
    try:
        archive.store(make())
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(["alerts.db", "alerts.db-wal", "alerts.db-shm"], 0o600)


def test_it_opens_again_after_close(archive, path):
    archive.store(make(1))
    archive.close()
    archive.close()
    assert [file.name for file in path.parent.iterdir()] == ["alerts.db"]
    archive.store(make(2))
    assert offsets(archive) == [1, 2]


def test_a_forgotten_archive_closes_itself(path):
    Archive(path).store(make())
    assert [file.name for file in path.parent.iterdir()] == ["alerts.db"]


def test_odd_names(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with Archive("~/a?mode=memory#%20 ü.db") as archive:
        archive.store(make())
    assert [file.name for file in tmp_path.iterdir()] == ["a?mode=memory#%20 ü.db"]


def test_an_empty_file_becomes_an_archive(archive, path):
    path.touch()
    archive.store(make(1))
    assert offsets(archive) == [1]


# Trouble


@pytest.mark.parametrize("content", [b"hello", b"topic,offset\n" * 1000], ids=["short", "long"])
def test_another_file_stays_as_it_is(archive, path, content):
    path.write_bytes(content)
    for use in (lambda: archive.store(make()), lambda: list(archive), archive.open):
        with pytest.raises(ArchiveError, match=r"alerts\.db.*something else"):
            use()
    assert path.read_bytes() == content


def test_another_programs_database_stays_as_it_is(archive, path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE cookies (a)")
    content = path.read_bytes()
    with pytest.raises(ArchiveError, match="another program"):
        archive.store(make())
    assert path.read_bytes() == content


def test_a_newer_archive_asks_for_an_upgrade(archive, path):
    archive.open()
    archive.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ArchiveError, match=r"99.*upgrade"):
        list(archive)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("missing/alerts.db", "make the folder first"),
        ("file/alerts.db", "a part of the path is a file"),
        ("folder", "may be read and written"),
    ],
)
def test_a_path_that_cannot_be(tmp_path, place, text):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with Archive(tmp_path / place) as archive, pytest.raises(ArchiveError, match=text):
        archive.store(make())


def test_a_read_only_file(archive, path):
    archive.store(make(1))
    archive._connection.execute("PRAGMA query_only = ON")  # root may write to any file
    with pytest.raises(ArchiveError, match=r"alerts\.db.*read-only"):
        archive.store(make(2))
    assert offsets(archive) == [1]


def test_a_file_that_is_taken_away(archive, path):
    archive.store(make(1))
    path.rename(path.with_suffix(".old"))
    with pytest.raises(ArchiveError, match="missing"):
        archive.store(make(2))
    path.touch()
    with pytest.raises(ArchiveError, match="replaced"):
        archive.store(make(2))
    path.with_suffix(".old").replace(path)
    archive.store(make(2))
    assert offsets(archive) == [1, 2]


def test_locked_too_long(path):
    with Archive(path, timeout=0.01) as archive:
        archive.store(make(1))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(ArchiveError, match="another process keeps it locked"):
                archive.store(make(2))
            assert offsets(archive) == [1]
        archive.store(make(2))
        assert offsets(archive) == [1, 2]


def test_locked_too_long_while_it_is_made(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with (
            Archive(path, timeout=0.01) as archive,
            pytest.raises(ArchiveError, match="another process keeps it locked"),
        ):
            archive.store(make(2))


def test_locked_too_long_while_it_turns_to_wal(archive, path):
    archive.store(make(1))
    archive.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN")
        other.execute("SELECT * FROM alerts").fetchall()
        with (
            Archive(path, timeout=0.01) as reader,
            pytest.raises(ArchiveError, match="another process keeps it locked"),
        ):
            list(reader)
        other.execute("COMMIT")
    assert offsets(archive) == [1]


def test_the_turn_to_wal_is_tried_again():
    # Processes that make one file at the same time meet this about once in a thousand times.
    answers = [sqlite3.OperationalError("database is locked"), None]

    class Busy:
        def execute(self, _statement):
            if answer := answers.pop(0):
                raise answer

    room._use_wal(Busy(), timeout=60)
    assert answers == []


def test_the_ceiling(path):
    def large(offset):
        return make(offset, raw=bytes(10_000))

    with Archive(path) as archive:
        for offset in range(5):
            archive.store(large(offset))
    ceiling = path.stat().st_size
    with Archive(path, ceiling=ceiling) as archive:
        with pytest.raises(ArchiveFull, match=rf"alerts\.db.*ceiling of {ceiling} bytes"):
            archive.store(large(5))
        archive.store(large(4))  # it is there already
        assert offsets(archive) == [0, 1, 2, 3, 4]
        number, _ = next(archive.items())
        archive.remove(number)
        archive.store(large(5))
        assert offsets(archive) == [1, 2, 3, 4, 5]
    assert path.stat().st_size == ceiling
    with Archive(path, ceiling=ceiling // 2) as archive:
        archive.store(large(5))
        for number, _ in list(archive.items())[1:]:
            archive.remove(number)
        archive.store(large(6))
        assert offsets(archive) == [1, 6]


def test_what_sqlite_says_of_a_full_disk(archive):
    archive.store(make(1))
    archive._connection.execute("PRAGMA max_page_count = 20")
    with pytest.raises(ArchiveFull, match=r"alerts\.db.*disk is full; make room"):
        archive.store(make(2, raw=bytes(1_000_000)))
    archive.store(make(3))
    assert offsets(archive) == [1, 3]


STORE = """
import sys
from igwn_style_client.alert import Alert
from igwn_style_client.archive import Archive, ArchiveError
path, first, count, size = sys.argv[1], *map(int, sys.argv[2:])
print("ready", flush=True)
sys.stdin.readline()
archive = Archive(path)
try:
    for offset in range(first, first + count):
        archive.store(Alert("t", None, offset=offset, raw=offset.to_bytes(4, "big") * size))
        print(offset, flush=True)
except ArchiveError as error:
    print(type(error).__name__, error, sep=": ", flush=True)
"""


def writer(path, first, count, size=250, **kwargs):
    """Start a process that stores alerts once it is sent a line, and prints what it has stored."""
    return python("-c", STORE, path, first, count, size, **kwargs)


def python(*arguments, **kwargs):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        **kwargs,
    )


def whole(archive, size=250):
    """The offsets in an archive, each of whose alerts must be whole."""
    found = {alert.offset: alert.raw for alert in archive}
    assert all(raw == offset.to_bytes(4, "big") * size for offset, raw in found.items())
    return set(found)


FILL = """
import sys
from pathlib import Path
from igwn_style_client.alert import Alert
from igwn_style_client.archive import Archive, ArchiveFull

def fill(archive, stored=()):
    stored = list(stored)
    try:
        for offset in range(len(stored), 1000):
            archive.store(Alert("t", None, offset=offset, raw=bytes(1000)))
            stored.append(offset)
    except ArchiveFull as error:
        assert "alerts.db" in str(error) and "disk is full; make room" in str(error), error
    return stored

def offsets(archive):
    return [alert.offset for alert in archive]

disk = Path(sys.argv[1])
ballast = disk / "ballast"
ballast.write_bytes(bytes(150_000))
with Archive(disk / "alerts.db") as archive:
    stored = fill(archive)
    assert 10 < len(stored) < 1000
    assert offsets(archive) == stored
with Archive(disk / "alerts.db") as archive:
    assert offsets(archive) == stored
    ballast.unlink()
    more = fill(archive, stored)
    assert len(stored) < len(more) < 1000
    assert offsets(archive) == more

# Full from the start
for file in disk.iterdir():
    file.unlink()
try:
    with open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
except OSError:
    pass
with Archive(disk / "alerts.db") as archive:
    assert fill(archive) == []
    ballast.unlink()
    stored = fill(archive)
    assert 10 < len(stored) < 1000
    assert offsets(archive) == stored
print("done")
"""


def test_a_full_disk(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux makes a small disk without rights")
    script = f'mount -t tmpfs -o size=400k tmpfs "{tmp_path}" || exit 77; exec "$@"'
    small_disk = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    result = subprocess.run(
        [*small_disk, sys.executable, "-W", "error", "-c", FILL, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if result.returncode == 77 or "unshare" in result.stderr:
        pytest.skip(f"no small disk here: {result.stderr}")
    assert (result.stdout, result.stderr) == ("done\n", "")


def test_a_write_that_fails_half_way_leaves_no_half_alert(path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    with writer(path, 0, 1000, preexec_fn=limit) as process:
        *stored, error = process.communicate("\n")[0].split("\n")[1:-1]
    assert error.startswith("ArchiveError: cannot use the archive")
    assert "quota" in error
    assert len(stored) >= 10
    with Archive(path) as archive:
        assert whole(archive) == set(map(int, stored))


# Threads and processes


def test_threads(archive):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda offset: archive.store(make(offset)), range(200)))
    assert set(offsets(archive)) == set(range(200))
    assert len(archive) == 200


MAKE = """
import sys
from igwn_style_client.alert import Alert
from igwn_style_client.archive import Archive
print("ready", flush=True)
for line in sys.stdin:
    number, path = line.split()
    with Archive(path) as archive:
        archive.store(Alert("t", None, offset=int(number)))
    print("stored", flush=True)
"""


def test_processes_that_make_one_file_at_the_same_time(tmp_path):
    with contextlib.ExitStack() as stack:
        makers = [stack.enter_context(python("-c", MAKE)) for _ in range(4)]
        for process in makers:
            assert process.stdout.readline() == "ready\n"
        for turn in range(40):
            path = tmp_path / f"{turn}.db"
            for number, process in enumerate(makers):
                process.stdin.write(f"{number} {path}\n")
                process.stdin.flush()
            for process in makers:
                assert process.stdout.readline() == "stored\n"
            with Archive(path) as archive:
                assert sorted(offsets(archive)) == [0, 1, 2, 3]


def test_processes_that_write_one_file(path):
    writers = [writer(path, first, 50) for first in range(0, 400, 100)]
    for process in writers:
        assert process.stdout.readline() == "ready\n"
    for process in writers:
        process.stdin.write("\n")
        process.stdin.flush()
    expected = {first + i for first in range(0, 400, 100) for i in range(50)}
    printed = [line for process in writers for line in process.communicate()[0].split()]
    assert sorted(map(int, printed)) == sorted(expected)
    with Archive(path) as archive:
        assert whole(archive) == expected


def test_it_goes_to_workers_that_are_processes(archive):
    archive.store(make(1))
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(archive.store, map(make, range(2, 10))))
    assert sorted(offsets(archive)) == list(range(1, 10))


def test_reading_while_another_process_writes(archive, path):
    archive.open()
    with writer(path, 0, 200) as process:
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        for line in process.stdout:
            assert whole(archive) >= set(range(int(line) + 1))
    assert whole(archive) == set(range(200))


@pytest.mark.parametrize("after", [1, 7, 40])
@pytest.mark.parametrize("size", [250, 100_000])
def test_what_was_stored_survives_a_kill(path, after, size):
    with writer(path, 0, 1_000_000, size) as process:
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        lines = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        assert process.wait() == -signal.SIGKILL
    printed = {int(line) for line in lines if line.endswith("\n")}
    with Archive(path) as archive:
        found = whole(archive, size)
        assert found >= printed
        assert len(found) <= len(printed) + 2  # one stored and not printed, one line half printed
        archive.store(make(5_000_000))
        assert len(archive) == len(found) + 1


def in_child(function):
    """Run a function in a forked child, which then ends; return its id."""
    child = os.fork()
    if child:
        return child
    try:
        function()
        os._exit(0)
    finally:
        os._exit(1)


def succeeded(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_loses_nothing(archive, path):
    # With a connection that crosses the fork, SQLite in the child believes in a lock that only
    # the parent has; when the parent closes, the child goes on writing to a deleted log.
    archive.store(make(0))
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()

    def store():
        archive.store(make(1))
        os.write(from_child, b"x")
        os.read(to_child, 1)
        archive.store(make(2))

    child = in_child(store)
    assert os.read(to_parent, 1) == b"x"
    archive.store(make(3))
    archive.close()
    os.write(from_parent, b"x")
    assert succeeded(child)
    for descriptor in (to_child, from_parent, to_parent, from_child):
        os.close(descriptor)
    assert sorted(offsets(archive)) == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_a_thread_stores(archive):
    done = threading.Event()
    stored = []

    def store():
        while not done.is_set():
            archive.store(make(len(stored)))
            stored.append(len(stored))

    thread = threading.Thread(target=store)
    thread.start()
    try:
        for number in range(5):
            assert succeeded(in_child(lambda n=number: archive.store(make(1_000_000 + n))))
    finally:
        done.set()
        thread.join()
    assert set(offsets(archive)) == {*stored, *range(1_000_000, 1_000_005)}
