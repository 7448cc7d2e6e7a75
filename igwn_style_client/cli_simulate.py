"""Simulated alerts on the command line, for others to listen to."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import click
from click.core import ParameterSource

from . import Alert, EmbeddedBroker, simulation
from .cli_handling import text_of
from .cli_options import Command, connect, connecting, no_nan

__all__ = ["paced", "simulate"]


@click.command(
    cls=Command,
    short_help="Publish simulated alerts, for others to listen to.",
    epilog="""\b
Examples:
  igwn-style-client simulate
  igwn-style-client simulate --speed 600 --superevents 10 --seed 1
  igwn-style-client simulate --server kafka://localhost:9092/ --noauth --group gracedb-test
It tells how to listen to it, in another terminal.""",
)
@click.option(
    "--superevents",
    metavar="N",
    type=click.IntRange(min=1),
    help="How many superevents to follow to their end.  [default: no end]",
)
@click.option("--seed", type=int, help="The same seed gives the same alerts.  [default: random]")
@click.option(
    "--speed",
    metavar="FACTOR",
    type=click.FloatRange(min=0.001),
    callback=no_nan,
    default=60.0,
    show_default=True,
    help="How much faster than the sky, which has a superevent an hour.",
)
@click.option(
    "--not-a-test",
    is_flag=True,
    help="Do not flag the alerts as tests, on a server that --server names.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connecting
@click.pass_context
def simulate(
    ctx: click.Context,
    /,
    connection: Mapping[str, Any],
    superevents: int | None,
    seed: int | None,
    speed: float,
    not_a_test: bool,
    as_json: bool,
) -> None:
    """Publish simulated alerts to a broker in this process, until Ctrl-C.

    Where the command line names a --server it is used instead, and the alerts are flagged as
    tests, which listeners skip unless they ask for them.  A server of the environment or of a
    profile is not: nobody should alarm others by accident.
    """
    seed = secrets.randbelow(100_000) if seed is None else seed
    elsewhere = ctx.get_parameter_source("server") is ParameterSource.COMMANDLINE
    group = connection["group"]
    with ExitStack() as stack:
        if not elsewhere:
            broker = stack.enter_context(EmbeddedBroker())
            broker.create_topics(f"{group}.{topic}" for topic in simulation.TOPICS)
            connection = {**connection, "server": broker.url, "noauth": True, "authfile": None,
                          "port": 9092, "options": broker.options}  # fmt: skip
        alerts = stack.enter_context(connect(connection))
        test = elsewhere and not not_a_test
        click.echo(_beginning(connection, seed, test, as_json), err=not as_json)
        alerts.connect(simulation.TOPICS)
        for alert in paced(seed, superevents, speed, group):
            alerts.publish_to_topic(alert.topic, alert.payload, test=test)
            alerts.flush_by_topic(alert.topic)
            click.echo(text_of(alert, "json" if as_json else "line"))


def _beginning(connection: Mapping[str, Any], seed: int, test: bool, as_json: bool) -> str:
    server = connection["server"]
    command = ["igwn-style-client listen", "--server", server, "--group", connection["group"]]
    command += ["--noauth"] * connection["noauth"] + ["--test-alerts"] * test
    if as_json:
        return json.dumps({"server": server, "seed": seed, "listen": " ".join(command)})
    return f"simulated alerts, seed {seed}, at {server}; to listen:\n  {' '.join(command)}"


def paced(seed: int, superevents: int | None, speed: float, group: str) -> Iterator[Alert]:
    """Yield simulated alerts, each when it is due; they happen now."""
    start = datetime.now(timezone.utc)
    begun = time.monotonic()
    first = None
    for alert in simulation.simulate(seed, superevents, group=group, start=start):
        first = first or alert.time
        if first and alert.time:
            due = begun + (alert.time - first).total_seconds() / speed
            time.sleep(max(0.0, due - time.monotonic()))
        yield alert
