"""A listener imports what it uses, and no more."""

import json
import os
import subprocess
import sys

from confluent_kafka import Producer

from igwn_style_client import Archive

LISTENER = """
import json, sys
from igwn_style_client import client

alerts = client(**json.loads(sys.argv[1]))
alerts.listen(lambda topic, payload: None, "superevent", until_eos=True)
health = alerts.health()
used = list(sys.modules)
print(json.dumps([health.delivered, health.set_aside, str(alerts.set_aside_path), *used]))
"""
OF_OTHERS = {
    f"igwn_style_client.{room}"
    for room in ("doctor", "publishing", "receipts", "replaying", "simulation")
}
OF_ARCHIVES = {"sqlite3", "igwn_style_client.archive", "platformdirs"}


def listened(broker, group):
    # What measures coverage imports SQLite itself.
    unmeasured = {name: one for name, one in os.environ.items() if not name.startswith("COV")}
    told = {"server": broker.url, "noauth": True, "group": group, "start_at": "earliest"}
    done = subprocess.run(
        [sys.executable, "-c", LISTENER, json.dumps(told | {"options": broker.options})],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=unmeasured,
    )
    delivered, set_aside, path, *modules = json.loads(done.stdout)
    return delivered, set_aside, path, set(modules)


def test_what_a_listener_does_not_use(broker, group):
    broker.create_topics(f"{group}.superevent")
    producer = Producer({"bootstrap.servers": broker.url.removeprefix("kafka://").strip("/")})
    json_labelled = [("_format", b"json")]

    producer.produce(f"{group}.superevent", b'{"uid": "S1"}', headers=json_labelled)
    assert producer.flush(30) == 0
    delivered, set_aside, _, modules = listened(broker, group)
    assert (delivered, set_aside) == ({"superevent": 1}, 0)
    assert modules & (OF_OTHERS | OF_ARCHIVES) == set()

    producer.produce(f"{group}.superevent", b"no JSON", headers=json_labelled)
    assert producer.flush(30) == 0
    delivered, set_aside, path, modules = listened(broker, group)
    assert (delivered, set_aside) == ({"superevent": 1}, 1)
    assert modules & (OF_OTHERS | OF_ARCHIVES) == OF_ARCHIVES
    with Archive(path) as archive:
        assert [alert.raw for alert in archive] == [b"no JSON"]
