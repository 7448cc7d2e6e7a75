import json

import pytest
from follow_up import Queue

from igwn_style_client import EmbeddedBroker, client, simulate


def superevent(far=1e-12, labels=()):
    document = {"superevent_id": "S240422ed", "far": far, "labels": list(labels)}
    return json.dumps({"uid": "S240422ed", "alert_type": "update", "object": document})


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path / "queue.db")


@pytest.mark.parametrize(
    ("payloads", "queued"),
    [
        ([superevent(far=1e-12)], ["S240422ed"]),
        ([superevent(far=1e-5)], []),
        ([superevent(), superevent()], ["S240422ed"]),
        ([superevent(), superevent(labels=["ADVNO"])], []),
        ([superevent(labels=["ADVNO"]), superevent()], []),
    ],
)
def test_what_is_queued(queue, payloads, queued):
    for payload in payloads:
        queue.process_alert("superevent", payload)
    assert queue.superevents() == queued


def test_a_night_of_alerts(queue):
    with EmbeddedBroker() as broker, client(server=broker.url, noauth=True) as publisher:
        publisher.connect("superevent")
        for alert in simulate(seed=1, superevents=20):
            if alert.topic == "superevent":
                publisher.publish_to_topic("superevent", alert.payload)
        publisher.flush_by_topic("superevent")
        alerts = client(server=broker.url, noauth=True, start_at="earliest")
        alerts.listen(queue.process_alert, "superevent", until_eos=True)
    assert len(queue.superevents()) == 3


def test_what_failed_comes_again(queue):
    def broken(topic, payload):
        raise OSError("no room on the disk")

    with EmbeddedBroker() as broker:
        settings = {
            "server": broker.url,
            "noauth": True,
            "consumer_group": "follow-up",
            "start_at": "earliest",
            "options": broker.options,
        }
        client(**settings).publish("superevent", superevent())
        with pytest.raises(OSError, match="no room"):
            client(**settings).listen(broken, "superevent")
        client(**settings).listen(queue.process_alert, "superevent", until_eos=True)
    assert queue.superevents() == ["S240422ed"]
