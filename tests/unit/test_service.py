"""systemd's side of the protocol is a real datagram socket."""

import os
import socket
from dataclasses import replace

import pytest

from igwn_style_client.health import Counters
from igwn_style_client.service import supervised
from tests.waiting import wait_until

HEALTH = replace(Counters().snapshot(), state="listening", since_poll=0.0)


class Listener:
    def __init__(self, **state):
        self.now = replace(HEALTH, **state)

    def health(self):
        return self.now


class Manager:
    """What systemd does: it binds the socket, and hears."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(30)
        self.environment = {"NOTIFY_SOCKET": address}

    def hears(self):
        return self.socket.recv(4096).decode().splitlines()

    def hears_until(self, message):
        heard = []
        while message not in heard:
            heard += self.hears()
        return heard


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = f"@igwn-style-client-{os.getpid()}"
    manager = Manager(name if request.param == "abstract" else str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


def test_ready_when_it_listens_and_stopping_at_the_end(manager):
    with supervised(Listener(delivered={"superevent": 2}), environment=manager.environment):
        assert manager.hears() == ["READY=1", "STATUS=listening; 2 delivered"]
    assert manager.hears() == ["STOPPING=1"]


def test_not_ready_before_all_of_them_listen(manager):
    first, second = Listener(), Listener(state="connecting", since_poll=None)
    with supervised(first, second, environment=manager.environment):
        manager.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            manager.hears()
        manager.socket.settimeout(30)
        second.now = HEALTH
        assert manager.hears()[0] == "READY=1"


def test_one_that_never_listens_is_never_ready(manager):
    with supervised(Listener(state="idle"), environment=manager.environment):
        pass
    assert manager.hears() == ["STOPPING=1"]


def test_an_error_goes_its_way_and_is_the_end(manager):
    def fail():
        with supervised(Listener(), environment=manager.environment):
            assert manager.hears()[0] == "READY=1"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert manager.hears() == ["STOPPING=1"]


def test_the_watchdog_is_fed_while_the_broker_is_asked(manager):
    listener = Listener()
    environment = {**manager.environment, "WATCHDOG_USEC": "400000"}
    with supervised(listener, environment=environment):
        assert manager.hears()[0] == "READY=1"
        assert manager.hears()[0] == "WATCHDOG=1"
        listener.now = replace(HEALTH, since_poll=60.0, state="waiting")
        heard = manager.hears_until("STATUS=waiting; 0 delivered")
        heard = manager.hears() + manager.hears()
        assert heard == ["STATUS=waiting; 0 delivered"] * 2
        listener.now = HEALTH
        manager.hears_until("WATCHDOG=1")


def test_the_watchdog_is_fed_only_while_all_are_well(manager):
    well, ill = Listener(), Listener(since_poll=60.0)
    environment = {**manager.environment, "WATCHDOG_USEC": "400000"}
    with supervised(well, ill, environment=environment):
        assert manager.hears()[0] == "READY=1"
        assert manager.hears() == ["STATUS=listening; 0 delivered"]


@pytest.mark.parametrize(
    ("variables", "fed"),
    [
        ({"WATCHDOG_USEC": "200000"}, True),
        ({"WATCHDOG_USEC": "200000", "WATCHDOG_PID": str(os.getpid())}, True),
        ({"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "soon"}, False),
        ({}, False),
    ],
)
def test_whose_watchdog_it_is(manager, variables, fed):
    environment = {**manager.environment, **variables}
    with supervised(Listener(), every=0.1, environment=environment):
        assert manager.hears()[0] == "READY=1"
        assert ("WATCHDOG=1" in manager.hears()) is fed


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}])
def test_without_systemd_nothing_happens(environment):
    with supervised(Listener(), environment=environment):
        pass


def test_a_manager_that_does_not_hear_is_warned_of_once(tmp_path, caplog):
    caplog.set_level("DEBUG")
    environment = {"NOTIFY_SOCKET": str(tmp_path / "nobody")}
    with supervised(Listener(), every=0.01, environment=environment):
        wait_until(lambda: len(caplog.records) > 2)
    first, *others = caplog.records
    assert first.levelname == "WARNING"
    assert "cannot be told 'READY=1" in first.message
    assert {record.levelname for record in others} == {"DEBUG"}
