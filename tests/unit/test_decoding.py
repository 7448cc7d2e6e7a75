"""Payloads behind a URL; what else a message may be is tested with the recorded ones."""

import http.server
import json
import threading

import pytest
from hop import bson

from igwn_style_client import igwn
from igwn_style_client.decoding import Decoder
from igwn_style_client.errors import DecodeError

# A document in which a document ends before it begins: hop's decoder goes round in it for ever.
CIRCLE = b"\x0d\0\0\0\3a\0\xfd\xff\xff\xff\0\0"


class Message:
    """Points to a payload that lies elsewhere."""

    def __init__(self, url):
        self._value = json.dumps({"url": url}).encode()

    def value(self):
        return self._value

    def headers(self):
        return [("_format", b"external")]


class Web(http.server.BaseHTTPRequestHandler):
    """Serves a payload whole, or trickles it for as long as somebody listens."""

    def do_GET(self):
        self.server.asked.append(self.path)
        content = bson.dumps({"message": b'{"n": 1}', "metadata": {"headers": []}})
        if self.path == "/circle":
            content = CIRCLE
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.path != "/trickle":
            self.wfile.write(content)
            return
        for number in range(len(content) - 1):
            if self.server.closing.wait(0.05):
                return
            try:
                self.wfile.write(content[number : number + 1])
            except OSError:
                return

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def web():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        server.asked, server.closing = [], threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.closing.set()
        server.shutdown()


def test_a_payload_behind_a_url(web):
    decode = Decoder(igwn.dialect("gracedb"))
    assert decode(Message(f"{web.url}/whole")) == {"n": 1}


def test_a_payload_that_leads_in_a_circle(web):
    decode = Decoder(igwn.dialect("gracedb"))
    with pytest.raises(DecodeError, match="wrong length"):
        decode(Message(f"{web.url}/circle"))


def test_a_server_that_trickles_is_given_up(web):
    """A byte now and then keeps a connection alive, and is no reason to wait for ever."""
    waits = []
    decode = Decoder(igwn.dialect("gracedb"), longest=0.3, sleep=waits.append)
    with pytest.raises(DecodeError, match=r"took longer than 0\.3 s"):
        decode(Message(f"{web.url}/trickle"))
    assert web.asked == ["/trickle"] * 3
    assert waits == [0.5, 1.0]
