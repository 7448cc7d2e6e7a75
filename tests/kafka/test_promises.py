"""The table of promises, row by row, on a real Kafka.  At full length: benchmarks/chaos.py."""

import json
import resource
import signal
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from igwn_style_client.archive import Archive
from tests.kafka import odd_messages, scenarios
from tests.kafka.counting import Members, Publisher, astronomer
from tests.listener import Listener
from tests.listening import connect, listening
from tests.waiting import wait_until

__all__ = ["broker", "connect"]


@pytest.fixture
def broker(kafka):
    return kafka


@pytest.fixture
def publisher(kafka, group):
    """Publishes to the topic "superevent" with 4 partitions."""
    kafka.create_topics(f"{group}.superevent", partitions=4)
    return Publisher(kafka, f"{group}.superevent", 4)


@pytest.fixture(scope="module")
def odd_web():
    """The address of a web server that serves nothing good, and one payload."""
    with odd_messages.odd_web() as address:
        yield address


def committed(kafka, group):
    return kafka.committed(group, f"{group}.superevent")


@pytest.mark.parametrize("workers", [1, 4])
class TestRow1ACallbackThatRaises:
    def test_leaves_listen_unchanged_and_its_alert_comes_again(
        self, kafka, group, connect, publisher, workers
    ):
        raised = LookupError("no such superevent")
        done = []

        def callback(topic, payload, alert):
            if payload["n"] == 5 and 5 not in done and not again:
                raise raised
            done.append(payload["n"])

        again = False
        first = connect(consumer_group=group)
        caught = []

        def run():
            with pytest.raises(LookupError) as error:
                first.listen(callback, "superevent", workers=workers)
            caught.append(error.value)

        thread = threading.Thread(target=run)
        thread.start()
        assert first.wait_until_listening(30)
        publisher.send(5, partition=0)
        wait_until(lambda: len(done) == 5, what="five alerts")
        publisher.send(20, partition=0)
        thread.join(30)
        assert caught == [raised]
        assert caught[0] is raised
        (note,) = raised.__notes__
        assert f'"{group}.superevent", partition 0, offset 5' in note
        assert done == [0, 1, 2, 3, 4]
        assert committed(kafka, group) == {0: 5, 1: 0, 2: 0, 3: 0}
        again = True
        second = connect(consumer_group=group)
        with listening(second, callback, "superevent"):
            wait_until(lambda: len(done) >= 25, what="the rest")
        assert done == list(range(25))

    def test_marks_nothing_that_still_waits(self, kafka, group, tmp_path, publisher, workers):
        with Members(kafka, group, listen={"workers": workers}, batch_size=100) as members:
            listener = members.start()
            for n in range(100):
                publisher.queue(**({"do": "raise"} if n == 50 else {}))
            publisher.flush()
            (raised,) = listener.wait_for("raised")
            assert raised["kind"] == "LookupError"
            assert listener.wait() == 1
            done = {tuple(event["where"]) for event in listener.of("done")}
            marked = {(p, o) for p, mark in committed(kafka, group).items() for o in range(mark)}
            assert marked == done

    def test_at_random_and_after_each_restart(self, kafka, group, tmp_path, workers):
        tally = scenarios.raising_at_random(kafka, group, tmp_path, workers=workers)
        assert tally.bad == {}


class TestRow2Attempts:
    @pytest.mark.parametrize("workers", [1, 4])
    def test_of_a_flaky_callback(self, kafka, group, tmp_path, workers):
        assert scenarios.flaky(kafka, group, tmp_path, workers=workers).bad == {}

    def test_three_attempts_hold_up_their_own_partition_only(
        self, kafka, group, connect, publisher
    ):
        calls = []

        def callback(topic, payload, alert):
            calls.append((time.monotonic(), payload["n"], alert.partition))
            if payload["n"] == 0 and len([n for _, n, _ in calls if n == 0]) < 3:
                raise LookupError("not yet")

        alerts = connect(consumer_group=group, retry_wait=1.0)
        thread = threading.Thread(
            target=alerts.listen,
            args=(callback, "superevent"),
            kwargs={"workers": 4, "attempts": 3},
        )
        thread.start()
        assert alerts.wait_until_listening(30)
        publisher.send(1)
        wait_until(lambda: calls, what="the first attempt")  # else others may be before it
        publisher.send(39)
        wait_until(lambda: len(calls) == 42, what="all calls")
        alerts.stop()
        thread.join(30)
        first, second, third = [at for at, n, _ in calls if n == 0]
        assert second - first > 0.7
        assert third - second > 1.4  # twice the wait, less the jitter of a quarter
        for partition in range(4):
            numbers = [n for _, n, where in calls if where == partition]
            assert numbers == sorted(numbers)
        meanwhile = [n for at, n, _ in calls if first < at < third and n]
        assert sorted(meanwhile) == [n for n in range(40) if n % 4]
        assert committed(kafka, group) == dict.fromkeys(range(4), 10)
        assert alerts.health().failed == 2

    def test_the_last_attempt_ends_listen(self, kafka, group, connect, publisher):
        calls = []

        def callback(topic, payload):
            calls.append(payload["n"])
            raise LookupError("never")

        alerts = connect(consumer_group=group, start_at="earliest")
        publisher.send(2, partition=0)
        with pytest.raises(LookupError, match="never"):
            alerts.listen(callback, "superevent", attempts=3)
        assert calls == [0, 0, 0]
        assert committed(kafka, group)[0] == 0


@pytest.mark.parametrize("workers", [1, 4])
class TestRow3SetAside:
    def test_with_its_traceback_and_then_it_is_finished(
        self, kafka, group, connect, publisher, tmp_path, workers
    ):
        path = tmp_path / "aside.db"
        calls = []

        def a_broken_callback(topic, payload):
            calls.append(payload["n"])
            if payload["n"] == 3:
                raise LookupError("three is too many")

        alerts = connect(consumer_group=group, set_aside=path)
        thread = threading.Thread(
            target=alerts.listen,
            args=(a_broken_callback, "superevent"),
            kwargs={"workers": workers, "attempts": 2, "on_failure": "set_aside"},
        )
        thread.start()
        assert alerts.wait_until_listening(30)
        publisher.send(8, partition=2)
        wait_until(lambda: len(calls) == 9, what="all calls")
        alerts.stop()
        thread.join(30)
        assert calls == [0, 1, 2, 3, 3, 4, 5, 6, 7]
        assert committed(kafka, group)[2] == 8
        (aside,) = Archive(path).alerts(set_aside=True)
        assert (aside.partition, aside.offset) == (2, 3)
        assert json.loads(aside.raw)["n"] == 3
        assert "a_broken_callback" in aside.reason
        assert "LookupError: three is too many" in aside.reason

    def test_each_alert_is_delivered_or_set_aside(self, kafka, group, tmp_path, workers):
        assert scenarios.flaky(kafka, group, tmp_path, workers=workers, aside=True).bad == {}

    @pytest.mark.parametrize("trouble", ["full", "gone"])
    def test_an_archive_that_takes_nothing_ends_listen(
        self, kafka, group, publisher, tmp_path, workers, trouble
    ):
        path = tmp_path / "aside.db"
        listen = {"workers": workers, "attempts": 2, "on_failure": "set_aside"}
        with Members(kafka, group, set_aside=str(path), listen=listen) as members:
            listener = members.start()
            publisher.send(3, partition=1)
            members.wait_for(publisher.sent)
            if trouble == "full":
                least = path.stat().st_size
                resource.prlimit(
                    listener.process.pid, resource.RLIMIT_FSIZE, (least, resource.RLIM_INFINITY)
                )
            else:
                for file in tmp_path.glob("aside.db*"):
                    file.unlink()
            publisher.send(1, partition=1, do="raise", pad="x" * 100_000)
            publisher.send(3, partition=1)
            (raised,) = listener.wait_for("raised")
            assert raised["kind"] in ("ArchiveError", "ArchiveFull")
            assert str(path) in raised["text"]
            assert listener.wait() == 1
            assert [event["payload"] for event in listener.of("done")] == [0, 1, 2]
            assert committed(kafka, group)[1] == 3
            members.ends.append((listener, time.time()))
            second = members.start()
            members.wait_for([4, 5, 6])
            members.stop(second)
        (aside,) = Archive(path).alerts(set_aside=True)
        assert (aside.partition, aside.offset) == (1, 3)
        assert committed(kafka, group)[1] == 7


@pytest.mark.parametrize("batch_size", [1, 100])
@pytest.mark.parametrize("workers", [1, 4])
class TestRow4SIGKILL:
    def test_loses_nothing_and_repeats_what_was_in_flight(self, kafka, group, workers, batch_size):
        tally = scenarios.killed_at_random(
            kafka, group, seed=4, workers=workers, batch_size=batch_size, kills=2, alerts=150
        )
        assert tally.bad == {}

    def test_a_batch_of_slow_callbacks_is_marked_alert_by_alert(
        self, kafka, group, publisher, workers, batch_size
    ):
        """What has been finished for seconds does not come again, wherever its batch ends."""
        with Members(
            kafka, group, listen={"workers": workers}, batch_size=batch_size, start_at="earliest"
        ) as members:
            publisher.send(40, partition=0, do="sleep", **{"for": 0.25})
            listener = members.start()
            listener.wait_for("done", 24)
            members.kill(listener)
            listener = members.start()
            listener.wait_for("done", 1)
            members.kill(listener)
            tally = members.tally("", publisher.sent, 0)
            assert tally.late == []


class TestRow4TheRestart:
    def test_the_wait_for_the_dead_member_is_told(self, kafka, group, publisher):
        """Nobody should think that the restarted listener is broken."""
        with Members(kafka, group, options={"session.timeout.ms": 12_000}) as members:
            members.kill(members.start())
            listener = members.start()
            (line,) = [one for one in listener.errors if "gives no place yet" in one]
            assert line.startswith("WARNING")
            assert group in line


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "stop"])
class TestRow5EndedInGoodOrder:
    def test_finishes_marks_leaves_and_ends(self, kafka, group, tmp_path, how, workers):
        tally = scenarios.ended_in_good_order(kafka, group, tmp_path, how, workers)
        assert tally.bad == {}


@pytest.mark.parametrize("workers", [1, 4])
class TestRow5WhileTheGroupIsSharedOutAnew:
    @pytest.mark.parametrize("delay", [0.0, 0.5])
    def test_nothing_comes_again(self, kafka, group, workers, delay):
        """As when a service is restarted, member after member."""
        kafka.create_topics(f"{group}.superevent", partitions=8)
        publisher = Publisher(kafka, f"{group}.superevent", 8)
        with Members(kafka, group, listen={"workers": workers}) as members:
            first = members.start()
            publisher.send(400, do="sleep", **{"for": 0.02})
            second = members.start(wait=False)
            wait_until(lambda: "listening to 1 topic " in "".join(second.errors), what="a start")
            time.sleep(delay)
            first.signal(signal.SIGTERM)
            second.signal(signal.SIGTERM)
            for one in (first, second):
                one.wait()
                members.ends.append((one, time.time()))
            members.start()
            members.wait_for(publisher.sent)
            tally = members.tally("", publisher.sent, 0)
        assert tally.lost == []
        assert tally.repeated == []


@pytest.mark.parametrize("delay", [0.5, 2.2, 3.2])
class TestRow5EndedWhileItJoins:
    """With the usual session of 45 s and heartbeat of 3 s, in which a group is shared out anew."""

    @pytest.mark.parametrize("both", [False, True])
    def test_leaves_no_member_behind_for_whom_all_wait(self, kafka, group, publisher, delay, both):
        with Members(kafka, group, options={}) as members:
            first = members.start()
            second = members.start(wait=False)
            wait_until(lambda: "listening to 1 topic " in "".join(second.errors), what="a start")
            publisher.send(8)
            members.wait_for(publisher.sent)
            time.sleep(delay)
            if both:
                first.signal(signal.SIGTERM)
            signalled = time.monotonic()
            members.stop(second)
            members.stop(first)
            assert time.monotonic() - signalled < 5
            assert sum(committed(kafka, group).values()) == 8
            members.start(wait=False).wait_for("ready", seconds=20)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("moment", ["first callback", "assigned"])
class TestRow6KilledBeforeItHadAMark:
    def test_loses_nothing(self, kafka, group, tmp_path, moment, workers):
        tally = scenarios.killed_before_it_had_a_mark(
            kafka, group, tmp_path, moment, workers=workers
        )
        assert tally.bad == {}


@pytest.mark.parametrize("workers", [1, 4])
class TestRow7MembersComeAndGo:
    def test_partitions_are_shared_out(self, kafka, group, workers):
        tally = scenarios.members_come_and_go(kafka, group, seed=7, workers=workers)
        assert tally.bad == {}
        assert len(tally.repeated) <= tally.published // 20

    def test_a_partition_is_handed_over_where_it_was_left(self, kafka, group, workers):
        kafka.create_topics(f"{group}.superevent", partitions=8)
        publisher = Publisher(kafka, f"{group}.superevent", 8)
        with Members(kafka, group, listen={"workers": workers}) as members:
            first = members.start()
            publisher.send(600, do="sleep", **{"for": 0.02})
            first.wait_for("done", 5)
            members.start(wait=False).wait_for("done")
            members.wait_for(publisher.sent)
            assert members.tally("", publisher.sent, 0).repeated == []

    def test_a_slow_callback_while_the_group_is_shared_out_anew(
        self, kafka, group, publisher, workers
    ):
        with Members(kafka, group, listen={"workers": workers}) as members:
            first = members.start()
            publisher.send(4, do="sleep", **{"for": 4})
            first.wait_for("begun", workers)
            members.start(wait=False)
            members.wait_for(publisher.sent)
            wait_until(lambda: sum(committed(kafka, group).values()) == 4, 5, "four marks")
            assert len(members.tally("", publisher.sent, 0).repeated) <= 1


class TestRow7Marks:
    @pytest.mark.parametrize("quick", [(0, 1), (2, 3)])
    def test_of_partitions_that_stay_are_stored(self, kafka, group, publisher, quick):
        """What finishes while the group is shared out anew is marked, though nothing follows."""
        with Members(kafka, group, listen={"workers": 4}) as members:
            first = members.start()
            for partition in range(4):
                seconds = 4 if partition in quick else 8
                publisher.send(1, partition, do="sleep", **{"for": seconds})
            first.wait_for("begun", 4)
            members.start(wait=False)
            members.wait_for(publisher.sent)
            wait_until(lambda: sum(committed(kafka, group).values()) == 4, 5, "four marks")


class TestRow8WithoutAGroup:
    def test_every_listener_gets_every_alert_and_nothing_is_committed(
        self, kafka, group, connect, publisher
    ):
        publisher.send(10)
        got = [], [], []
        clients = [connect() for _ in got]
        with (
            listening(clients[0], lambda topic, payload: got[0].append(payload["n"]), "superevent"),
            listening(clients[1], lambda topic, payload: got[1].append(payload["n"]), "superevent"),
            listening(clients[2], lambda topic, payload: got[2].append(payload["n"]), "superevent"),
        ):
            publisher.send(100)
            wait_until(lambda: all(len(one) >= 100 for one in got), what="300 alerts")
        assert [sorted(one) for one in got] == [list(range(10, 110))] * 3
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        for one in admin.list_consumer_groups().result(30).valid:
            assert kafka.committed(one.group_id, f"{group}.superevent") == {}


class TestRow9ASlowCallback:
    @pytest.mark.timeout(120)
    @pytest.mark.parametrize("workers", [1, 4])
    def test_stays_in_its_group(self, kafka, group, workers):
        tally = scenarios.slow_callback(kafka, group, workers=workers)
        assert tally.bad == {}
        assert tally.repeated == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
@pytest.mark.parametrize("workers", [1, 2])
class TestRow10AFastTopicAndASlowCallback:
    @pytest.mark.parametrize("shape", ["string", "number"])
    def test_memory_is_bounded(self, kafka, group, tmp_path, workers, shape):
        tally = scenarios.fast_topic(kafka, group, tmp_path, workers=workers, shape=shape)
        assert tally.bad == {}
        assert tally.repeated == []


class TestRow11OddMessages:
    @pytest.mark.parametrize("workers", [1, 4])
    @pytest.mark.parametrize("seed", [1, 2])
    def test_each_is_delivered_or_set_aside(self, kafka, group, tmp_path, odd_web, workers, seed):
        tally = odd_messages.among_good_ones(
            kafka, group, tmp_path, odd_web, seed=seed, workers=workers
        )
        assert tally.bad == {}

    @pytest.mark.parametrize(
        "url",
        [
            "http://[bad",
            f"http://{'a' * 70}.org/x",
            "http://\ud800/",
            "http://127.0.0.1:99999/",
            "{web}/redirect/http://[bad",
            "{web}/redirect/http://{long}.org/x",
            "{web}/redirect/file:///etc/passwd",
            "{web}/redirect/",
            "{web}/gzip",
            "{web}/short",
        ],
    )
    def test_no_url_ends_the_listener(
        self, kafka, group, connect, publisher, tmp_path, odd_web, url
    ):
        url = url.replace("{web}", odd_web).replace("{long}", "a" * 70)
        publisher.raw(odd_messages.external(url), [("_format", b"external")])
        publisher.send(1, partition=0)
        self.good_alert_after(connect, group, tmp_path)

    def test_no_alert_that_a_key_cannot_read_ends_the_listener(
        self, kafka, group, connect, publisher, tmp_path
    ):
        publisher.raw(b"{", [("_format", b"json")])
        publisher.send(1, partition=0)
        self.good_alert_after(
            connect, group, tmp_path, workers=4, key=lambda alert: alert.payload["n"]
        )

    def good_alert_after(self, connect, group, tmp_path, **listen):
        """One alert is set aside, and the next delivered."""
        got = []
        path = tmp_path / "aside.db"
        alerts = connect(consumer_group=group, set_aside=path, start_at="earliest")

        def callback(topic, payload):
            got.append(payload)
            alerts.stop()

        alerts.listen(callback, "superevent", **listen)
        assert got == [{"n": 0}]
        (aside,) = Archive(path).alerts()
        assert aside.offset == 0

    @pytest.mark.parametrize("workers", [1, 4])
    def test_no_name_of_a_header_ends_the_listener(
        self, kafka, group, publisher, tmp_path, workers
    ):
        """confluent_kafka cannot read a name that is no UTF-8, and must not be asked twice."""
        path = tmp_path / "aside.db"
        odd_messages.send_with_header(kafka, f"{group}.superevent", b"\xff\xfe", b"x", b'{"n": -1}')
        publisher.send(1, partition=0)
        with Members(
            kafka, group, listen={"workers": workers}, set_aside=str(path), start_at="earliest"
        ) as members:
            members.start(wait=False)
            members.wait_for(publisher.sent, 30)
            done = members.done()
        aside = [one.raw for one in Archive(path).alerts()]
        assert (done[-1], aside) in [(1, []), (0, [b'{"n": -1}'])]


@pytest.mark.parametrize("grouped", [True, False])
class TestRow12TopicsAndPartitionsThatComeLater:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_are_read_from_their_beginning(self, kafka, group, grouped, seed):
        """Also while alerts come all the time: they are no reason not to look for others."""
        tally = scenarios.topics_come_later(kafka, group, grouped=grouped, seed=seed)
        assert tally.bad == {}

    def test_what_is_there_and_quiet_is_no_reason_either(self, kafka, group, connect, grouped):
        kafka.create_topics(f"{group}.superevent")
        got = []
        alerts = connect(consumer_group=group if grouped else None)
        with listening(
            alerts, lambda topic, payload: got.append((topic, payload["n"])), ["superevent", "new"]
        ):
            kafka.create_topics(f"{group}.new")
            Publisher(kafka, f"{group}.new", 1).send(3)
            wait_until(lambda: got == [("new", n) for n in range(3)], 20, "the new topic")
            kafka.add_partitions(f"{group}.superevent", 2)
            Publisher(kafka, f"{group}.superevent", 2).send(1, partition=1)
            wait_until(lambda: got[3:] == [("superevent", 0)], 20, "the new partition")


class TestRow12WhileTheGroupIsAway:
    def test_new_partitions_are_read_from_their_beginning(self, kafka, group):
        """The group has marks in this topic: what came while it was down is not lost."""
        kafka.create_topics(f"{group}.superevent", partitions=1)
        publisher = Publisher(kafka, f"{group}.superevent", 1)
        with Members(kafka, group) as members:
            listener = members.start()
            publisher.send(3)
            members.wait_for(publisher.sent)
            members.stop(listener)
            kafka.add_partitions(f"{group}.superevent", 2)
            publisher.connect(2)
            for n in range(4):
                publisher.send(1, partition=n % 2)
            members.start()
            members.wait_for(publisher.sent, 15)

    def test_a_second_member_does_not_jump_over_them(self, kafka, group):
        """The first has not noticed them yet; the second knows of nothing else."""
        kafka.create_topics(f"{group}.superevent", partitions=1)
        publisher = Publisher(kafka, f"{group}.superevent", 1)
        with Members(kafka, group) as members:
            members.start()
            publisher.send(3)
            members.wait_for(publisher.sent)
            kafka.add_partitions(f"{group}.superevent", 8)
            publisher.connect(8)
            for n in range(8):
                publisher.send(1, partition=n)
            members.start()
            members.wait_for(publisher.sent, 20)


GROUPED = pytest.mark.parametrize("grouped", [True, False], ids=["group", "broadcast"])


class TestRow12AllTopicsOfTheGroup:
    """With ``listen(None)``."""

    def test_a_new_topic_is_met_first_by_a_member_that_starts(self, kafka, group, connect):
        """It has no mark, and is younger than the group all the same."""
        kafka.create_topics(f"{group}.superevent")
        got = []

        def take(topic, payload):
            got.append((topic, payload["n"]))

        with listening(connect(consumer_group=group), take, None):
            Publisher(kafka, f"{group}.superevent", 1).send(1)
            wait_until(lambda: got, what="the first alert")
        kafka.create_topics(f"{group}.new")
        Publisher(kafka, f"{group}.new", 1).send(3)
        with listening(connect(consumer_group=group), take, None):
            wait_until(lambda: len(got) == 4, 20, "the new topic")
        assert got[1:] == [("new", n) for n in range(3)]

    @GROUPED
    def test_a_topic_that_may_not_be_read_ends_nobody(self, kafka, group, grouped):
        kafka.create_topics(f"{group}.superevent")
        told = {**astronomer(kafka), "group": group, "consumer_group": group if grouped else None}
        with Listener(None, set_aside=False, **told) as listener:
            listener.wait_for("ready")
            kafka.acl("astronomer", "write", topic=f"{group}.closed")
            kafka.create_topics(f"{group}.closed")
            wait_until(
                lambda: "may not be read; listening to the others" in "".join(listener.errors),
                what="a warning",
            )
            Publisher(kafka, f"{group}.superevent", 1).send(2)
            listener.wait_for("done", 2)
            assert "".join(listener.errors).count("may not be read") == 1


class TestRow12TopicsMadeAnew:
    @pytest.mark.parametrize("workers", [1, 4])
    def test_stopped_before_it_was_noticed(self, kafka, group, connect, workers):
        """The marks would point into the middle of the new topic."""
        topic = f"{group}.superevent"
        kafka.create_topics(topic)
        got = []

        def take(topic, payload):
            got.append(payload["n"])

        alerts = connect(consumer_group=group, start_at="earliest")
        with listening(alerts, take, "superevent", workers=workers):
            Publisher(kafka, topic, 1).send(50)
            wait_until(lambda: len(got) == 50, what="the old topic")
            kafka.delete_topics(topic)
            kafka.create_topics(topic)
            Publisher(kafka, topic, 1, first=1000).send(200)
            wait_until(lambda: any(n >= 1000 for n in got), what="something of the new one")
        with listening(connect(consumer_group=group), take, "superevent"):
            wait_until(lambda: {*range(1000, 1200)} <= {*got}, 20, "all of the new topic")

    @GROUPED
    def test_with_fewer_partitions_that_come_back(self, kafka, group, connect, grouped):
        topic = f"{group}.superevent"
        kafka.create_topics(topic, partitions=2)
        got = []
        alerts = connect(consumer_group=group if grouped else None, start_at="earliest")
        with listening(alerts, lambda topic, payload: got.append(payload["n"]), "superevent"):
            Publisher(kafka, topic, 2).send(40)
            wait_until(lambda: len(got) == 40, what="the old topic")
            kafka.delete_topics(topic)
            kafka.create_topics(topic, partitions=1)
            publisher = Publisher(kafka, topic, 1, first=1000)
            publisher.send(30)
            wait_until(lambda: {*range(1000, 1030)} <= {*got}, 30, "the new topic")
            kafka.add_partitions(topic, 2)
            publisher.connect(2)
            publisher.send(30, partition=1)
            wait_until(lambda: {*range(1030, 1060)} <= {*got}, 40, "the partition that came back")


class TestRow13BrokersThatDieOrDoNotAnswer:
    @GROUPED
    @pytest.mark.parametrize("workers", [1, 4])
    def test_killed_again_and_again(self, broker_of_my_own, group, grouped, workers):
        assert scenarios.broker_killed(broker_of_my_own, group, grouped, workers).bad == {}

    def test_every_listener_without_a_group_gets_all(self, broker_of_my_own, group):
        tally = scenarios.broker_killed(broker_of_my_own, group, grouped=False, listeners=2)
        assert tally.bad == {}
        assert tally.repeated == []

    @GROUPED
    def test_frozen_for_a_while(self, broker_of_my_own, group, grouped):
        assert scenarios.broker_frozen(broker_of_my_own, group, grouped).bad == {}

    @GROUPED
    def test_frozen_until_the_consumer_is_rebuilt(self, broker_of_my_own, group, grouped):
        assert scenarios.broker_frozen(broker_of_my_own, group, grouped, stall=6).bad == {}


class TestRow14Rights:
    @pytest.mark.parametrize(
        ("kind", "grouped"),
        [("topic", True), ("topic", False), ("group", True)],
        ids=["topic-group", "topic-broadcast", "group"],
    )
    def test_withdrawn_for_a_while(self, kafka, group, kind, grouped):
        assert scenarios.rights_withdrawn(kafka, group, kind, grouped, times=2).bad == {}


class TestRow15RetentionPassedTheMark:
    @pytest.mark.parametrize(
        ("grouped", "down"),
        [(True, False), (False, False), (True, True)],
        ids=["group", "broadcast", "down"],
    )
    def test_what_is_gone_is_exactly_what_was_reported(self, kafka, group, tmp_path, grouped, down):
        tally = scenarios.retention_passed_the_mark(kafka, group, tmp_path, grouped, down)
        assert tally.bad == {}
