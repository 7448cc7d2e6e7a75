"""Callbacks side by side: threads, keys, executors, ``async def``; and how all of it ends."""

import asyncio
import json
import os
import random
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

import confluent_kafka as ck
import pytest

from igwn_style_client import client
from tests.listening import connect
from tests.waiting import wait_until

__all__ = ["connect"]

PARTITIONS = 4


class Topic:
    """The topic under test: alerts at chosen places, and the marks of a consumer group."""

    def __init__(self, broker, name, make=True):
        self.name = name
        self._servers = broker.url.removeprefix("kafka://").rstrip("/")
        if make:
            broker.create_topics(name)

    def put(self, *payloads, partition=0):
        """Publish alerts to one partition, in order."""
        producer = ck.Producer({"bootstrap.servers": self._servers, "log_level": 0})
        failed = []
        for payload in payloads:
            producer.produce(
                self.name,
                json.dumps(payload).encode(),
                partition=partition,
                on_delivery=lambda error, _: error and failed.append(error),
            )
        assert producer.flush(30) == 0
        assert not failed

    def marks(self, consumer_group):
        """The committed offset of each partition, 0 where there is none."""
        asked = [ck.TopicPartition(self.name, number) for number in range(PARTITIONS)]
        consumer = ck.Consumer(
            {"bootstrap.servers": self._servers, "group.id": consumer_group, "log_level": 0}
        )
        try:
            return [max(0, one.offset) for one in consumer.committed(asked, timeout=10)]
        finally:
            consumer.close()


@pytest.fixture
def topic(broker, group):
    return Topic(broker, f"{group}.superevent")


@pytest.fixture
def grouped(connect, group):
    """Makes clients of a consumer group that begin with the oldest alert."""
    return lambda **more: connect(
        **{"consumer_group": group, "start_at": "earliest", "set_aside": False, **more}
    )


@contextmanager
def running(alerts, callback, *, stop=True, **how):
    """Listen in a thread to the topic under test; yields the thread and what was raised."""
    raised = []

    def run():
        try:
            alerts.listen(callback, "superevent", **how)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield thread, raised
    finally:
        if stop:
            alerts.stop()
        thread.join(30)
        assert not thread.is_alive()


class Recorder:
    """A callback that notes what happens; `act` is called with each alert in between."""

    def __init__(self, act=lambda alert: None):
        self._act = act
        self._lock = threading.Lock()
        self.begun = []
        self.done = []
        self.inside = []
        self.most = 0
        self.overlapping = set()

    def __call__(self, topic, payload, alert):
        with self._lock:
            self.begun.append(payload)
            self.overlapping |= {(one, payload["lane"]) for one in self.inside}
            self.inside.append(payload["lane"])
            self.most = max(self.most, len(self.inside))
        try:
            self._act(alert)
        finally:
            with self._lock:
                self.inside.remove(payload["lane"])
        with self._lock:
            self.done.append(payload)

    def by_lane(self):
        numbers = defaultdict(list)
        for payload in self.done:
            numbers[payload["lane"]].append(payload["n"])
        return dict(numbers)


def alerts_of(lane, count, begin=0):
    return [{"lane": lane, "n": n} for n in range(begin, begin + count)]


def a_while(seed, longest=0.005):
    """Something that takes a random while, the same in each run."""
    draw = random.Random(seed)
    return lambda alert: time.sleep(draw.uniform(0, longest))


# -- lanes ---------------------------------------------------------------------------------------


def test_partitions_run_side_by_side_and_each_in_order(topic, grouped):
    for lane in range(PARTITIONS):
        topic.put(*alerts_of(lane, 100), partition=lane)
    recorder = Recorder(a_while(1))
    with running(grouped(), recorder, workers=4) as (_, raised):
        wait_until(lambda: len(recorder.done) >= 400 or raised, what="400 alerts")
    assert recorder.by_lane() == {lane: list(range(100)) for lane in range(PARTITIONS)}
    assert recorder.most > 1
    assert not [pair for pair in recorder.overlapping if pair[0] == pair[1]]


def test_keys_run_side_by_side_and_each_in_order(topic, grouped):
    """One partition, so that only the keys can part the alerts."""
    both = [alert for pair in zip(alerts_of("a", 50), alerts_of("b", 50), strict=True)
            for alert in pair]  # fmt: skip
    topic.put(*both)
    meeting = threading.Barrier(2)

    def meet(alert):
        if alert.payload["n"] == 0:
            meeting.wait(20)  # neither passes before the other has come

    recorder = Recorder(meet)
    how = {"workers": 4, "key": lambda alert: alert.payload["lane"]}
    with running(grouped(), recorder, **how) as (_, raised):
        wait_until(lambda: len(recorder.done) >= 100 or raised, what="100 alerts")
    assert not raised
    assert recorder.by_lane() == {"a": list(range(50)), "b": list(range(50))}
    assert ("a", "b") in recorder.overlapping or ("b", "a") in recorder.overlapping
    assert ("a", "a") not in recorder.overlapping


def test_equal_keys_of_several_partitions_do_not_overlap(topic, grouped):
    for partition in range(PARTITIONS):
        topic.put(*alerts_of("same", 25, begin=25 * partition), partition=partition)
    recorder = Recorder(a_while(2))
    with running(grouped(), recorder, workers=4, key=lambda alert: "same") as (_, raised):
        wait_until(lambda: len(recorder.done) >= 100 or raised, what="100 alerts")
    assert recorder.most == 1
    assert sorted(payload["n"] for payload in recorder.done) == list(range(100))


def test_no_more_callbacks_than_workers(topic, grouped):
    topic.put(*({"lane": n, "n": 0} for n in range(60)))
    recorder = Recorder(a_while(3, 0.02))
    how = {"workers": 3, "key": lambda alert: alert.payload["lane"]}
    with running(grouped(), recorder, **how):
        wait_until(lambda: len(recorder.done) >= 60, what="60 alerts")
    assert recorder.most == 3


@pytest.mark.parametrize("error", [LookupError("as asked"), SystemExit(3), KeyboardInterrupt()])
def test_a_failure_ends_every_lane_and_marks_what_is_done(topic, grouped, group, error):
    """Lane 1 fails at its third alert, while the others are inside their second."""
    for lane in range(PARTITIONS):
        topic.put(*alerts_of(lane, 10), partition=lane)
    others_inside = threading.Barrier(PARTITIONS)
    failing = []
    begun_at_failure = []

    def act(alert):
        lane, number = alert.payload["lane"], alert.payload["n"]
        if lane == 1 and number == 2:
            others_inside.wait(20)
            begun_at_failure[:] = recorder.begun
            failing.append(threading.current_thread())
            raise error
        if lane != 1 and number == 1:
            others_inside.wait(20)
            # The failure has come out of its callback when its lane has ended.
            wait_until(lambda: failing and not failing[0].is_alive(), 20, "the end of lane 1")

    recorder = Recorder(act)
    alerts = grouped()
    with running(alerts, recorder, stop=False, workers=4) as (_, raised):
        pass
    assert raised == [error]
    assert recorder.begun == begun_at_failure
    assert topic.marks(group) == [2, 2, 2, 2]
    again = Recorder()
    with running(grouped(), again, workers=4):
        wait_until(lambda: len(again.done) >= 4 * 8, what="the rest")
    assert again.by_lane() == {lane: list(range(2, 10)) for lane in range(PARTITIONS)}


def test_an_unfinished_alert_holds_its_partitions_mark(topic, grouped, group):
    """By keys, later alerts finish first; they come again, and the first is not lost."""
    topic.put({"lane": "slow", "n": 0}, *({"lane": f"fast{n}", "n": n} for n in range(1, 10)))

    def act(alert):
        if alert.payload["lane"] == "slow":
            wait_until(lambda: len(recorder.done) == 9, 20, "the others")
            # By the time this one's mark is at the broker, those of the others could be.
            topic.put({"lane": "witness", "n": 10}, partition=1)
            wait_until(lambda: topic.marks(group)[1] == 1, 20, "a mark")
            raise LookupError("as asked")

    recorder = Recorder(act)
    how = {"workers": 4, "key": lambda alert: alert.payload["lane"]}
    with running(grouped(), recorder, stop=False, **how) as (_, raised):
        pass
    assert [type(one) for one in raised] == [LookupError]
    assert topic.marks(group)[0] == 0


def test_marks_of_lanes_reach_the_broker_while_nothing_arrives(topic, grouped, group):
    go = threading.Event()
    topic.put(*alerts_of(0, 5))
    recorder = Recorder(lambda alert: go.wait(30))
    alerts = grouped()
    with running(alerts, recorder, workers=4) as (_, raised):
        wait_until(lambda: recorder.begun, what="the first alert")
        wait_until(lambda: alerts.health().since_alert > 0.5, what="a reader at rest")
        go.set()
        wait_until(lambda: len(recorder.done) == 5, what="5 alerts")
        wait_until(lambda: topic.marks(group)[0] == 5, 2, "the mark")
        assert not raised


@pytest.mark.parametrize("workers", [1, 4])
def test_what_is_finished_is_marked_while_the_next_callback_runs(topic, grouped, group, workers):
    """A program that is killed in a long callback repeats that alert, and not those before it."""
    go = threading.Event()
    topic.put(*alerts_of(0, 5))
    recorder = Recorder(lambda alert: alert.payload["n"] < 3 or go.wait(60))
    with running(grouped(), recorder, workers=workers) as (_, raised):
        wait_until(lambda: topic.marks(group)[0] == 3, 20, "the marks of those before")
        assert len(recorder.done) == 3
        go.set()
        wait_until(lambda: len(recorder.done) == 5, what="5 alerts")
        assert not raised


def test_stop_in_the_middle_of_full_lanes_neither_loses_nor_repeats(topic, grouped):
    for lane in range(PARTITIONS):
        topic.put(*alerts_of(lane, 200), partition=lane)
    done = []
    draw = random.Random(4)
    for _ in range(4):
        alerts = grouped()
        recorder = Recorder(a_while(5))
        with running(alerts, recorder, workers=4):
            enough = draw.randrange(20, 100)
            wait_until(lambda r=recorder, n=enough: len(r.done) > n, what="some alerts")
        assert recorder.begun
        assert len(recorder.begun) == len(recorder.done)
        done += recorder.done
    last = Recorder()
    with running(grouped(), last, workers=4):
        wait_until(lambda: len(done) + len(last.done) >= 800, what="the rest")
    came = [(payload["lane"], payload["n"]) for payload in done + last.done]
    assert sorted(came) == [(lane, n) for lane in range(PARTITIONS) for n in range(200)]


def test_lanes_with_hardly_any_room(topic, grouped):
    topic.put(*({"lane": n % 7, "n": n} for n in range(300)))
    recorder = Recorder()
    alerts = grouped(queue_bytes=1)
    with running(alerts, recorder, workers=3, key=lambda alert: alert.payload["lane"]):
        wait_until(lambda: len(recorder.done) >= 300, what="300 alerts")
    assert recorder.by_lane() == {lane: list(range(lane, 300, 7)) for lane in range(7)}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_slow_callback_with_hardly_any_room(topic, grouped, workers):
    """The reader pauses, and must go on afterwards."""
    topic.put({"lane": 0, "n": 0})
    go = threading.Event()
    alerts = grouped(queue_bytes=1)
    recorder = Recorder(lambda alert: go.wait(30))
    with running(alerts, recorder, workers=workers) as (_, raised):
        wait_until(lambda: recorder.begun, what="the first alert")
        topic.put(*alerts_of(0, 49, begin=1))
        wait_until(lambda: alerts.health().since_alert > 3, what="a reader at rest")
        topic.put(*alerts_of(0, 10, begin=50))
        go.set()
        wait_until(lambda: len(recorder.done) >= 60 or raised, 20, "60 alerts")
    assert recorder.by_lane() == {0: list(range(60))}


def test_a_failure_does_not_wait_for_anothers_next_attempt(topic, grouped):
    topic.put({"lane": 0, "n": 0}, partition=0)
    topic.put({"lane": 1, "n": 0}, partition=1)

    def act(alert):
        if alert.payload["lane"] == 0:
            raise LookupError("tried again in a minute")
        wait_until(lambda: alerts.health().failed, 20, "the first failure")
        raise SystemExit(3)

    alerts = grouped(retry_wait=60)
    begin = time.monotonic()
    with running(alerts, Recorder(act), stop=False, workers=2, attempts=5) as (thread, raised):
        thread.join(15)
        took = time.monotonic() - begin
        alerts.stop()
    assert [type(one) for one in raised] == [SystemExit]
    assert took < 15


@pytest.mark.parametrize(
    ("key", "kind"),
    [(lambda alert: alert.payload["nothing"], KeyError), (lambda alert: [], TypeError)],
    ids=["raises", "unhashable"],
)
def test_a_key_that_cannot_be_had(topic, grouped, group, key, kind):
    topic.put(*alerts_of(0, 3))
    recorder = Recorder()
    with running(grouped(), recorder, stop=False, workers=2, key=key) as (_, raised):
        pass
    assert [type(one) for one in raised] == [kind]
    assert topic.name in "".join(raised[0].__notes__)
    assert recorder.begun == []
    assert topic.marks(group)[0] == 0


# -- executors -----------------------------------------------------------------------------------


def write_down(topic, payload, alert):
    """Note in a file that an alert came; in whatever process."""
    assert alert.payload == payload
    assert alert.topic == topic == "superevent"
    line = json.dumps([payload["n"], os.getpid(), alert.offset, alert.raw.decode()])
    with open(payload["file"], "a") as file:
        file.write(f"{line}\n")


def fail(topic, payload):
    raise LookupError("as asked")


def leave(topic, payload):
    sys.exit(3)


def fail_once(topic, payload):
    """Fail for the first time, by a file that says it was."""
    try:
        open(payload["file"], "x").close()
    except FileExistsError:
        return
    raise LookupError("as asked")


@contextmanager
def thread_pool():
    with ThreadPoolExecutor(3) as executor:
        yield executor


@contextmanager
def spawning():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@contextmanager
def forking():
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as executor:
        yield executor


@contextmanager
def dask():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as dask_client,
    ):
        yield dask_client.get_executor()


@pytest.fixture(params=[thread_pool, spawning, forking, dask], ids=lambda pool: pool.__name__)
def executor(request):
    with request.param() as executor:
        yield executor


# Python's own, of 3.12 on, about a fork beside threads; dask's about its own doings.
EXECUTORS = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@EXECUTORS
def test_an_executor_runs_the_callbacks(topic, grouped, group, executor, tmp_path):
    file = str(tmp_path / "came")
    for partition in range(2):
        numbers = range(20 * partition, 20 * partition + 20)
        topic.put(*({"n": n, "file": file} for n in numbers), partition=partition)

    def came():
        with open(file, "a+") as written:
            written.seek(0)
            return [json.loads(line) for line in written]

    with running(grouped(), write_down, workers=executor) as (_, raised):
        wait_until(lambda: len(came()) >= 40 or raised, what="40 alerts")
    assert not raised
    numbers = [one[0] for one in came()]
    assert sorted(numbers) == list(range(40))
    assert [n for n in numbers if n < 20] == list(range(20)), "each partition in order"
    if not isinstance(executor, ThreadPoolExecutor):
        assert os.getpid() not in {one[1] for one in came()}
    assert topic.marks(group)[:2] == [20, 20]


@EXECUTORS
def test_equal_alerts_are_as_many_calls(topic, grouped, executor, tmp_path):
    """Some executors remember what a call gave; a callback is called for its effect."""
    file = tmp_path / "came"
    topic.put(*(5 * [{"file": str(file)}]))
    alerts = grouped()
    with running(alerts, write_a_line, workers=executor) as (_, raised):
        wait_until(lambda: alerts.health().delivered.get("superevent") == 5 or raised, what="5")
    assert not raised
    assert len(file.read_text().splitlines()) == 5


def write_a_line(topic, payload):
    with open(payload["file"], "a") as file:
        file.write("came\n")


@EXECUTORS
def test_another_attempt_in_an_executor(topic, grouped, executor, tmp_path):
    topic.put({"file": str(tmp_path / "failed")})
    alerts = grouped()
    with running(alerts, fail_once, workers=executor, attempts=2) as (_, raised):
        wait_until(lambda: alerts.health().delivered or raised, what="the alert")
    assert not raised


@EXECUTORS
def test_an_error_in_an_executor_leaves_listen(topic, grouped, group, executor):
    topic.put({})
    with running(grouped(), fail, stop=False, workers=executor) as (_, raised):
        pass
    assert [type(one) for one in raised] == [LookupError]
    assert raised[0].args == ("as asked",)
    assert topic.marks(group)[0] == 0


@EXECUTORS
@pytest.mark.parametrize("pool", [thread_pool, spawning, forking])
def test_an_exit_in_an_executor_leaves_listen(topic, grouped, group, pool):
    """Not so in dask, whose workers it ends."""
    topic.put({})
    with (
        pool() as executor,
        running(grouped(), leave, stop=False, workers=executor) as (_, raised),
    ):
        pass
    assert [type(one) for one in raised] == [SystemExit]
    assert raised[0].args == (3,)  # pickle loses its `code`
    assert topic.marks(group)[0] == 0


def die(topic, payload):
    os._exit(1)


@EXECUTORS
@pytest.mark.parametrize("pool", [spawning, forking])
def test_a_worker_that_dies_leaves_listen(topic, grouped, group, pool):
    topic.put({})
    with (
        pool() as executor,
        running(grouped(), die, stop=False, workers=executor) as (_, raised),
    ):
        pass
    assert [type(one) for one in raised] == [BrokenProcessPool]
    assert topic.marks(group)[0] == 0


def test_an_executor_that_is_shut_down_meanwhile(topic, grouped, group):
    topic.put({})
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with running(grouped(), fail, stop=False, workers=executor) as (_, raised):
        pass
    assert [type(one) for one in raised] == [RuntimeError]
    assert topic.marks(group)[0] == 0


def test_the_executor_of_the_user_stays_open(topic, grouped):
    topic.put({"lane": 0, "n": 0})
    with ThreadPoolExecutor(1) as executor:
        recorder = Recorder()
        with running(grouped(), recorder, workers=executor):
            wait_until(lambda: recorder.done, what="an alert")
        assert executor.submit(int, "7").result() == 7


# -- async def -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_async_callbacks_run_side_by_side(topic, grouped, workers):
    topic.put(*({"lane": n, "n": n} for n in range(30)))
    inside, most, done = [], [], []

    async def callback(topic, payload):
        inside.append(payload["n"])
        await asyncio.sleep(0.02)
        most.append(len(inside))
        inside.remove(payload["n"])
        done.append(payload["n"])

    how = {"workers": workers, "key": lambda alert: alert.payload["lane"]}
    with running(grouped(), callback, **how) as (_, raised):
        wait_until(lambda: len(done) >= 30 or raised, what="30 alerts")
    assert not raised
    assert max(most) == workers
    assert sorted(done) == list(range(30))


@pytest.mark.parametrize(
    "error",
    [LookupError("as asked"), TimeoutError("as asked"), SystemExit(3), KeyboardInterrupt(),
     asyncio.CancelledError("as asked")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_what_an_async_callback_raises_leaves_listen_unchanged(topic, grouped, group, error):
    topic.put({})

    async def callback(topic, payload):
        await asyncio.sleep(0)
        raise error

    with running(grouped(), callback, stop=False) as (_, raised):
        pass
    assert len(raised) == 1
    assert raised[0] is error
    assert topic.marks(group)[0] == 0


def test_an_async_callback_in_the_middle_of_a_stop_finishes(topic, grouped, group):
    topic.put({})
    inside = threading.Event()
    finished = []

    async def callback(topic, payload):
        inside.set()
        await asyncio.sleep(0.5)
        finished.append(True)

    alerts = grouped()
    with running(alerts, callback):
        assert inside.wait(20)
    assert finished
    assert topic.marks(group)[0] == 1


def test_tasks_that_an_async_callback_leaves_do_not_matter(topic, grouped):
    topic.put({})
    kept = []
    done = threading.Event()

    async def callback(topic, payload):
        kept.append(asyncio.ensure_future(asyncio.sleep(600)))
        done.set()

    with running(grouped(), callback) as (_, raised):
        assert done.wait(20)
    assert not raised
    assert kept[0].done(), "cancelled, not left behind"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_callback_that_only_makes_a_generator_is_refused(connect, workers):
    """Its body would never run, and its alerts count as delivered."""

    def callback(topic, payload):
        yield payload

    async def async_callback(topic, payload):
        yield payload

    for one in (callback, async_callback):
        with pytest.raises(TypeError, match="callback"):
            connect(server="kafka://127.0.0.1:1/").listen(one, "superevent", workers=workers)


def test_an_async_callback_in_an_executor_is_refused(connect):
    async def callback(topic, payload):
        pass

    with ThreadPoolExecutor(1) as executor, pytest.raises(TypeError, match="async"):
        connect(server="kafka://127.0.0.1:1/").listen(callback, "superevent", workers=executor)


# -- the iterator --------------------------------------------------------------------------------


def test_an_alert_counts_when_the_next_is_asked_for(topic, grouped, group):
    topic.put(*alerts_of(0, 5))
    got = []
    for alert in grouped().alerts("superevent"):
        got.append(alert.payload["n"])
        if alert.payload["n"] == 2:
            break
    assert got == [0, 1, 2]
    wait_until(lambda: topic.marks(group)[0] == 2, 5, "the mark")
    got = []

    def look():
        for alert in grouped().alerts("superevent"):
            got.append(alert.payload["n"])
            raise LookupError("as asked")

    with pytest.raises(LookupError):
        look()
    assert got == [2]
    assert topic.marks(group)[0] == 2


@pytest.mark.parametrize("batch_size", [1, 10])
def test_stopping_the_iterator(topic, grouped, group, batch_size):
    topic.put(*alerts_of(0, 5))
    alerts = grouped(batch_size=batch_size)
    got = []
    for alert in alerts.alerts("superevent"):
        got.append(alert.payload["n"])
        if len(got) == 3:
            alerts.stop()
    assert got == [0, 1, 2]
    assert topic.marks(group)[0] == 3
    assert alerts.health().delivered == {"superevent": 3}


# -- together, and from inside ---------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_two_clients_in_one_process(topic, connect, workers):
    first, second = Recorder(), Recorder()
    one, other = connect(), connect()
    with running(one, first, workers=workers), running(other, second, workers=workers):
        assert one.wait_until_listening(30)
        assert other.wait_until_listening(30)
        for lane in range(PARTITIONS):
            topic.put(*alerts_of(lane, 25), partition=lane)
        wait_until(lambda: len(first.done) >= 100 <= len(second.done), what="100 alerts twice")
    everything = {lane: list(range(25)) for lane in range(PARTITIONS)}
    assert first.by_lane() == second.by_lane() == everything


def test_two_members_of_a_group_in_one_process(topic, grouped):
    first, second = Recorder(a_while(6, 0.02)), Recorder(a_while(7, 0.02))
    for lane in range(PARTITIONS):
        topic.put(*alerts_of(lane, 50), partition=lane)
    with running(grouped(), first, workers=4), running(grouped(), second, workers=4):
        wait_until(lambda: len(first.done) + len(second.done) >= 200, what="200 alerts")
    came = [(payload["lane"], payload["n"]) for payload in first.done + second.done]
    assert set(came) == {(lane, n) for lane in range(PARTITIONS) for n in range(50)}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_callback_that_stops(topic, grouped, group, workers):
    topic.put(*alerts_of(0, 5))
    alerts = grouped()
    recorder = Recorder(lambda alert: alert.payload["n"] == 2 and alerts.stop())
    with running(alerts, recorder, stop=False, workers=workers) as (_, raised):
        pass
    assert not raised
    assert recorder.by_lane() == {0: [0, 1, 2]}
    assert topic.marks(group)[0] == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_a_callback_that_publishes(topic, grouped, workers):
    """With the same client: each alert but the last makes the next one."""
    topic.put({"lane": 0, "n": 0})
    alerts = grouped()

    def act(alert):
        if alert.payload["n"] < 20:
            alerts.publish("superevent", {"lane": 0, "n": alert.payload["n"] + 1})

    recorder = Recorder(act)
    with running(alerts, recorder, workers=workers) as (_, raised):
        wait_until(lambda: len(recorder.done) >= 21 or raised, what="21 alerts")
    assert not raised
    assert [payload["n"] for payload in recorder.done] == list(range(21))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_callback_that_exits(topic, grouped, group, workers):
    topic.put(*alerts_of(0, 3))
    recorder = Recorder(lambda alert: alert.payload["n"] == 1 and sys.exit(3))
    with running(grouped(), recorder, stop=False, workers=workers) as (_, raised):
        pass
    assert [type(one) for one in raised] == [SystemExit]
    assert raised[0].code == 3
    assert topic.marks(group)[0] == 1


def test_stop_and_listen_in_quick_succession(topic, connect):
    """From one thread another is stopped, at whatever moment, again and again."""
    alerts = connect()
    draw = random.Random(8)
    for _ in range(15):
        with running(alerts, Recorder()) as (thread, raised):
            wait_until(lambda: alerts._state._running or not thread.is_alive(), what="listen")
            time.sleep(draw.uniform(0, 0.05))
            alerts.stop()
            thread.join(10)
            assert not thread.is_alive()
        assert not raised


def test_listening_inside_a_callback_is_refused(topic, grouped):
    topic.put({"lane": 0, "n": 0})
    alerts = grouped()
    recorder = Recorder(lambda alert: alerts.listen(Recorder(), "superevent"))
    with running(alerts, recorder, stop=False) as (_, raised):
        pass
    assert [type(one) for one in raised] == [RuntimeError]


def test_a_client_for_each_of_many_threads(topic, broker, group):
    """Made, listened with and left at once by many; nothing waits for another."""
    topic.put(*alerts_of(0, 10))
    got = []

    def one():
        with client(
            server=broker.url,
            noauth=True,
            group=group,
            options=broker.options,
            start_at="earliest",
        ) as alerts:
            mine = []
            for alert in alerts.alerts("superevent"):
                mine.append(alert.payload["n"])
                if len(mine) == 10:
                    alerts.stop()
            got.append(mine)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == 6 * [list(range(10))]
