"""What a plain connection meets, on sockets of this machine."""

import socket
import ssl
import threading
import time
from contextlib import contextmanager

import pytest

from igwn_style_client.probe import Finding, look
from tests.kafka.server import write_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    write_certificates(folder)
    return folder


@contextmanager
def serving(answer):
    """Let `answer` have each connection that comes; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def tls(folder, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{name}.pem")

    def answer(connection):
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(1)
        except OSError:
            pass

    return answer


@pytest.mark.parametrize(
    ("name", "step", "says"),
    [
        ("server", "tls", ""),
        ("expired", "expired", "GMT"),
        ("elsewhere", "host", "kafka.example.org"),
    ],
)
def test_certificates(certificates, name, step, says):
    with serving(tls(certificates, name)) as address:
        found = look(address, 5, str(certificates / "ca.pem"))
        assert found.step == step
        assert says in found.reason
        assert look(address, 5) == Finding("tls")


def test_an_authority_of_the_same_name_is_another_one(certificates, tmp_path):
    write_certificates(tmp_path)
    with serving(tls(certificates, "server")) as address:
        assert look(address, 5, str(tmp_path / "ca.pem")).step == "untrusted"


def test_what_speaks_no_tls():
    with serving(lambda connection: connection.recv(10)) as address:
        assert look(address, 5).step == "closed"


def test_what_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        begin = time.monotonic()
        assert look(f"127.0.0.1:{server.getsockname()[1]}", 0.3) == Finding("silent")
        assert time.monotonic() - begin < 2


def test_a_closed_port_and_a_name_that_nobody_has():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        found = look(f"127.0.0.1:{closed.getsockname()[1]}", 5)
    assert found == Finding("port", "Connection refused")
    assert look("no-such-host.invalid:9092", 5).step == "name"


def test_ipv6():
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert look(f"[::1]:{server.getsockname()[1]}", 0.3) == Finding("silent")
