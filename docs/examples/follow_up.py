"""Put superevents that are worth an exposure into the observing queue, and take noise out again."""

import argparse
import contextlib
import json
import sqlite3

from igwn_style_client import DEFAULT_SERVER, EmbeddedBroker, client

FAR_MAX = 1 / (30 * 86400)  # Hz: one false alarm in 30 days


class Queue:
    """The observing queue: a file that outlives the program."""

    def __init__(self, path):
        self.rows = sqlite3.connect(path, isolation_level=None)
        self.rows.execute("CREATE TABLE IF NOT EXISTS queue (superevent TEXT PRIMARY KEY, noise)")

    def process_alert(self, topic, payload):
        superevent = json.loads(payload)["object"]
        name = superevent["superevent_id"]
        if "ADVNO" in superevent["labels"]:  # the advocate says no
            # It stays there as noise, for an older alert may come after this one.
            changed = self.rows.execute(
                "INSERT INTO queue VALUES (?, TRUE)"
                " ON CONFLICT (superevent) DO UPDATE SET noise = TRUE WHERE NOT noise",
                [name],
            )
            if changed.rowcount:
                print(name, "is noise")
        elif superevent["far"] is not None and superevent["far"] <= FAR_MAX:
            # An alert may come twice, and a superevent has many: it is queued once.
            changed = self.rows.execute("INSERT OR IGNORE INTO queue VALUES (?, FALSE)", [name])
            if changed.rowcount:
                print(name, "is queued")

    def superevents(self):
        queued = self.rows.execute("SELECT superevent FROM queue WHERE NOT noise ORDER BY 1")
        return [name for (name,) in queued]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default=DEFAULT_SERVER)
    parser.add_argument("--noauth", action="store_true", help="for the simulation")
    arguments = parser.parse_args()
    alerts = client(
        server=arguments.server,
        noauth=arguments.noauth,
        consumer_group="follow-up",
        # The simulation's broker notices late that a listener has left; a real one at once.
        options=EmbeddedBroker.options if arguments.noauth else None,
    )
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        alerts.listen(Queue("queue.db").process_alert, "superevent")


if __name__ == "__main__":
    main()
