"""What a client says when it cannot connect, and how soon; and every way to log in.

Each row of the promise is a situation and a method.  What they wait for they wait for together:
all selected rows start with the first test, and each test then looks at its own.
"""

import base64
import dataclasses
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import adc.errors
import pytest
from hop.auth import Auth, SASLMethod

from igwn_style_client import (
    AuthenticationError,
    AuthorizationError,
    BrokerUnreachable,
    ClientError,
    CredentialError,
    PublishError,
    SettingsRefused,
    TopicNotFound,
    client,
)
from tests.kafka.server import write_certificates
from tests.listening import listening
from tests.waiting import wait_until

GROUP = "connecting"
WRONG = secrets.token_hex(16)
SCRAM_LOGIN = 'user "astronomer" by SCRAM-SHA-512, from username='
PLAIN_LOGIN = 'user "antares" by PLAIN, from auth='
# How many rows fail at the same time: few enough that they do not slow each other down.
TOGETHER = 12

LISTEN = ("listen",)
READ = ("listen", "get_topics")
SEND = ("publish",)
ALL = ("listen", "get_topics", "publish")


@dataclasses.dataclass
class World:
    """What the situations are made of."""

    kafka: object
    other_ca: str
    silent: str
    closed: str


@dataclasses.dataclass(frozen=True)
class Row:
    """A situation: how a client is told, what it says, and how soon."""

    told: Callable[[World], dict]
    kind: type
    seconds: float
    says: Callable[[World], tuple]
    methods: tuple = ALL
    topic: str = "superevent"


def scram(world, password=None, server=None, **more):
    """Log in as "astronomer", by SCRAM-SHA-512."""
    return {
        "server": server or world.kafka.sasl_url,
        "username": "astronomer",
        "password": password or world.kafka.users["astronomer"],
        "ssl_ca_location": str(world.kafka.ca),
        **more,
    }


def plain(world, password=None, server=None, ca=None, ssl=True):
    """Log in as "antares", by PLAIN."""
    more = {"ssl_ca_location": ca or str(world.kafka.ca)} if ssl else {}
    password = password or world.kafka.users["antares"]
    auth = Auth("antares", password, method=SASLMethod.PLAIN, ssl=ssl, **more)
    return {"server": server or world.kafka.sasl_url, "auth": auth}


def nobody(server):
    return {"server": server, "noauth": True}


def address(url):
    return url.split("/")[2]


ROWS = {
    "wrong password SCRAM": Row(
        lambda world: scram(world, WRONG),
        AuthenticationError,
        5,
        lambda world: (world.kafka.sasl_bootstrap, SCRAM_LOGIN, "password"),
    ),
    "wrong password PLAIN": Row(
        lambda world: plain(world, WRONG),
        AuthenticationError,
        5,
        lambda world: (world.kafka.sasl_bootstrap, PLAIN_LOGIN, "password"),
    ),
    "mechanism not offered": Row(
        lambda world: (
            scram(world, server=world.kafka.sasl_plain_url)
            | {"auth": Auth("astronomer", WRONG, ssl=False)}
        ),
        AuthenticationError,
        5,
        lambda world: ("astronomer", "SCRAM-SHA-512", "it offers PLAIN"),
    ),
    "port closed": Row(
        lambda world: nobody(world.closed),
        BrokerUnreachable,
        10,
        lambda world: (address(world.closed), "the port is closed"),
    ),
    "port closed with login": Row(
        lambda world: scram(world, server=world.closed),
        BrokerUnreachable,
        10,
        lambda world: (address(world.closed), "the port is closed"),
    ),
    "name not resolvable": Row(
        lambda _: nobody("kafka://no-such-host.invalid/"),
        BrokerUnreachable,
        10,
        lambda _: ("no-such-host.invalid:9092", "the name cannot be resolved"),
    ),
    "one closed one not resolvable": Row(
        lambda world: nobody(f"kafka://{address(world.closed)},no-such-host.invalid/"),
        BrokerUnreachable,
        10,
        lambda world: (address(world.closed), "port is closed", "name cannot be resolved"),
    ),
    "never answers": Row(
        lambda world: nobody(world.silent),
        BrokerUnreachable,
        15,
        lambda world: (address(world.silent), "accepts connections and never answers"),
    ),
    "never answers a login": Row(
        lambda world: scram(world, server=world.silent),
        BrokerUnreachable,
        15,
        lambda world: (address(world.silent), "accepts connections and never answers"),
    ),
    "wrong CA": Row(
        lambda world: plain(world, ca=world.other_ca),
        BrokerUnreachable,
        10,
        lambda world: (world.kafka.sasl_bootstrap, "TLS", "not signed by", world.other_ca),
    ),
    "no private CA": Row(
        lambda world: scram(world, ssl_ca_location=None),
        BrokerUnreachable,
        10,
        lambda world: (world.kafka.sasl_bootstrap, "TLS", "not signed by", "ssl_ca_location="),
    ),
    "certificate expired": Row(
        lambda world: plain(world, server=world.kafka.expired_url),
        BrokerUnreachable,
        10,
        lambda world: (address(world.kafka.expired_url), "TLS", "expired"),
    ),
    "certificate of another host": Row(
        lambda world: plain(world, server=world.kafka.elsewhere_url),
        BrokerUnreachable,
        10,
        lambda world: (address(world.kafka.elsewhere_url), "TLS", "kafka.example.org"),
    ),
    "plaintext against TLS": Row(
        lambda world: nobody(world.kafka.sasl_url),
        BrokerUnreachable,
        10,
        lambda world: (world.kafka.sasl_bootstrap, "speaks TLS and this session does not"),
    ),
    "TLS against plaintext": Row(
        lambda world: scram(world, server=world.kafka.url),
        BrokerUnreachable,
        10,
        lambda world: (world.kafka.bootstrap, "TLS", "does not speak TLS"),
    ),
    "no login where one is wanted": Row(
        lambda world: nobody(world.kafka.sasl_plain_url),
        BrokerUnreachable,
        10,
        lambda world: (address(world.kafka.sasl_plain_url), "has no credential"),
    ),
    "login where none is wanted": Row(
        lambda world: plain(world, server=world.kafka.url, ssl=False),
        AuthenticationError,
        10,
        lambda world: (world.kafka.bootstrap, "antares", "no login"),
    ),
    "unknown topic": Row(
        lambda world: nobody(world.kafka.url),
        TopicNotFound,
        10,
        lambda world: (f'"{GROUP}.supervent"', f"{GROUP}.superevent", world.kafka.bootstrap),
        LISTEN + SEND,
        "supervent",
    ),
    "unknown topic with login": Row(
        lambda world: scram(world),
        TopicNotFound,
        10,
        lambda world: (f'"{GROUP}.supervent"', f"{GROUP}.superevent", world.kafka.sasl_bootstrap),
        LISTEN + SEND,
        "supervent",
    ),
    "topic not allowed": Row(
        lambda world: plain(world),
        AuthorizationError,
        10,
        lambda world: (f'"{GROUP}.closed"', "antares"),
        LISTEN + SEND,
        "closed",
    ),
    "topic not allowed in a group": Row(
        lambda world: plain(world) | {"consumer_group": f"{GROUP}-open"},
        AuthorizationError,
        10,
        lambda world: (f'"{GROUP}.closed"', "antares"),
        LISTEN,
        "closed",
    ),
    "topic only visible": Row(
        lambda world: plain(world) | {"consumer_group": f"{GROUP}-open"},
        AuthorizationError,
        10,
        lambda world: (f'"{GROUP}.visible"', "antares"),
        LISTEN + SEND,
        "visible",
    ),
    "topic only visible, no group": Row(
        lambda world: plain(world),
        AuthorizationError,
        10,
        lambda world: (f'"{GROUP}.visible"', "antares"),
        LISTEN,
        "visible",
    ),
    "group not allowed": Row(
        lambda world: scram(world) | {"consumer_group": f"{GROUP}-closed"},
        AuthorizationError,
        10,
        lambda world: (f'"{GROUP}-closed"', "astronomer"),
        LISTEN,
    ),
}
CASES = [
    pytest.param(name, method, id=f"{name}-{method}")
    for name, row in ROWS.items()
    for method in row.methods
]


def ignore(topic, payload):
    """Take an alert and do nothing."""


def attempt(told, method, topic):
    """Let a client do it; what it raised, and after how many seconds."""
    begin = time.monotonic()
    with ExitStack() as stack:
        try:
            alerts = client(**{"group": GROUP, "set_aside": False, **told})
            # Where it does not fail after all, it is not to listen for ever.
            enough = threading.Timer(40, alerts.stop)
            enough.start()
            stack.callback(enough.cancel)
            if method == "get_topics":
                alerts.get_topics()
            elif method == "publish":
                alerts.publish(topic, {"uid": "S1"})
            else:
                alerts.listen(ignore, topic)
        except Exception as error:
            return error, time.monotonic() - begin
    return None, time.monotonic() - begin


@pytest.fixture(scope="module")
def world(kafka, tmp_path_factory):
    """A broker with rights, another CA, and sockets that do not speak Kafka."""
    folder = tmp_path_factory.mktemp("other-ca")
    write_certificates(folder)
    kafka.create_topics(*(f"{GROUP}.{name}" for name in ("superevent", "closed", "visible")))
    kafka.acl("astronomer", "all", topic=f"{GROUP}.closed")
    kafka.acl("antares", "describe", topic=f"{GROUP}.visible")
    kafka.acl("admin", "all", group=f"{GROUP}-closed")
    with socket.socket() as silent, socket.socket() as closed:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)  # the system accepts, and nobody reads
        closed.bind(("127.0.0.1", 0))  # and does not listen
        at = [f"kafka://127.0.0.1:{one.getsockname()[1]}/" for one in (silent, closed)]
        yield World(kafka, str(folder / "ca.pem"), *at)


@pytest.fixture(scope="module")
def outcomes(world, request):
    """The outcome of each selected row, by situation and method, as futures."""
    cases = [
        (item.callspec.params["name"], item.callspec.params["method"])
        for item in request.session.items
        if getattr(item, "function", None) is test_row
    ]
    # The longest first, so that the others fit beside them.
    cases.sort(key=lambda case: -ROWS[case[0]].seconds)
    with ThreadPoolExecutor(TOGETHER) as pool:
        yield {
            (name, method): pool.submit(attempt, ROWS[name].told(world), method, ROWS[name].topic)
            for name, method in cases
        }


@pytest.mark.parametrize(("name", "method"), CASES)
def test_row(world, outcomes, name, method, record_property):
    row = ROWS[name]
    error, seconds = outcomes[name, method].result()
    logging.getLogger(__name__).info("%s, %s: %.1f s, %r", name, method, seconds, error)
    record_property("seconds", seconds)
    assert error is not None
    if method == "publish":
        assert type(error) is PublishError
        assert error.unconfirmed == [(f"{GROUP}.{row.topic}", {"uid": "S1"})]
        assert str(error.__cause__) in str(error)
        error = error.__cause__
    assert type(error) is row.kind, error
    assert isinstance(error, adc.errors.KafkaException)
    text = str(error)
    assert [word for word in row.says(world) if word not in text] == [], text
    assert WRONG not in text
    assert seconds < row.seconds


# -- ways to log in ------------------------------------------------------------------------------


class TokenServer(ThreadingHTTPServer):
    """Gives out tokens for the clients of `secrets` at /token; counts how many."""

    def __init__(self, kafka, clients, seconds=600):
        super().__init__(("127.0.0.1", 0), _TokenAnswer)
        self.kafka = kafka
        self.clients = clients
        self.seconds = seconds
        self.given = 0
        self.url = f"http://127.0.0.1:{self.server_port}/token"

    def __enter__(self):
        threading.Thread(target=self.serve_forever).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _TokenAnswer(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(given).decode().partition(":")
        good = self.path == "/token" and self.server.clients.get(user) == password
        answer = {"error": "invalid_client"}
        if kind == "Basic" and good:
            self.server.given += 1
            token = self.server.kafka.token(user, self.server.seconds)
            answer = {"access_token": token, "token_type": "bearer"}
        self.send_response(200 if good else 401)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def tokens(kafka):
    """A token endpoint that takes the broker's own users."""
    with TokenServer(kafka, kafka.users) as server:
        yield server


def printing(kafka, folder, seconds=600):
    """A token_command of "astronomer"; it notes each run in the file "runs"."""
    script = folder / "print_token.py"
    script.write_text(
        "import sys; from tests.kafka.server import KafkaServer\n"
        f"open({str(folder / 'runs')!r}, 'a').write('x')\n"
        f"print(KafkaServer.token('astronomer', {seconds}))\n"
    )
    return f"cd {os.getcwd()} && PYTHONPATH=. {sys.executable} {script}"


def by(mechanism, kafka, tokens, folder):
    """The credential of "astronomer" (PLAIN: of "antares") for a mechanism."""
    user = "antares" if mechanism == "PLAIN" else "astronomer"
    more = {"ssl_ca_location": str(kafka.ca)}
    if mechanism == "token_endpoint":
        return Auth(user, kafka.users[user], token_endpoint=tokens.url, **more)
    if mechanism == "token_command":
        command = printing(kafka, folder)
        return Auth(user, "", method=SASLMethod.OAUTHBEARER, token_command=command, **more)
    return Auth(user, kafka.users[user], method=SASLMethod[mechanism.replace("-", "_")], **more)


MECHANISMS = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "token_endpoint", "token_command"]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_way_to_log_in(kafka, group, tokens, tmp_path, mechanism):
    kafka.create_topics(f"{group}.superevent")
    told = {"server": kafka.sasl_url, "group": group, "consumer_group": group}
    got = []
    with client(auth=by(mechanism, kafka, tokens, tmp_path), **told) as alerts:
        assert alerts.get_topics() == ["superevent"]
        with listening(alerts, lambda topic, payload: got.append(payload), "superevent"):
            alerts.publish("superevent", {"uid": "S1"})
            wait_until(lambda: got, what="the alert")
    assert got == [{"uid": "S1"}]


def test_a_private_ca_by_ssl_ca_location(kafka, group):
    kafka.create_topics(f"{group}.superevent")
    auth = Auth("antares", kafka.users["antares"], method=SASLMethod.PLAIN)
    told = {"server": kafka.sasl_url, "group": group, "ssl_ca_location": kafka.ca}
    with client(auth=auth, **told) as alerts:
        assert alerts.get_topics() == ["superevent"]
        alerts.publish("superevent", {"uid": "S1"})


def test_tokens_that_end_are_replaced(kafka, group, tmp_path):
    kafka.create_topics(f"{group}.superevent")
    told = {"server": kafka.sasl_url, "group": group, "ssl_ca_location": kafka.ca}
    runs = tmp_path / "runs"
    command = printing(kafka, tmp_path, seconds=10)
    by_endpoint, by_command = [], []
    with TokenServer(kafka, kafka.users, seconds=10) as tokens:
        endpoint = Auth("astronomer", kafka.users["astronomer"], token_endpoint=tokens.url)
        with (
            client(auth=endpoint, **told) as one,
            client(auth=Auth("astronomer", "", token_command=command), **told) as other,
            listening(one, lambda topic, payload: by_endpoint.append(payload), "superevent"),
            listening(other, lambda topic, payload: by_command.append(payload), "superevent"),
        ):
            given, run = tokens.given + 4, runs.stat().st_size + 4
            wait_until(lambda: tokens.given >= given, 150, "four more tokens")
            wait_until(lambda: runs.stat().st_size >= run, 150, "four more tokens")
            kafka.produce(f"{group}.superevent", b'"later"')
            wait_until(lambda: by_endpoint and by_command, what="the alert, twice")
    assert by_endpoint == by_command == ["later"]


TOKEN_TROUBLE = {
    "refused": (AuthenticationError, "invalid_client"),
    "no endpoint": (AuthenticationError, "127.0.0.1:1/token"),
    "no such page": (AuthenticationError, "/nothing"),
    "refused by the broker": (AuthenticationError, "does not accept the token"),
    "fails": (CredentialError, "exit status 3"),
    "no command": (CredentialError, "exit status 127"),
    "no token": (CredentialError, "printed no bearer token"),
    "old token": (CredentialError, "has expired"),
}


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("what", TOKEN_TROUBLE)
def test_no_token(world, tokens, what, method, caplog):
    kafka = world.kafka
    kind, says = TOKEN_TROUBLE[what]
    secret = secrets.token_hex(16)
    old = kafka.token("astronomer", -100)
    commands = {
        "fails": f"echo {secret} >&2; exit 3",
        "no command": f"no-such-command --secret {secret}",
        "no token": f"echo {secret}",
        "old token": f"echo {old}",
        "refused by the broker": f"echo {_far_future(old)}",
    }
    urls = {"no endpoint": "http://127.0.0.1:1/token", "no such page": f"{tokens.url}/nothing"}
    ca = {"ssl_ca_location": str(kafka.ca)}
    if what in commands:
        auth = Auth("astronomer", "", token_command=commands[what], **ca)
    else:
        auth = Auth("astronomer", secret, token_endpoint=urls.get(what, tokens.url), **ca)
    caplog.set_level(logging.DEBUG)
    error, seconds = attempt({"server": kafka.sasl_url, "auth": auth}, method, "superevent")
    if method == "publish" and kind is AuthenticationError:
        assert type(error) is PublishError
        error = error.__cause__
    assert type(error) is kind, error
    assert says in str(error)
    assert seconds < 5
    said = str(error) + caplog.text
    assert secret not in said
    assert old not in said


def _far_future(token):
    """A token of another kind than the broker takes, that does not look old."""
    claims = {"sub": "astronomer", "exp": time.time() + 600}
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"{token.split('.')[0]}.{body}.c2lnbmVk"


# -- nothing foreign gets out --------------------------------------------------------------------


STRANGE = {
    "an unknown setting": {"options": {"no.such.setting": 1}},
    "a word for a number": {"options": {"socket.timeout.ms": "soon"}},
    "a number that is too large": {"options": {"socket.timeout.ms": 10**12}},
    "a mechanism": {"options": {"sasl.mechanism": "NONE", "security.protocol": "SASL_SSL"}},
    "a protocol": {"options": {"security.protocol": "TELEPATHY"}},
    "no certificate": {
        "options": {"security.protocol": "SSL", "ssl.certificate.location": "/nowhere"}
    },
    "no plugin": {"options": {"plugin.library.paths": "/nowhere"}},
}


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("what", STRANGE)
def test_strange_settings(world, what, method):
    told = {"server": world.kafka.url, "noauth": True, **STRANGE[what]}
    error, seconds = attempt(told, method, "superevent")
    assert SettingsRefused in (type(error), type(error.__cause__)), error
    assert "options" in str(error)
    assert seconds < 2


@pytest.mark.parametrize(
    "server",
    ["kafka://{}/a.topic", "kafka://{}/a/b?c=d#e", "{}/", "kafka://user@{}/x", "{}"],
)
@pytest.mark.parametrize("method", ALL)
def test_a_path_in_server_does_no_harm(world, server, method):
    alerts = client(server=server.format(world.kafka.bootstrap), noauth=True, group=GROUP)
    if method == "get_topics":
        assert "superevent" in alerts.get_topics()
    elif method == "publish":
        alerts.publish("superevent", {"uid": "S1"})
    else:
        with listening(alerts, ignore, "superevent"):
            pass


@pytest.mark.parametrize("content", ["", "no certificate"])
@pytest.mark.parametrize("method", ALL)
def test_a_ca_file_that_is_none(world, tmp_path, content, method):
    path = tmp_path / "ca.pem"
    path.write_text(content)
    error, seconds = attempt(scram(world, ssl_ca_location=str(path)), method, "superevent")
    assert isinstance(error, ClientError), error
    assert str(path) in str(error)
    assert seconds < 2


_LOUD = """
import json, logging, sys
from igwn_style_client import ClientError, client

told = json.loads(sys.argv[1])
lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logger = logging.getLogger("igwn_style_client")
logger.addHandler(Keep())
logger.setLevel(logging.DEBUG)
logger.propagate = False
alerts = client(**told)
for act in (
    alerts.get_topics,
    lambda: alerts.listen(lambda topic, payload: None, "superevent"),
    lambda: alerts.publish("superevent", {"uid": "S1"}),
):
    del lines[:]
    try:
        act()
    except ClientError as error:
        print(type(error).__name__, sum("rdkafka#" in line for line in lines))
    alerts.disconnect()
"""


@pytest.mark.parametrize("what", ["wrong password", "wrong CA"])
def test_librdkafka_speaks_to_our_logger_only(world, what):
    told = scram(world, WRONG) if what == "wrong password" else scram(world)
    if what == "wrong CA":
        told["ssl_ca_location"] = world.other_ca
    told |= {"group": GROUP, "set_aside": False, "options": {"debug": "broker,security"}}
    run = subprocess.run(
        [sys.executable, "-c", _LOUD, json.dumps(told)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    said = [line.split() for line in run.stdout.splitlines()]
    assert len(said) == 3
    assert all(int(count) > 0 for _, count in said), said


def test_the_end_of_the_program_does_not_wait_for_what_was_given_up(world):
    told = {"server": world.closed, "noauth": True, "group": GROUP, "publish_timeout": 20}
    program = (
        "import sys, json, time; from igwn_style_client import client, PublishError\n"
        "alerts = client(**json.loads(sys.argv[1]))\n"
        "try: alerts.publish('superevent', 1)\n"
        "except PublishError: print(time.time())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, json.dumps(told)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert time.time() - float(run.stdout) < 3, run.stderr


def test_what_was_given_up_does_not_go_out_later(broker_of_my_own, group):
    kafka = broker_of_my_own
    kafka.create_topics(f"{group}.superevent")
    kafka.kill()
    with client(server=kafka.url, noauth=True, group=group, publish_timeout=2) as alerts:
        for number in range(2):
            with pytest.raises(PublishError) as raised:
                alerts.publish("superevent", number)
            assert type(raised.value.__cause__) is BrokerUnreachable
            assert raised.value.unconfirmed == [(f"{group}.superevent", number)]
        kafka.start()

        def arrives():
            try:
                alerts.publish("superevent", "again")
            except PublishError:
                return False
            return True

        wait_until(arrives, what="a broker that takes an alert")
    # What was sent while it came up may be there as often as it was sent; the given up are not.
    assert {record.value() for record in kafka.records(f"{group}.superevent")} == {b'"again"'}


def test_a_topic_that_is_made_after_all(kafka, group):
    kafka.create_topics(f"{group}.other")
    with client(server=kafka.url, noauth=True, group=group) as alerts:
        alerts.publish("other", 1)
        for number in (1, 2):  # the second time librdkafka refuses it at once
            with pytest.raises(PublishError) as raised:
                alerts.publish("superevent", number)
            assert type(raised.value.__cause__) is TopicNotFound
            assert raised.value.unconfirmed == [(f"{group}.superevent", number)]
        kafka.create_topics(f"{group}.superevent")
        alerts.publish("superevent", 3)
    assert [record.value() for record in kafka.records(f"{group}.superevent")] == [b"3"]
