"""A callback that fails now and then, one alert that it can never take, and nothing lost."""

import tempfile
from pathlib import Path

from igwn_style_client import Archive, EmbeddedBroker, client, replay

calls = []


def point_telescope(topic, payload):
    name = payload["superevent_id"]
    calls.append(name)
    if calls.count(name) == 1:
        raise ConnectionError("the telescope does not answer")  # it will, the next time
    print("pointing at", payload["superevent_id"], payload["ra"], payload["dec"])


with tempfile.TemporaryDirectory() as folder, EmbeddedBroker() as broker:
    aside = Path(folder, "aside.db")
    alerts = client(
        server=broker.url,
        noauth=True,
        consumer_group="telescope",
        start_at="earliest",
        set_aside=aside,
    )
    alerts.publish("superevent", {"superevent_id": "S240422ed", "ra": 122.1, "dec": -30.3})
    alerts.publish("superevent", {"superevent_id": "S240426s", "ra": None})

    alerts.listen(point_telescope, "superevent", attempts=3, on_failure="set_aside", until_eos=True)
    for alert in Archive(aside):
        print("set aside:", alert.payload["superevent_id"], alert.reason.splitlines()[-1])

    # Later, when the callback can take it:
    def point_somewhere(topic, payload):
        print("pointing at", payload["superevent_id"], payload.get("ra") or "the zenith")

    replay(aside, point_somewhere, remove=True)
    print(len(Archive(aside)), "left")
