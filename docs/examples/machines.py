"""Two members of one consumer group share the alerts; a third listener outside it gets all."""

import threading

from igwn_style_client import EmbeddedBroker, client

everything = threading.Event()
received = {"first": [], "second": [], "watchman": []}


def callback_of(name):
    def process_alert(topic, payload):
        received[name].append(payload)
        shared = len(received["first"]) + len(received["second"])
        if shared >= 400 and len(received["watchman"]) >= 400:
            everything.set()

    return process_alert


with EmbeddedBroker() as broker:
    broker.create_topics(["gracedb.superevent"])
    groups = {"first": "pipeline", "second": "pipeline", "watchman": None}
    listeners, threads = [], []
    for name, group in groups.items():
        # On two machines: the same program, started twice.
        alerts = client(
            server=broker.url, noauth=True, consumer_group=group, options=broker.options
        )
        thread = threading.Thread(target=alerts.listen, args=(callback_of(name), "superevent"))
        thread.start()
        alerts.wait_until_listening(timeout=60)
        listeners.append(alerts)
        threads.append(thread)

    with client(server=broker.url, noauth=True) as publisher:
        publisher.connect("superevent")
        for number in range(400):
            # Without keys a burst may go into one partition, and all of it to one member.
            publisher.publish_to_topic("superevent", number, key=str(number))
    everything.wait(60)
    for alerts, thread in zip(listeners, threads, strict=True):
        alerts.stop()
        thread.join()

print("the group has all:", set(received["first"]) | set(received["second"]) == set(range(400)))
print("both had work:", bool(received["first"] and received["second"]))
print("the watchman has all:", sorted(received["watchman"]) == list(range(400)))
