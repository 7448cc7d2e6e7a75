"""One callback for the alerts of GraceDB and of ANTARES."""

import threading
import zlib

from confluent_kafka import Producer
from hop import bson

from igwn_style_client import EmbeddedBroker, client
from igwn_style_client.antares import Client

seen, both = set(), threading.Event()


def process_alert(topic, payload):
    seen.add(topic)
    if len(seen) == 2:
        both.set()


def send_as_antares(broker, topic, locus):
    producer = Producer({"bootstrap.servers": broker.url.split("/")[2]})
    producer.produce(topic, zlib.compress(bson.dumps(locus)))
    producer.flush()


with EmbeddedBroker() as broker:
    gracedb = client(server=broker.url, noauth=True, start_at="earliest")
    gracedb.publish("superevent", {"superevent_id": "S240422ed"})
    locus = {"id": "ANT2024it80v05etk1n", "ra": 175.8131, "dec": 20.3768, "tags": ["extragalactic"]}
    broker.create_topics(["client.extragalactic"])
    send_as_antares(broker, "client.extragalactic", locus)

    antares = Client(["extragalactic"], host=broker.url, noauth=True)
    threads = [
        threading.Thread(target=gracedb.listen, args=(process_alert, "superevent")),
        threading.Thread(target=antares.listen, args=(process_alert,)),
    ]
    for thread in threads:
        thread.start()
    both.wait(60)
    gracedb.stop()
    antares.stop()
    for thread in threads:
        thread.join()
print(sorted(seen))
