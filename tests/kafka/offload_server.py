"""An offload server as hop knows them: it stores what is too large for Kafka, behind SCRAM.

As SCiMMA's does, and as hop's writer and reader use it: POST /topic/NAME+oversized with a BSON
document, GET /msg/ID.
"""

import base64
import http.server
import secrets
import threading
from contextlib import contextmanager

from hop import bson
from requests.utils import parse_dict_header
from scramp import ScramMechanism

MECHANISM = "SCRAM-SHA-512"


class OffloadServer(http.server.ThreadingHTTPServer):
    """Stores messages for `users`, {name: password}.

    Attributes
    ----------
    stored
        The documents by their id, each with its topic.
    refuses
        The status with which everything is refused; None: nothing is.
    """

    def __init__(self, users):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.stored = {}
        self.refuses = None
        self.scram = ScramMechanism(MECHANISM)
        self.known = {user: self.scram.make_auth_info(word) for user, word in users.items()}
        self.exchanges = {}


@contextmanager
def offload_server(users):
    """Run one."""
    with OffloadServer(users) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.logged_in():
            document = bson.loads(content)
            number = dict(document["headers"])["_id"].hex()
            topic = self.path.removeprefix("/topic/").removesuffix("+oversized")
            self.server.stored[number] = topic, document
            self.answer(201)

    def do_GET(self):
        if self.logged_in():
            _, document = self.server.stored[self.path.removeprefix("/msg/").replace("-", "")]
            metadata = {"headers": document["headers"], "timestamp": 0}
            self.answer(200, bson.dumps({"message": document["message"], "metadata": metadata}))

    def logged_in(self):
        """Whether this request ends a SCRAM exchange; if not, it is answered."""
        if self.server.refuses:
            self.answer(self.server.refuses)
            return False
        _, _, given = self.headers.get("Authorization", "").partition(" ")
        fields = parse_dict_header(given)
        data = base64.b64decode(fields.get("data", "")).decode()
        if "sid" in fields:
            exchange = self.server.exchanges.pop(fields["sid"])
            exchange.set_client_final(data)
            self.final = f"sid={fields['sid']},data={_encoded(exchange.get_server_final())}"
            return True
        if not data:
            self.answer(401, says=("WWW-Authenticate", MECHANISM))
            return False
        exchange = self.server.scram.make_server(self.server.known.__getitem__)
        exchange.set_client_first(data)
        number = secrets.token_hex(8)
        self.server.exchanges[number] = exchange
        challenge = f"{MECHANISM} sid={number},data={_encoded(exchange.get_server_first())}"
        self.answer(401, says=("WWW-Authenticate", challenge))
        return False

    def answer(self, status, content=b"", says=None):
        self.send_response(status)
        if says is None and status < 300:
            says = "Authentication-Info", self.final
        if says:
            self.send_header(*says)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


def _encoded(text):
    return base64.b64encode(text.encode()).decode()
