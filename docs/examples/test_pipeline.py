"""Ways to test a program that listens; each is a test of this little pipeline."""

import json
import threading

import pytest

from igwn_style_client import Archive, EmbeddedBroker, client, replay, simulate


class Pipeline:
    """Counts the alerts of each superevent."""

    def __init__(self):
        self.counts = {}

    def process_alert(self, topic, payload):
        name = json.loads(payload)["object"]["superevent_id"]
        self.counts[name] = self.counts.get(name, 0) + 1


NIGHT = [alert for alert in simulate(seed=1, superevents=3) if alert.topic == "superevent"]


@pytest.fixture
def pipeline():
    return Pipeline()


@pytest.fixture
def broker():
    with EmbeddedBroker() as broker:
        broker.create_topics(["gracedb.superevent"])
        yield broker


def test_by_calling_it(pipeline):
    for alert in NIGHT:
        pipeline.process_alert(alert.topic, alert.payload)
    assert sum(pipeline.counts.values()) == len(NIGHT)


def test_with_a_broker(pipeline, broker):
    with client(server=broker.url, noauth=True, start_at="earliest") as alerts:
        alerts.connect("superevent")
        for alert in NIGHT:
            alerts.publish_to_topic("superevent", alert.payload)
        alerts.flush_by_topic("superevent")
        alerts.listen(pipeline.process_alert, "superevent", until_eos=True)
    assert sum(pipeline.counts.values()) == len(NIGHT)


def test_while_it_listens(pipeline, broker):
    alerts = client(server=broker.url, noauth=True)
    everything = threading.Event()

    def process_alert(topic, payload):
        pipeline.process_alert(topic, payload)
        if sum(pipeline.counts.values()) == len(NIGHT):
            everything.set()

    listener = threading.Thread(target=alerts.listen, args=(process_alert, "superevent"))
    listener.start()
    assert alerts.wait_until_listening(timeout=30)
    with client(server=broker.url, noauth=True) as publisher:
        publisher.connect("superevent")
        for alert in NIGHT:
            publisher.publish_to_topic("superevent", alert.payload)
    assert everything.wait(30)
    alerts.stop()
    listener.join()


def test_what_it_cannot_read(pipeline, broker, tmp_path):
    aside = tmp_path / "aside.db"
    with client(server=broker.url, noauth=True, start_at="earliest", set_aside=aside) as alerts:
        alerts.publish("superevent", "no JSON in here")
        alerts.publish("superevent", NIGHT[0].payload)
        alerts.listen(pipeline.process_alert, "superevent", on_failure="set_aside", until_eos=True)
    assert sum(pipeline.counts.values()) == 1
    assert [alert.payload for alert in Archive(aside)] == ["no JSON in here"]


def test_with_recorded_alerts(pipeline, broker, tmp_path):
    with client(server=broker.url, noauth=True, start_at="earliest") as alerts:
        alerts.publish("superevent", NIGHT[0].payload)
        alerts.listen(Archive(tmp_path / "recorded.db"), "superevent", until_eos=True)
    assert replay(tmp_path / "recorded.db", pipeline.process_alert) == 1
    assert sum(pipeline.counts.values()) == 1
