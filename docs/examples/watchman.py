"""Publish to several topics, listen to all, and tell of each alert whether it came and how soon."""

import threading
import time

from igwn_style_client import EmbeddedBroker, client

topics = ["superevent", "cbc_gstlal", "cbc_pycbc", "burst_cwb"]
sent, latencies, complete = {}, {}, threading.Event()


def process_alert(topic, payload):
    number = payload["number"]
    latencies[number] = time.monotonic() - sent[number]
    if len(latencies) == 1000:
        complete.set()


with EmbeddedBroker() as broker:
    broker.create_topics(f"gracedb.{topic}" for topic in topics)
    options = broker.options
    listener = client(server=broker.url, noauth=True, options=options, batch_size=100)
    watch = threading.Thread(target=listener.listen, args=(process_alert, topics))
    watch.start()
    listener.wait_until_listening(30)

    publisher = client(server=broker.url, noauth=True)
    publisher.connect(topics)
    for number in range(1000):
        sent[number] = time.monotonic()
        publisher.publish_to_topic(topics[number % 4], {"number": number})
        if number % 200 == 199:
            for topic in topics:
                publisher.flush_by_topic(topic)
    publisher.disconnect()

    complete.wait(30)
    listener.stop()
    watch.join()

print(f"{len(sent)} sent, {len(sent.keys() - latencies.keys())} missing")
