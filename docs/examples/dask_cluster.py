"""Callbacks on a dask cluster: here one of two processes on this machine."""

import json

from dask.distributed import Client, LocalCluster

from igwn_style_client import EmbeddedBroker, client, simulate


def process_alert(topic, payload):
    """Run by a worker of the cluster; what it returns is ignored, what it raises comes back."""
    alert = json.loads(payload)
    if alert["object"]["superevent_id"] is None:
        raise ValueError("an alert without a superevent")


if __name__ == "__main__":
    sent = [alert for alert in simulate(seed=1, superevents=5) if alert.topic == "superevent"]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as dask,
        EmbeddedBroker() as broker,
        client(server=broker.url, noauth=True, start_at="earliest") as alerts,
    ):
        alerts.connect("superevent")
        for alert in sent:
            alerts.publish_to_topic("superevent", alert.payload)
        alerts.flush_by_topic("superevent")
        alerts.listen(process_alert, "superevent", workers=dask.get_executor(), until_eos=True)
        print(len(sent), "sent,", alerts.health().delivered["superevent"], "delivered")
