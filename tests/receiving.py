"""What ANTARES' clients do on any broker: the embedded one, and a real Kafka.

A test module subclasses `Receiving`; its fixture ``broker`` has ``url``, ``options`` and
``create_topics``, its fixture ``group`` names a group that no other test has, and its fixture
``access`` is the keywords of a client that is let in.
"""

import gc
import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
import zlib
from contextlib import suppress
from functools import partial

import confluent_kafka as ck
import pytest
from hop import bson

from igwn_style_client import NotConnected, TopicNotFound, cli, cli_antares, loci
from igwn_style_client.antares import Client, Locus, StreamingClient
from igwn_style_client.archive import Archive
from tests.waiting import wait_until


def packed(document):
    return zlib.compress(bson.dumps(document))


def locus(number):
    """A locus as 2.x has them, with a number of its own."""
    properties = {"newest_alert_id": f"ztf_candidate:{10**18 + number}", "n": number}
    return {"id": f"ANT{number}", "ra": number % 360, "dec": 1.5, "properties": properties}


def number(alert):
    return alert["properties"]["n"]


@pytest.fixture
def stream(broker, group):
    """A stream that the server has with the prefix."""
    broker.create_topics(f"client.{group}_extragalactic")
    return f"{group}_extragalactic"


@pytest.fixture
def send(broker):
    """Publish to a topic, by its full name, and wait for the confirmation."""
    producer = ck.Producer({"bootstrap.servers": broker.url.split("/")[2], "log_level": 0})

    def publish(topic, *documents):
        for document in documents:
            value = document if isinstance(document, bytes) else packed(document)
            producer.produce(topic, value, partition=0)  # in order
        assert producer.flush(30) == 0

    return publish


@pytest.fixture
def connect(access, group, tmp_path):
    """A client of the broker under test; further keywords as the test says."""
    made = []

    def make(topics, kind=Client, **keywords):
        given = {**access, "group": group, "set_aside": tmp_path / "aside.db", **keywords}
        made.append(kind(topics, **given))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Receiving:
    """Asking, listening, and what counts as delivered."""

    def test_poll(self, connect, stream, send):
        send(f"client.{stream}", locus(1), locus(2))
        with connect([stream]) as client:
            topic, alert = client.poll()
            assert (topic, alert) == (stream, locus(1))
            assert type(alert) is dict
            assert client.poll(timeout=30) == (stream, locus(2))

    def test_poll_keeps_its_time(self, connect, stream, send):
        with connect([stream]) as client:
            for timeout in (0, 0.3, 0, 1):  # from the first one on, which connects
                begun = time.monotonic()
                assert client.poll(timeout) == (None, None)
                assert timeout <= time.monotonic() - begun < timeout + 0.3
            wait_until(lambda: client.health().state == "listening", what="a place in the group")
            begun = time.monotonic()
            assert client.poll(0) == (None, None)
            assert time.monotonic() - begun < 0.1
            send(f"client.{stream}", locus(1))
            assert wait_until(lambda: client.poll(0)[1], what="an alert") == locus(1)

    @pytest.mark.parametrize("forever", [{}, {"timeout": -1}, {"timeout": None}])
    def test_poll_waits(self, connect, stream, send, forever):
        with connect([stream]) as client:
            client.poll(0)
            wait_until(lambda: client.health().state == "listening", what="a place in the group")
            later = threading.Timer(0.5, send, (f"client.{stream}", locus(1)))
            later.start()
            assert client.poll(**forever) == (stream, locus(1))
            later.join()

    def test_iter_ends_after_so_many(self, connect, stream, send):
        send(f"client.{stream}", *map(locus, range(5)))
        with connect([stream]) as client:
            assert [number(alert) for _, alert in client.iter(num_alerts=3)] == [0, 1, 2]
            assert list(client.iter(0)) == []
            assert [number(alert) for _, alert in client.iter(2)] == [3, 4]

    def test_iter_until_the_end(self, connect, stream, send):
        send(f"client.{stream}", *map(locus, range(250)), b"no locus")
        with connect([stream]) as client:
            assert sorted(number(a) for _, a in client.iter(until_eos=True)) == list(range(250))
            assert list(client.iter(until_eos=True)) == []
            send(f"client.{stream}", locus(250))
            wait_until(lambda: list(client.iter(until_eos=True)), what="what came later")

    def test_several_streams_with_and_without_the_prefix(
        self, broker, group, connect, stream, send
    ):
        broker.create_topics(f"{group}_bare", f"{group}_both", f"client.{group}_both")
        send(f"client.{stream}", locus(1))
        send(f"{group}_bare", locus(2))
        send(f"{group}_both", locus(666))
        send(f"client.{group}_both", locus(3))
        names = [stream, f"{group}_bare", f"{group}_both"]
        with connect(names) as client:
            assert set(names) <= set(client.get_topics())
            got = {topic: number(alert) for topic, alert in client.iter(3)}
            assert got == dict(zip(names, [1, 2, 3], strict=True))
            assert client.poll(0.5) == (None, None)

    def test_a_stream_that_appears_later(self, broker, group, connect, stream, send):
        with connect([stream, f"{group}_later"]) as client:
            client.poll(0)
            wait_until(lambda: client.health().state == "listening", what="a place in the group")
            broker.create_topics(f"client.{group}_later")
            send(f"client.{group}_later", locus(1))
            assert client.poll(60) == (f"{group}_later", locus(1))

    def test_no_stream_at_all(self, connect, stream, group):
        with connect([f"{group}_extragalactics"]) as client:
            with pytest.raises(TopicNotFound, match=rf"there is .*client\.{stream}"):
                client.poll(30)
            with pytest.raises(TopicNotFound):  # asking again begins anew
                client.poll(30)

    def test_after_close(self, connect, stream, send):
        send(f"client.{stream}", locus(1))
        client = connect([stream])
        alerts = client.iter()
        next(alerts)
        client.close()
        client.close()
        for ask in (client.poll, lambda: next(alerts), lambda: next(client.iter())):
            with pytest.raises(NotConnected, match="this client is closed"):
                ask()
        with pytest.raises(NotConnected, match="this client is closed"):
            client.listen(print)

    def test_stop_ends_a_poll_that_waits(self, connect, stream, send):
        with connect([stream]) as client:
            later = threading.Timer(0.5, client.stop)
            later.start()
            assert client.poll() == (None, None)
            send(f"client.{stream}", locus(1))
            assert client.poll(30) == (stream, locus(1))
            later.join()

    def test_close_in_another_thread_ends_a_poll_that_waits(self, connect, stream):
        client = connect([stream])
        client.poll(0)
        wait_until(lambda: client.health().state == "listening", what="a place in the group")
        later = threading.Timer(0.3, client.close)
        later.start()
        assert client.poll() == (None, None)
        later.join(30)
        with pytest.raises(NotConnected):
            client.poll()

    # -- marks ---------------------------------------------------------------------------------

    def test_what_was_asked_past_does_not_come_again(self, connect, stream, send):
        send(f"client.{stream}", *map(locus, range(4)))
        client = connect([stream])
        assert [number(alert) for _, alert in client.iter(2)] == [0, 1]
        client.close()
        with connect([stream]) as client:
            assert number(client.poll(30)[1]) == 2
        with connect([stream]) as client:  # left in good order, so 2 was delivered
            assert number(client.poll(30)[1]) == 3

    def test_an_exception_that_leaves_the_block(self, connect, stream, send):
        send(f"client.{stream}", *map(locus, range(3)))

        def receive():
            with connect([stream]) as client:
                for _, alert in client.iter():
                    assert number(alert) == 0

        with pytest.raises(AssertionError):
            receive()
        with connect([stream]) as client:
            assert [number(alert) for _, alert in client.iter(2)] == [1, 2]

    def test_close_in_a_finally_that_an_exception_leads_to(self, connect, stream, send):
        """The readme calls it the longer form of the ``with`` block."""
        send(f"client.{stream}", *map(locus, range(3)))

        def receive():
            client = connect([stream])
            try:
                while True:
                    _, alert = client.poll()
                    assert number(alert) == 0
            finally:
                client.close()

        with pytest.raises(AssertionError):
            receive()
        client = connect([stream])
        try:
            _, alert = client.poll()
        finally:
            client.close()
        assert number(alert) == 1
        with connect([stream]) as client:
            assert number(client.poll(30)[1]) == 2

    def test_the_mark_reaches_the_broker_while_the_client_goes_on(
        self, broker, access, group, connect, stream, send
    ):
        send(f"client.{stream}", *map(locus, range(3)))
        client = connect([stream])
        client.poll(30), client.poll(30), client.poll(30)
        asking = ck.Consumer(
            {"bootstrap.servers": broker.url.split("/")[2], "group.id": group, "log_level": 0}
        )
        parts = asking.list_topics(f"client.{stream}", timeout=10).topics[f"client.{stream}"]
        places = [ck.TopicPartition(f"client.{stream}", number) for number in parts.partitions]

        def marks():
            return sum(max(place.offset, 0) for place in asking.committed(places, timeout=10))

        wait_until(lambda: marks() == 2, 5, "the mark after two alerts")
        asking.close()

    def test_commit_by_hand(self, connect, stream, send):
        send(f"client.{stream}", *map(locus, range(4)))
        by_hand = {"kind": StreamingClient, "enable_auto_commit": False}
        with connect([stream], **by_hand) as client:
            for _ in client.iter(2):
                pass
            client.commit()
            assert number(client.poll(30)[1].payload) == 2
        with connect([stream], **by_hand) as client:
            assert number(client.poll(30)[1].payload) == 2

    def test_a_client_that_is_forgotten_leaves_its_group(
        self, connect, access, group, stream, send
    ):
        send(f"client.{stream}", locus(0), locus(1))
        client = Client([stream], **access, group=group, set_aside=False)
        client.poll(30)
        del client
        with connect([stream]) as client:
            assert number(client.poll(30)[1]) == 0

    def test_a_client_that_is_forgotten_is_collected_by_any_thread(
        self, connect, access, group, stream, send
    ):
        """Also by the one that takes its alerts, and holds its connection meanwhile."""
        send(f"client.{stream}", locus(0), locus(1))
        client = Client([stream], **access, group=group, set_aside=False)
        client.poll(30)
        source = client._asked[0].polling._source
        take = source._take

        def collect_and_take(most, timeout):
            gc.collect()
            return take(most, timeout)

        client.itself = client  # so that only a collection finds it
        gc.disable()
        try:
            source._take = collect_and_take
            del client, source
            with connect([stream]) as client:
                assert number(client.poll(30)[1]) == 0
        finally:
            gc.enable()

    def test_a_process_that_is_killed_again_and_again_loses_none(
        self, connect, access, group, stream, send
    ):
        count, done, seed = 300, [], random.Random(7)
        send(f"client.{stream}", *map(locus, range(count)))
        kills = 0
        while len(set(done)) < count:
            with Poller([stream], **access, group=group) as poller:
                enough = seed.randint(20, 90) if kills < 5 else count

                def has_done_enough(now=poller.done, before=tuple(done), enough=enough):
                    return len(now) >= enough or len({*before, *now}) == count

                wait_until(has_done_enough, 60, "alerts")
                poller.process.send_signal(signal.SIGKILL)
                kills += 1
            done += poller.done
        assert kills >= 5
        assert set(done) == set(range(count))  # 0 lost

    def test_ctrl_c_ends_a_poll_that_waits(self, access, group, stream, send):
        send(f"client.{stream}", locus(0), locus(1))
        with Poller([stream], **access, group=group) as poller:
            wait_until(lambda: sorted(poller.done) == [0, 1], what="both alerts")
            poller.process.send_signal(signal.SIGINT)
            begun = time.monotonic()
            assert poller.process.wait(30) == -signal.SIGINT
            assert time.monotonic() - begun < 15
        assert "KeyboardInterrupt" in poller.errors()

    # -- what was sent -------------------------------------------------------------------------

    def test_bad_loci_among_good_ones(self, connect, stream, send, tmp_path):
        bad = [
            b"",
            b"junk",
            zlib.compress(b"junk"),
            packed(locus(9))[:-3],
            zlib.compress(bytes(2**27)),
        ]
        for one, good in zip(bad, range(len(bad)), strict=True):
            send(f"client.{stream}", one, locus(good))
        with connect([stream]) as client:
            got = [number(alert) for _, alert in client.iter(len(bad))]
            assert sorted(got) == list(range(len(bad)))
            list(client.iter(until_eos=True))
            assert client.health().set_aside == len(bad)
        with Archive(tmp_path / "aside.db") as aside:
            assert sorted(alert.raw for alert in aside) == sorted(bad)
            assert all("cannot be read as" in alert.reason for alert in aside)
        with connect([stream]) as client:
            assert list(client.iter(until_eos=True)) == []

    def test_recorded_loci_come_out_as_they_went_in(self, connect, stream, send, recorded):
        files = sorted((recorded / "antares").glob("*.json"))
        sent = [json.loads(file.read_bytes()) for file in files]
        send(f"client.{stream}", *sent)
        with connect([stream]) as client:
            got = [alert for _, alert in client.iter(len(sent))]
        assert sorted(got, key=repr) == sorted(sent, key=repr)
        with connect([stream], StreamingClient, group=f"{stream}2") as client:
            got = [one for _, one in client.iter(until_eos=True)]
        readable = [one for one in sent if not isinstance(one.get("data"), list)]
        assert sorted(map(repr, got)) == sorted(repr(Locus.from_payload(one)) for one in readable)

    def test_without_pymongo(self, connect, stream, send, monkeypatch):
        monkeypatch.setattr(loci, "_decode_quickly", None)
        send(f"client.{stream}", locus(1))
        with connect([stream]) as client:
            assert client.poll(30) == (stream, locus(1))

    # -- the callback --------------------------------------------------------------------------

    @pytest.mark.parametrize("workers", [1, 3])
    def test_listen(self, connect, stream, send, workers):
        send(f"client.{stream}", *map(locus, range(20)))
        client, got = connect([stream]), []

        def process_alert(topic, payload, alert):
            got.append((topic, number(payload), alert.full_name))
            if len(got) >= 20:
                client.stop()

        client.listen(process_alert, workers=workers)
        assert sorted(got) == [(stream, n, f"client.{stream}") for n in range(20)]

    def test_listen_after_poll_and_poll_after_listen(self, connect, stream, send):
        send(f"client.{stream}", *map(locus, range(3)))
        client, got = connect([stream]), []
        got.append(number(client.poll(30)[1]))

        def once(topic, payload):
            got.append(number(payload))
            client.stop()

        client.listen(once, [stream])
        got.append(number(client.poll(30)[1]))
        assert got == [0, 1, 2]

    def test_a_callback_that_raises(self, connect, stream, send):
        send(f"client.{stream}", *map(locus, range(2)))
        client, error = connect([stream]), LookupError("no such galaxy")

        def fail(topic, payload):
            raise error

        with pytest.raises(LookupError) as caught:
            client.listen(fail)
        assert caught.value is error
        assert number(client.poll(30)[1]) == 0

    def test_one_listener_at_a_time(self, connect, stream):
        client = connect([stream])
        thread = threading.Thread(target=client.listen, args=(lambda topic, payload: None,))
        thread.start()
        assert client.wait_until_listening(30)
        with pytest.raises(RuntimeError, match="listens already"):
            client.poll()
        client.close()
        thread.join(30)
        assert not thread.is_alive()


class Enough(Exception):
    """Ends a program that goes on for ever."""


@pytest.fixture
def run_example(recorded, access, group, stream, monkeypatch):
    """Run the Python of antares-client's readme, with other names; `do_something` is given."""
    file = recorded.parent / "reference/antares-client-0.2.0-readme.txt"
    if not file.exists():
        pytest.skip(f"no readme: {file} does not exist")
    lines = file.read_text().splitlines()

    def run(first, last, do_something, occurrence=0):
        begin = [number for number, line in enumerate(lines) if line == first][occurrence]
        end = next(number for number in range(begin, len(lines)) if lines[number] == last)
        code = "\n".join(lines[begin : end + 1])
        assert "Client(" in code
        code = code.replace("antares_client", "igwn_style_client.antares")
        code = code.replace('"="', '": "')  # a slip of the readme
        for name in ("api_key", "api_secret"):
            code = code.replace("*" * 20, access.get(name, "x"), 1)
        given = {name: one for name, one in access.items() if not name.startswith("api_")}
        here = partial(Client, group=group, set_aside=False, **given)
        monkeypatch.setattr("igwn_style_client.antares.Client", here)
        names = {"__name__": "__main__", "do_something": do_something, "Client": here}
        exec(compile(code.replace('"extragalactic"', repr(stream)), str(file), "exec"), names)

    return run


class Readme:
    """The programs of antares-client's readme run; only names are changed."""

    @pytest.mark.parametrize(
        ("first", "last", "occurrence"),
        [
            ("from antares_client import Client", "    main()", 0),
            ("config = {", "        do_something(alert)", 0),
            ("config = {", "    client.close()", 1),
        ],
        ids=["poll", "with", "try"],
    )
    def test_a_program(self, run_example, stream, send, first, last, occurrence):
        send(f"client.{stream}", *map(locus, range(3)))
        got = []

        def do_something(alert):
            got.append(number(alert))
            if len(got) in (2, 4):
                raise Enough

        for _ in range(2):
            with pytest.raises(Enough):
                run_example(first, last, do_something, occurrence)
        assert got == [0, 1, 1, 2]  # what was not done comes again


@pytest.fixture
def command(access, group, tmp_path):
    """Run `igwn-style-client antares`; key and secret come from the environment."""

    def run(
        *arguments,
        shell=None,
        limit=None,
        wait=True,
        terminal=None,
        debug=False,
        options=None,
        **environment,
    ):
        given = ["-g", group, "--host", access["host"]]
        if "ssl_ca_location" in access:
            given += ["--ssl-ca-location", access["ssl_ca_location"]]
        if access.get("noauth"):
            given += ["--noauth"]
        room = "igwn_style_client" if options is None else "tests.receiving"
        before = ["--debug"] if debug else []
        whole = [sys.executable, "-m", room, *before, "antares", *arguments, *given]
        if options is not None:
            environment["OPTIONS"] = json.dumps(options)
        if shell is not None:
            whole = ["/bin/sh", "-c", shell.format(" ".join(map(shlex.quote, given)))]
        named = {"ANTARES_API_KEY": "api_key", "ANTARES_API_SECRET": "api_secret"}
        secrets = {name: access[key] for name, key in named.items() if key in access}
        process = subprocess.Popen(
            whole,
            env={**os.environ, "HOME": str(tmp_path), **secrets, **environment},
            stdout=terminal or subprocess.PIPE,
            stderr=terminal or subprocess.PIPE,
            text=True,
            preexec_fn=limit and partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
        )
        if not wait:
            return process
        output, errors = process.communicate(timeout=90)
        return subprocess.CompletedProcess(whole, process.returncode, output, errors)

    return run


@pytest.fixture
def quick_command(command, access):
    """The same for a group that others have just left, which the mock cluster notices late."""
    return partial(command, options=access["options"])


def stored(folder, pattern="*"):
    return {file.name: json.loads(file.read_bytes()) for file in folder.glob(pattern)}


def name_of(number):
    return f"ztf_candidate%3A{10**18 + number}.json"


def shown_on_a_terminal(command, *arguments, **keywords):
    """Run a command on a terminal of its own; return its status and what it shows."""
    ours, theirs = os.openpty()
    seen = {"TERM": "xterm", "COLUMNS": "80", "LINES": "20", "LANG": "C.UTF-8"}
    process = command(*arguments, wait=False, terminal=theirs, **keywords, **seen)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # EIO: nobody writes any more
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    return process.wait(30), shown.decode()


def complaints(done):
    """What a command said on stderr; that a group takes its time is no complaint."""
    return [line for line in done.stderr.splitlines() if "gives no place yet" not in line]


class CommandLine:
    """`igwn-style-client antares` as a process of its own."""

    def test_files_are_what_was_published(self, quick_command, stream, send, recorded, tmp_path):
        sent = {}
        for file in sorted((recorded / "antares").glob("*.json")):
            sent[file.name] = json.loads(file.read_bytes())
        listing = sent.pop("api-v1-loci-search.json")["data"][0]
        kit = sent.pop("locus-devkit.json")
        expected = {
            **sent,  # as antares-client has named them
            "ztf_candidate%3A3470490460915015042.json": {"data": listing},
            "ztf_candidate%3A2838539073315010071.json": kit,
        }
        send(f"client.{stream}", *expected.values())
        done = quick_command(stream, "--output-directory", "~/antares", "--until-eos")
        assert (done.returncode, complaints(done)) == (0, [])
        folder = tmp_path / "antares" / stream
        assert done.stdout == f"{stream}: 11 alerts in {folder}\n"
        assert stored(folder) == expected
        assert (folder / "2831231.json").read_text().startswith('{\n    "')
        again = quick_command(stream, "--output-directory", "~/antares", "--until-eos")
        assert again.stdout == f"{stream}: 0 alerts in {folder}\n"

    def test_the_commands_of_the_readme(
        self, broker, group, command, stream, send, recorded, tmp_path, access
    ):
        file = recorded.parent / "reference/antares-client-0.2.0-readme.txt"
        if not file.exists():
            pytest.skip(f"no readme: {file} does not exist")
        lines = file.read_text().splitlines()
        begins = [n for n, line in enumerate(lines) if line.startswith("antares-client extra")]
        assert len(begins) == 2
        broker.create_topics(f"client.{group}_nuclear")
        for begin in begins:
            # Two backslashes are missing in the readme.
            shell = " ".join(line.rstrip("\\").strip() for line in lines[begin : begin + 4])
            for name in ("api_key", "api_secret"):
                shell = shell.replace("*" * 20, access.get(name, "x"), 1)
            shell = shell.replace(
                "antares-client", f"{sys.executable} -m igwn_style_client antares"
            )
            shell = shell.replace("extragalactic", stream)
            shell = shell.replace("nuclear_transient", f"{group}_nuclear")
            send(f"client.{stream}", locus(begin))
            send(f"client.{group}_nuclear", locus(1))
            done = command(shell=f"{shell} {{}} --until-eos")
            assert (done.returncode, complaints(done)) == (0, [])
        assert stored(tmp_path / f"antares/{stream}") == {
            name_of(begin): locus(begin) for begin in begins
        }
        assert stored(tmp_path / f"antares/{group}_nuclear") == {name_of(1): locus(1)}

    def test_count_and_going_on(self, quick_command, stream, send, tmp_path):
        send(f"client.{stream}", *map(locus, range(5)))
        for count, total in ((2, 2), (3, 5)):
            done = quick_command(stream, "-d", str(tmp_path), "--count", str(count))
            assert done.returncode == 0, done.stderr
            assert len(stored(tmp_path / stream)) == total

    def test_names_that_lead_elsewhere(self, command, stream, send, tmp_path):
        ids = ["../../evil", "/etc/evil", "", "..", "a/b", "NUL", "x" * 400, ".hidden"]
        alerts = [{"id": "A", "ra": 1, "dec": 1, "properties": {"newest_alert_id": i}} for i in ids]
        old = {"survey": 1, "original_id": 617248544215010123, "ra": 1, "dec": 1, "locus_id": 5}
        alerts += [{"new_alert": old}, {"n": 1}, {"n": 2}]
        send(f"client.{stream}", *alerts)
        done = command(stream, "-d", str(tmp_path / "deep/er"), "--until-eos")
        assert done.returncode == 0, done.stderr
        files = stored(tmp_path / "deep/er" / stream)
        assert sorted(map(str, files.values())) == sorted(map(str, alerts))
        assert files["1-617248544215010123.json"] == {"new_alert": old}
        assert files["%2E.%2F..%2Fevil.json"] == alerts[0]
        assert {path.name for path in tmp_path.iterdir()} == {"deep"}

    def test_a_full_disk(self, quick_command, stream, send, tmp_path):
        large = {**locus(2), "text": "x" * 10_000}
        send(f"client.{stream}", locus(1), large, locus(3))
        done = quick_command(stream, "-d", str(tmp_path), "--until-eos", limit=5000)
        assert done.returncode == 1
        assert done.stderr.startswith(
            f"igwn-style-client: error: cannot write {tmp_path}/{stream}/"
        )
        assert "File too large" in done.stderr
        assert "comes again" in done.stderr
        assert list(stored(tmp_path / stream).values()) == [locus(1)]
        done = quick_command(stream, "-d", str(tmp_path), "--until-eos")
        assert done.stdout == f"{stream}: 2 alerts in {tmp_path / stream}\n"
        assert len(stored(tmp_path / stream)) == 3

    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
    def test_signals(self, command, stream, send, tmp_path, number, status):
        send(f"client.{stream}", *map(locus, range(3)))
        process = command(stream, "-d", str(tmp_path), wait=False)
        folder = tmp_path / stream
        wait_until(lambda: len(list(folder.glob("*.json"))) == 3, what="the files")
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
        assert (process.returncode, errors.strip()) == (status, "")
        assert output == f"{stream}: 3 alerts in {folder}\n"
        assert len(stored(folder)) == 3

    def test_a_live_counter_on_a_terminal(self, command, stream, send, tmp_path):
        send(f"client.{stream}", *map(locus, range(3)))
        status, text = shown_on_a_terminal(command, stream, "-d", str(tmp_path), "--until-eos")
        assert status == 0
        assert "stream" in text
        assert "\x1b[?25l" in text  # the cursor hides ...
        assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # ... and comes back
        assert f"{stream}: 3 alerts" in text

    def test_killed_again_and_again_it_loses_none(self, command, access, stream, send, tmp_path):
        count, seed = 1000, random.Random(7)
        expected = {name_of(n): locus(n) for n in range(count)}
        send(f"client.{stream}", *expected.values())
        folder, there = tmp_path / stream, {}
        for _ in range(4):
            enough = len(there) + seed.randint(20, 150)
            process = command(stream, "-d", str(tmp_path), wait=False, options=access["options"])
            wait_until(
                lambda enough=enough: len(list(folder.glob("*.json"))) >= enough, 60, "files"
            )
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
            there = stored(folder, "*.json")
            assert there.items() <= expected.items()  # each is whole
        done = command(stream, "-d", str(tmp_path), "--until-eos", options=access["options"])
        assert done.returncode == 0, done.stderr
        assert stored(folder, "*.json") == expected  # 0 lost
        assert int(done.stdout.split()[1]) < count  # what was marked did not come again

    def test_debug(self, command, access, stream, send, tmp_path):
        send(f"client.{stream}", locus(0))
        done = command(stream, "-d", str(tmp_path), "--until-eos", debug=True)
        assert (done.returncode, done.stdout) == (
            0,
            f"{stream}: 1 alerts in {tmp_path / stream}\n",
        )
        assert f'listening to "client.{stream}", partition 0, from offset 0' in done.stderr
        assert "set aside in" in done.stderr
        assert access.get("api_secret", "no secret") not in done.stderr

    def test_debug_says_where_an_error_comes_from(self, command, stream, send, tmp_path):
        send(f"client.{stream}", {**locus(0), "text": "x" * 10_000})
        done = command(stream, "-d", str(tmp_path), limit=5000, debug=True)
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert "OSError: [Errno 27] File too large" in done.stderr
        assert "\nigwn-style-client: error: cannot write" in done.stderr

    def test_the_lines_of_debug_are_not_mixed_with_the_live_counter(
        self, command, stream, send, tmp_path
    ):
        send(f"client.{stream}", locus(0))
        status, text = shown_on_a_terminal(
            command, stream, "-d", str(tmp_path), "--until-eos", debug=True
        )
        assert status == 0
        assert "from offset 0" in text
        assert "\x1b" not in text

    def test_what_is_set_aside_is_counted_and_its_place_told(self, command, stream, send, tmp_path):
        send(f"client.{stream}", b"no locus", locus(0), b"nor this", b"nor this one")
        done = command(stream, "-d", str(tmp_path / "out"), "--until-eos")
        assert done.returncode == 0
        first, last = complaints(done)
        assert "cannot be read as zlib-compressed BSON" in first
        path, _, number = last.removeprefix("set aside in ").rpartition(": ")
        assert number == "3"
        with Archive(path) as aside:
            assert sorted(one.raw for one in aside) == [b"no locus", b"nor this", b"nor this one"]

    def test_full_names(self, command, stream, send, tmp_path):
        send(f"client.{stream}", locus(0))
        done = command(f"client.{stream},{stream}", "-d", str(tmp_path), "--until-eos")
        assert done.stdout == f"{stream}: 1 alerts in {tmp_path / stream}\n"
        assert stored(tmp_path / stream) == {name_of(0): locus(0)}

    def test_a_folder_that_cannot_be_written_into(self, command, stream, tmp_path):
        (tmp_path / "taken").mkdir()
        (tmp_path / "taken" / stream).touch()
        done = command(stream, "-d", str(tmp_path / "taken"))  # before any alert is there
        assert (done.returncode, done.stdout) == (1, "")
        assert f"error: cannot write into {tmp_path}/taken/{stream}: Not a directory" in done.stderr

    def test_debug_at_the_wrong_place(self, command, stream):
        done = command(stream, "-d", ".", "--debug")
        assert (done.returncode, done.stdout) == (2, "")
        assert "It goes before the command: igwn-style-client --debug ..." in done.stderr

    def test_a_stream_that_does_not_exist(self, command, group, stream, tmp_path):
        done = command(f"{group}_extragalactics", "-d", str(tmp_path), "--until-eos")
        assert done.returncode == 1
        assert "does not exist" in done.stderr
        assert "Traceback" not in done.stderr

    def test_wrong_usage(self, command):
        done = command("a/b", "-d", ".")
        assert (done.returncode, done.stdout) == (2, "")
        assert "cannot be the name of a topic" in done.stderr


class Poller:
    """A process that asks for alerts, and tells when it begins one and when it is done with it."""

    def __init__(self, topics, **keywords):
        self._told = json.dumps({"topics": topics, **keywords}, default=str)
        self.begun, self.done = [], []
        self._errors = []

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.receiving"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.process.stdin.write(self._told + "\n")  # secrets are no arguments
        self.process.stdin.flush()
        self._threads = [
            threading.Thread(target=self._read),
            threading.Thread(target=lambda: self._errors.extend(self.process.stderr)),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(30)
        for thread in self._threads:
            thread.join(30)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()

    def _read(self):
        for line in self.process.stdout:
            what, which = line.split()
            (self.begun if what == "begun" else self.done).append(int(which))

    def errors(self):
        for thread in self._threads:
            thread.join(30)
        return "".join(self._errors)


def main():
    """Ask as told on the standard input; or be the command line, with options for librdkafka."""
    if "OPTIONS" in os.environ:
        cli_antares.Client = partial(Client, options=json.loads(os.environ["OPTIONS"]))
        cli.main()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    told = json.loads(sys.stdin.readline())
    with Client(set_aside=False, **told) as client:
        for _, alert in client.iter():
            sys.stdout.write(f"begun {number(alert)}\n")
            sys.stdout.flush()
            time.sleep(0.002)
            sys.stdout.write(f"done {number(alert)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
