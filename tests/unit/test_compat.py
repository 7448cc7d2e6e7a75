"""What a program written for igwn_alert 0.7.0 sees."""

import importlib
import inspect
import re
import threading
import warnings
from datetime import timedelta

import hop
import pytest
from adc.errors import KafkaException
from hop.auth import Auth

import igwn_style_client
from igwn_style_client import IGWNAlertClient, client, errors


@pytest.fixture(scope="module")
def theirs():
    """The published module `igwn_alert.client`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        package = pytest.importorskip("igwn_alert")
        if package.__version__ != "0.7.0":
            pytest.skip(f"igwn_alert {package.__version__} is not the one that is followed")
        return importlib.import_module("igwn_alert.client")


METHODS = [
    "__init__",
    "_construct_base_url",
    "_construct_topic_url",
    "connect",
    "delete",
    "disconnect",
    "flush_by_topic",
    "get_subscriptions",
    "get_topics",
    "listen",
    "publish",
    "publish_to_topic",
    "stop",
    "subscribe",
    "unsubscribe",
]


def parameters(function):
    return list(inspect.signature(function).parameters.values())


def test_the_list_of_methods_is_complete(theirs):
    own = {name for name, value in vars(theirs.client).items() if inspect.isfunction(value)}
    assert own == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_signatures(theirs, name):
    expected = parameters(getattr(theirs.client, name))
    found = parameters(getattr(client, name))
    assert len(found) >= len(expected)
    for ours, other in zip(found, expected, strict=False):
        assert (ours.name, ours.kind, ours.default) == (other.name, other.kind, other.default)
    more = found[len(expected) :]
    assert [one.name for one in more if one.kind is not inspect.Parameter.KEYWORD_ONLY] == []
    assert [one.name for one in more if one.default is inspect.Parameter.empty] == []


def test_open_is_called_as_hops(theirs):
    expected = [one for one in parameters(hop.Stream.open) if one.kind is not one.VAR_KEYWORD]
    found = parameters(client.open)[: len(expected)]
    assert [(one.name, one.kind) for one in found] == [(one.name, one.kind) for one in expected]
    assert issubclass(client, hop.Stream)
    assert issubclass(theirs.client, hop.Stream)


CONSTANTS = [
    "DEFAULT_SERVER",
    "DEFAULT_PORT",
    "DEFAULT_GROUP",
    "DEFAULT_BATCH_SIZE",
    "DEFAULT_BATCH_TIMEOUT",
    "DEFAULT_LISTEN_RETRIES",
    "DEFAULT_RETRY_WAIT",
]


def test_constants(theirs):
    assert {name for name in vars(theirs) if name.startswith("DEFAULT_")} == set(CONSTANTS)
    for name in CONSTANTS:
        assert getattr(igwn_style_client, name) == getattr(theirs, name)
        assert type(getattr(igwn_style_client, name)) is type(getattr(theirs, name))
    assert set(theirs.__all__) <= set(igwn_style_client.__all__)


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {
            "group": "gracedb-test",
            "consumer_group": "user-group",
            "server": "kafka://kafka.test",
            "port": 1234,
            "batch_size": 7,
            "batch_timeout": timedelta(seconds=3),
            "retry_on_fatal": True,
            "listen_retries": 5,
            "retry_wait": 2.5,
            "jsonpp_on": True,
        },
    ],
)
def test_attributes(theirs, kwargs):
    other = theirs.client(noauth=True, **kwargs)
    ours = client(noauth=True, **kwargs)
    compared = {name for name in vars(other) if not name.startswith("_")}
    assert compared >= {"group_prefix", "base_url_prefix", "sessions", "auth_obj", "stop_listening"}
    for name in compared - {"stop_listening", "start_at"}:
        assert getattr(ours, name) == getattr(other, name), name
    assert isinstance(ours.stop_listening, threading.Event)
    assert not ours.stop_listening.is_set()
    assert ours.auth is other.auth is None


def test_all_of_it_by_position(theirs):
    values = ("user", "pw", None, None, False, "test", "user-x", "kafka://host", 1, 2)
    values += (timedelta(1), True, 3, 0.5, True)
    other, ours = theirs.client(*values), client(*values)
    for name in ("group_prefix", "consumer_group", "port", "batch_size", "batch_timeout"):
        assert getattr(ours, name) == getattr(other, name)
    assert (ours.retry_on_fatal, ours.listen_retries) == (True, 3)
    assert (ours.retry_wait, ours.jsonpp_on) == (0.5, True)
    assert ours.auth_obj == other.auth_obj


# URLs


@pytest.mark.parametrize(
    ("server", "port"),
    [
        ("kafka://kafka.scimma.org/", 9092),
        ("kafka://test.server", 1234),
        ("kafka://127.0.0.1/", 29092),
    ],
)
@pytest.mark.parametrize("topics", ["topic1", ["topic1"], ["topic1", "topic2"], ("a", "b")])
def test_urls(theirs, server, port, topics):
    other = theirs.client(noauth=True, server=server, port=port, group="test")
    ours = client(noauth=True, server=server, port=port, group="test")
    assert ours._construct_base_url() == other._construct_base_url()
    assert ours.base_url_prefix == other.base_url_prefix
    assert ours._construct_topic_url(topics) == other._construct_topic_url(topics)


def test_urls_as_igwn_alert_writes_them():
    made = client(noauth=True, server="kafka://test.server", port=1234, group="test")
    assert made._construct_base_url() == "kafka://test.server:1234/test"
    assert made._construct_topic_url("a") == "kafka://test.server:1234/test.a"
    assert made._construct_topic_url(["a", "b"]) == "kafka://test.server:1234/test.a,test.b"


@pytest.mark.parametrize("wrong", [{"server": None}, {"port": "onetwo"}, {"group": None}])
def test_wrong_inputs(wrong):
    with pytest.raises(TypeError, match=f'^"{next(iter(wrong))}" must be '):
        client(**wrong)


def test_an_unknown_keyword():
    with pytest.raises(TypeError, match="bad_input"):
        client(bad_input="is_bad")


def test_odd_inputs_that_igwn_alert_takes():
    made = client(
        username="test",
        password="test",
        authfile="test",
        noauth=False,
        group="test",
        server="test",
        port=1234,
        batch_size=123,
        batch_timeout=123,
    )
    assert made.auth_obj.username == "test"


# Credentials

TOML = '[[auth]]\nusername = "user-asdf"\npassword = "pw123"\n'


def write(path, text, mode):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    return tmp_path


def test_username_and_password():
    made = client(username="user-asdf", password="pw123")
    assert isinstance(made.auth_obj, Auth)
    assert (made.auth_obj.username, made.auth_obj.password) == ("user-asdf", "pw123")
    assert made.auth == [made.auth_obj]


@pytest.mark.parametrize("half", [{"username": "user-asdf"}, {"password": "pw123"}])
def test_half_a_credential(theirs, half):
    with pytest.raises(RuntimeError) as expected:
        theirs.client(**half)
    with pytest.raises(RuntimeError) as found:
        client(**half)
    assert str(found.value) == str(expected.value)


def test_a_missing_authfile(home):
    for kind in (FileNotFoundError, RuntimeError, errors.CredentialError):
        with pytest.raises(kind, match=re.escape(str(home / "auth.toml"))):
            client(authfile=str(home / "auth.toml"))


def test_an_unsafe_authfile(home):
    with pytest.raises(RuntimeError, match="chmod 0600"):
        client(authfile=write(home / "auth.toml", TOML, 0o755))


def test_a_good_authfile(home):
    made = client(authfile=write(home / "auth.toml", TOML, 0o600))
    assert isinstance(made.auth_obj, list)
    assert (made.auth_obj[0].username, made.auth_obj[0].password) == ("user-asdf", "pw123")


def test_hops_own_file(home):
    write(home / ".config/hop/auth.toml", TOML, 0o600)
    assert client().auth_obj[0].username == "user-asdf"


def test_netrc(home):
    text = "machine kafka://kafka.test/ login user-asdf password pw123\n"
    write(home / ".netrc", text, 0o600)
    made = client(server="kafka://kafka.test/", port=1234, group="test")
    assert (made.auth_obj.username, made.auth_obj.password) == ("user-asdf", "pw123")


def test_nothing_found(home):
    with pytest.warns(UserWarning, match="No authentication found. Proceeding with un") as warned:
        made = client(server="kafka://test.server", port=1234, group="test")
    assert made.auth_obj is False
    assert made.auth is None
    assert warned[0].filename == __file__  # of the line that made the client


# Sessions


class Session:
    def __init__(self):
        self.done = []

    def write(self, message):
        self.done.append(message)

    def flush(self):
        self.done.append("flushed")

    def close(self):
        self.done.append("closed")


class Recording(client):
    """As a subclass of igwn_alert's client that brings its own sessions."""

    def __init__(self, **kwargs):
        super().__init__(noauth=True, server="kafka://test.server", port=1234, group="test")
        self.opened = {}

    def open(self, url, mode):
        assert mode == "w"
        self.opened[url] = Session()
        return self.opened[url]


@pytest.mark.parametrize("topics", ["topic1", ["topic1"], ["topic1", "topic2"]])
def test_connect(topics):
    made = Recording()
    made.connect(topics)
    names = [topics] if isinstance(topics, str) else topics
    assert list(made.sessions) == names
    assert list(made.opened) == [f"kafka://test.server:1234/test.{name}" for name in names]
    assert list(made.sessions.values()) == list(made.opened.values())


def test_publish_to_a_connected_topic():
    made = Recording()
    made.connect("topic1")
    made.publish_to_topic(topic="topic1", msg="test message")
    made.flush_by_topic(topic="topic1")
    assert made.sessions["topic1"].done == ["test message", "flushed"]


@pytest.mark.parametrize(
    ("connected", "call"),
    [
        (None, ("publish_to_topic", {"topic": "test", "msg": "x"})),
        (None, ("flush_by_topic", {"topic": "test"})),
        ("test", ("publish_to_topic", {"topic": "test2", "msg": "x"})),
        ("test", ("flush_by_topic", {"topic": "test2"})),
    ],
)
def test_not_connected_in_the_same_words(theirs, connected, call):
    class Theirs(theirs.client):
        open = Recording.open

    other = Theirs(noauth=True, server="kafka://test.server", port=1234, group="test")
    other.opened = {}
    ours = Recording()
    said = []
    for one in (other, ours):
        if connected:
            one.connect(connected)
        name, kwargs = call
        with pytest.raises(RuntimeError) as raised:
            getattr(one, name)(**kwargs)
        said.append(str(raised.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("connected", [None, "topic1"])
def test_disconnect_from_what_is_not_connected(connected):
    made = Recording()
    if connected:
        made.connect(connected)
    with pytest.warns(UserWarning, match="Not currently connected to topic topic2"):
        made.disconnect(topics="topic2")
    assert len(made.sessions) == (1 if connected else 0)


def test_disconnect():
    made = Recording()
    made.connect(["topic1", "topic2"])
    made.disconnect("topic1")
    assert list(made.sessions) == ["topic2"]
    made.disconnect()
    assert made.sessions == {}  # igwn_alert keeps the closed ones
    assert [session.done for session in made.opened.values()] == [["closed"]] * 2


def test_publish_without_connecting():
    made = Recording()
    made.publish(topic="topic1", msg="test message")
    [session] = made.opened.values()
    assert session.done[0] == "test message"
    assert made.sessions == {}


@pytest.mark.parametrize("topics", ["topic1", ["topic1", "topic2"]])
def test_publish_writes_to_every_topic(topics):
    made = Recording()
    made.publish(topics, "x")
    assert all(session.done[0] == "x" for session in made.opened.values())
    names = [topics] if isinstance(topics, str) else topics
    assert list(made.opened) == [f"kafka://test.server:1234/test.{name}" for name in names]


# Deprecated


@pytest.mark.parametrize("name", ["get_subscriptions", "subscribe", "unsubscribe", "delete"])
def test_what_igwn_alert_has_deprecated(theirs, name):
    with pytest.warns(DeprecationWarning, match="^This feature is deprecated"):
        getattr(theirs.client(noauth=True), name)()
    made = client(noauth=True)
    with pytest.warns(DeprecationWarning, match="^This feature is deprecated") as warned:
        assert getattr(made, name)() is None
    assert warned[0].filename == __file__


@pytest.mark.parametrize("name", ["subscribe", "unsubscribe"])
def test_any_topics_may_be_given_to_the_deprecated(name):
    with pytest.warns(DeprecationWarning, match="deprecated"):
        getattr(client(noauth=True), name)("topic1", "topic2")


# Errors


@pytest.mark.parametrize(
    "kind",
    [
        errors.StreamError,
        errors.BrokerUnreachable,
        errors.AuthenticationError,
        errors.AuthorizationError,
        errors.TopicNotFound,
    ],
)
def test_what_programs_catch(kind):
    with pytest.raises(KafkaException) as raised:
        raise kind("what happened")
    assert raised.value.fatal is True


def test_the_name_of_the_documentation():
    assert IGWNAlertClient is client
