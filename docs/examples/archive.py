"""A night's alerts, stored as they come, and delivered again at 100 000 times the pace."""

import tempfile
from pathlib import Path

from igwn_style_client import Archive, EmbeddedBroker, client, replay, simulate

with tempfile.TemporaryDirectory() as folder, EmbeddedBroker() as broker:
    path = Path(folder, "alerts.db")
    with client(server=broker.url, noauth=True, start_at="earliest") as alerts:
        alerts.connect(["superevent", "mdc_superevent"])
        for alert in simulate(seed=1, superevents=10):
            if alert.topic in alerts.sessions:
                alerts.publish_to_topic(alert.topic, alert.payload)
        alerts.disconnect()

        with Archive(path) as archive:  # it is a callback
            alerts.listen(archive, ["superevent", "mdc_superevent"], until_eos=True)

    print(len(Archive(path)), "stored,", alerts.health().delivered["superevent"], "superevents'")

    topics = []

    def process_alert(topic, payload):
        topics.append(topic)

    print(replay(path, process_alert), "delivered again")
    print(replay(path, process_alert, topic="superevent", speed=100_000), "at their pace")
