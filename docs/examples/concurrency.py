"""Four callbacks side by side, each superevent's alerts in order."""

import json
import threading
import time
from collections import defaultdict

from igwn_style_client import EmbeddedBroker, client, simulate


def superevent_of(alert):
    return json.loads(alert.payload)["uid"]


lock = threading.Lock()
running, most = 0, 0
seen = defaultdict(list)


def process_alert(topic, payload):
    global running, most
    with lock:
        running += 1
        most = max(most, running)
    time.sleep(0.01)  # a sky map is downloaded
    with lock:
        running -= 1
        alert = json.loads(payload)
        seen[alert["uid"]].append(alert)


sent = [alert for alert in simulate(seed=1, superevents=10) if alert.topic == "superevent"]
with EmbeddedBroker() as broker, client(server=broker.url, noauth=True) as publisher:
    publisher.connect("superevent")
    for alert in sent:
        # Equal keys go to one partition, and so stay in order on the broker.
        publisher.publish_to_topic("superevent", alert.payload, key=superevent_of(alert))
    publisher.flush_by_topic("superevent")

    alerts = client(server=broker.url, noauth=True, start_at="earliest")
    alerts.listen(process_alert, "superevent", workers=4, key=superevent_of, until_eos=True)

for name, received in seen.items():
    assert received == [json.loads(one.payload) for one in sent if superevent_of(one) == name]
print(len(sent), "sent,", sum(map(len, seen.values())), "delivered,", len(seen), "superevents")
print("up to", most, "at once")
