"""ANTARES on the command line, before any network."""

import signal

import pytest

from igwn_style_client.cli_antares import _ending_well


class Stoppable:
    def __init__(self):
        self.stopped = 0

    def stop(self):
        self.stopped += 1


@pytest.fixture
def usual():
    """What the signals do by themselves, which here is to be noted; returns the notes."""
    noted = []
    before = {
        number: signal.signal(number, lambda number, _frame: noted.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield noted
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_has_its_usual_effect(usual, first, second):
    client, went_on = Stoppable(), []

    def run():
        with _ending_well(client):
            signal.raise_signal(first)
            assert (client.stopped, usual) == (1, [])
            signal.raise_signal(second)
            went_on.append(True)

    if first == signal.SIGINT:
        with pytest.raises(KeyboardInterrupt):
            run()
    else:
        run()
    assert (client.stopped, usual, went_on) == (1, [second], [True])


def test_an_ignored_signal_stays_ignored(usual):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = Stoppable()
    with _ending_well(client):
        signal.raise_signal(signal.SIGINT)
    assert (client.stopped, usual) == (0, [])
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
