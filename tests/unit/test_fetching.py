"""What lies behind a URL, from servers on this machine that do not mean well."""

import gzip
import ssl
import threading
from contextlib import suppress

import pytest

from igwn_style_client import fetching
from igwn_style_client.fetching import CannotFetch
from tests.kafka.server import write_certificates
from tests.unit.test_probe import serving


@pytest.fixture
def fetch():
    """Fetch with limits that end a test soon."""

    def run(address, scheme="http", **limits):
        given = {"largest": 2**20, "longest": 0.5, "sleep": lambda _seconds: None, **limits}
        with fetching.Session() as session:
            return fetching.fetch(f"{scheme}://{address}/", using=session, **given)

    return run


def answering(*pieces, then=None, asked=None):
    """Send pieces to whoever asks, and then one more again and again until nobody listens."""

    def answer(connection):
        with suppress(OSError):
            request = connection.recv(2**16)
            if asked is not None:
                asked.append(request)
            for piece in pieces:
                connection.sendall(piece)
            while then is not None:
                connection.sendall(then)
                threading.Event().wait(0.01)

    return answer


OK = b"HTTP/1.1 200 OK\r\n"
EMPTY_GZIP = gzip.compress(b"")[:10]


@pytest.mark.parametrize(
    ("pieces", "then"),
    [
        ((OK,), b"X"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n1;",), b"x"),
        ((OK + b"Content-Encoding: gzip\r\n\r\n" + EMPTY_GZIP,), b"\0\0\0\xff\xff"),
        ((OK + b"Content-Length: 1000000\r\n\r\n",), b"x"),
        ((OK + b"\r\n",), b"x"),
    ],
    ids=["headers", "chunk", "gzip that becomes nothing", "body", "body without an end"],
)
def test_what_trickles_is_cut_off(fetch, pieces, then):
    """No single wait lasts long, and together they would last for ever."""
    with (
        serving(answering(*pieces, then=then)) as address,
        pytest.raises(CannotFetch, match=r"took longer than 0\.5 s"),
    ):
        fetch(address)


def test_what_comes_with_a_redirect_is_not_read(fetch):
    """It may be endless; requests alone reads it all."""
    sent = []

    def answer(connection):
        with suppress(OSError):
            path = connection.recv(2**16).split()[1]
            if path == b"/there":
                connection.sendall(OK + b"Content-Length: 4\r\n\r\nhere")
                return
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n")
            while len(sent) < 100:
                connection.sendall(bytes(2**20))
                sent.append(1)

    with serving(answer) as address:
        found = fetch(address, longest=30)
    assert found.content == b"here"
    assert found.url == f"http://{address}/there"
    assert len(sent) < 100


def test_redirects_end(fetch):
    asked = []
    redirect = answering(b"HTTP/1.1 302 x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", asked=asked)
    with serving(redirect) as address, pytest.raises(CannotFetch, match="more than 5 redirects"):
        fetch(address)
    assert len(asked) == 6


def test_from_https_nothing_leads_back_to_http(fetch, tmp_path, monkeypatch):
    write_certificates(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    asked = []
    with serving(answering(OK + b"Content-Length: 0\r\n\r\n", asked=asked)) as plain:
        leading = answering(f"HTTP/1.1 302 x\r\nLocation: http://{plain}/\r\n\r\n".encode())

        def answer(connection):
            with context.wrap_socket(connection, server_side=True) as secure:
                leading(secure)

        with serving(answer) as address, pytest.raises(CannotFetch, match="no certificate vouches"):
            fetch(address, "https")
    assert asked == []


def test_nobody_gets_a_password_of_netrc(fetch, tmp_path, monkeypatch):
    """requests shows the one of "default" to every server."""
    (tmp_path / "netrc").write_text("default login astronomer password s3cret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked = []
    with serving(answering(OK + b"Content-Length: 2\r\n\r\nhi", asked=asked)) as address:
        assert fetch(address).content == b"hi"
    assert b"authorization" not in asked[0].lower()


def test_a_login_is_asked_for_each_url(fetch):
    """A redirect leads somewhere else, where it may not be shown."""
    asked, urls = [], []
    with serving(answering(OK + b"Content-Length: 2\r\n\r\nhi", asked=asked)) as there:
        to = f"HTTP/1.1 302 x\r\nLocation: http://{there}/\r\n\r\n".encode()
        with serving(answering(to, asked=asked)) as here:

            def login(url):
                urls.append(url)
                return ("astronomer", "s3cret") if here in url else None

            assert fetch(here, login=login).content == b"hi"
    assert urls == [f"http://{here}/", f"http://{there}/"]
    assert [b"Authorization: Basic" in request for request in asked] == [True, False]
