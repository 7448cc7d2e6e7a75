"""A follow-up program for systemd: it says when it is ready, and that it is alive."""

import argparse
import logging

from igwn_style_client import DEFAULT_SERVER, client
from igwn_style_client.records import JSONLines
from igwn_style_client.service import supervised


def process_alert(topic, payload):
    logging.getLogger("follow-up").info("received", extra={"topic": topic})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default=DEFAULT_SERVER)
    parser.add_argument("--noauth", action="store_true")
    arguments = parser.parse_args()

    handler = logging.StreamHandler()
    handler.setFormatter(JSONLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])

    alerts = client(
        server=arguments.server,
        noauth=arguments.noauth,
        consumer_group="follow-up",
        retry_on_fatal=True,
        listen_retries=None,  # a broker that is away at the start is waited for, too
    )
    with supervised(alerts):
        alerts.listen(process_alert, "superevent", attempts=3, on_failure="set_aside")


if __name__ == "__main__":
    main()
