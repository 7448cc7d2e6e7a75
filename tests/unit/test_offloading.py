"""hop's offload server, as brokers name it; tests/kafka/test_offloading.py has one."""

import confluent_kafka as ck
import hop.io
import pytest
from adc.errors import KafkaException

from igwn_style_client.decoding import Decoder
from igwn_style_client.igwn import dialect
from igwn_style_client.offloading import advice, server_of

FRESH = ck.KafkaException(ck.KafkaError(ck.KafkaError.NOT_COORDINATOR))
REFUSED = ck.KafkaException(ck.KafkaError(ck.KafkaError.GROUP_AUTHORIZATION_FAILED))
URL = "https://offload.example.org"


@pytest.fixture
def answers(monkeypatch):
    """What a broker answers, in turn; the last one over and over."""
    answers = []

    def ask(brokers, auth):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(hop.io, "_get_offload_server", ask)
    return answers


@pytest.mark.parametrize(("answer", "server"), [(URL, URL), (None, ""), ("", "")])
def test_what_the_broker_names(answers, answer, server):
    answers.append(answer)
    assert server_of(["broker:9092"], None) == server


@pytest.mark.parametrize("error", [FRESH, KafkaException(FRESH.args[0])])
def test_what_passes_is_waited_for(answers, error):
    answers += [error, error, URL]
    waits = []
    assert server_of(["broker:9092"], None, sleep=waits.append) == URL
    assert len(waits) == 2


@pytest.mark.parametrize("error", [REFUSED, RuntimeError("no broker"), RuntimeError()])
def test_what_does_not_is_said_and_not_taken_for_an_answer(answers, error, caplog):
    answers.append(error)
    assert server_of(["broker:9092"], None, sleep=pytest.fail) is None
    assert "the broker's offload server is not known" in caplog.text


def test_not_for_ever(answers, monkeypatch):
    answers.append(FRESH)
    monkeypatch.setattr("igwn_style_client.offloading._INSISTS_SECONDS", 0.0)
    assert server_of(["broker:9092"], None) is None


def test_whoever_decodes_asks_again_until_it_is_known(answers):
    class Login:
        is_scram, is_token = False, False

    answers += [REFUSED, URL, pytest.fail]
    decoder = Decoder(dialect("gracedb"), ["broker:9092"], Login())
    decoder._login(f"{URL}/msg/1")
    assert decoder._trusted is None
    decoder._login(f"{URL}/msg/1")
    decoder._login(f"{URL}/msg/1")
    assert decoder._trusted == URL
    assert answers == [pytest.fail]


def test_what_to_do_with_what_is_too_large():
    assert advice(URL) == f"send it again, to {URL}"
    assert advice("") == "send a link to what is large"
    assert "try again" in advice(None)  # and not that there is none
